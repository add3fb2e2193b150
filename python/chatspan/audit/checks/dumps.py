"""Values that the template wrote in the wrong notation: JSON text inside a JSON string, Python's ``repr``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from chatspan.audit.findings import Finding, Severity
from chatspan.encoding import Encoding
from chatspan.render.origins import Dump, Path, Run, field_runs, root_of
from chatspan.view.view import path_pattern

DOUBLE_ENCODED = "double-encoded JSON"
AS_REPR = "containers written as their Python repr"

# Keys of a call that hold its arguments, and of a tool that hold its schema.
_ARGUMENTS = ("arguments", "input", "parameters")
_SCHEMAS = ("function", "parameters", "input_schema", "json_schema")
_CALLS = ("tool_calls", "function_call", "content")
# Characters of the render that a quote shows.
_SHOWN = 80


def double_encoded(encoding: Encoding) -> Iterator[Finding]:
    """Fields whose text is a JSON object or array, which the template wrote as a JSON string."""
    text = encoding.text
    for start, end, origin, _ in field_runs(encoding.runs):
        if not isinstance(origin, str) or not _is_json_text(origin):
            continue
        if not _is_quoted(text, start, end, str.__str__(origin)):
            continue
        index = origin._message_index  # type: ignore[attr-defined]
        role = _role(encoding, index)
        judged = _judged(origin, role)
        if judged is not None:
            severity, advice = judged
            what = f"{role or 'row'}: {path_pattern(origin._path)}"  # type: ignore[attr-defined]
            yield Finding(
                DOUBLE_ENCODED, what, severity, advice, index if index >= 0 else None, text[start - 1 : end + 1]
            )


def repr_findings(encoding: Encoding) -> Iterator[Finding]:
    """Lists and dicts that the template printed as Python does, where that is no JSON."""
    text = encoding.text
    seen: set[tuple[int, Path]] = set()
    for run in encoding.runs:
        container = _printed(text, run)
        if container is None:
            continue
        index, path = container._message_index, container._path
        # What stands in a container that is told already.
        if any((index, path[:depth]) in seen for depth in range(len(path))):
            continue
        seen.add((index, path))
        role = _role(encoding, index)
        inside = "values of " if any(key in _ARGUMENTS for key in path[:-1]) else ""
        what = f"{role or 'row'}: {inside}{path_pattern(path) or 'the whole message'}"
        severity, advice = _judged_repr(role, path, container)
        quote = text[run[0] : min(run[1], run[0] + _SHOWN)]
        yield Finding(AS_REPR, what, severity, advice, index if index >= 0 else None, quote)


def _role(encoding: Encoding, index: int) -> str | None:
    return encoding.roles[index] if 0 <= index < len(encoding.roles) else None


def _is_json_text(value: str) -> bool:
    stripped = value.strip()
    if stripped[:1] + stripped[-1:] not in ("{}", "[]"):
        return False
    try:
        return isinstance(json.loads(stripped), (dict, list))
    except (ValueError, RecursionError):
        return False


def _is_quoted(text: str, start: int, end: int, value: str) -> bool:
    """Whether these characters are the inside of the JSON string of a text."""
    if text[start - 1 : start] != '"' or text[end : end + 1] != '"':
        return False
    return text[start:end] in (json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1])


def _judged(origin: Any, role: str | None) -> tuple[Severity, str] | None:
    """What to think of a text that was written as a JSON string; nothing where it is a value that was meant as text."""
    path: Path = origin._path
    last = path[-1]
    if role is None:
        is_schema = path[0] == "tools" and (len(path) == 2 or last in _SCHEMAS)
        return ("problem", "pass tools as objects, not as JSON text") if is_schema else None
    if any(key in _ARGUMENTS for key in path[:-1]):
        return None
    if last in _ARGUMENTS and path[0] in _CALLS:
        return "problem", (
            'the model learns escaped quotes: tool_arguments="parse" (--tool-arguments parse) gives the template the '
            "object"
        )
    if root_of(origin, role) == "result":
        # Deeper ones are values of the result.
        if len(path) > 1 and last not in ("text", "content", "output", "response", "result"):
            return None
        return "note", "none of it is trained; many templates write results this way"
    return ("note", "the template writes this text as a JSON string") if len(path) == 1 else None


def _printed(text: str, run: Run) -> Any:
    """The container that a run begins, if it is printed as Python's ``repr``."""
    start, end, origin, at = run
    container: Any = origin.container if isinstance(origin, Dump) else origin
    # Numbers are no containers; the rest of a container that was cut says nothing of its notation.
    if not isinstance(container, (dict, list)) or at > 0:
        return None
    if text.startswith(("{'", "['", "[{'"), start):
        return container
    # By far the most frequent case; a part of what the template made itself ends where its first text begins.
    if not isinstance(origin, Dump) or text.startswith(('{"', '[{"', '["'), start):
        return None
    own = repr(container)
    return container if text[start:end] == own and not _is_json_text(own) else None


def _judged_repr(role: str | None, path: Path, container: Any) -> tuple[Severity, str]:
    """What to think of a container that is printed as Python does: the row's form is not the template's, or it is."""
    if role is None:
        return "note", "the template's own form, which inference writes too; templates that write JSON use tojson"
    if any(key in _ARGUMENTS for key in path[:-1]):
        return "note", "the template prints values this way; json.dumps of the value gives JSON"
    if path[-1:] and path[-1] in _ARGUMENTS:
        return "problem", (
            'the template takes arguments as JSON text: tool_arguments="as_given" (--tool-arguments as_given) keeps '
            "text, json.dumps makes it"
        )
    if path[:1] == ("content",) and isinstance(container, list):
        return "problem", (
            'the template takes strings: text_parts="join" (--text-parts join) makes one text of text parts; pass '
            "others as text"
        )
    return "problem", "use a template that writes JSON, or pass text (json.dumps)"
