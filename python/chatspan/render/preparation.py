"""Messages, tools and documents as the installed transformers hands them to a template.

Versions differ: newer ones drop keys that are ``None``, copy ``reasoning_content`` to its aliases, and rebuild
everything from plain JSON types. What the installed one does is observed, not read off its version number.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from chatspan.errors import OptionError, is_a
from chatspan.render.request import items_given
from chatspan.rows.steps.plain import items_of

# Names a message's reasoning goes by; the first is the one that templates read.
REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
_DUMPS = 20


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What the installed transformers does before it renders.

    Attributes:
        drops_none: keys of a message whose value is ``None`` are left out.
        aliases_reasoning: a message's reasoning is given under ``reasoning_content`` and ``thinking`` too.
        plain_types: everything is rebuilt from plain JSON types; other objects become ``"<TypeName>"``.
    """

    drops_none: bool
    aliases_reasoning: bool
    plain_types: bool


@functools.cache
def preparation() -> Preparation:
    """Observes the installed transformers."""
    from transformers import PreTrainedTokenizerBase

    class Probe(PreTrainedTokenizerBase):  # type: ignore[misc]
        special_tokens_map: dict[str, str] = {}  # noqa: RUF012

        def __init__(self) -> None:
            self.chat_template = (
                "{% for m in messages %}{{ 'none ' if 'absent' in m }}{{ 'alias ' if 'thinking' in m }}{% endfor %}"
                "{{ odd }}"
            )

        def get_chat_template(self, *args: Any, **kwargs: Any) -> str:
            return self.chat_template

    class Odd:
        def __str__(self) -> str:
            return "itself"

    seen = Probe().apply_chat_template(
        [{"role": "assistant", "content": "c", "absent": None, "reasoning_content": "r"}], tokenize=False, odd=Odd()
    )
    return Preparation(
        drops_none="none" not in seen, aliases_reasoning="alias" in seen, plain_types="itself" not in seen
    )


def plain(value: Any, dumps: int = _DUMPS) -> Any:
    """The value of plain JSON types, as transformers rebuilds it (``_plain_template_data``).

    Args:
        dumps: how many objects may still be what ``model_dump`` of another one gave.

    Raises:
        RecursionError: they never end, as those of a mock; Python's own limit would take a minute to come.
    """
    kind = type(value)
    if value is None or kind in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        # A list, since what makes a part plain may be code of a caller's own, which changes the whole.
        return {plain(key): plain(part) for key, part in list(value.items())}
    if isinstance(value, list):
        return [plain(part) for part in items_of(value)]
    if isinstance(value, tuple):
        return tuple(plain(part) for part in value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if callable(getattr(value, "model_dump", None)):
        if not dumps:
            raise RecursionError("what model_dump gives has a model_dump itself, and so on")
        return plain(value.model_dump(), dumps - 1)
    return f"<{kind.__name__}>"


def require_tools(tools: Any) -> None:
    """What tools are given in.

    Raises:
        OptionError: it is no list.
    """
    is_list = is_a(tools, Sequence) and not is_a(tools, (str, bytes, Mapping))
    if tools is not None and not is_list:
        raise OptionError(f"tools must be a list, got {type(tools).__name__}")


def tool_schemas(tools: Sequence[Any] | None) -> list[Any] | None:
    """Tools as JSON schemas; functions are turned into them as transformers does."""
    require_tools(tools)
    if tools is None:
        return None
    schemas = []
    for index, tool in enumerate(items_given(tools, "tools")):
        if is_a(tool, dict):
            schemas.append(tool)
        elif is_a(tool, (FunctionType, MethodType)):
            schemas.append(_json_schema(tool))
        else:
            raise OptionError(
                f"tools[{index}] is {type(tool).__name__}: pass a JSON schema, or a function with type hints and a "
                "docstring, from which transformers makes one"
            )
    return schemas


def _json_schema(tool: Callable[..., Any]) -> Any:
    from transformers.utils import get_json_schema

    try:
        return get_json_schema(tool)
    # What transformers raises has no common base.
    except Exception as error:
        raise OptionError(
            f"transformers cannot make a JSON schema from the tool {getattr(tool, '__name__', tool)!r}: {error}; pass "
            "the schema, or a function with type hints and a docstring"
        ) from error
