"""What a rollout costs: a turn beside one native render, and all turns beside rendering and tokenizing every prompt."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from chatspan import ChatEncoder, Rollout
from chatspan.render.request import RenderRequest
from inputs import Inputs
from tables import Report, median, ratio
from timing import alternate, growth

_TURNS = (16, 32, 64, 128)
# About 70,000 tokens at the longest.
_WORDS_OF_USER, _WORDS_OF_TURN = 130, 60
_TARGET_MS = 1.0
_LINEAR_BELOW = 1.25

Message = dict[str, Any]


@dataclass(frozen=True)
class _Turn:
    ids: list[int]
    message: Message
    behind: Message


def report_rollouts(report: Report, inputs: Inputs, rounds: int) -> None:
    """Prints both, and whether a turn costs under a millisecond beside one render."""
    encoder = ChatEncoder(inputs.tokenizer)
    encoder.warm_up()
    turns = _turns(inputs, max(_TURNS))
    _check(encoder, turns)
    _report_last_turn(report, encoder, turns, rounds)
    _report_whole(report, encoder, turns, rounds)


def _report_last_turn(report: Report, encoder: ChatEncoder, turns: list[_Turn], rounds: int) -> None:
    table = report.table(
        "13. The last turn of a rollout: add_completion and add_messages, milliseconds",
        ["turns before it", "tokens", "the turn", "one native render", "the turn without it"],
    )
    beside = []
    for count in _TURNS:
        rollout = _rolled(encoder, turns[: count - 1])
        request = RenderRequest([*rollout.messages, turns[count - 1].message], add_generation_prompt=True)
        calls: list[Callable[[], object]] = [
            partial(_one_more, rollout, turns[count - 1]),
            partial(_render, encoder, request),
        ]
        turn, render = alternate(calls, rounds).T
        beside.append(turn - render)
        tokens = f"{len(rollout.prompt_ids):,}"
        table.add_row(f"{count - 1}", tokens, median(turn), median(render), median(turn - render))
    met = "met" if all(np.median(each) < _TARGET_MS for each in beside) else "NOT met"
    report.show(table, f"Target: under {_TARGET_MS} ms beside the render: {met}.")


def _report_whole(report: Report, encoder: ChatEncoder, turns: list[_Turn], rounds: int) -> None:
    table = report.table(
        "14. A whole rollout, milliseconds, beside apply_chat_template for each prompt",
        ["turns", "tokens", "Rollout", "without its renders", "apply_chat_template", "ratio"],
    )
    own = []
    for count in _TURNS:
        times = alternate(
            [partial(_rolled, encoder, turns[:count]), partial(_rendered, encoder, turns[:count])], rounds
        )
        every = alternate([partial(_every_prompt, encoder.tokenizer, turns[:count])], 1).T[0]
        whole, renders = times.T
        own.append(float(np.median(whole - renders)))
        tokens = len(_rolled(encoder, turns[:count]).prompt_ids)
        table.add_row(
            f"{count}", f"{tokens:,}", median(whole), median(whole - renders), median(every), ratio(every / whole)
        )
    exponent = growth(_TURNS[1:], own[1:])
    met = "met" if exponent < _LINEAR_BELOW else "NOT met"
    report.show(
        table,
        f"Growth of what is not rendering: {exponent:.2f} (1 is linear), target under {_LINEAR_BELOW}: {met}.",
        "Every prompt is rendered once, which grows with its length: that is the proof.",
    )


def _turns(inputs: Inputs, count: int) -> list[_Turn]:
    words = " ".join(turn["content"] for exchange in inputs.exchanges for turn in exchange).split()
    tokenizer = inputs.tokenizer
    end = _end_of_turn(tokenizer)
    found = []
    for number in range(count):
        at = number * 97 % (len(words) - _WORDS_OF_USER - _WORDS_OF_TURN)
        said = " ".join(words[at : at + _WORDS_OF_TURN])
        asked = " ".join(words[at + _WORDS_OF_TURN : at + _WORDS_OF_TURN + _WORDS_OF_USER])
        ids = tokenizer(said + end, add_special_tokens=False)["input_ids"]
        found.append(_Turn(ids, {"role": "assistant", "content": said}, {"role": "user", "content": asked}))
    return found


def _end_of_turn(tokenizer: Any) -> str:
    text = ChatEncoder(tokenizer).encode([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    start, end = text.end_of_turn(1) or (0, 0)
    return text.text[start:end]


def _rolled(encoder: ChatEncoder, turns: list[_Turn]) -> Rollout:
    rollout = Rollout(encoder, [{"role": "user", "content": "Hello."}])
    for turn in turns:
        _add(rollout, turn)
    return rollout


def _add(rollout: Rollout, turn: _Turn) -> None:
    rollout.add_completion(turn.ids, message=turn.message)
    rollout.add_messages([turn.behind])


def _one_more(rollout: Rollout, turn: _Turn) -> None:
    _add(copy.copy(rollout), turn)


def _render(encoder: ChatEncoder, request: RenderRequest) -> None:
    next(iter(encoder.pipeline.render([request])))


def _rendered(encoder: ChatEncoder, turns: list[_Turn]) -> None:
    """The renders of a rollout alone."""
    messages = [{"role": "user", "content": "Hello."}]
    for turn in turns:
        messages = [*messages, turn.message, turn.behind]
        _render(encoder, RenderRequest(messages, add_generation_prompt=True))


def _every_prompt(tokenizer: Any, turns: list[_Turn]) -> None:
    """What a loop does that renders and tokenizes each prompt anew, and loses the sampled ids."""
    messages = [{"role": "user", "content": "Hello."}]
    for turn in turns:
        messages = [*messages, turn.message, turn.behind]
        tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)


def _check(encoder: ChatEncoder, turns: list[_Turn]) -> None:
    """What is compared is the same text."""
    rollout = _rolled(encoder, turns[:8])
    asked = encoder.tokenizer.apply_chat_template(rollout.messages, add_generation_prompt=True, tokenize=False)
    if encoder.decode(rollout.prompt_ids) != asked:
        raise SystemExit("the prompts of the rollout are not those of transformers")
