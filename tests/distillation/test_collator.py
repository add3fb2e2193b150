"""The collator: hints, layouts, masks, keys, on the project's own tokenizer and templates of every habit."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from batches import check, recoveries, responses, student_text, teacher_text
from cases import TEMPLATES, TRICKY_CONTENTS, assistant, config, failed, hint, system, trace, user
from chatspan import ComposerDataCollator, HintError, HintPlacementError, StraddleError
from references import PlainView

APPEND = {"hint_placement": "append_to_previous"}


def collator(tokenizer: Any, **options: Any) -> ComposerDataCollator:
    return ComposerDataCollator(tokenizer=tokenizer, config=config(**options))


@pytest.mark.parametrize("content", TRICKY_CONTENTS.values(), ids=TRICKY_CONTENTS.keys())
@pytest.mark.parametrize("layout", ["aligned", "placeholder"])
def test_tricky_contents_are_the_loss_and_nothing_else(small: Any, content: str, layout: str) -> None:
    turns = [user("Go on."), assistant("user"), user("Go on."), failed(content), user("Go on."), assistant("Go on.")]
    collate = collator(small, layout=layout)
    batch = collate([trace(*turns)])
    check(batch)
    # A blank at an edge that shares a token with a newline of the template comes with that newline.
    assert [text.strip() for text in recoveries(small, batch, 0)] == [content.strip()]
    assert [text.strip() for text in responses(small, batch, 0)] == ["user", content.strip(), "Go on."]
    assert set(collate.routes) == {"provenance"}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("layout", ["aligned", "placeholder"])
def test_every_habit_of_templates(small: Any, name: str, layout: str) -> None:
    turns = [system("Be kind.\n"), user("What is it?"), failed("A test."), user("And now?"), failed("Another one.")]
    if name in ("empty header", "alternating"):
        turns = turns[1:]
    collate = collator(small, layout=layout, **APPEND)
    batch = collate([trace(*turns, chat_template_kwargs={"chat_template": TEMPLATES[name]})])
    check(batch)
    assert [text.strip() for text in recoveries(small, batch, 0)] == ["A test.", "Another one."]
    assert [text.strip() for text in responses(small, batch, 0)] == ["A test.", "Another one."]
    teacher, student = teacher_text(small, batch, 0), student_text(small, batch, 0)
    assert "What is it?\n\nHint: it failed." in teacher
    assert "And now?\n\nHint: it failed." in teacher
    assert "Hint" not in student
    if layout == "aligned":
        kwargs = {"chat_template": TEMPLATES[name], "tokenize": True, "return_dict": False}
        plain = small.apply_chat_template([{"role": t["role"], "content": t["content"]} for t in turns], **kwargs)
        assert batch["input_ids"][0][batch["attention_mask"][0] == 1].tolist() == plain


def test_a_system_text_that_the_template_moves_is_no_obstacle(small: Any) -> None:
    turns = [system("Be kind."), user("What is it?"), assistant("A test."), user("And now?"), failed("Another.")]
    kwargs = {"chat_template": TEMPLATES["empty header"]}
    batch = collator(small, **APPEND)([trace(*turns, chat_template_kwargs=kwargs)])
    check(batch)
    assert teacher_text(small, batch, 0) == (
        "[I]What is it?[/I]A test.<|im_end|>[I]Be kind.\n\nAnd now?\n\nHint: it failed.[/I]Another.<|im_end|>"
    )
    assert recoveries(small, batch, 0) == ["Another."]


def test_the_hole_goes_in_front_of_the_header(small: Any) -> None:
    batch = collator(small)([trace(user("Go."), failed("Yes."))])
    seen = batch["attention_mask"][0].tolist()
    columns = "".join(
        small.decode([token]) if visible else "·"
        for token, visible in zip(batch["input_ids"][0].tolist(), seen, strict=True)
    )
    hole = seen.count(0)
    assert columns == f"<|im_start|>user\nGo.<|im_end|>\n<|im_start|>{'·' * hole}assistant\nYes.<|im_end|>\n"
    hidden = batch["ctx_teacher_input_ids"][0][batch["attention_mask"][0] == 0]
    assert small.decode(hidden) == "system\nHint: it failed.<|im_end|>\n<|im_start|>"


def test_with_an_empty_header_the_hole_goes_in_front_of_the_token_that_predicts(small: Any) -> None:
    template = "{% for m in messages %}{{ m.content + '<|im_end|>' if m.role == 'user' else m.content }}{% endfor %}"
    turns = trace(user("Go."), failed("Yes."), chat_template_kwargs={"chat_template": template})
    batch = collator(small)([turns])
    check(batch)
    first = int(batch["sdpo_loss_mask"][0].argmax())
    assert small.decode([batch["input_ids"][0, first - 1]]) == "<|im_end|>"
    assert batch["attention_mask"][0, first - 2] == 0
    assert student_text(small, batch, 0) == "Go.<|im_end|>Yes."


def test_the_placeholder_mirrors_the_teacher(small: Any) -> None:
    turns = [user("Go."), failed("Yes."), user("More."), failed("No.", error="another reason altogether")]
    batch = collator(small, layout="placeholder")([trace(*turns)])
    check(batch)
    assert torch.equal(batch["attention_mask"], batch["ctx_teacher_attention_mask"])
    assert batch["attention_mask"].all()
    student = student_text(small, batch, 0)
    assert len(re.findall(r"<\|im_start\|>system\n[ x.]+<\|im_end\|>", student)) == 2
    assert "Hint" not in student


def test_several_sites_of_one_trace_each_get_their_hint(small: Any, sample_traces: list[dict[str, Any]]) -> None:
    batch = collator(small, hint_role="user")(sample_traces)
    check(batch)
    recovered = [turn["content"] for turn in sample_traces[0]["turns"] if turn.get("tool_error")]
    assert recoveries(small, batch, 0) == recovered
    assert recoveries(small, batch, 1) == recoveries(small, batch, 2) == []
    assert "<|im_start|>user\nHint: train_does_not_run.<|im_end|>\n<|im_start|>assistant\nIC 900" in teacher_text(
        small, batch, 0
    )


def test_tools_calls_and_other_keys_reach_the_template(small: Any, sample_traces: list[dict[str, Any]]) -> None:
    text = student_text(small, collator(small)(sample_traces[:1]), 0)
    assert '"name": "find_trains", "description"' in text
    assert '<tool_call>\n{"name": "rebook", "arguments": {"booking": "K7Q2", "train": "IC 900"}}\n</tool_call>' in text
    template = "{% for m in messages %}{{ m.name }}|{{ m.reasoning_content }}|{{ flavour }}|{{ m.content }}{% endfor %}"
    kwargs = {"chat_template": template, "flavour": "sour"}
    batch = collator(small)([trace(assistant("Yes.", name="Zoe", reasoning_content="hm"), chat_template_kwargs=kwargs)])
    assert student_text(small, batch, 0) == "Zoe|hm|sour|Yes."
    bare = trace(assistant("Yes.", tool_call={"name": "go", "arguments": {"x": 1}, "id": "c1"}))
    assert '{"name": "go", "arguments": {"x": 1}}' in student_text(small, collator(small)([bare]), 0)


def test_contents_in_parts(small: Any) -> None:
    parts = [{"type": "text", "text": "One "}, {"type": "text", "text": "two."}]
    collate = collator(small, **APPEND)
    batch = collate([trace(user([{"type": "text", "text": "Go."}]), failed(parts))])
    check(batch)
    assert recoveries(small, batch, 0) == ["One two."]
    assert "Go.\n\nHint: it failed.<|im_end|>" in teacher_text(small, batch, 0)


def test_an_assistant_without_content_is_in_no_mask(small: Any) -> None:
    call = {"function": {"name": "go", "arguments": "{}"}}
    batch = collator(small)([trace(user("Go."), failed(None, tool_call=call), assistant("Yes."))])
    assert responses(small, batch, 0) == ["Yes."]
    assert "sdpo_loss_mask" not in batch


def test_an_empty_hint_is_no_site_and_the_meta_is_a_dict(small: Any) -> None:
    seen = []

    def generator(error: Any, meta: Any) -> str:
        seen.append((error, meta))
        return "" if error == "minor" else "Mind it."

    turns = [
        user("Go."),
        failed("One.", error="minor"),
        user("On."),
        failed("Two.", error={"code": 3}, error_meta={"a": 1}),
    ]
    batch = collator(small, hint_generator=generator)([trace(*turns)])
    assert seen == [("minor", {}), ({"code": 3}, {"a": 1})]
    assert recoveries(small, batch, 0) == ["Two."]


def test_the_ignore_index_stands_where_no_loss_is(small: Any) -> None:
    batch = collator(small, sdpo_ignore_index=-100)([trace(user("Go."), failed("Yes.")), trace(user("Go."))])
    assert set(batch["sdpo_loss_mask"].unique().tolist()) == {-100, 1}
    assert (batch["sdpo_loss_mask"][1] == -100).all()


def test_rows_are_padded_with_eos_where_there_is_no_pad_token(small_copy: Any) -> None:
    small_copy.pad_token = None
    batch = collator(small_copy)([trace(user("Go."), failed("Yes.")), trace(user("Go."), assistant("Yes, of course."))])
    check(batch)
    assert (batch["input_ids"][batch["attention_mask"] == 0] == small_copy.eos_token_id).all()
    assert responses(small_copy, batch, 1) == ["Yes, of course."]


def test_a_left_padding_tokenizer_still_gives_rows_padded_on_the_right(small_copy: Any) -> None:
    small_copy.padding_side = "left"
    small_copy(["a", "a b c"], padding=True, truncation=True, max_length=2)  # leaves its mark on the backend
    batch = collator(small_copy)([trace(user("Go."), assistant("Yes.")), trace(user("Go. " * 9), assistant("Yes."))])
    check(batch)
    assert batch["attention_mask"][0].tolist() == sorted(batch["attention_mask"][0].tolist(), reverse=True)
    assert responses(small_copy, batch, 0) == responses(small_copy, batch, 1) == ["Yes."]


@pytest.mark.parametrize(
    ("straddle", "text"), [("blanks", " the train it is."), ("inside", " train it is."), ("touch", " the train it is.")]
)
def test_a_first_word_that_shares_its_token_with_the_templates_blank(small: Any, straddle: str, text: str) -> None:
    turns = trace(
        user("Go."), failed("the train it is."), chat_template_kwargs={"chat_template": TEMPLATES["blank in front"]}
    )
    assert recoveries(small, collator(small, straddle=straddle)([turns]), 0) == [text]


def test_a_shared_token_can_be_an_error_and_a_content_without_tokens_is_one(small: Any) -> None:
    kwargs = {"chat_template": TEMPLATES["blank in front"]}
    with pytest.raises(StraddleError, match=r"^trace 't', turn 1: token \d+ has characters"):
        collator(small, straddle="error")(
            [trace(user("Go."), assistant("the train it is."), chat_template_kwargs=kwargs)]
        )
    with pytest.raises(StraddleError, match=r"^trace 't', turn 1: no token is inside the content 'a'"):
        collator(small, straddle="inside")([trace(user("Go."), assistant("a"), chat_template_kwargs=kwargs)])


def test_a_template_that_moves_the_hint_is_an_error_that_names_the_option(small: Any) -> None:
    turns = trace(user("Go."), failed("Yes."), chat_template_kwargs={"chat_template": TEMPLATES["system first"]})
    for layout in ("aligned", "placeholder"):
        with pytest.raises(HintPlacementError, match=r"^trace 't', turn 1: .*append_to_previous") as error:
            collator(small, layout=layout)([turns])
        assert (error.value.trace_id, error.value.turn_index) == ("t", 1)
    check(collator(small, **APPEND)([turns]))


def test_a_template_that_drops_the_message_with_the_hint_is_an_error(small: Any) -> None:
    template = "{% for m in messages if m.role != 'tool' %}{{ '<' + m.role + '>' + m.content }}{% endfor %}"
    turns = [user("Go."), {"role": "tool", "content": "error"}, failed("Yes.")]
    with pytest.raises(
        HintPlacementError, match=r"^trace 't', turn 2: .*drops the message that holds it; give the message"
    ):
        collator(small, **APPEND)([trace(*turns, chat_template_kwargs={"chat_template": template})])


def test_a_template_that_raises_on_the_hint_is_an_error_that_names_the_option(small: Any) -> None:
    turns = trace(user("Go."), failed("Yes."), chat_template_kwargs={"chat_template": TEMPLATES["alternating"]})
    with pytest.raises(
        HintPlacementError, match=r"roles must alternate; without the hint it does not.*append_to_previous"
    ):
        collator(small)([turns])


@pytest.mark.parametrize("turns", [[failed("Yes.")], [user("Go."), assistant("One."), failed("Yes.")]])
def test_a_hint_with_no_message_to_go_to_is_an_error(small: Any, turns: list[dict[str, Any]]) -> None:
    with pytest.raises(HintError, match=r"^trace 't', turn \d: hint_placement=.append_to_previous. needs a message"):
        collator(small, **APPEND)([trace(*turns)])


def test_reasoning_that_the_template_drops_is_not_missed(small: Any) -> None:
    kwargs = {"chat_template": TEMPLATES["drops reasoning"]}
    turns = [user("Go."), assistant("<think>hm</think>Yes."), user("On."), assistant("<think>hm</think>No.")]
    batch = collator(small)([trace(*turns, chat_template_kwargs=kwargs)])
    assert responses(small, batch, 0) == ["Yes.", "<think>hm</think>No."]


def test_scaffold_that_depends_on_contents_is_no_difficulty(small: Any) -> None:
    template = "{% for m in messages %}{{ m.content | length }}: {{ m.content + '<|im_end|>' }}{% endfor %}"
    collate = collator(small)
    batch = collate(
        [trace(user("Go on."), failed("the train it is."), chat_template_kwargs={"chat_template": template})]
    )
    check(batch)
    assert collate.routes == {"provenance": 2}
    assert recoveries(small, batch, 0) == [" the train it is."]


@pytest.mark.parametrize("options", [{}, APPEND, {"layout": "placeholder"}], ids=str)
def test_a_tokenizer_without_offsets_gives_the_same_batch(
    small: Any, sample_traces: list[dict[str, Any]], options: Any
) -> None:
    traces = [
        sample_traces[0],
        trace(system("Be kind."), user("Go."), failed("the train it is."), user("On."), assistant("Fine.")),
        sample_traces[2],
    ]
    options = {**options, "hint_generator": hint, "enable_replay_dpo": True}
    if "hint_placement" in options:
        traces = traces[:2]
    fast, slow = collator(small, **options), collator(PlainView(small), **options)
    batch, reference = fast(traces), slow(traces)
    assert set(batch) == set(reference)
    for key in batch:
        assert torch.equal(batch[key], reference[key]), key
    assert set(slow.routes) == {"prefix_delta"}
