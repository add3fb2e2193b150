"""Where rendered characters come from: a string or a container of the input, or the dump of a container.

A *run* is ``(start, end, origin, origin_start)``: half-open characters of a string, what they come from, and the
character of the origin's text at which they start; ``-1`` where they are derived from it and no copy of it.

Every origin knows its message (``_message_index``; -1 for what belongs to none: tools, documents, the template's own
keywords) and its path from there (``_path``: ``("content",)``, ``("tools", 0, "function", "name")``). The names begin
with an underscore because the sandbox then hides them from templates, which see the same objects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

Path = tuple[str | int, ...]


class Origin(Protocol):
    """What a run refers to."""

    _message_index: int

    @property
    def _path(self) -> Path: ...


Run = tuple[int, int, Any, int]


class Root:
    """What has no container: a message as a whole (no path), ``tools``, ``documents``, a keyword of the template."""

    __slots__ = ("_message_index", "_path")

    def __init__(self, message_index: int, path: Path) -> None:
        self._message_index = message_index
        self._path = path


class Dump:
    """The text that a container was written as (JSON, ``repr``). Its leaves are found when they are asked for.

    Most dumps are tool schemas, of which no more than their place is asked.
    """

    __slots__ = ("_find_runs", "_runs", "container")

    def __init__(self, container: Origin, find_runs: Callable[[], tuple[Run, ...]]) -> None:
        self.container = container
        self._find_runs = find_runs
        self._runs: tuple[Run, ...] | None = None

    def __reduce__(self) -> Any:
        return (_found_dump, (self.container, self.runs))

    @property
    def _message_index(self) -> int:
        return self.container._message_index

    @property
    def _path(self) -> Path:
        return self.container._path

    @property
    def runs(self) -> tuple[Run, ...]:
        """Runs of the whole dump, none of them of a dump."""
        if self._runs is None:
            self._runs = self._find_runs()
        return self._runs


def _found_dump(container: Origin, runs: tuple[Run, ...]) -> Dump:
    return Dump(container, lambda: runs)


def root_key(origin: Any) -> str | int | None:
    """The first key of an origin's path, without making the path: ``"content"``, ``"tools"``; none for a message."""
    at: Any = origin.container if isinstance(origin, Dump) else origin
    key = None
    while not isinstance(at, Root):
        key = key if at._key is None else at._key
        at = at._parent
    return at._path[0] if at._path else key


def root_of(origin: Any, role: str | None) -> str | None:
    """What a field is: ``content``, ``reasoning``, ``call``, ``result``, ``tools``, ``documents``, ``other``; ``None``
    for a role. The twin of ``Root::of_way`` in the core.

    Args:
        role: that of the field's message; ``None`` for a keyword of the template.
    """
    keys: list[Any] = []
    part = None
    at: Any = origin.container if isinstance(origin, Dump) else origin
    while not isinstance(at, Root):
        if at._key is not None:
            part = part or (_part_of(at.get("type")) if isinstance(at, dict) else None)
            keys.append(at._key)
        at = at._parent
    keys += at._path[:1]
    keys.reverse()
    names = [key if isinstance(key, str) else "" for key in keys] or [""]
    if names[0] == "role":
        return None
    first = _ROOTS.get(names[0], "other")
    if role is None:
        return "other" if first in ("content", "reasoning", "call") else first
    if any(map(holds_results, names)) or (first == "content" and role in TOOL_ROLES):
        return "result"
    if first == "content" and (part is not None or _ROOTS.get(names[-1]) == "reasoning"):
        return part or "reasoning"
    return first


TOOL_ROLES = ("tool", "function", "ipython", "observation", "tool_response", "environment")
_ROOTS = {"content": "content", "tools": "tools", "documents": "documents"}
_ROOTS |= {"tool_calls": "call", "function_call": "call"}
_ROOTS |= dict.fromkeys(("reasoning_content", "thinking", "reasoning"), "reasoning")
_RESULTS = ("result", "results", "response", "responses", "output", "outputs")


def holds_results(key: str) -> bool:
    """Whether a key of a message says that it holds what tools answered: ``tool_responses``, ``tool_outputs``."""
    return key.startswith(("tool_", "function_")) and key.endswith(_RESULTS)


def _part_of(kind: Any) -> str | None:
    """What a part of a content says that it is, by its ``type``; none for text, images and all else."""
    if not isinstance(kind, str):
        return None
    if is_result_type(kind):
        return "result"
    if ("tool" in kind or "function" in kind) and ("call" in kind or "use" in kind):
        return "call"
    return "reasoning" if any(word in kind for word in ("think", "thought", "reason")) else None


def is_result_type(kind: str) -> bool:
    """Whether a part of a content of this ``type`` holds what a tool answered."""
    return ("tool" in kind or "function" in kind) and any(word in kind for word in ("result", "response", "output"))


def is_container(value: Any) -> bool:
    """Whether a value is an origin and no string. Asked of its type: what is undefined raises if it is asked itself."""
    return hasattr(type(value), "_path") and not isinstance(value, str)


def source_of(value: Any) -> Any:
    """What a value that is an origin comes from: itself, but for a number that a template made of a text."""
    source = getattr(value, "_source", None)
    return value if source is None else source


def field_runs(runs: Sequence[Run]) -> list[Run]:
    """Runs whose dumps are taken apart into their fields."""
    found: list[Run] = []
    for run in runs:
        start, end, origin, origin_start = run
        if not isinstance(origin, Dump):
            found.append(run)
        elif origin_start < 0:
            found.append((start, end, origin.container, -1))
        else:
            inner = cut_runs(origin.runs, origin_start, origin_start + end - start)
            found += [(start + first, start + last, field, field_start) for first, last, field, field_start in inner]
    return found


def cut_runs(runs: Sequence[Run], start: int, end: int) -> tuple[Run, ...]:
    """The runs of the characters ``[start, end)``, from 0 on."""
    found = []
    for run_start, run_end, origin, origin_start in runs:
        first, last = max(run_start, start), min(run_end, end)
        if first < last:
            inside = origin_start + first - run_start if origin_start >= 0 else -1
            found.append((first - start, last - start, origin, inside))
    return tuple(found)


def is_data(origin: Any, structural_roles: Collection[str]) -> bool:
    """Whether an origin is the caller's data. The twin of ``Places::is_data`` in the core.

    All in messages, tools and documents is, but a message's role that is one of ``structural_roles``. Keywords are the
    template's own, as special tokens are.
    """
    if origin._message_index < 0:
        return root_key(origin) in ("tools", "documents")
    return origin._path != ("role",) or not isinstance(origin, str) or str.__str__(origin) not in structural_roles


def data_ranges(runs: Sequence[Run], structural_roles: Collection[str]) -> list[tuple[int, int]]:
    """The characters that the caller's data contributed, in order; ranges do not touch."""
    found: list[tuple[int, int]] = []
    for start, end, origin, _ in runs:
        if start == end or not is_data(origin, structural_roles):
            continue
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found
