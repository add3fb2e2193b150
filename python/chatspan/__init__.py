"""Whose is each token of a rendered chat? Loss masks and self-distillation tensors, exact and fast.

Importing the package imports neither torch nor transformers nor jinja2: what needs them is imported when it is first
asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chatspan._core import Offsets, locate, token_mask, token_spans
from chatspan.config import CollatorConfig, DistillationConfig
from chatspan.errors import (
    AlignmentError,
    AmbiguousContentError,
    BackendError,
    BackendMismatchError,
    ChatspanError,
    ContentError,
    ContentNotFoundError,
    ControlTokenError,
    EmptyBatchError,
    EmptyRowError,
    EngineError,
    HintError,
    HintPlacementError,
    LayoutError,
    LossError,
    MessageError,
    OffsetsError,
    OptionError,
    OutputError,
    PrefixUnstableError,
    RenderMismatchError,
    RolloutError,
    RowError,
    SourceError,
    SpanError,
    StraddleError,
    TemplateError,
    TextError,
    TokenizerError,
    TraceError,
    TruncationError,
    TurnBoundaryError,
    WorkerError,
)
from chatspan.kinds import Kind

if TYPE_CHECKING:
    from chatspan.alignment import Alignment, align
    from chatspan.backends import BackendMismatchWarning
    from chatspan.chat_collator import ChatCollator
    from chatspan.collator import ComposerDataCollator, SelfDistillationCollator
    from chatspan.encoder import ChatEncoder
    from chatspan.encoding import Encoding, Span
    from chatspan.hinted_prompts import HintedPrompts
    from chatspan.model_layout import check_layout
    from chatspan.packing import pack_dataset
    from chatspan.renderer import UnknownKeywordWarning
    from chatspan.template_limits import TemplateLimits

_LATER = {
    "Alignment": "alignment",
    "BackendMismatchWarning": "backends",
    "ChatCollator": "chat_collator",
    "ChatEncoder": "encoder",
    "ComposerDataCollator": "collator",
    "Encoding": "encoding",
    "HintedPrompts": "hinted_prompts",
    "SelfDistillationCollator": "collator",
    "Span": "encoding",
    "TemplateLimits": "template_limits",
    "UnknownKeywordWarning": "renderer",
    "align": "alignment",
    "check_layout": "model_layout",
    "pack_dataset": "packing",
}

__version__ = "0.1.0"

__all__ = [
    "Alignment",
    "AlignmentError",
    "AmbiguousContentError",
    "BackendError",
    "BackendMismatchError",
    "BackendMismatchWarning",
    "ChatCollator",
    "ChatEncoder",
    "ChatspanError",
    "CollatorConfig",
    "ComposerDataCollator",
    "ContentError",
    "ContentNotFoundError",
    "ControlTokenError",
    "DistillationConfig",
    "EmptyBatchError",
    "EmptyRowError",
    "Encoding",
    "EngineError",
    "HintError",
    "HintPlacementError",
    "HintedPrompts",
    "Kind",
    "LayoutError",
    "LossError",
    "MessageError",
    "Offsets",
    "OffsetsError",
    "OptionError",
    "OutputError",
    "PrefixUnstableError",
    "RenderMismatchError",
    "RolloutError",
    "RowError",
    "SelfDistillationCollator",
    "SourceError",
    "Span",
    "SpanError",
    "StraddleError",
    "TemplateError",
    "TemplateLimits",
    "TextError",
    "TokenizerError",
    "TraceError",
    "TruncationError",
    "TurnBoundaryError",
    "UnknownKeywordWarning",
    "WorkerError",
    "align",
    "check_layout",
    "locate",
    "pack_dataset",
    "token_mask",
    "token_spans",
]


def __getattr__(name: str) -> Any:
    # PEP 562: the collator needs torch, which takes seconds to import; the encoder needs jinja2.
    if name in _LATER:
        return getattr(import_module(f"chatspan.{_LATER[name]}"), name)
    raise AttributeError(f"module 'chatspan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
