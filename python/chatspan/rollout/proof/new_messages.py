"""New messages that a template drops, or writes in front of what was shown: they would be lost for the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatspan.attribute.attributed import FieldRun
from chatspan.errors import UnrenderedMessageError
from chatspan.rollout.rewrites import SHOWN, described

# What a runtime says in a message; names and ids are the template's to write or not.
_SAID = ("content",)


def require_rendered(
    messages: Sequence[Mapping[str, Any]], after: int, fields: Sequence[FieldRun], join_char: int
) -> None:
    """The messages behind one are rendered behind a character of the render, with all their words.

    Raises:
        UnrenderedMessageError: one is not; with ``message_index``.
    """
    by_field: dict[tuple[int, Any], list[FieldRun]] = {}
    for run in fields:
        if run[2] > after:
            by_field.setdefault((run[2], run[3]), []).append(run)
    for index in range(after + 1, len(messages)):
        for path, text in _words(messages[index]):
            # A list of parts may be written as a whole.
            runs = [run for length in range(1, len(path) + 1) for run in by_field.get((index, path[:length]), [])]
            behind = [run for run in runs if run[0] >= join_char]
            left_out = _left_out(text, behind)
            if left_out.strip():
                raise _unrendered(index, messages[index], path, text, left_out, is_moved=bool(runs) and not behind)


def _words(message: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """The texts of a message, each with its path."""
    for key in _SAID:
        value = message.get(key)
        if isinstance(value, str):
            yield (key,), value
        elif isinstance(value, (list, tuple)):
            for at, part in enumerate(value):
                if isinstance(part, str):
                    yield (key, at), part
                elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
                    yield (key, at, "text"), part["text"]


def _left_out(text: str, runs: Sequence[FieldRun]) -> str:
    covered, left = 0, ""
    for start, at in sorted((run[4], run[4] + run[1] - run[0]) for run in runs):
        if start < 0:
            # A dump, or words that a filter made of it: written, though not as they are.
            return ""
        left += text[covered:start]
        covered = max(covered, at)
    return left + text[covered:]


def _unrendered(
    index: int, message: Mapping[str, Any], path: tuple[Any, ...], text: str, left_out: str, *, is_moved: bool
) -> UnrenderedMessageError:
    where = ".".join(map(str, path))
    did = "writes it before what was already shown" if is_moved else f"leaves out {left_out[:SHOWN]!r} of {where}"
    error = UnrenderedMessageError(
        f"message {index} ({message.get('role')}): the template {did}, so the model would not see it: use a "
        "role that the template writes there, such as user, or another chat template",
        message_index=index,
    )
    return described(error, "moved" if is_moved else "unrendered", text[:SHOWN], "")
