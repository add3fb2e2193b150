"""Tool calls, tools and JSON text, as several dialects write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.errors import RowError
from chatspan.rows.messages import shown

# What dialects call the arguments of a call.
_ARGUMENTS = ("arguments", "parameters", "args", "input")


def decoded(value: Any) -> Any:
    """JSON text as what it says; anything else, and text that is not JSON, as it is.

    Example:
        >>> decoded('[{"role": "user"}]'), decoded("Hello"), decoded("[sic]")
        ([{'role': 'user'}], 'Hello', '[sic]')
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def call_of(value: Any, call_id: Any = None) -> dict[str, Any] | None:
    """A call in OpenAI's shape, of ``{"name", "arguments"}`` or its kin; ``None`` if the value is no call.

    Example:
        >>> call_of({"name": "add", "parameters": {"x": 1}})
        {'type': 'function', 'function': {'name': 'add', 'arguments': {'x': 1}}}
    """
    if not isinstance(value, Mapping):
        return None
    inner = value.get("function")
    if isinstance(inner, Mapping):
        return call_of(inner, value.get("id") if call_id is None else call_id)
    name = value.get("name")
    key = next((key for key in _ARGUMENTS if isinstance(value.get(key), (Mapping, str))), None)
    if not isinstance(name, str) or key is None:
        return None
    call_id = value.get("id") if call_id is None else call_id
    head = {"type": "function"} if call_id is None else {"type": "function", "id": call_id}
    return {**head, "function": {"name": name, "arguments": value[key]}}


def calls_of(value: Any) -> list[dict[str, Any]] | None:
    """The calls of a value: of one, of a list, or of JSON text of these; ``None`` if any of it is no call."""
    value = decoded(value)
    items = value if isinstance(value, list) else [value]
    calls = [call_of(decoded(item)) for item in items]
    found = [call for call in calls if call is not None]
    return found if found and len(found) == len(calls) else None


def tool_of(value: Any) -> Any:
    """A tool in OpenAI's shape, of a bare function or of Anthropic's ``input_schema``; anything else as it is.

    Example:
        >>> tool_of({"name": "add", "input_schema": {"type": "object"}})
        {'type': 'function', 'function': {'name': 'add', 'parameters': {'type': 'object'}}}
    """
    if not isinstance(value, Mapping) or "function" in value or not isinstance(value.get("name"), str):
        return value
    dropped = ("cache_control", "input_schema", "type")
    function = {key: item for key, item in value.items() if key not in dropped}
    if "input_schema" in value:
        function["parameters"] = value["input_schema"]
    return {"type": "function", "function": function}


def tools_of(value: Any) -> list[Any] | None:
    """A list of tools in OpenAI's shape, also of JSON text; ``None`` if the value is no list of them."""
    value = decoded(value)
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or not value:
        return None
    return [tool_of(decoded(item)) for item in value]


def json_text(value: Any) -> str:
    """A value as JSON text; text as it is.

    Raises:
        RowError: it holds what JSON has no form for.
    """
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise RowError(f"a value cannot be written as JSON text, got {shown(value)}: {error}") from None
