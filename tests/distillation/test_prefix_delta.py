"""The reference refuses what differences of lengths cannot tell."""

from __future__ import annotations

from typing import Any

import pytest
from cases import TEMPLATES, assistant, config, failed, system, trace, user
from chatspan import AmbiguousContentError, ComposerDataCollator, ContentNotFoundError, PrefixUnstableError
from chatspan.distillation.chats.prefix_delta import encode_chat
from chatspan.distillation.examples.conversation import Conversation
from references import PlainView


class Words:
    """A stub: a word is a token, a message is its content's words, and there is nothing else."""

    pad_token_id = 0

    def __init__(self, scaffold: bool = False) -> None:
        self.words = ["<pad>"]
        self.scaffold = scaffold

    def __call__(self, text: str) -> dict[str, list[int]]:
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
        return {"input_ids": [self.words.index(word) for word in text.split()]}

    def apply_chat_template(self, messages: list[dict[str, Any]], tokenize: bool = True, **kwargs: Any) -> list[int]:
        around = "<{}> {} </{}>" if self.scaffold else "{1}"
        return [i for m in messages for i in self(around.format(m["role"], m["content"], m["role"]))["input_ids"]]


def contents(tokenizer: Any, messages: list[dict[str, Any]], **kwargs: Any) -> list[str]:
    chat = encode_chat(tokenizer, Conversation("t", messages, range(len(messages)), kwargs))
    return [tokenizer.decode(chat.input_ids[start:end].tolist()) for of in chat.content_tokens for start, end in of]


def test_contents_of_assistants(small: Any) -> None:
    messages = [system("Be kind."), user("Go."), assistant("Yes, at nine."), user("On."), assistant("  ")]
    assert contents(small, messages) == ["Yes, at nine."]
    assert contents(PlainView(small), messages) == ["Yes, at nine."]


def test_a_word_of_the_scaffold_is_ambiguous(small: Any) -> None:
    with pytest.raises(
        AmbiguousContentError, match=r"^trace 't', turn 1: the content 'assistant' may be at the tokens"
    ):
        contents(small, [user("Go."), assistant("assistant")])


def test_a_word_of_the_scaffold_is_not_taken_for_a_content_that_joined_its_neighbour(small: Any) -> None:
    # " assistant" has other ids than "assistant", so the role's are the only ones like the content's.
    with pytest.raises(
        AmbiguousContentError, match=r"^trace 't', turn 1: the ids of the content 'assistant' are once .*more than once"
    ):
        contents(small, [user("Go."), assistant("assistant")], chat_template=TEMPLATES["blank in front"])


def test_blanks_that_joined_their_neighbours_are_not_left_out(small: Any) -> None:
    with pytest.raises(
        AmbiguousContentError, match=r"^trace 't', turn 1: .* whitespace beside them may belong to the content"
    ):
        contents(small, [user("Go."), assistant(" \nuser")], chat_template=TEMPLATES["blank in front"])


def test_the_headers_own_newlines_are_ambiguous(small: Any) -> None:
    with pytest.raises(AmbiguousContentError, match=r"'\\n\\nHi' may be at the tokens"):
        contents(small, [user("Go."), assistant("\n\nHi")], chat_template=TEMPLATES["trimming"])


def test_a_content_that_the_template_changes_is_not_found(small: Any) -> None:
    template = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    with pytest.raises(ContentNotFoundError, match=r"^trace 't', turn 1: the ids of the content 'yes'"):
        contents(small, [user("go"), assistant("yes")], chat_template=template)


@pytest.mark.parametrize("name", ["empty header", "system first", "drops reasoning"])
def test_templates_that_are_not_prefix_stable(small: Any, name: str) -> None:
    think = assistant("<think>hm</think>Yes.")
    messages = [system("Be kind."), user("Go."), think, system("Kinder."), user("On."), think, user("So?"), think]
    if name == "empty header":
        messages = [messages[0], *messages[1:3], *messages[4:]]
    with pytest.raises(
        PrefixUnstableError, match=r"^trace 't', turn \d: .*messages\[:\d\] do not begin the ids of all"
    ):
        contents(small, messages, chat_template=TEMPLATES[name])


@pytest.mark.parametrize("scaffold", [False, True])
def test_a_stub_gives_the_same_keys(scaffold: bool) -> None:
    tokenizer = Words(scaffold)
    collate = ComposerDataCollator(tokenizer=tokenizer, config=config(enable_replay_dpo=True))
    pair = {"prompt": [user("is it so")], "chosen": "it is not", "rejected": "yes"}
    batch = collate([trace(user("please go on"), failed("I will not"), dpo_pairs=[pair]), trace(user("go"))])
    assert set(batch) == {
        *("input_ids", "attention_mask", "position_ids", "response_mask", "sdpo_loss_mask"),
        *("ctx_teacher_input_ids", "ctx_teacher_attention_mask", "ctx_teacher_position_ids", "dpo_pair_trace"),
        *("sdpo_loss_weight", "student_response_idx", "teacher_response_idx", "response_idx_mask"),
        *("student_logit_idx", "teacher_logit_idx", "row_index"),
        *(f"dropped_{what}" for what in ("tokens", "messages", "sites", "rows")),
        *(f"dpo_{a}_{key}" for a in ("chosen", "rejected") for key in ("input_ids", "attention_mask", "response_mask")),
    }
    words = [tokenizer.words[i] for i in batch["input_ids"][0][batch["sdpo_loss_mask"][0] == 1]]
    assert words == ["I", "will", "not"]
    chosen = batch["dpo_chosen_input_ids"][0][batch["dpo_chosen_response_mask"][0] == 1]
    assert [tokenizer.words[i] for i in chosen] == ["it", "is", "not"] + ["</assistant>"] * scaffold
    assert collate.routes == {"prefix_delta": 5}


def test_a_stub_in_the_placeholder_layout() -> None:
    tokenizer = Words(scaffold=True)
    collate = ComposerDataCollator(tokenizer=tokenizer, config=config(layout="placeholder"))
    batch = collate([trace(user("please go on"), failed("I will not"))])
    student = [tokenizer.words[i] for i in batch["input_ids"][0]]
    assert (
        " ".join(student) == "<user> please go on </user> <system> x x x </system> <assistant> I will not </assistant>"
    )
