"""Types of arguments, from the tools' schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.render.preparation import tool_schemas

TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")


def type_of(value: Any) -> str:
    """The JSON type of a value.

    Example:
        >>> [type_of(value) for value in ("a", 1, 1.5, True, None, [], {})]
        ['string', 'integer', 'number', 'boolean', 'null', 'array', 'object']
    """
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", type(None): "null", list: "array", dict: "object"}
    return names.get(type(value), "object")


class ToolTypes:
    """The types that tools give to the arguments of their calls.

    Args:
        tools: as ``apply_chat_template`` takes them.
    """

    def __init__(self, tools: Sequence[Any] | None) -> None:
        self._parameters: dict[str, Any] = {}
        for tool in tool_schemas(tools) or ():
            function = tool.get("function", tool) if isinstance(tool, Mapping) else None
            if isinstance(function, Mapping) and isinstance(function.get("name"), str):
                self._parameters[function["name"]] = function.get("parameters")

    def types(self, name: str, key: str) -> frozenset[str] | None:
        """The types that an argument may have; ``None`` where no schema says.

        Example:
            >>> schema = {"type": "object", "properties": {"days": {"type": ["integer", "null"]}}}
            >>> tools = [{"type": "function", "function": {"name": "plan", "parameters": schema}}]
            >>> sorted(ToolTypes(tools).types("plan", "days"))
            ['integer', 'null']
        """
        parameters = self._parameters.get(name)
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        schema = properties.get(key) if isinstance(properties, Mapping) else None
        return _types(schema, parameters, 0) if isinstance(schema, Mapping) else None


def _types(schema: Mapping[str, Any], root: Any, depth: int) -> frozenset[str] | None:
    if depth > 8:
        return None
    given = schema.get("type")
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Sequence):
        known = {each for each in given if each in TYPES}
        if schema.get("nullable") is True:
            known.add("null")
        # All whole numbers are numbers.
        return frozenset(known | ({"integer"} if "number" in known else set())) or None
    if isinstance(schema.get("enum"), Sequence):
        return frozenset(map(type_of, schema["enum"])) or None
    if "const" in schema:
        return frozenset({type_of(schema["const"])})
    for name in ("anyOf", "oneOf", "allOf"):
        parts = schema.get(name)
        if isinstance(parts, Sequence) and not isinstance(parts, str):
            found = [_types(part, root, depth + 1) if isinstance(part, Mapping) else None for part in parts]
            known_parts = [each for each in found if each is not None]
            # One that says nothing may be anything.
            return frozenset().union(*known_parts) if len(known_parts) == len(found) and found else None
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        at: Any = root
        for part in reference[2:].split("/"):
            at = at.get(part) if isinstance(at, Mapping) else None
        return _types(at, root, depth + 1) if isinstance(at, Mapping) else None
    return None


def choices(readings: Sequence[Any], types: frozenset[str] | None) -> list[Any]:
    """The values that an argument may have, of the readings of its text; the most structured first.

    Args:
        readings: the values that the text may be, texts last.
        types: what the schema says; ``None`` if nothing.
    """
    if types is None:
        return list(readings)
    fitting = [value for value in readings if type_of(value) in types]
    # What does not keep to the schema may be anything.
    return fitting or list(readings)
