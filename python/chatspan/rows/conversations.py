"""Rows as people have them → messages as chat templates take them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from chatspan.errors import ChatspanError, RowError
from chatspan.rows.messages import Message, read_messages, shown, template_kwargs_of
from chatspan.rows.row import RawRow

Form = Literal["messages", "trace", "pair"]

# What ShareGPT calls roles.
_SHAREGPT_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "function_response": "tool",
    "observation": "tool",
}


@dataclass(frozen=True)
class Chat:
    """A conversation of a row.

    Attributes:
        messages: as ``apply_chat_template`` takes them; of a trace or a pair the student's.
        template_kwargs: further arguments of the template, ``tools`` among them.
        loss_messages: the indices of the messages that may be in a loss: those of a ``completion``, or of the row's own
            ``loss_messages``; ``None`` for all.
        form: ``"trace"`` for a row of :class:`chatspan.ComposerDataCollator`, ``"pair"`` for one of
            :class:`chatspan.SelfDistillationCollator`.
        row: what the collators take of it.
    """

    messages: Sequence[Message]
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    loss_messages: Sequence[int] | None = None
    form: Form = "messages"
    row: Mapping[str, Any] = field(default_factory=dict, repr=False)


def chat_of(raw: RawRow, column: str | None = None) -> Chat:
    """The conversation of a row: of the columns ``messages`` or ``conversations`` (with ``from`` and ``value`` too),
    ``turns`` of a trace, ``prompt`` and ``completion`` as messages; ``teacher_messages``, ``tools``,
    ``documents``, ``chat_template_kwargs`` and ``loss_messages`` beside them. Columns may hold JSON text.

    Args:
        column: the column of the messages, if it has another name.

    Raises:
        RowError: there is no such column, or it holds something else; with ``row_index``.
    """
    row = raw.parsed()
    try:
        return _chat_of(raw, row, column)
    except RowError:
        raise
    except ChatspanError as error:
        error.trace_id = None
        raise error.at(row_index=raw.index, row_place=raw.place) from None


def _chat_of(raw: RawRow, row: Mapping[str, Any], column: str | None) -> Chat:
    plain = {key: _decoded(value) if key in _JSON_COLUMNS else value for key, value in row.items()}
    kwargs = template_kwargs_of(plain, raw.place)
    if plain.get("documents") is not None:
        kwargs["documents"] = plain["documents"]
    if column is None and "turns" in row:
        messages = read_messages(plain["turns"], raw.place, "'turns'")
        return Chat(messages, kwargs, _loss_messages(raw, plain, messages), "trace", plain)
    messages, completion = _messages(raw, plain, column)
    form: Form = "messages" if plain.get("teacher_messages") is None else "pair"
    loss_messages = _loss_messages(raw, plain, messages)
    if loss_messages is None:
        loss_messages = completion
    return Chat(messages, kwargs, loss_messages, form, {**plain, "messages": messages})


def _loss_messages(raw: RawRow, row: Mapping[str, Any], messages: Sequence[Message]) -> Sequence[int] | None:
    """The indices that the row itself gives."""
    given = row.get("loss_messages")
    if given is None:
        return None
    is_list = isinstance(given, Sequence) and not isinstance(given, (str, bytes))
    if not is_list or not all(type(index) is int and 0 <= index < len(messages) for index in given):
        raise raw.error(
            f"its 'loss_messages' must be a list of indices of its {len(messages)} messages, got {shown(given)}"
        )
    return list(given)


_JSON_COLUMNS = frozenset({"turns", "tools", "documents", "chat_template_kwargs", "teacher_messages", "error_meta"})


def _messages(raw: RawRow, row: Mapping[str, Any], column: str | None) -> tuple[list[Message], range | None]:
    """The messages, and which of them are those of a completion."""
    completed: range | None = None
    if column is not None:
        if column not in row:
            raise raw.error(f"it has no column {column!r}; its columns are {_names(row)}")
        found = _decoded(row[column])
    elif "messages" in row or "conversations" in row:
        column = "messages" if "messages" in row else "conversations"
        found = _decoded(row[column])
    elif "prompt" in row and "completion" in row:
        column = "prompt"
        prompt, completion = _decoded(row["prompt"]), _decoded(row["completion"])
        if isinstance(prompt, str) or isinstance(completion, str):
            raise raw.error("its 'prompt' and 'completion' are plain text; a chat template needs lists of messages")
        found = [*_listed(raw, prompt, "prompt"), *_listed(raw, completion, "completion")]
        completed = range(len(prompt), len(found))
    else:
        raise raw.error(
            f"it has no conversation: expected a column 'messages', 'conversations', 'turns', or 'prompt' and "
            f"'completion', got {_names(row)}; name the column with --column"
        )
    return [_message(raw, column, index, item) for index, item in enumerate(_listed(raw, found, column))], completed


def _listed(raw: RawRow, value: Any, column: str) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or not value:
        raise raw.error(f"its {column!r} must be a list with at least one message, got {shown(value)}")
    return value


def _message(raw: RawRow, column: str, index: int, item: Any) -> Message:
    if type(item) is not dict and not isinstance(item, Mapping):
        raise raw.error(f"message {index} of {column!r} must be a dict with 'role' and 'content', got {shown(item)}")
    if "role" in item:
        return dict(item)
    if "from" in item and "value" in item:
        role = str(item["from"])
        rest = {key: value for key, value in item.items() if key not in ("from", "value")}
        return {"role": _SHAREGPT_ROLES.get(role, role), "content": item["value"], **rest}
    raise raw.error(f"message {index} of {column!r} has no 'role'; its keys are {_names(item)}")


def _decoded(value: Any) -> Any:
    """JSON text as what it says: tables keep lists of dicts that differ as text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(repr(str(key)) for key in row) or "none"
