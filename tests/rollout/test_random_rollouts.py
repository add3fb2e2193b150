"""Long random rollouts on every template: each prompt is the one that transformers renders, every sampled id kept."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import chatspan
import pytest
from chatspan import ChatEncoder, Rollout
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prompts import SOURCES, switches, tokenizer_for
from turn_shapes import NEEDED, TOOLS, words_of
from turns_sampled import Talk

Say = Callable[[str], None]
# Turns of a rollout, by default and with --all.
FEW, MANY = 10, 100
# What an assistant says, and whether it is cut off before its end.
EVENT = st.tuples(st.sampled_from(["say", "why", "call", "calls", "why and call"]), st.integers(0, 7))


@pytest.fixture(scope="module")
def counts(say: Say) -> Iterator[Counter[str]]:
    found: Counter[str] = Counter()
    yield found
    listed = ", ".join(f"{what} {count}" for what, count in sorted(found.items()))
    say(f"random rollouts, by transformers' prompts: {listed}")


def message_of(kind: str, index: int) -> dict[str, Any]:
    word = f"mark{index % 100:02d}"
    message: dict[str, Any] = {"role": "assistant", "content": "" if "call" in kind else f"{word}say it is."}
    if "why" in kind:
        message["reasoning_content"] = message["thinking"] = f"{word}why since."
    if "call" in kind:
        message["tool_calls"] = [
            {
                "id": f"call{index % 1000:03d}{number:02d}",
                "type": "function",
                "function": {"name": "get_weather", "arguments": {"city": f"{word}arg{number}"}},
            }
            for number in range(2 if kind == "calls" else 1)
        ]
    return message


def following(message: dict[str, Any], index: int) -> list[dict[str, Any]]:
    """What a runtime or a user says behind a turn."""
    calls = message.get("tool_calls", [])
    results = [
        {
            "role": "tool",
            "name": "get_weather",
            "tool_call_id": call["id"],
            "content": f"mark{(index + 1 + number) % 100:02d}res degrees",
        }
        for number, call in enumerate(calls)
    ]
    return results or [{"role": "user", "content": f"mark{(index + 1) % 100:02d}user please?"}]


class Truth:
    """The same conversation, by transformers alone."""

    def __init__(self, name: str, keywords: dict[str, Any]) -> None:
        self.name = name
        self.keywords = keywords
        self.tokenizer = tokenizer_for(name)

    def talk(self, messages: list[dict[str, Any]]) -> Talk:
        return Talk(self.tokenizer, SOURCES[self.name], messages, self.keywords)

    def completion(self, messages: list[dict[str, Any]], prompt: str) -> tuple[str, str] | None:
        """The last turn as a model would write it behind a prompt, and its stop; none where the template cannot."""
        talk = self.talk(messages)
        whole = talk.render(len(messages))
        if whole is None or not whole.startswith(prompt):
            return None
        text, stop = talk.own_part(whole[len(prompt) :])
        return (text, stop) if text and words_of(text) else None


def fitted(encoder: ChatEncoder, messages: list[dict[str, Any]], keywords: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages in the form that the template takes."""
    chat = chatspan.read_row({"messages": messages, "tools": keywords.get("tools")}, encoder=encoder)
    return list(chat.messages)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_random_rollouts(name: str, counts: Counter[str], pytestconfig: pytest.Config) -> None:
    length = MANY if pytestconfig.getoption("--all") else FEW
    encoder = ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name])
    read = switches(name)
    settled = settings(
        max_examples=len(read) if pytestconfig.getoption("--all") else 1,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )

    @settled
    @given(st.integers(0, len(read) - 1), st.booleans(), st.lists(EVENT, min_size=length, max_size=length))
    def walk(switch: int, with_tools: bool, events: list[tuple[str, int]]) -> None:
        keywords = {**NEEDED.get(name, {}), **read[switch], **({"tools": TOOLS} if with_tools else {})}
        with contextlib.suppress(chatspan.TemplateError):
            roll(encoder, Truth(name, keywords), events, counts)

    walk()


def roll(encoder: ChatEncoder, truth: Truth, events: list[tuple[str, int]], counts: Counter[str]) -> None:
    rollout = Rollout(
        encoder, [{"role": "user", "content": "mark00user please?"}], on_rewrite="split", **truth.keywords
    )
    sampled: list[list[int]] = []
    for kind, no_stop in events:
        prompt, index = encoder.decode(rollout.prompt_ids), len(rollout.messages)
        assert prompt == truth.talk(rollout.messages).prompt(index)
        for each in dict.fromkeys([kind, "say"]):
            message = message_of(each, index)
            messages = fitted(encoder, [*rollout.messages, message], truth.keywords)
            written = truth.completion(messages, prompt)
            if written is not None:
                break
        else:
            counts["ended: no turn that the template writes behind its prompt"] += 1
            return
        text, stop = written
        if no_stop == 0 and stop:
            text = text[: -len(stop)]
        ids = truth.tokenizer(text, add_special_tokens=False)["input_ids"]
        new = fitted(encoder, [*messages, *following(message, index)], truth.keywords)[len(messages) :]
        if truth.talk([*messages, *new]).prompt(len(messages) + len(new)) is None:
            counts["ended: the template refuses what follows"] += 1
            return
        before = rollout.prompt_ids.tolist()
        rollout.add_completion(ids, message=messages[-1], finish_reason="length" if no_stop == 0 else "stop")
        sampled.append(ids)
        try:
            prompt_ids = rollout.add_messages(new).tolist()
        except chatspan.UnrenderedMessageError:
            counts["ended: the template leaves a result out"] += 1
            return
        how = rollout.proofs[-1].how
        counts[f"turns, {how}"] += 1
        assert how in ("exact", "split")
        assert (prompt_ids[: len(before) + len(ids)] == [*before, *ids]) == (how == "exact")
        assert encoder.decode(prompt_ids) == truth.talk([*messages, *new]).prompt(len(messages) + len(new))
    rows = rollout.rows()
    kept = [row.input_ids[start:end].tolist() for row in rows for ((start, end),) in row.turns.values()]
    assert kept == sampled
    counts["rollouts"] += 1
