"""Messages in OpenAI's shape, old and new → the one spelling that chat templates know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.rows.dialects.calls import decoded, tools_of
from chatspan.rows.dialects.found import DialectError, Message, mapping, shown
from chatspan.rows.notes import Note

# `tool_call` is what traces call the one call of a turn.
_SELDOM = ("function_call", "tool_call", "refusal")


def normalized(messages: Sequence[Any], notes: list[Note]) -> list[Message]:
    """Messages without the spellings that templates take for something else.

    ``tool_calls`` that are empty or null go away, as do null fields other than ``content``; a lone call becomes a
    list; ``{"name", "arguments"}`` is wrapped; ``function_call`` becomes a tool call, and the results of such calls
    (role ``function``) get the role ``tool``; a ``refusal`` without content becomes the content.

    Args:
        messages: dicts; they are not changed, and those that need no change are in the result themselves.
        notes: what was changed is added here.

    Raises:
        DialectError: a message is no dict, or its calls are no calls.

    Example:
        >>> notes = []
        >>> call = {"name": "add", "arguments": "{}"}
        >>> normalized([{"role": "assistant", "content": None, "function_call": call}], notes)[0]["tool_calls"]
        [{'type': 'function', 'function': {'name': 'add', 'arguments': '{}'}}]
        >>> print(notes[0])
        message 0: 'function_call' is read as a tool call
    """
    result: list[Message] = []
    is_legacy = False
    for index, message in enumerate(messages):
        if type(message) is not dict:
            message = dict(mapping(message, f"message {index}"))
        if _is_plain(message):
            result.append(message)
            continue
        is_legacy = is_legacy or bool(message.get("function_call"))
        result.append(_normalized(message, index, notes))
    if is_legacy:
        _name_results(result, notes)
    return result


def tools_of_functions(functions: Any) -> list[Any]:
    """The tools of a row's legacy ``functions``.

    Raises:
        DialectError: it is no list of functions.

    Example:
        >>> tools_of_functions([{"name": "add", "parameters": {}}])
        [{'type': 'function', 'function': {'name': 'add', 'parameters': {}}}]
    """
    tools = tools_of(functions)
    if tools is None:
        raise DialectError(f"'functions' must be a list with at least one function, got {shown(functions)}")
    return tools


def _is_plain(message: Message) -> bool:
    if len(message) == 2 and type(message.get("role")) is str and type(message.get("content")) is str:
        return True
    for key, value in message.items():
        if value is None:
            if key != "content":
                return False
        elif (key == "tool_calls" and not _are_plain(value)) or key in _SELDOM:
            return False
    return True


def _are_plain(calls: Any) -> bool:
    if type(calls) is not list or not calls:
        return False
    for call in calls:
        if type(call) is not dict or type(call.get("function")) is not dict or None in call.values():
            return False
    return True


def _normalized(message: Message, index: int, notes: list[Note]) -> Message:
    changed = {key: value for key, value in message.items() if value is not None or key == "content"}
    place = f"message {index}"
    calls = _calls(changed.pop("tool_calls", None), index, notes)
    single = decoded(changed.pop("tool_call", None))
    if single is not None:
        if not isinstance(single, Mapping):
            raise DialectError(f"'tool_call' must be a dict, got {shown(single)}", message_index=index)
        if message.get("tool_calls") is not None:
            raise DialectError("it has both 'tool_call' and 'tool_calls': keep one", message_index=index)
        calls = [_wrapped(single, f"{place}, tool_call")] if single else []
    legacy = decoded(changed.pop("function_call", None))
    if legacy:
        calls = [*calls, _wrapped(legacy, f"{place}, function_call")]
        notes.append(Note("function_call_converted", "'function_call' is read as a tool call", place, index))
    if calls:
        changed["tool_calls"] = calls
    refusal = changed.get("refusal")
    if isinstance(refusal, str) and not changed.get("content"):
        del changed["refusal"]
        changed["content"] = refusal
        notes.append(Note("refusal_as_content", "'refusal' is read as the content", place, index))
    return changed


def _calls(given: Any, index: int, notes: list[Note]) -> list[dict[str, Any]]:
    given = decoded(given)
    if not given and (given is None or isinstance(given, Sequence)):
        return []
    items = [given] if isinstance(given, Mapping) else given
    place = f"message {index}, tool_calls"
    if not isinstance(items, Sequence) or isinstance(items, (str, bytes)):
        raise DialectError(f"'tool_calls' of message {index} must be a list of calls, got {shown(given)}")
    calls = [_wrapped(decoded(item), f"{place}[{number}]") for number, item in enumerate(items)]
    if any(isinstance(item, Mapping) and item.get("function") is None for item in items):
        message = "calls without 'function' around 'name' and 'arguments' are read as tool calls"
        notes.append(Note("flat_calls_wrapped", message, place, index))
    return calls


def _wrapped(call: Any, place: str) -> dict[str, Any]:
    """A call with its ``function``, without nulls."""
    call = {key: value for key, value in mapping(call, place).items() if value is not None}
    if "function" in call:
        return {**call, "function": dict(mapping(decoded(call["function"]), f"{place}, function"))}
    if not isinstance(call.get("name"), str):
        raise DialectError(f"{place} has no 'name': a call is {{'name', 'arguments'}}, got {shown(call)}")
    function = {key: call.pop(key) for key in ("name", "arguments") if key in call}
    return {"type": "function", **call, "function": function}


def _name_results(messages: list[Message], notes: list[Note]) -> None:
    """The role ``tool`` for results of legacy calls: few templates know the role ``function``."""
    for index, message in enumerate(messages):
        if message.get("role") == "function":
            messages[index] = {**message, "role": "tool"}
            text = "role 'function' is read as 'tool'"
            notes.append(Note("function_role_converted", text, f"message {index}", index))
