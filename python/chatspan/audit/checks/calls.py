"""Calls with nothing in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatspan.audit.findings import Finding

EMPTY_CALLS = "empty calls"

_DROP = "drop the call, or give it its name: a template writes an empty one"
_OBJECT = "use {} if a call has no arguments: a template writes an empty text, or none"


def empty_calls(messages: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Calls without a name or with an empty text for arguments, and lists of calls without one.

    Example:
        >>> [found.what for found in empty_calls([{"role": "assistant", "tool_calls": []}])]
        ['assistant: tool_calls is an empty list']
    """
    for index, message in enumerate(messages):
        role = message.get("role")
        calls = message.get("tool_calls")
        if isinstance(calls, (list, tuple)) and not calls:
            yield _found(f"{role}: tool_calls is an empty list", "leave the key out", index, message)
        for call in calls if isinstance(calls, (list, tuple)) else ():
            yield from _of_call(call, role, index)
        if isinstance(message.get("function_call"), Mapping):
            yield from _of_call(message["function_call"], role, index)


def _of_call(call: Any, role: Any, index: int) -> Iterator[Finding]:
    if not isinstance(call, Mapping):
        yield _found(f"{role}: a call that is not an object", 'use {"type": "function", "function": {…}}', index, call)
        return
    function = call.get("function", call)
    function = function if isinstance(function, Mapping) else {}
    name = function.get("name")
    if not isinstance(name, str) or not name.strip():
        yield _found(f"{role}: a call without a name", _DROP, index, call)
    elif isinstance(function.get("arguments"), str) and not function["arguments"].strip():
        yield _found(f"{role}: a call whose arguments are an empty text", _OBJECT, index, call)


def _found(what: str, advice: str, index: int, value: Any) -> Finding:
    return Finding(EMPTY_CALLS, what, "problem", advice, index, repr(value))
