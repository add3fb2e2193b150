"""The columns of a row: which one holds the conversation, and which ones nobody reads."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from chatspan.errors import RowError
from chatspan.rows.dialects import alpaca, atif, completions, glaive, xlam
from chatspan.rows.dialects.found import Found
from chatspan.rows.media_types import COLUMN_NAMES as MEDIA
from chatspan.rows.messages import name_text
from chatspan.rows.notes import Note
from chatspan.rows.options import Format
from chatspan.rows.same_text import text_key
from chatspan.rows.steps import listings
from chatspan.rows.steps.plain import is_empty

Row = Mapping[str, Any]

# What the reader takes of a row beside its conversation.
BESIDE = frozenset(
    {"tools", "functions", "documents", "chat_template_kwargs", "system", "loss_messages", "teacher_messages"}
) | {"teacher_loss_messages", "trace_id", "error_meta", "dpo_pairs", *MEDIA}
# Columns that other libraries read, and that make a difference to what is trained.
_LOOKS_LIKE = {"system": "system", "system_prompt": "system", "functions": "tools", "history": "messages"}
_NEAR = 0.84


class Dialect(NamedTuple):
    """Where a conversation may stand.

    Attributes:
        column: the one that has to be there, at least.
        is_it: whether a row has it.
        read: a row → its conversation.
    """

    column: str
    is_it: Callable[[Row], bool]
    read: Callable[[Row], Found]


def _of_list(column: str) -> Dialect:
    return Dialect(column, lambda row: column in row, lambda row: listings.read(row[column], column))


# In the order in which they are looked for.
_DIALECTS: dict[Format, Dialect] = {
    "messages": _of_list("messages"),
    "sharegpt": _of_list("conversations"),
    "trace": _of_list("turns"),
    "prompt_completion": Dialect("prompt", completions.is_completion, completions.of_completion),
    "alpaca": Dialect("instruction", alpaca.is_alpaca, alpaca.of_alpaca),
    "xlam": Dialect("query", xlam.is_xlam, xlam.of_xlam),
    "glaive": Dialect("chat", glaive.is_glaive, glaive.of_glaive),
    "atif": Dialect("steps", atif.is_atif, atif.of_atif),
}
_LISTS: tuple[Format, ...] = ("messages", "sharegpt", "trace")
CONVERSATIONS = tuple(_DIALECTS[name].column for name in _LISTS)
_KNOWN = (*sorted(BESIDE), *CONVERSATIONS, "prompt", "completion")


def conversation_of(row: Row, column: str | None, form: Format | None, given: Collection[Any]) -> tuple[Found, Format]:
    """The conversation of a row, and the dialect that it was read as.

    Args:
        given: the names of all columns, for errors.

    Raises:
        RowError: there is none, or two that disagree.
    """
    if column is not None:
        if column not in row:
            raise RowError(f"it has no column {column!r}; its columns: {_names(given)}")
        return listings.read(row[column], column, form), form or "messages"
    if form is not None:
        return _of_format(row, form, given), form
    for name, dialect in _DIALECTS.items():
        if dialect.is_it(row):
            found = dialect.read(row)
            if name in _LISTS:
                _require_one(row, name, found)
            return found, name
    alpaca.require_no_preferences(row)
    raise RowError(_no_conversation(given))


def _of_format(row: Row, form: Format, given: Collection[Any]) -> Found:
    if form in ("anthropic", *_LISTS):
        column = next((each for each in CONVERSATIONS if each in row), None)
        if column is None:
            raise RowError(
                f"format={form!r} needs a list of messages, and its columns are {_names(given)}: name one with column"
            )
        return listings.read(row[column], column, form)
    dialect = _DIALECTS[form]
    if not dialect.is_it(row):
        raise RowError(f"it is not a row of format={form!r}; its columns: {_names(given)}")
    return dialect.read(row)


def _require_one(row: Row, name: Format, found: Found) -> None:
    """No other column has another conversation."""
    for other in _LISTS:
        column = _DIALECTS[other].column
        if other == name or not isinstance(row.get(column), list) or not row[column]:
            continue
        if text_key(_DIALECTS[other].read(row).messages) != text_key(found.messages):
            mine = _DIALECTS[name].column
            raise RowError(
                f"it has two conversations that disagree, {mine!r} and {column!r}: select one with column={mine!r}"
            )


def _no_conversation(given: Collection[Any]) -> str:
    near = next(
        (meant for key in given for meant in difflib.get_close_matches(name_text(key), CONVERSATIONS, 1, _NEAR)), None
    )
    if "role" in given or {"from", "value"} <= set(given):
        return "it is one message, not a row: pass {'messages': [...]} with all messages of the conversation"
    return (
        "it has no conversation: expected a column 'messages', 'conversations', 'turns', 'prompt' and 'completion', or "
        f"'instruction' and 'output', got {_names(given)}; "
        + (f"did you mean {near!r}? " if near else "")
        + "set column (--column) to the column of the messages"
    )


def names_conversation(names: Collection[str], column: str | None) -> bool:
    """Whether columns have such names that a conversation can be among them."""
    wanted = [column] if column is not None else [dialect.column for dialect in _DIALECTS.values()]
    return any(name in names for name in (*wanted, "question"))


def unread_notes(row: Row, read: Collection[str]) -> list[Note]:
    """Notes of columns that nobody reads and that look like known ones."""
    notes = []
    for key, value in row.items():
        name = name_text(key)
        if name in read or is_empty(value):
            continue
        if name in _LOOKS_LIKE or name in BESIDE:
            notes.append(Note("column_unread", f"the column {name!r} is not read: {_why(name)}"))
        elif (near := _meant(name)) is not None:
            notes.append(Note("column_unread", f"the column {name!r} is not read: did you mean {near!r}?"))
    return notes


# The rows of a data set have the same columns.
@lru_cache(maxsize=1000)
def _meant(name: str) -> str | None:
    """The column that is read whose name is like this one."""
    return None if name in _KNOWN else next(iter(difflib.get_close_matches(name, _KNOWN, 1, _NEAR)), None)


def _why(name: str) -> str:
    reasons = {
        "system": "the messages have a system message of their own, or it is not text",
        "functions": "'tools' is there too",
        "tools": "the row's dialect has tools of its own",
    }
    return reasons.get(name, f"it looks like {_LOOKS_LIKE.get(name, name)!r}")


def _names(columns: Collection[Any]) -> str:
    return ", ".join(repr(name_text(name)) for name in columns) or "none"
