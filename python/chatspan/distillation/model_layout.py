"""Whether a model's attention survives the holes of a layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from chatspan.attribute.media import media_names
from chatspan.distillation.config import Layout
from chatspan.errors import LayoutError, OptionError, is_a, quoted
from chatspan.media.positions import makes_own_positions
from chatspan.options import one_of, require_switch

_FULL = ("full_attention", "attention", "dense", "moe")
# What only configurations of state-space, recurrent, convolutional or linear-attention layers have.
_RECURRENT = (
    *(
        "state_size",
        "ssm_state_size",
        "mamba_d_state",
        "mamba_d_ssm",
        "time_step_rank",
        "lru_width",
        "attention_hidden_size",
    ),
    *(
        "linear_num_key_heads",
        "linear_attn_config",
        "conv_L_cache",
        "slstm_at",
        "num_mem_heads",
        "linear_conv_kernel_dim",
    ),
)
# Their attention or their positions count columns, whatever position_ids say.
_BY_COLUMN = (
    *("mpt", "gpt_neo", "xlnet", "transfo-xl", "led", "longformer", "big_bird", "bigbird_pegasus", "reformer", "xlstm"),
    *("bart", "mbart", "plbart", "pegasus", "marian", "mvp", "blenderbot", "blenderbot-small", "trocr", "whisper"),
    *("prophetnet", "roformer"),
)


def check_layout(
    model_config: Any, layout: Layout, *, packing: bool = False, batch: Mapping[str, Any] | None = None
) -> None:
    """Refuses a layout whose holes a model does not survive, and batches whose positions it would misread.

    A hole (``attention_mask`` 0) is not seen by full attention, but it takes up room in a sliding window or a chunk,
    and passes through a recurrent state or a convolution. With ``layout="indexed"`` there are none.

    A model with positions of several dimensions (mrope, as Qwen2.5-VL's) finds those of rows with media itself, from
    ``attention_mask`` and ``mm_token_type_ids``, over holes, too; ``position_ids`` ``[B, T]`` it takes for those of
    text, without a word, and in packed rows it does not find where a row begins.

    Args:
        model_config: a transformers configuration, such as ``model.config``.
        layout: of the collator.
        packing: whether its rows have media and are packed.
        batch: one of the collator's, whose ``position_ids`` are looked at.

    Raises:
        LayoutError: the model does not survive it; with what in the configuration says so.
        OptionError: there is no such layout, or no batch.

    Example:
        >>> from transformers import MistralConfig
        >>> import chatspan
        >>> chatspan.check_layout(MistralConfig(sliding_window=None), "aligned")
        >>> chatspan.check_layout(MistralConfig(sliding_window=4096), "aligned")
        Traceback (most recent call last):
        ...
        chatspan.errors.LayoutError: mistral has sliding_window=4096, in which holes take up room: use layout="indexed"
    """
    if not one_of(layout, get_args(Layout)):
        raise OptionError(f"layout={quoted(layout)}: use one of {', '.join(map(repr, get_args(Layout)))}")
    require_switch("packing", packing)
    if batch is not None and not is_a(batch, Mapping):
        raise OptionError(f"batch is {type(batch).__name__}: pass the dict that a collator makes")
    if (packing or batch is not None) and makes_own_positions(model_config):
        _require_own_positions(model_config, packing, batch or {})
    if layout != "aligned":
        return
    get_text_config = getattr(model_config, "get_text_config", None)
    text_config = get_text_config(decoder=True) if callable(get_text_config) else model_config
    problem = _problem(text_config)
    if problem is not None:
        name = getattr(text_config, "model_type", type(text_config).__name__)
        raise LayoutError(f'{name} has {problem}: use layout="indexed"')


def _require_own_positions(config: Any, packing: bool, batch: Mapping[str, Any]) -> None:
    name = getattr(config, "model_type", type(config).__name__)
    if packing:
        raise LayoutError(f"{name} derives the positions of media from rows, which packing hides: use packing=False")
    for prefix in ("", "ctx_teacher_"):
        media = [name for name in media_names(batch) if name.startswith("ctx_teacher_") <= bool(prefix)]
        if media and getattr(batch.get(f"{prefix}position_ids"), "ndim", 0) == 2:
            raise LayoutError(
                f"{name} takes {prefix}position_ids [B, T] for those of text, though the batch has {media[0]}: leave "
                "them out, and the model computes its own"
            )


def _problem(config: Any) -> str | None:
    """What in a configuration does not survive holes."""
    for name in _RECURRENT:
        if _value(config, name) is not None:
            return f"{name}={quoted(_value(config, name))}, a state or convolution that holes pass through"
    if _value(config, "model_type") in _BY_COLUMN:
        return "layers that count columns, holes included"
    for name in ("layer_types", "layers_block_type", "block_types"):
        types = _value(config, name)
        if types is not None:
            other = sorted({str(kind) for kind in types} - set(_FULL))
            # Which layers slide is said; a window that none uses does not matter.
            return f"{name} with {', '.join(other)}, in which holes take up room" if other else None
    for name, flag in (("sliding_window", "use_sliding_window"), ("attention_chunk_size", None)):
        is_used = flag is None or _value(config, flag) is not False
        if _value(config, name) is not None and is_used:
            return f"{name}={_value(config, name)!r}, in which holes take up room"
    return None


def _value(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
