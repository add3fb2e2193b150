"""The table of bridges in the docs: every template of the zoo, each switch, each shape of conversation.

python tests/rollout/bridges_table.py
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator

from chatspan import ChatEncoder, HistoryRewrittenError, UnrenderedMessageError
from prompts import SOURCES, switches, tokenizer_for
from test_bridges import Crossed, assert_proven, crossed, variants
from turns_sampled import talks

_SAMPLED = {
    "stop": "the turn with its stop token",
    "stop not sampled": "without it, cut off by a length",
    "blanks": "with other blanks at its end",
    "json": "with the JSON of its call in another spelling",
}
_COLUMNS = (
    "tried",
    "exact",
    "in another spelling",
    "history rewritten",
    "new message dropped or moved",
    "another turn",
)


def lines() -> Iterator[str]:
    """The table, and below it what is wrong, which is nothing."""
    counts: Counter[tuple[str, str]] = Counter()
    for name in SOURCES:
        encoder = ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name])
        for number in range(len(switches(name))):
            for _, talk in talks(name, number):
                for turn in talk.turns():
                    if turn.next_prompt is None or not turn.text:
                        continue
                    for variant, text in variants(turn):
                        found = crossed(encoder, talk, turn, text, "error")
                        assert_proven(encoder, talk, turn, text, found)
                        counts[variant, "tried"] += 1
                        counts[variant, _column(found)] += 1
    yield f"| sampled | {' | '.join(_COLUMNS)} |"
    yield f"|---|{'---:|' * len(_COLUMNS)}"
    for variant, said in _SAMPLED.items():
        yield f"| {said} | {' | '.join(f'{counts[variant, column]:,}' for column in _COLUMNS)} |"


def _column(found: Crossed) -> str:
    if isinstance(found.error, HistoryRewrittenError):
        return "history rewritten"
    if isinstance(found.error, UnrenderedMessageError):
        return "new message dropped or moved"
    if found.error is not None:
        return "another turn"
    assert found.proof is not None
    return "exact" if found.proof.how == "exact" else "in another spelling"


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    print("\n".join(lines()))
