"""Whose is each token of a rendered chat? Loss masks and self-distillation tensors, exact and fast.

Importing the package imports neither torch nor transformers nor jinja2: what needs them is imported when it is first
asked for.
"""

import sys as _sys
import typing as _typing
from importlib import import_module as _import_module

from chatspan import forks as _forks  # noqa: F401  (it has Python call it where the process forks)
from chatspan._core import Offsets, locate, token_mask, token_spans
from chatspan._core import __version__ as __version__
from chatspan.distillation.config import CollatorConfig, DistillationConfig
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
    ExpansionError,
    HintError,
    HintPlacementError,
    HistoryRewrittenError,
    InternalError,
    LayoutError,
    LossError,
    MessageError,
    OffPromptError,
    OffsetsError,
    OpeningRewrittenError,
    OptionError,
    OutputError,
    PrefixUnstableError,
    PromptMismatchError,
    ReasoningDroppedError,
    RenderMismatchError,
    RolloutError,
    RowError,
    SourceError,
    SpanError,
    StopTokenError,
    StraddleError,
    TemplateError,
    TextError,
    TokenizerError,
    TraceError,
    TruncationError,
    TurnBoundaryError,
    TurnMismatchError,
    UnrenderedMessageError,
    WorkerError,
)
from chatspan.kinds import Kind
from chatspan.moved import MovedModules as _MovedModules
from chatspan.rows.options import RowOptions

if _typing.TYPE_CHECKING:
    from chatspan.attribute.media import Medium
    from chatspan.audit.entry import DatasetReport, audit_dataset
    from chatspan.batch.context_parallel import shard_batch
    from chatspan.batch.packing import pack_dataset
    from chatspan.batch.plots import plot_lengths, plot_loss_share
    from chatspan.distillation.collator import SelfDistillationCollator
    from chatspan.distillation.composer import ComposerDataCollator
    from chatspan.distillation.model_layout import check_layout
    from chatspan.distillation.pairs.alignment import Alignment, align
    from chatspan.distillation.prompts.hinted import HintedPrompts
    from chatspan.encoder import ChatEncoder
    from chatspan.encoding import Encoding, Span
    from chatspan.render.limits import TemplateLimits
    from chatspan.render.renderer import UnknownKeywordWarning
    from chatspan.rollout.one_step import bridge_to_next_turn
    from chatspan.rollout.parse.parsed import ParsedCompletion, ParseNote
    from chatspan.rollout.rollout import Rollout
    from chatspan.rollout.sampled_row import SampledRow
    from chatspan.rollout.stability.report import StabilityEvent, StabilityReport
    from chatspan.rollout.stability.run import stability
    from chatspan.rows.reader import read_row
    from chatspan.shown.tokens import Token
    from chatspan.supervised.collator import ChatCollator
    from chatspan.supervised.encoded_media import EncodedMediaCollator
    from chatspan.tokenize.backends import BackendMismatchWarning
    from chatspan.trainer.trainer import SelfDistillationTrainer

_LATER = {
    "Alignment": "distillation.pairs.alignment",
    "BackendMismatchWarning": "tokenize.backends",
    "ChatCollator": "supervised.collator",
    "ChatEncoder": "encoder",
    "ComposerDataCollator": "distillation.composer",
    "DatasetReport": "audit.entry",
    "EncodedMediaCollator": "supervised.encoded_media",
    "Encoding": "encoding",
    "HintedPrompts": "distillation.prompts.hinted",
    "Medium": "attribute.media",
    "Rollout": "rollout.rollout",
    "SampledRow": "rollout.sampled_row",
    "ParseNote": "rollout.parse.parsed",
    "ParsedCompletion": "rollout.parse.parsed",
    "SelfDistillationCollator": "distillation.collator",
    "SelfDistillationTrainer": "trainer.trainer",
    "Span": "encoding",
    "StabilityEvent": "rollout.stability.report",
    "StabilityReport": "rollout.stability.report",
    "TemplateLimits": "render.limits",
    "Token": "shown.tokens",
    "UnknownKeywordWarning": "render.renderer",
    "align": "distillation.pairs.alignment",
    "audit_dataset": "audit.entry",
    "bridge_to_next_turn": "rollout.one_step",
    "check_layout": "distillation.model_layout",
    "plot_lengths": "batch.plots",
    "plot_loss_share": "batch.plots",
    "pack_dataset": "batch.packing",
    "read_row": "rows.reader",
    "shard_batch": "batch.context_parallel",
    "stability": "rollout.stability.run",
}

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
    "DatasetReport",
    "DistillationConfig",
    "EmptyBatchError",
    "EmptyRowError",
    "EncodedMediaCollator",
    "Encoding",
    "EngineError",
    "ExpansionError",
    "HintError",
    "HintPlacementError",
    "HintedPrompts",
    "HistoryRewrittenError",
    "InternalError",
    "Kind",
    "LayoutError",
    "LossError",
    "Medium",
    "MessageError",
    "OffPromptError",
    "Offsets",
    "OffsetsError",
    "OpeningRewrittenError",
    "OptionError",
    "OutputError",
    "ParseNote",
    "ParsedCompletion",
    "PrefixUnstableError",
    "PromptMismatchError",
    "ReasoningDroppedError",
    "RenderMismatchError",
    "Rollout",
    "RolloutError",
    "RowError",
    "RowOptions",
    "SampledRow",
    "SelfDistillationCollator",
    "SelfDistillationTrainer",
    "SourceError",
    "Span",
    "SpanError",
    "StabilityEvent",
    "StabilityReport",
    "StopTokenError",
    "StraddleError",
    "TemplateError",
    "TemplateLimits",
    "TextError",
    "Token",
    "TokenizerError",
    "TraceError",
    "TruncationError",
    "TurnBoundaryError",
    "TurnMismatchError",
    "UnknownKeywordWarning",
    "UnrenderedMessageError",
    "WorkerError",
    "align",
    "audit_dataset",
    "bridge_to_next_turn",
    "check_layout",
    "locate",
    "pack_dataset",
    "plot_lengths",
    "plot_loss_share",
    "read_row",
    "shard_batch",
    "stability",
    "token_mask",
    "token_spans",
]

_MovedModules.install(_sys.meta_path)


def __getattr__(name: str) -> object:
    # PEP 562: the collator needs torch, which takes seconds to import; the encoder needs jinja2.
    if name in _LATER:
        found = globals()[name] = getattr(_import_module(f"chatspan.{_LATER[name]}"), name)
        return found
    raise AttributeError(f"module 'chatspan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
