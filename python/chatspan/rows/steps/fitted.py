"""Messages in the forms that their template takes: calls' arguments, null contents, lists of text parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.errors import RowError
from chatspan.rows.habits import Habits
from chatspan.rows.messages import shown
from chatspan.rows.notes import Note
from chatspan.rows.options import RowOptions

_DECODER = json.JSONDecoder()
_CONTENTS = (str, list, dict, int, float, bool, type(None))
_PARSED = "a call's arguments are JSON text and are read as an object"
_TEXT_STAYS = "a call's arguments are JSON text and stay text: the chat template takes no object"
_NO_OBJECT = "a call's arguments are text that is not a JSON object, and stay text"
_EMPTIED = "a null content beside calls is read as an empty text"
_JOINED = "a list of text parts is read as one text: the chat template takes no parts"


def fitted(
    messages: Sequence[dict[str, Any]], options: RowOptions, habits: Habits | None, notes: list[Note]
) -> list[dict[str, Any]]:
    """The messages as the template takes them; those that need no change are the same objects.

    Args:
        habits: the template's; ``None``: no template is known, and ``"auto"`` parses arguments and leaves the rest.
    """
    return [
        message
        if type(message.get("content")) is str and "tool_calls" not in message
        else _fitted(message, index, options, habits, notes)
        for index, message in enumerate(messages)
    ]


def _fitted(
    message: dict[str, Any], index: int, options: RowOptions, habits: Habits | None, notes: list[Note]
) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    calls = message.get("tool_calls")
    if calls:
        parsed = _with_objects(calls, index, options, habits, notes)
        if parsed is not calls:
            changed["tool_calls"] = parsed
        if message.get("content") is None and _wants_empty(options, habits):
            changed["content"] = ""
            notes.append(Note("null_content_emptied", _EMPTIED, f"message {index}", index))
    content = message.get("content")
    if type(content) not in _CONTENTS:
        # Templates would be given its type's name in its place.
        raise RowError(
            f"the content of message {index} is {shown(content)}: expected a text, a list of parts, or null",
            message_index=index,
        )
    if type(content) is list and _is_text_parts(content) and _wants_joined(options, habits, str(message.get("role"))):
        changed["content"] = "\n".join(part if isinstance(part, str) else part["text"] for part in content)
        notes.append(Note("text_parts_joined", _JOINED, f"message {index}", index))
    return {**message, **changed} if changed else message


def _wants_empty(options: RowOptions, habits: Habits | None) -> bool:
    if options.null_content == "auto":
        return habits is not None and not habits.takes_null_content()
    return options.null_content == "empty"


def _wants_joined(options: RowOptions, habits: Habits | None, role: str) -> bool:
    if options.text_parts == "auto":
        return habits is not None and not habits.takes_text_parts(role)
    return options.text_parts == "join"


def _is_text_parts(content: Sequence[Any]) -> bool:
    return bool(content) and all(
        isinstance(part, str)
        or (isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("text"), str))
        for part in content
    )


def _with_objects(calls: Any, index: int, options: RowOptions, habits: Habits | None, notes: list[Note]) -> Any:
    if options.tool_arguments == "as_given" or type(calls) is not list:
        return calls
    found = calls
    for at, call in enumerate(calls):
        function = call.get("function") if type(call) is dict else None
        arguments = function.get("arguments") if type(function) is dict else None
        if not isinstance(arguments, str):
            continue
        place = f"message {index}, tool_calls[{at}]"
        value = _object_of(arguments)
        if value is None:
            notes.append(Note("tool_arguments_no_object", _NO_OBJECT, place, index))
        elif options.tool_arguments == "auto" and habits is not None and not habits.takes_argument_objects():
            notes.append(Note("tool_arguments_kept", _TEXT_STAYS, place, index))
        else:
            notes.append(Note("tool_arguments_parsed", _PARSED, place, index))
            found = list(calls) if found is calls else found
            found[at] = {**call, "function": {**function, "arguments": value}}  # type: ignore[dict-item]
    return found


def _object_of(text: str) -> dict[str, Any] | None:
    """The object that a text says; a blank text says none, as the call of a function without parameters."""
    if not text or text.isspace():
        return {}
    try:
        found = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return found if type(found) is dict else None
