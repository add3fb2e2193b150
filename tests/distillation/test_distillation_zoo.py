"""Real traces, real tokenizers, every layout and scope: equal ids, and the recoveries' own text in the loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from batches import check, student_text, teacher_text
from cases import config
from chatspan import (
    ChatEncoder,
    ChatspanError,
    ComposerDataCollator,
    DistillationConfig,
    SelfDistillationCollator,
    read_row,
)
from test_parity_zoo import PLACEMENT, real_hint
from zoo import ZOO_TOKENIZERS

Say = Callable[[str], None]
Traces = list[dict[str, Any]]
LAYOUTS = ["aligned", "indexed"]
SCOPES = ["all", "per_site"]
# Of the traces that have an error site, by default.
MOST_WITH_SITES = 16


@pytest.fixture(scope="module")
def some_traces(zoo_traces: Traces, request: pytest.FixtureRequest) -> Traces:
    """Every 10th, and those with an error site up to a number; or all."""
    if request.config.getoption("--all"):
        return zoo_traces
    return zoo_traces[::10] + [trace for trace in zoo_traces if sites(trace)][:MOST_WITH_SITES]


def sites(trace: Any) -> list[int]:
    return [
        index
        for index, turn in enumerate(trace["turns"])
        if turn["role"] == "assistant" and turn.get("tool_error") and (turn["content"] or "").strip()
    ]


def loss_texts(tokenizer: Any, batch: Any, row: int, prefix: str, side: str) -> Iterator[str]:
    """The text of each stretch of in-loss tokens; holes are passed over."""
    seen = batch[f"{prefix}attention_mask"][row].cumsum(0)
    at = batch[f"{side}_response_idx"][row][batch["response_idx_mask"][row]]
    group: list[int] = []
    last = None
    for column in at.tolist():
        if last is not None and int(seen[column]) != last + 1:
            yield tokenizer.decode(group, clean_up_tokenization_spaces=False)
            group = []
        group.append(int(batch[f"{prefix}input_ids"][row, column]))
        last = int(seen[column])
    if group:
        yield tokenizer.decode(group, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
def test_traces(name: str, zoo_tokenizer: Any, some_traces: Traces, say: Say) -> None:
    tokenizer = zoo_tokenizer(name)
    placement = PLACEMENT.get(name, "append_to_previous")
    counts: Counter[str] = Counter()
    for layout in LAYOUTS:
        for scope in SCOPES:
            collator = ComposerDataCollator(
                tokenizer=tokenizer,
                config=config(hint_generator=real_hint, hint_placement=placement, layout=layout, hint_scope=scope),
            )
            for trace in some_traces:
                batch = collator([trace])
                check(batch, holes=layout == "aligned")
                of_rows = [sites(trace)] if scope == "all" else [[site] for site in sites(trace)] or [[]]
                assert batch["row_index"].tolist() == [0] * len(of_rows)
                assert batch["dropped_sites"].tolist() == [0] * len(of_rows)
                for row, of_row in enumerate(of_rows):
                    counts["rows"] += 1
                    if of_row:
                        _check_row(tokenizer, batch, row, [trace["turns"][site] for site in of_row], counts)
    say(
        f"{name}: {counts['rows']} rows ({len(LAYOUTS)} layouts × {len(SCOPES)} scopes), {counts['recoveries']} "
        f"recoveries of {counts['tokens']} tokens: ids equal at all, {counts['dropped']} dropped, "
        f"{counts['same']} texts equal to their contents"
    )


def _check_row(tokenizer: Any, batch: Any, row: int, turns: list[Any], counts: Counter[str]) -> None:
    dropped = int(batch["dropped_tokens"][row])
    student = list(loss_texts(tokenizer, batch, row, "", "student"))
    teacher = list(loss_texts(tokenizer, batch, row, "ctx_teacher_", "teacher"))
    assert student == teacher
    counts["recoveries"] += len(turns)
    counts["tokens"] += int(batch["response_idx_mask"][row].sum())
    counts["dropped"] += dropped
    if not dropped:
        assert [text.strip() for text in student] == [turn["content"].strip() for turn in turns]
        counts["same"] += len(turns)
    hints = [real_hint(turn["tool_error"], turn["error_meta"]).strip() for turn in turns]
    first = int(batch["teacher_response_idx"][row, 0])
    assert hints[0] in tokenizer.decode(batch["ctx_teacher_input_ids"][row, :first])
    for hint in hints:
        assert hint in teacher_text(tokenizer, batch, row)
        assert hint not in student_text(tokenizer, batch, row)


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_conversations_with_a_solution_in_the_prompt(
    name: str, layout: str, zoo_tokenizer: Any, some_traces: Traces, say: Say
) -> None:
    """As OPSD does: the teacher's first question says more, and every answer is in the loss."""
    tokenizer = zoo_tokenizer(name)
    collator = SelfDistillationCollator(tokenizer, DistillationConfig(layout=layout))
    counts: Counter[str] = Counter()
    for trace in some_traces[:: 1 if len(some_traces) > 100 else 3]:
        messages = [{"role": turn["role"], "content": turn["content"]} for turn in trace["turns"]]
        first = next(index for index, message in enumerate(messages) if message["role"] == "user")
        teacher = list(messages)
        teacher[first] = {**messages[first], "content": messages[first]["content"] + "\n\nThe solution: ask for it."}
        answers = [
            index
            for index, message in enumerate(messages)
            if message["role"] == "assistant" and (message["content"] or "").strip()
        ]
        row = {"trace_id": trace["trace_id"], "messages": messages, "teacher_messages": teacher}
        batch = collator([{**row, "loss_messages": answers, "teacher_loss_messages": answers}])
        check(batch, holes=layout == "aligned")
        student = list(loss_texts(tokenizer, batch, 0, "", "student"))
        assert student == list(loss_texts(tokenizer, batch, 0, "ctx_teacher_", "teacher"))
        if not batch["dropped_tokens"].any():
            assert [text.strip() for text in student] == [messages[index]["content"].strip() for index in answers]
        # Without being told, the same messages are found.
        found = collator([row])
        assert all(torch.equal(found[key], batch[key]) for key in batch)
        counts["answers"] += len(answers)
        counts["dropped"] += int(batch["dropped_tokens"])
    say(f"{name}, {layout}: {counts['answers']} answers distilled at once, {counts['dropped']} tokens dropped")


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_cut_to_half_the_length(name: str, layout: str, zoo_tokenizer: Any, some_traces: Traces) -> None:
    """What is left of a long trace has the same text in the loss, and the hint in front of it."""
    tokenizer = zoo_tokenizer(name)
    options = {"hint_generator": real_hint, "hint_placement": PLACEMENT.get(name, "append_to_previous")}
    whole = ComposerDataCollator(tokenizer=tokenizer, config=config(**options, layout=layout))
    with_sites = [trace for trace in some_traces if sites(trace)]
    compared = 0
    for trace in with_sites[:: max(1, len(with_sites) // 6)]:
        batch = whole([trace])
        system = len(tokenizer(trace["turns"][0]["content"])["input_ids"])
        most = system + (whole.lengths([trace])[0] - system) // 2
        cut = ComposerDataCollator(
            tokenizer=tokenizer, config=config(**options, layout=layout, max_length=most, overflow="drop_row")
        )
        if not cut.has_signal(trace):
            continue
        short = cut([trace])
        check(short, holes=layout == "aligned")
        assert int(short["dropped_messages"]) > 0
        assert max(int(short[f"{side}attention_mask"].sum()) for side in ("", "ctx_teacher_")) <= most
        for prefix, side in (("", "student"), ("ctx_teacher_", "teacher")):
            before, after = (list(loss_texts(tokenizer, of, 0, prefix, side)) for of in (batch, short))
            assert "".join(before).endswith("".join(after)) or before == after
            if int(short["dropped_tokens"]) == int(batch["dropped_tokens"]):
                assert before == after
        compared += 1
    assert compared


def as_every_template_takes_it(message: dict[str, Any]) -> dict[str, Any]:
    """With a content, and ids of nine letters."""
    calls = [{**call, "id": call["id"][-9:]} for call in message.get("tool_calls") or []]
    of_call = {"tool_call_id": message["tool_call_id"][-9:]} if "tool_call_id" in message else {}
    return {**message, "content": message.get("content") or "", **of_call, **({"tool_calls": calls} if calls else {})}


# Gemma-3's template knows no calls.
@pytest.mark.parametrize("name", [name for name in ZOO_TOKENIZERS if name != "gemma3"])
def test_turns_with_calls(name: str, zoo_tokenizer: Any, zoo_messages: Any, say: Say, pytestconfig: Any) -> None:
    """Calls and ends of turns in the loss: what the encoder says of the student's conversation, on both sides."""
    tokenizer = zoo_tokenizer(name)
    encoder, counts = ChatEncoder(tokenizer), Counter[str]()
    collator = SelfDistillationCollator(tokenizer, DistillationConfig(layout="indexed", loss_on="turn"))
    for messages in zoo_messages[:: 1 if pytestconfig.getoption("--all") else 25]:
        messages = [as_every_template_takes_it(message) for message in messages]
        first = next(index for index, message in enumerate(messages) if message["role"] == "user")
        teacher = [{**message} for message in messages]
        teacher[first]["content"] += "\n\nThe solution: ask for it."
        answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
        row = {"messages": messages, "teacher_messages": teacher, "loss_messages": answers}
        try:
            # Calls' arguments are JSON text there, which the collator reads as objects.
            chat = read_row(row, encoder=encoder)
            encoding = encoder.encode(chat.messages)
            wanted = encoding.input_ids[encoding.mask()].tolist()
            batch = collator([{**row, "teacher_loss_messages": answers}])
        except ChatspanError as error:
            counts[type(error).__name__] += 1
            continue
        check(batch, holes=False)
        found = batch["input_ids"][0, batch["student_response_idx"][0]].tolist()
        assert found == wanted or int(batch["dropped_tokens"]) == len(wanted) - len(found) > 0
        counts["conversations"] += 1
        counts["tokens"] += len(found)
        counts["dropped tokens"] += int(batch["dropped_tokens"])
    say(f"{name}, turns with calls: {dict(counts)}")
    assert counts["conversations"]
