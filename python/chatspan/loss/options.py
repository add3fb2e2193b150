"""The options of the losses, checked; and how ``torch.compile`` takes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar, cast, get_args

import torch
from torch import Tensor

from chatspan.errors import OptionError
from chatspan.loss.divergence import Divergence
from chatspan.loss.reduction import Reduction

_Function = TypeVar("_Function", bound=Callable[..., object])


def untraced(function: _Function) -> _Function:
    """Has ``torch.compile`` call it as it is: how many chunks there are depends on the batch's values."""
    return cast(_Function, torch.compiler.disable(function))  # type: ignore[no-untyped-call]


def require_top_k(top_k: int | None, vocabulary: int) -> None:
    """There are as many entries."""
    if top_k is not None and top_k > vocabulary:
        raise OptionError(f"top_k={top_k}, but the vocabulary has {vocabulary} entries")


def check_options(
    divergence: Divergence, is_clip: float | None, reduction: str, num_items_in_batch: int | Tensor | None
) -> None:
    beta, temperature, top_k = divergence.beta, divergence.temperature, divergence.top_k
    if not (_is_number(beta) and 0 <= beta <= 1):
        raise OptionError(f"beta={beta!r}: give a number from 0, KL(T || S), to 1, KL(S || T)")
    if not (_is_number(temperature) and 0 < temperature < math.inf):
        raise OptionError(f"temperature={temperature!r}: give a positive number")
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise OptionError(f"top_k={top_k!r}: give a whole number of at least 1, or None for the whole vocabulary")
    for name, clip in (("token_clip", divergence.token_clip), ("is_clip", is_clip)):
        if clip is not None and not (_is_number(clip) and clip > 0):
            raise OptionError(f"{name}={clip!r}: give a positive number, or None for no clip")
    if reduction not in get_args(Reduction):
        raise OptionError(f"reduction={reduction!r}: say one of {', '.join(map(repr, get_args(Reduction)))}")
    if num_items_in_batch is None or isinstance(num_items_in_batch, Tensor):
        items_are_fine = True  # a tensor's value is on the device, and not waited for
    else:
        items_are_fine = _is_number(num_items_in_batch) and num_items_in_batch > 0
    if not items_are_fine:
        raise OptionError(f"num_items_in_batch={num_items_in_batch!r}: give a positive number")
    if num_items_in_batch is not None and reduction != "token_mean":
        raise OptionError(f"num_items_in_batch with reduction={reduction!r}: only 'token_mean' divides by it")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
