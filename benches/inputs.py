"""What is measured: a tokenizer, and rows of an exact number of messages cut from real conversations."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import mean
from typing import Any

from transformers import AutoTokenizer

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_ZOO = Path(os.environ.get("CHATSPAN_ZOO") or REPOSITORY.parent / "shared" / "zoo")

LENGTHS = (5, 20, 40, 80)
# Where growth is measured: in a short row, what a call costs at any length weighs too much.
GROWTH_LENGTHS = LENGTHS[1:]

# Two windows of the longest row, so that a site with enough around it exists in the short sample, too.
_FEWEST_EXCHANGES = 80

Turn = Mapping[str, Any]
Trace = dict[str, Any]


@dataclass(frozen=True)
class Inputs:
    """A tokenizer and the *exchanges* (an assistant's turn and the one before it) that rows are cut from.

    Attributes:
        source: what the tokenizer and the traces are, to print.
        tokenizer: a fast tokenizer with a chat template.
        system: what every row begins with.
        exchanges: of all traces, one behind the other.
    """

    source: str
    tokenizer: Any
    system: Turn
    exchanges: Sequence[tuple[Turn, Turn]]

    def sites(self, messages: int) -> list[int]:
        """The exchanges with an error site that have enough exchanges around them for a row of so many messages."""
        half = messages // 4 + 1
        inner = range(half, len(self.exchanges) - half)
        return [i for i in inner if self.exchanges[i][1].get("tool_error") and self.exchanges[i][1]["content"].strip()]

    @cached_property
    def typical_site(self) -> int:
        """The site around which messages are as long as they are on the whole, near and far.

        Otherwise times, and how they grow, would depend on where long messages happen to stand.
        """
        lengths = [sum(len(turn["content"]) for turn in exchange) for exchange in self.exchanges]

        def oddity(site: int) -> float:
            windows = [self._window(messages, site) for messages in GROWTH_LENGTHS]
            means = [mean(lengths[i] for i in window) for window in windows]
            return max(abs(log(each / mean(lengths))) for each in means)

        return min(self.sites(LENGTHS[-1]), key=oddity)

    def row(self, messages: int, *, with_system: bool = True) -> Trace:
        """A trace of so many messages, of which a longer one holds the shorter ones."""
        return self.trace(messages, self.typical_site, with_system=with_system)

    def trace(self, messages: int, site: int, *, with_system: bool = True) -> Trace:
        """A row around an exchange, which is its only error site.

        Roles alternate and the last message is an assistant's, so a row of an even length has no place for a system
        message: there its text stands before the first message's, as templates write it that know no system role.
        Without it an even row is only what was said, and shorter.
        """
        turns = [
            turn if index == site else _without_error(turn)
            for index in self._window(messages, site)
            for turn in self.exchanges[index]
        ]
        if messages % 2:
            turns.insert(0, self.system)
        elif with_system:
            turns[0] = {**turns[0], "content": f"{self.system['content']}\n\n{turns[0]['content']}"}
        assert len(turns) == messages
        return {"trace_id": f"{messages} messages", "turns": turns}

    def joined_rows(self, messages: int) -> list[list[dict[str, Any]]]:
        """Conversations of so many messages, each of which is two real ones, joined; no text is in two of them."""
        rows = []
        for start in range(0, len(self.exchanges) - messages + 1, messages):
            of_row = self.exchanges[start : start + messages]
            row = []
            for first, second in zip(of_row[::2], of_row[1::2], strict=True):
                row += [
                    {"role": role, "content": f"{first[at]['content']}\n\n{second[at]['content']}"}
                    for at, role in enumerate(("user", "assistant"))
                ]
            rows.append(row)
        return rows

    def _window(self, messages: int, site: int) -> range:
        start = site - messages // 4
        return range(start, start + messages // 2)


def load_inputs(zoo: Path, tokenizer: str) -> Inputs:
    """The zoo's tokenizer of that name and its traces; without a zoo the project's own examples."""
    if zoo.is_dir():
        tokenizer_path, traces_path = zoo / "tokenizers" / tokenizer, zoo / "traces" / "tau_airline_sdpo.jsonl"
        source = f"tokenizer {tokenizer}, traces {traces_path.name}"
    else:
        examples = REPOSITORY / "examples"
        tokenizer_path, traces_path = examples / "tokenizer", examples / "sample_traces.jsonl"
        source = "NO ZOO FOUND: the project's own small tokenizer and sample traces, repeated"
    if not tokenizer_path.is_dir():
        raise SystemExit(f"no tokenizer {tokenizer!r}: there are {', '.join(sorted(os.listdir(zoo / 'tokenizers')))}")
    traces = [json.loads(line)["turns"] for line in traces_path.read_text(encoding="utf-8").splitlines()]
    exchanges = [pair for turns in traces for pair in _exchanges(turns)]
    return Inputs(
        source=source,
        tokenizer=AutoTokenizer.from_pretrained(tokenizer_path),
        system=next(turns[0] for turns in traces if turns[0]["role"] == "system"),
        exchanges=exchanges * -(-_FEWEST_EXCHANGES // len(exchanges)),
    )


def _exchanges(turns: Sequence[Turn]) -> list[tuple[Turn, Turn]]:
    """Adjoining turns of which the second is an assistant's; turns that no assistant answers are left out."""
    return [(first, second) for first, second in pairwise(turns) if second["role"] == "assistant" != first["role"]]


def _without_error(turn: Turn) -> Turn:
    return {key: value for key, value in turn.items() if key != "tool_error"}
