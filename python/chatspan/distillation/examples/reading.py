"""Rows, read by the one reader → chats whose texts can get hints; errors say which trace it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.batch.given_rows import given_row
from chatspan.distillation.examples.sampled import as_row
from chatspan.errors import ChatspanError, RowError, TextError, TraceError
from chatspan.rows.conversations import Chat
from chatspan.rows.messages import content_problem, content_texts, lone_surrogate, name_text
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow


def read_chats(rows: Any, reader: RowReader, what: str) -> list[Chat]:
    """The chats of rows.

    Args:
        what: what errors call the rows: ``"traces"``, ``"rows"``.

    Raises:
        TraceError: no rows, or one of the wrong form; with its ``trace_id`` and ``turn_index``.
        TextError: a content that is no valid Unicode text.
    """
    is_list = isinstance(rows, Sequence) and not isinstance(rows, (str, bytes))
    if not is_list:
        raise TraceError(f"expected a list of {what}, got {type(rows).__name__}")
    if not rows:
        raise TraceError(f"an empty list of {what} makes no batch")
    return [_read(row, index, reader) for index, row in enumerate(rows)]


def name_of(chat: Chat, row: int) -> str:
    """What errors call a chat: its ``trace_id``, or its row where it has none."""
    return f"row {row}" if chat.trace_id is None else chat.trace_id


def _read(row: Any, index: int, reader: RowReader) -> Chat:
    name = row.get("trace_id") if isinstance(row, Mapping) else None
    trace_id = f"row {index}" if name is None else name_text(name)
    try:
        given = given_row(row)
        if given is None:
            chat = reader.read(RawRow(index, trace_id, row))
        else:
            chat = reader.as_given().read(RawRow(index, trace_id, as_row(given)))
    except RowError as error:
        raise TraceError(error.message, trace_id=trace_id, turn_index=error.message_index) from None
    except ChatspanError as error:
        error.row_place = None
        raise error.at(trace_id=trace_id) from None
    require_texts(chat.messages, trace_id, takes_media=reader.takes_media)
    if chat.teacher_messages is not None:
        require_texts(chat.teacher_messages, trace_id, takes_media=reader.takes_media)
    return chat


def require_texts(messages: Sequence[Mapping[str, Any]], trace_id: str, *, takes_media: bool = False) -> None:
    """Contents are texts or lists of text parts, and valid Unicode; for a processor there may be media among them.

    Raises:
        TraceError, TextError: with ``turn_index``.
    """
    for index, message in enumerate(messages):
        content = message.get("content")
        problem = content_problem(content, takes_media=takes_media)
        if problem is not None:
            raise TraceError(problem, trace_id=trace_id, turn_index=index)
        for text in content_texts(content):
            if (at := lone_surrogate(text)) is not None:
                raise TextError(
                    f"'content' has a lone surrogate at character {at}: it is not valid Unicode text; repair "
                    "or drop it",
                    trace_id=trace_id,
                    turn_index=index,
                    start_char=at,
                )
