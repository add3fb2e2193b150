"""max_length: whole messages leave from the left, on both sides; what may not leave is said, row by row."""

from __future__ import annotations

import logging
from itertools import combinations
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from batches import check, recoveries, responses, student_text, teacher_text
from cases import CHATML, assistant, config, failed, system, trace, user
from chatspan import (
    ChatspanError,
    ComposerDataCollator,
    DistillationConfig,
    EmptyBatchError,
    SelfDistillationCollator,
    TokenizerError,
    TruncationError,
)
from conversations import call, schema, tool
from hypothesis import event, given
from references import PlainView

BOS = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
)
TURNS = [
    system("Be kind."),
    user("Hello, is it there? " * 3),
    assistant("It is."),
    user("And now?"),
    failed("No, at ten.", error="late"),
    user("Why?"),
    assistant("Because of the train before it."),
    user("I see."),
    failed("Good bye then.", error="rude"),
    user("Bye."),
]


def collator(tokenizer: Any, **options: Any) -> ComposerDataCollator:
    return ComposerDataCollator(tokenizer=tokenizer, config=config(**options))


def rendered(tokenizer: Any, *messages: Any, **kwargs: Any) -> str:
    plain = [{key: value for key, value in m.items() if key not in ("tool_error", "error_meta")} for m in messages]
    return tokenizer.apply_chat_template(plain, tokenize=False, **kwargs)


def length(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def hinted(*turns: Any) -> list[Any]:
    """The turns with the hints of the tests' generator."""
    return [
        message
        for turn in turns
        for message in ([system(f"Hint: {turn['tool_error']}."), turn] if turn.get("tool_error") else [turn])
    ]


# What is left of TURNS, by how many of those that may leave have left.
LEFT = [TURNS, [0, 2, 3, 4, 5, 6, 7, 8, 9], [0, 3, 4, 5, 6, 7, 8, 9], [0, 4, 5, 6, 7, 8, 9], [0, 4, 6, 7, 8, 9]]
LEFT = [list(range(10)), *LEFT[1:], [0, 4, 7, 8, 9], [0, 4, 8, 9]]


@pytest.mark.parametrize("layout", ["aligned", "indexed"])
@pytest.mark.parametrize("left", LEFT, ids=str)
def test_whole_messages_leave_from_the_left(small: Any, left: list[int], layout: str) -> None:
    student = rendered(small, *(TURNS[i] for i in left), chat_template=CHATML)
    teacher = rendered(small, *hinted(*(TURNS[i] for i in left)), chat_template=CHATML)
    most = length(small, teacher)
    rows = [trace(*TURNS, chat_template_kwargs={"chat_template": CHATML})]
    batch = collator(small, max_length=most, layout=layout)(rows)
    check(batch, holes=layout == "aligned")
    assert student_text(small, batch, 0) == student
    assert teacher_text(small, batch, 0) == teacher
    assert recoveries(small, batch, 0) == ["No, at ten.", "Good bye then."]
    assert responses(small, batch, 0) == [TURNS[i]["content"] for i in left if TURNS[i]["role"] == "assistant"]
    assert batch["dropped_messages"].tolist() == [10 - len(left)]
    assert max(int(batch[f"{side}attention_mask"].sum()) for side in ("", "ctx_teacher_")) == most
    # One token less, and one message more leaves, or nothing is left to leave.
    if left == LEFT[-1]:
        with pytest.raises(TruncationError, match=rf"^trace 't', turn 4: {most} tokens are more than max_length="):
            collator(small, max_length=most - 1, layout=layout)(rows)
    else:
        fewer = collator(small, max_length=most - 1, layout=layout)(rows)
        assert int(fewer["dropped_messages"]) == 11 - len(left)


def test_nothing_leaves_where_it_fits(small: Any) -> None:
    rows = [trace(*TURNS)]
    batch, same = collator(small)(rows), collator(small, max_length=4096)(rows)
    assert all(torch.equal(batch[key], same[key]) for key in batch)


@pytest.mark.parametrize("layout", ["aligned", "indexed"])
@pytest.mark.parametrize("has_system", [True, False])
def test_a_bos_stays_and_counts(small_copy: Any, layout: str, has_system: bool) -> None:
    small_copy.bos_token = "<|endoftext|>"
    turns = TURNS if has_system else TURNS[1:]
    rows = [trace(*turns, chat_template_kwargs={"chat_template": BOS})]
    kept = [*turns[:has_system], *(TURNS[i] for i in (4, 6, 7, 8, 9))]
    most = length(small_copy, rendered(small_copy, *hinted(*kept), chat_template=BOS))
    for max_length in (most, most + 1):
        batch = collator(small_copy, max_length=max_length, layout=layout)(rows)
        check(batch, holes=layout == "aligned")
        assert student_text(small_copy, batch, 0) == rendered(small_copy, *kept, chat_template=BOS)
        assert student_text(small_copy, batch, 0).startswith("<|endoftext|><|im_start|>")
        assert teacher_text(small_copy, batch, 0) == rendered(small_copy, *hinted(*kept), chat_template=BOS)
        assert int(batch["ctx_teacher_attention_mask"].sum()) == most


def test_a_tools_result_leaves_with_its_call_and_the_tools_stay(small: Any) -> None:
    first = {**assistant("I will."), "tool_call": {"name": "rebook", "arguments": {"train": "IC 900"}}}
    turns = [
        user("Move it."),
        first,
        tool("done, and done"),
        tool("and more of it"),
        assistant("It is done."),
        user("Really?"),
        failed("Yes.", error="doubt"),
    ]
    messages = [{**m, "tool_calls": [call("rebook", {"train": "IC 900"})]} if m is first else m for m in hinted(*turns)]
    for m in messages:
        m.pop("tool_call", None) if m is not first else None
    tools = [schema()]
    seen = set()
    rows = [trace(*turns, tools=tools)]
    whole = int(collator(small)(rows)["ctx_teacher_attention_mask"].sum())
    for max_length in range(whole, 0, -1):
        try:
            batch = collator(small, max_length=max_length)(rows)
        except TruncationError:
            break
        check(batch)
        for text in (student_text(small, batch, 0), teacher_text(small, batch, 0)):
            assert '"name": "rebook", "description"' in text
            has_call = "I will." in text
            assert has_call == ("IC 900" in text) == ("done, and done" in text) == ("and more of it" in text)
            seen.add((has_call, "It is done." in text))
        assert int(batch["ctx_teacher_attention_mask"].sum()) <= max_length
    assert seen == {(True, True), (False, True), (False, False)}


def test_a_call_stays_with_its_result_where_the_loss_is_on_it(small: Any) -> None:
    turns = [
        user("Move it, please, and soon. " * 5),
        failed("I will.", tool_call={"name": "rebook", "arguments": {"train": "IC 900"}}),
        tool("done, and done"),
        user("And on? " * 5),
        assistant("So be it."),
    ]
    batch = collator(small, max_length=100)([trace(*turns)])
    check(batch)
    text = student_text(small, batch, 0)
    assert [part in text for part in ("Move it", "I will.", "done, and done", "And on?", "So be it.")] == [
        False,
        True,
        True,
        False,
        True,
    ]


def test_where_the_teacher_says_more_messages_leave_on_both_sides_alike(small: Any) -> None:
    student = [
        user("Hello. " * 5),
        assistant("Hm."),
        user("Why? " * 9),
        assistant("So."),
        user("On."),
        assistant("Ten."),
    ]
    teacher = [
        user("Hello. " * 9 + "Think of ten."),
        assistant("Hm."),
        system("Only the teacher's."),
        *student[2:5],
        student[5],
    ]
    rows = [
        {"trace_id": "t", "messages": student, "teacher_messages": teacher, "loss_messages": [5]},
    ]
    left = [*student[3:]]
    most = length(small, rendered(small, teacher[2], *left, chat_template=CHATML))
    rows[0]["chat_template_kwargs"] = {"chat_template": CHATML}
    batch = SelfDistillationCollator(small, DistillationConfig(max_length=most))(rows)
    check(batch)
    assert student_text(small, batch, 0) == rendered(small, *left, chat_template=CHATML)
    assert teacher_text(small, batch, 0) == rendered(small, teacher[2], *left, chat_template=CHATML)
    assert recoveries(small, batch, 0) == ["Ten."]


CONTENTS = st.lists(st.sampled_from(["Hello", " train", "\n", " ", "a", "🚆", "<|im_end|>"]), max_size=6).map("".join)
RANDOM_TURNS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "failed", "tool"]), CONTENTS), min_size=1, max_size=7
)


@given(turns=RANDOM_TURNS, most=st.integers(1, 90), layout=st.sampled_from(["aligned", "indexed"]), bos=st.booleans())
def test_what_is_left_is_whole_messages(small: Any, turns: list[Any], most: int, layout: Any, bos: bool) -> None:
    make = {"user": user, "assistant": assistant, "failed": failed, "tool": tool}
    conversation = [make[kind](content) for kind, content in turns]
    rows = [trace(*conversation, chat_template_kwargs={"chat_template": BOS if bos else CHATML})]
    try:
        batch = collator(small, max_length=most, layout=layout)(rows)
        whole = collator(small, layout=layout)(rows)
    except ChatspanError as error:
        event(type(error).__name__)
        return
    check(batch, holes=layout == "aligned")
    count = int(batch["dropped_messages"])
    event(f"{min(count, 3)} left out")
    written = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in conversation]
    whole_messages = {"".join(kept) for kept in combinations(written, len(written) - count)}
    assert student_text(small, batch, 0) in whole_messages
    assert int(batch["attention_mask"].sum()) <= most
    if "sdpo_loss_mask" in batch:
        assert int(batch["ctx_teacher_attention_mask"].sum()) <= most
        kept = batch["input_ids"][batch["sdpo_loss_mask"] == 1].tolist()
        before = whole["input_ids"][whole["sdpo_loss_mask"] == 1].tolist()
        lost = int(batch["dropped_tokens"]) - int(whole["dropped_tokens"])
        assert len(kept) == len(before) - lost
        assert lost or kept == before


LONG = trace(user("Go."), failed("word " * 100 + "end"), trace_id="long")
SHORT = trace(user("Go."), failed("Yes."), trace_id="short")


def test_a_recovery_longer_than_max_length(small: Any) -> None:
    with pytest.raises(
        TruncationError, match=r"^trace 'long', turn 1: \d+ tokens are more than max_length=50"
    ) as error:
        collator(small, max_length=50)([SHORT, LONG])
    assert (error.value.trace_id, error.value.turn_index) == ("long", 1)
    two = trace(user("Go."), failed("Yes."), user("On."), failed("word " * 100 + "end"))
    with pytest.raises(TruncationError, match=r"^trace 't', turn 3: "):
        collator(small, max_length=50)([two])
    plain = trace(user("word " * 100))
    with pytest.raises(TruncationError, match=r"^trace 't': \d+ tokens are more than max_length=50"):
        collator(small, max_length=50)([plain])


def test_rows_that_do_not_fit_are_left_out_and_reported(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    collate = collator(small, max_length=50, overflow="drop_row")
    with caplog.at_level(logging.WARNING, logger="chatspan"):
        batch = collate([LONG, SHORT, LONG])
    check(batch)
    assert batch["row_index"].tolist() == [1]
    assert batch["dropped_rows"].tolist() == [2]
    assert recoveries(small, batch, 0) == ["Yes."]
    assert caplog.text.count("trace 'long': the row is left out: ") == 2
    assert not collate.has_signal(LONG)
    assert collate.has_signal(SHORT)
    assert collate.explain(LONG) == "left out\n"
    assert collate.lengths([LONG, SHORT]) == [0, int(batch["ctx_teacher_attention_mask"].sum())]


def test_sites_that_do_not_fit_are_left_out_and_reported(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    turns = [
        user("Go."),
        failed("First of all, no."),
        user("On."),
        failed("word " * 60 + "end", error="long"),
        user("On."),
        failed("At the end."),
    ]
    rows = [trace(*turns)]
    with caplog.at_level(logging.WARNING, logger="chatspan"):
        batch = collator(small, max_length=70, overflow="drop_site")(rows)
    check(batch)
    # The one that is too long by itself, and with it its hint.
    assert recoveries(small, batch, 0) == ["First of all, no.", "At the end."]
    assert batch["dropped_sites"].tolist() == [1]
    assert "Hint: long." not in teacher_text(small, batch, 0)
    assert "word" not in student_text(small, batch, 0)
    assert "trace 't', turn 3: does not fit and is left out: " in caplog.text
    assert "trace 't', turn 0, 2, 3: left out for max_length" in caplog.text
    # Then from the left.
    sites: list[list[str]] = []
    for max_length in range(70, 25, -1):
        batch = collator(small, max_length=max_length, overflow="drop_site")(rows)
        if [recoveries(small, batch, 0)] != sites[-1:]:
            sites.append(recoveries(small, batch, 0))
        assert batch["dropped_sites"].tolist() == [3 - len(sites[-1])]
    assert sites == [["First of all, no.", "At the end."], ["At the end."]]
    # One that no site is left on stays for other losses, unless it is too long even so.
    lone = collator(small, max_length=50, overflow="drop_site")([trace(failed("word " * 60), user("On."))])
    assert student_text(small, lone, 0) == "<|im_start|>user\nOn.<|im_end|>\n"
    assert lone["dropped_sites"].tolist() == [1]
    assert "sdpo_loss_mask" not in lone
    with pytest.raises(EmptyBatchError, match="none of 1 rows is left"):
        collator(small, max_length=50, overflow="drop_site")([LONG])


@pytest.mark.parametrize("overflow", ["drop_row", "drop_site"])
@pytest.mark.parametrize("keep_empty", [True, False])
def test_an_overflow_of_every_row(small: Any, overflow: str, keep_empty: bool) -> None:
    with pytest.raises(EmptyBatchError, match=r"none of 2 rows is left: they are too long.*has_signal"):
        collator(small, max_length=50, overflow=overflow, keep_empty=keep_empty)([LONG, LONG])


def test_sites_of_rows_that_do_not_fit(small: Any) -> None:
    answers = [assistant("word " * 60 + "end"), assistant("Ten.")]
    student = [user("Go."), answers[0], user("On."), answers[1]]
    row = {"messages": student, "teacher_messages": [user("Go, to ten."), *student[1:]]}
    batch = SelfDistillationCollator(small, DistillationConfig(max_length=50, overflow="drop_site"))([row])
    check(batch)
    assert recoveries(small, batch, 0) == ["Ten."]
    assert batch["dropped_sites"].tolist() == [1]
    with pytest.raises(TruncationError, match=r"^trace 'row 0', turn 1: "):
        SelfDistillationCollator(small, DistillationConfig(max_length=50))([row])


def test_rows_without_a_site_are_dropped_on_demand(small: Any) -> None:
    empty = trace(user("Hi"), assistant("Yes?"))
    batch = collator(small, keep_empty=False)([empty, SHORT, empty])
    check(batch)
    assert batch["row_index"].tolist() == [1]
    assert batch["dropped_rows"].tolist() == [2]
    kept = collator(small)([empty, SHORT, empty])
    assert kept["row_index"].tolist() == [0, 1, 2]
    assert kept["dropped_rows"].tolist() == [0]
    with pytest.raises(EmptyBatchError, match=r"none of 2 rows is left: .*or have no loss"):
        collator(small, keep_empty=False)([empty, empty])


@pytest.mark.parametrize("layout", ["aligned", "indexed"])
def test_rows_are_padded_to_a_multiple_on_either_side(small: Any, layout: str) -> None:
    rows = [SHORT, trace(*TURNS), trace(user("Hi"))]
    plain = collator(small, layout=layout)(rows)
    for side in ("left", "right"):
        batch = collator(small, layout=layout, padding_side=side, pad_to_multiple_of=64)(rows)
        check(batch, holes=layout == "aligned") if layout == "indexed" else None
        for prefix in ("", "ctx_teacher_"):
            assert batch[f"{prefix}input_ids"].shape[1] % 64 == 0
            for i in range(3):
                seen, before = (of[f"{prefix}attention_mask"][i] == 1 for of in (batch, plain))
                for key in ("input_ids", "position_ids"):
                    assert torch.equal(batch[f"{prefix}{key}"][i][seen], plain[f"{prefix}{key}"][i][before])
                assert bool(seen[0]) or side == "left"
                assert bool(seen[-1]) == (side == "left") or seen.all()
        for i in range(3):
            assert recoveries(small, batch, i) == recoveries(small, plain, i)
            assert responses(small, batch, i) == responses(small, plain, i)
        real = batch["response_idx_mask"]
        at = torch.nonzero(real, as_tuple=True)[0]
        assert torch.equal(
            batch["input_ids"][at, batch["student_response_idx"][real]],
            plain["input_ids"][at, plain["student_response_idx"][real]],
        )


def test_padding_of_replayed_answers(small: Any) -> None:
    pairs = [{"prompt": [user("Is it?")], "chosen": "It is not, I fear.", "rejected": "Yes."}]
    rows = [trace(user("Hi"), dpo_pairs=pairs), trace(user("Hi"), dpo_pairs=[{**pairs[0], "chosen": "No."}])]
    batch = collator(small, enable_replay_dpo=True, padding_side="left", pad_to_multiple_of=8)(rows)
    assert batch["dpo_chosen_input_ids"].shape[1] % 8 == 0
    assert (batch["dpo_chosen_attention_mask"][:, -1] == 1).all()
    texts = [
        small.decode(ids[mask == 1])
        for ids, mask in zip(batch["dpo_chosen_input_ids"], batch["dpo_chosen_response_mask"], strict=True)
    ]
    assert texts == ["It is not, I fear.<|im_end|>", "No.<|im_end|>"]


def test_without_offsets_what_fits_passes_and_what_does_not_is_an_error(small: Any) -> None:
    collate = collator(PlainView(small), max_length=50)
    batch = collate([SHORT])
    check(batch)
    with pytest.raises(TokenizerError, match=r"^trace 'long': \d+ tokens are more than max_length, and leaving mess"):
        collate([SHORT, LONG])
