"""A template's keywords reach it by every name, from every entry point."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import CHATML, assistant, user
from chatspan import ChatCollator, ChatEncoder, CollatorConfig, ComposerDataCollator, OptionError
from chatspan.distillation.prompts.hinted import HintedPrompts
from chatspan.encode.chats import encoded_chat
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow
from chatspan.trl import GKDCollator

# Names that parameters inside of the library have, or had.
NAMES = (
    "now",
    "ahead",
    "token_ids",
    "cut",
    "traced_messages",
    "habits_of_template",
    "request",
    "requests",
    "error",
    "check",
    "like",
    "source",
    "scaffold_of",
    "columns",
    "row",
    "place",
)
# Names of options of the encoder.
OPTIONS = ("special_tokens", "token_ids_check", "template_kwargs", "max_tokens")
MESSAGES = [user("2 + 2?"), assistant("4")]


def template_of(names: tuple[str, ...]) -> str:
    return "".join(f"{{{{ '[{name}=' ~ {name} ~ ']' }}}}" for name in names) + CHATML


def written(names: tuple[str, ...]) -> str:
    return "".join(f"[{name}=a {name}]" for name in names)


def values(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: f"a {name}" for name in names}


@pytest.fixture
def tokenizer(small_copy: Any) -> Any:
    small_copy.chat_template = template_of(NAMES + OPTIONS)
    return small_copy


@pytest.mark.parametrize("backend", ["native", "hf"])
def test_keywords_reach_the_template_by_every_name(small: Any, backend: Any) -> None:
    encoder = ChatEncoder(small, chat_template=template_of(NAMES), backend=backend)
    given = values(NAMES)
    expected = encoder.decode(encoder.encode(MESSAGES, **given).input_ids)
    assert expected.startswith(written(NAMES) + "<|im_start|>user\n2 + 2?")
    assert expected == small.apply_chat_template(MESSAGES, chat_template=template_of(NAMES), tokenize=False, **given)
    for encoding in (
        encoder.encode(MESSAGES, template_kwargs=given),
        *encoder.encode_batch([MESSAGES] * 2, **given),
        *encoder.encode_batch([MESSAGES] * 2, template_kwargs=given),
    ):
        assert encoder.decode(encoding.input_ids) == expected


def test_one_mapping_takes_the_names_of_options(tokenizer: Any) -> None:
    encoder = ChatEncoder(tokenizer)
    given = values(NAMES + OPTIONS)
    both = {name: given.pop(name) for name in NAMES[:3]}
    for encoding in (
        encoder.encode(MESSAGES, special_tokens="escape", template_kwargs=given, **both),
        *encoder.encode_batch([MESSAGES], special_tokens="escape", template_kwargs=given, **both),
    ):
        assert encoder.decode(encoding.input_ids).startswith(written(NAMES + OPTIONS))
        assert encoder.decode(encoding.input_ids[encoding.mask()]) == "4<|im_end|>"


def test_a_batch_goes_on_from_its_messages(small: Any) -> None:
    encoder = ChatEncoder(small)
    [prompt] = encoder.encode_batch([MESSAGES[:1]], add_generation_prompt=True)
    assert encoder.decode(prompt.input_ids).endswith("<|im_start|>assistant\n")
    [going_on] = encoder.encode_batch([MESSAGES], continue_final_message=True)
    assert encoder.decode(going_on.input_ids).endswith("<|im_start|>assistant\n4")


@pytest.mark.filterwarnings("ignore:the chat template does not read")
def test_one_name_has_one_value(small: Any) -> None:
    encoder = ChatEncoder(small)
    encoder.encode(MESSAGES, now=1, template_kwargs={"now": 1})
    for one, other in ((1, 2), (1, True), (1, 1.0)):
        for call in (encoder.encode, encoder.encode_batch):
            with pytest.raises(OptionError, match=r"'now' is 1 and in template_kwargs .*: pass it once"):
                call(MESSAGES if call == encoder.encode else [MESSAGES], now=one, template_kwargs={"now": other})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tools": []}, "'tools' is an option of the call, not a keyword of the template: pass tools="),
        ({"add_generation_prompt": True}, "pass add_generation_prompt="),
        ({"messages": []}, "'messages' cannot be a template keyword"),
        ({"conversations": []}, "'conversations' cannot be a template keyword"),
        ({"self": 1}, "'self' cannot be a template keyword"),
        ({"max_length": 3}, "'max_length' is an option of apply_chat_template"),
        ({3: 1}, "template_kwargs has the key 3: expected names"),
        ("now", "template_kwargs must be a mapping of names to values, got str"),
    ],
)
def test_names_that_no_template_reads(small: Any, given: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        ChatEncoder(small).encode(MESSAGES, template_kwargs=given)


def test_rows_keywords_reach_the_template(tokenizer: Any) -> None:
    names = NAMES + OPTIONS
    row = {"messages": MESSAGES, "chat_template_kwargs": values(names)}
    batch = ChatCollator(tokenizer)([row])
    assert tokenizer.decode(batch["input_ids"][0]).startswith(written(names))
    encoder = ChatEncoder(tokenizer)
    chat = RowReader(template=encoder).read(RawRow(0, "row 0", row))
    assert encoded_chat(encoder, chat).text.startswith(written(names))
    batch = GKDCollator(tokenizer, max_length=500)([row])
    assert tokenizer.decode(batch["input_ids"][0]).startswith(written(names))


def test_traces_keywords_reach_the_template(tokenizer: Any, sample_traces: list[dict[str, Any]]) -> None:
    names = NAMES + OPTIONS
    trace = {**sample_traces[0], "chat_template_kwargs": values(names)}
    collator = ComposerDataCollator(
        tokenizer, CollatorConfig(hint_generator=lambda call, meta: "A hint.", layout="indexed")
    )
    batch = collator([trace])
    for key in ("input_ids", "ctx_teacher_input_ids"):
        found = batch[key]
        assert isinstance(found, torch.Tensor)
        assert written(names) in tokenizer.decode(found.reshape(-1))


def test_prompts_keywords_reach_the_template(tokenizer: Any) -> None:
    # verl's and TRL's trainers give theirs to these.
    names = NAMES + OPTIONS
    prompts = HintedPrompts(tokenizer, chat_template_kwargs=values(names))
    [found] = prompts.encode([MESSAGES[:1]], ["Count."])
    for ids in (found.student_ids, found.teacher_ids):
        assert tokenizer.decode(ids).startswith(written(names))
