"""How rows are read."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from chatspan.options import require_choices

Format = Literal["messages", "sharegpt", "anthropic", "trace", "prompt_completion", "alpaca", "xlam", "glaive", "atif"]
ToolArguments = Literal["auto", "parse", "as_given"]
NullContent = Literal["auto", "empty", "as_given"]
TextParts = Literal["auto", "join", "as_given"]


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """How rows are read. ``"auto"`` does what the row's chat template needs, found by rendering small conversations.

    Attributes:
        column: the column of the messages, if it is not one of the usual ones.
        format: the row's dialect; ``None``: told by its columns. ``"messages"``, ``"sharegpt"``, ``"anthropic"``,
            ``"trace"``, ``"prompt_completion"``, ``"alpaca"``, ``"xlam"``, ``"glaive"``, ``"atif"``.
        tool_arguments: what becomes of a call's ``arguments`` that are JSON text, as in OpenAI's API: ``"auto"``, the
            object that they say, as inference servers do before they render, unless the template raises on an object
            or writes its Python ``repr``; ``"parse"``, always the object; ``"as_given"``, the text.
        null_content: what becomes of a ``content`` that is null or missing beside calls: ``"auto"``, it stays if the
            template renders it, else it is ``""``; ``"empty"``, always ``""``; ``"as_given"``, it stays.
        text_parts: what becomes of a ``content`` that is a list of text parts: ``"auto"``, it stays if the template
            writes the texts of parts, else they are joined, with a newline between them, as inference servers do;
            ``"join"``, always joined; ``"as_given"``, it stays.
    """

    column: str | None = None
    format: Format | None = None
    tool_arguments: ToolArguments = "auto"
    null_content: NullContent = "auto"
    text_parts: TextParts = "auto"

    def __post_init__(self) -> None:
        if self.format is not None:
            require_choices(self, format=Format)
        require_choices(self, tool_arguments=ToolArguments, null_content=NullContent, text_parts=TextParts)


def checked(given: RowKeywords, of: Callable[..., Any] | None = None) -> RowKeywords:
    """The keyword arguments of what reads rows.

    Args:
        of: what was called with them, whose other parameters may have been meant.

    Raises:
        TypeError: one of them is none; with the nearest name.
    """
    known = list(RowKeywords.__annotations__)
    for name in given:
        if name not in known:
            others = [] if of is None else list(inspect.signature(of).parameters)
            near = difflib.get_close_matches(name, [*known, *others], 1)
            hint = f"did you mean {near[0]!r}?" if near else f"options for reading rows: {', '.join(known)}"
            raise TypeError(f"unexpected keyword argument {name!r}: {hint}")
    return given


class RowKeywords(TypedDict, total=False):
    """The fields of :class:`RowOptions`, as keyword arguments of what reads rows."""

    column: str | None
    format: Format | None
    tool_arguments: ToolArguments
    null_content: NullContent
    text_parts: TextParts
