"""A render by the core, as the rest of the package takes it: where it came from is found when it is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from chatspan._core import NativeRender
from chatspan.render.dumps import Style, runs_of_dump
from chatspan.render.fields import place
from chatspan.render.origins import Dump, Root, Run
from chatspan.render.rendered import Render


def render_of(native: NativeRender, roles: tuple[str, ...]) -> Render:
    """The render as the rest of the package takes it; what only few ask for is made when it is asked for."""
    origins = Origins(native)
    return Render(
        given_text=None,
        runs=_Later(origins.runs),
        owners=_Later(native.owners),
        generation=_Later(native.generation),
        messages=_Later(origins.messages),
        prompt_start_char=native.prompt_start_char,
        native=native,
        roles=roles,
        engine="native",
    )


class Origins:
    """The objects that a native render came from, made from what the core read.

    Nothing refers to a render in a circle, which would keep it until Python looks for circles.
    """

    def __init__(self, native: NativeRender) -> None:
        self._native = native

    @functools.cached_property
    def _variables(self) -> dict[str, Any]:
        given = self._native.input.to_python()
        messages = [place(message, Root(index, ()), False) for index, message in enumerate(given.pop("messages"))]
        for index, name, source in self._native.input.aliases():
            messages[index][name] = messages[index][source]
        return {"messages": messages, **{name: place(value, Root(-1, (name,)), False) for name, value in given.items()}}

    def messages(self) -> list[Any]:
        """The messages."""
        messages: list[Any] = self._variables["messages"]
        return messages

    def runs(self) -> list[Run]:
        """What of the render came from them."""
        return self._native.runs(self._find, _dump)

    def _find(self, message_index: int, path: tuple[Any, ...]) -> Any:
        """What stands at a place."""
        found: Any = self._variables["messages"][message_index] if message_index >= 0 else self._variables
        for key in path:
            found = found[key]
        return found


def _dump(container: Any, text: str, style: Style | None) -> Dump:
    return Dump(container, lambda: runs_of_dump(container, text, style))


class _Later(Sequence[Any]):
    """A list that is made when it is first looked at."""

    def __init__(self, make: Callable[[], list[Any]]) -> None:
        self._make = make

    @functools.cached_property
    def _items(self) -> list[Any]:
        return self._make()

    def __reduce__(self) -> Any:
        return (list, (self._items,))

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return list(self) == other
