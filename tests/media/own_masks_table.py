"""The table in the docs of transformers' own mask beside ours, for each processor of the tests and each of their chats.

python tests/media/own_masks_table.py
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.extend([str(Path(__file__).parents[1]), str(Path(__file__).parent)])

import numpy as np
import transformers
from chats import chats
from chatspan import ChatEncoder, Encoding, ExpansionError, Kind
from processors import SPECS, Spec, built, own_call

SAME, MEDIA, SHIFTED, RAISES = "same", "media in it", "shifted", "raises"
# Of processors with the same outcomes.
MOST_NAMES = 5
OUTCOMES = (SAME, MEDIA, SHIFTED, RAISES)


class Beside(NamedTuple):
    """transformers' mask of a chat beside ours, in tokens.

    Attributes:
        outcome: one of ``OUTCOMES``.
        media: of media that it has, and ours does not.
        others: text that it has, and ours does not.
        lost: text that ours has, and it does not.
        error: what it raises.
    """

    outcome: str
    media: int = 0
    others: int = 0
    lost: int = 0
    error: str = ""


def lines() -> Iterator[str]:
    """The table, and below it what was raised."""
    yield f"| processor | exact here | refused here | {' | '.join(OUTCOMES)} | tokens off |"
    yield f"|---|---:|---:|{'---:|' * len(OUTCOMES)}---|"
    raised: Counter[str] = Counter()
    names: dict[tuple[int, ...], list[str]] = {}
    tokens: dict[tuple[int, ...], Counter[str]] = {}
    for spec in SPECS:
        try:
            processor = built(spec.name, spec.model_type, spec.media)
        # What this version of transformers lacks, or wants for it.
        except Exception as error:
            print(f"{spec}: left out, {type(error).__name__}: {str(error)[:100]}", file=sys.stderr)
            continue
        found, refused = compared(processor, spec)
        counts = Counter(each.outcome for each in found)
        raised.update(each.error for each in found if each.error)
        cells = (len(found), refused, *(counts[each] for each in OUTCOMES))
        names.setdefault(cells, []).append(str(spec))
        tokens.setdefault(cells, Counter()).update(off(found))
    for cells, each in sorted(names.items(), key=lambda row: len(row[1])):
        named = "; ".join(each) if len(each) <= MOST_NAMES else f"{len(each)} others"
        yield row_of(named, [count * len(each) for count in cells], tokens[cells])
    whole = [sum(cells[at] * len(each) for cells, each in names.items()) for at in range(2 + len(OUTCOMES))]
    yield row_of("all", whole, sum(tokens.values(), Counter()))
    if raised:
        yield ""
    for error, count in raised.most_common():
        yield f"- {count} times `{error}`"


def row_of(names: str, counts: Sequence[int], tokens: Counter[str]) -> str:
    """A line of the table."""
    differing = ", ".join(f"{count:,} {what}" for what, count in tokens.items() if count)
    return f"| {names} | {' | '.join(map(str, counts))} | {differing} |"


def compared(processor: Any, spec: Spec) -> tuple[list[Beside], int]:
    """For each chat the masks beside each other, where ids are exact; and how many chats are refused here."""
    encoder = ChatEncoder(processor)
    found, refused = [], 0
    for name, messages in chats(spec.media).items():
        try:
            ids = own_call(processor, messages)["input_ids"][0]
        # transformers' processor takes no such chat.
        except Exception:
            continue
        try:
            encoding = encoder.encode(messages)
        except ExpansionError:
            refused += 1
            continue
        assert np.array_equal(np.asarray(ids), encoding.input_ids), (spec, name)
        assert words_of(encoder, encoding) == said(messages), (spec, name)
        found.append(beside(processor, messages, encoding))
    return found, refused


def beside(processor: Any, messages: list[Any], encoding: Encoding) -> Beside:
    """transformers' mask of a chat beside ours."""
    try:
        own = own_call(processor, messages, return_assistant_tokens_mask=True)
        mask = np.asarray(own["assistant_masks"][0]).astype(bool)
    # What processors raise has no common base.
    except Exception as error:
        return Beside(RAISES, error=f"{type(error).__name__}: {' '.join(str(error).split())[:80]}")
    # Of what all of it says, a token across an edge is both.
    across = np.zeros(len(encoding), dtype=bool)
    across[encoding.straddling] = True
    ours, of_media = encoding.mask(what="generation"), encoding.kind == Kind.MEDIA
    media, others = int((mask & of_media).sum()), int((mask & ~ours & ~of_media & ~across).sum())
    lost = int((ours & ~mask & ~across).sum())
    return Beside(SHIFTED if others or lost else MEDIA if media else SAME, media, others, lost)


def words_of(encoder: ChatEncoder, encoding: Encoding) -> str:
    """What is trained by ours, without blanks, which a token may have of what stands beside it."""
    return re.sub(r"\s", "", encoder.decode(encoding.input_ids[encoding.mask(what="generation")]))


def said(messages: list[Any]) -> str:
    """What assistants say, ends of turns included, without blanks."""
    contents = [message["content"] for message in messages if message["role"] == "assistant"]
    texts = [each if isinstance(each, str) else "".join(part.get("text", "") for part in each) for each in contents]
    return re.sub(r"\s", "", "".join(f"{text}<|im_end|>" for text in texts))


def off(found: Sequence[Beside]) -> dict[str, int]:
    """How many tokens differ, by what they are."""
    return {
        "of media": sum(each.media for each in found),
        "of others": sum(each.others for each in found),
        "lost": sum(each.lost for each in found),
    }


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    print("\n".join(lines()))
