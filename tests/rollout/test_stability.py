"""What a template does with the events of a rollout: by transformers' prompts, and as a person reads it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import chatspan
import pytest
from chatspan import ChatEncoder
from chatspan.rollout.stability.report import StabilityEvent, StabilityReport
from prompts import SOURCES, tokenizer_for
from stability_judge import REASONING, Judged, judged
from turn_shapes import NEEDED, forms_of

Say = Callable[[str], None]


@functools.cache
def report_of(name: str) -> StabilityReport:
    encoder = ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name])
    return chatspan.stability(encoder, **NEEDED.get(name, {}))


def judge(name: str, event: StabilityEvent, messages: Any = None, new: Any = None, tools: Any = None) -> Judged:
    """By transformers, an event in its own form or in another one."""
    base = {**NEEDED.get(name, {}), "tools": tools or event.tools}
    return judged(
        *(tokenizer_for(name), SOURCES[name]),
        *(list(messages or event.messages), list(new or event.new_messages)),
        *({**base, **event.keywords}, {**base, **event.next_keywords}),
        reasons="reasoning" in event.event,
    )


@pytest.fixture(scope="module")
def counts(say: Say) -> Iterator[Counter[tuple[str, str]]]:
    found: Counter[tuple[str, str]] = Counter()
    yield found
    for line in table(found):
        say(line)


def table(counts: Counter[tuple[str, str]]) -> Iterator[str]:
    """How many templates do what with each event."""
    yield f"events of rollouts on {len(SOURCES)} templates, by transformers' prompts:"
    verdicts = ("stable", "rewritten", "refused")
    yield f"    {'':34}" + "".join(f"{verdict:>11}" for verdict in verdicts)
    for event in dict.fromkeys(event for event, _ in counts):
        yield f"    {event:34}" + "".join(f"{counts[event, verdict]:11}" for verdict in verdicts)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_every_template(name: str, counts: Counter[tuple[str, str]], pytestconfig: pytest.Config) -> None:
    report = report_of(name)
    for event in report.events:
        found = judge(name, event)
        assert found.verdict == event.verdict, (event, found)
        assert_place(event, found)
        own = not (event.keywords or event.next_keywords)
        counts[event.event if own else "switches, constant and changing", event.verdict] += 1
        if event.verdict == "refused" and own:
            assert_no_form_is_taken(name, event)


def assert_place(event: StabilityEvent, found: Judged) -> None:
    """What is told of a rewrite and of a refusal stands in transformers' texts, or in its exception."""
    if event.cause == "template_raises":
        assert event.words == found.raised
    is_unwritten = "reasoning" in event.event and REASONING not in found.shown
    if event.verdict != "rewritten" or event.words or is_unwritten:
        return
    at = event.start_char
    assert at is not None
    if event.cause == "another_opening":
        assert at < found.prompt_length
    assert found.shown[:at] == found.next_prompt[:at]
    assert found.shown[at : at + 1] != found.next_prompt[at : at + 1]
    if found.shown[at:]:
        assert event.shown[-1] in found.shown[at:]
    assert found.next_prompt.find(event.written) >= 0


def assert_no_form_is_taken(name: str, event: StabilityEvent) -> None:
    messages, index = [*event.messages, *event.new_messages], len(event.messages)
    for form, keywords in forms_of(messages, {"tools": event.tools} if event.tools else {}):
        assert judge(name, event, form[:index], form[index:], keywords.get("tools")).verdict == "refused"
