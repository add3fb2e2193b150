"""Whose is each token of a rendered chat? Loss masks and self-distillation tensors, exact and fast.

Importing the package imports neither torch nor transformers; :class:`ComposerDataCollator` imports torch when it is
first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chatspan._core import Offsets, locate, token_mask, token_spans
from chatspan.config import CollatorConfig
from chatspan.errors import (
    AlignmentError,
    AmbiguousContentError,
    ChatspanError,
    ContentError,
    ContentNotFoundError,
    HintError,
    HintPlacementError,
    LayoutError,
    OffsetsError,
    OptionError,
    PrefixUnstableError,
    SpanError,
    StraddleError,
    TemplateError,
    TextError,
    TokenizerError,
    TraceError,
)

if TYPE_CHECKING:
    from chatspan.collator import ComposerDataCollator

__version__ = "0.1.0"

__all__ = [
    "AlignmentError",
    "AmbiguousContentError",
    "ChatspanError",
    "CollatorConfig",
    "ComposerDataCollator",
    "ContentError",
    "ContentNotFoundError",
    "HintError",
    "HintPlacementError",
    "LayoutError",
    "Offsets",
    "OffsetsError",
    "OptionError",
    "PrefixUnstableError",
    "SpanError",
    "StraddleError",
    "TemplateError",
    "TextError",
    "TokenizerError",
    "TraceError",
    "locate",
    "token_mask",
    "token_spans",
]


def __getattr__(name: str) -> Any:
    # PEP 562: the collator needs torch, which takes seconds to import.
    if name == "ComposerDataCollator":
        return import_module("chatspan.collator").ComposerDataCollator
    raise AttributeError(f"module 'chatspan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
