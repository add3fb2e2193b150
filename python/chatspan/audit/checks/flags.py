"""Keywords and flags of a row that have no effect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatspan.audit.findings import Finding
from chatspan.encoding import Encoding
from chatspan.render.jinja.template import ChatTemplate
from chatspan.rows.steps.flags import FLAGS as WEIGHT_FLAGS

FLAGS = "flags without effect"

# What readers of rows and of traces take for themselves.
_READ = frozenset({*WEIGHT_FLAGS, "tool_error"})
# Words of keys that ask for something of the training or of the template; others only describe a message.
_ASKS = re.compile(r"mask|train|loss|learn|weight|supervis|prefix|prefill|continue|ignore|skip|exclude")
_LOSS = re.compile(r"mask|train|loss|learn|weight|supervis|ignore|skip|exclude")
_OF_LOSS = "'weight': 0 on the message, or 'loss_messages' of the row, takes messages out of the loss"
_OF_TEMPLATE = "use a template that reads it, or remove it"


def ignored_keywords(kwargs: Mapping[str, Any], template: ChatTemplate) -> Iterator[Finding]:
    """Keywords that the template does not read; what becomes of tools and documents is told as dropped fields."""
    for name, value in kwargs.items():
        if name in template.variables or name in ("tools", "documents") or name.endswith("_token"):
            continue
        known = ", ".join(template.keywords)
        advice = f"the keywords that it reads: {known}" if known else "it reads no keywords: remove it"
        yield Finding(
            FLAGS, f"the template does not read the keyword {name!r}", "problem", advice, None, f"{name}={value!r}"
        )


def ignored_flags(
    messages: Sequence[Mapping[str, Any]], encoding: Encoding, template: ChatTemplate
) -> Iterator[Finding]:
    """Booleans of messages, and numbers that sound like weights, that neither a reader of rows nor the template reads.

    One that asks for something, such as ``masked`` or ``prefix``, is a problem; others, as ``is_error``, are notes.
    """
    # A template that prints whole messages prints their flags.
    whole = {run[2]._message_index for run in encoding.runs if not run[2]._path}
    for index, message in enumerate(messages):
        if index in whole:
            continue
        yield from _flags_of_parts(message, index, template)
        for key, value in message.items():
            asks = isinstance(key, str) and _ASKS.search(key.lower()) is not None
            is_flag = isinstance(value, bool) or (asks and isinstance(value, (int, float)))
            if not is_flag or key in _READ or key in template.keys:
                continue
            advice = ""
            if asks:
                advice = f"it has no effect: {_OF_LOSS if _LOSS.search(key.lower()) else _OF_TEMPLATE}"
            yield Finding(
                FLAGS,
                f"{message.get('role')}: {key}, which neither chatspan nor the template reads",
                "problem" if asks else "note",
                advice,
                index,
                f"{key}: {value!r}",
            )


def _flags_of_parts(message: Mapping[str, Any], index: int, template: ChatTemplate) -> Iterator[Finding]:
    """Flags of a part of a text, which nothing here reads: in the parts of a content, or in a list beside it."""
    for name, value in message.items():
        parts = [part for part in value if isinstance(part, Mapping)] if isinstance(value, list) else []
        for key in dict.fromkeys(key for part in parts for key in part):
            given = next(part[key] for part in parts if key in part)
            if (
                isinstance(key, str)
                and isinstance(given, bool)
                and _LOSS.search(key.lower())
                and key not in template.keys
            ):
                yield Finding(
                    FLAGS,
                    f"{message.get('role')}: {name}[*].{key}, which neither chatspan nor the template reads",
                    "problem",
                    "nothing comes of it: messages have weights, and parts of them none; Encoding.weights takes spans",
                    index,
                    f"{key}: {given!r}",
                )
