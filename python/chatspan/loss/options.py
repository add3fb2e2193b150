"""The options of the losses, checked; and how ``torch.compile`` takes them."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import TypeVar, cast, get_args

import torch
from torch import Tensor
from torch.autograd import forward_ad

from chatspan.errors import LossError, OptionError, quoted
from chatspan.loss.divergence import Divergence
from chatspan.loss.reduction import Reduction
from chatspan.options import LARGEST_WEIGHT, one_of, require_switch

_Function = TypeVar("_Function", bound=Callable[..., object])


# A temperature by which no float32 logits are divided to infinity.
_LEAST_TEMPERATURE = 1e-20


def untraced(function: _Function) -> _Function:
    """Has ``torch.compile`` call it as it is: how many chunks there are depends on the batch's values.

    Inside of a transform of ``torch.func`` and of forward derivatives it is a ``LossError``, for the same reason.
    """

    @functools.wraps(function)
    def outside(*args: object, **kwargs: object) -> object:
        _refuse_transforms(function.__name__)
        return function(*args, **kwargs)

    # What torch.compile(fullgraph=True) says then.
    reason = (
        f"{function.__name__} works between two graphs: use torch.compile without fullgraph=True, or compile the model "
        "and call the loss on its output"
    )
    if "reason" in inspect.signature(torch.compiler.disable).parameters:
        return cast(_Function, torch.compiler.disable(outside, reason=reason))  # type: ignore[no-untyped-call]
    return cast(_Function, torch.compiler.disable(outside))  # type: ignore[no-untyped-call]


def _refuse_transforms(name: str) -> None:
    """No transform of ``torch.func`` is active, nor a level of forward derivatives."""
    active = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)
    if active() or getattr(forward_ad, "_current_level", -1) >= 0:
        raise LossError(
            f"{name} is called inside of torch.func or forward_ad, and has only first derivatives, backward: use "
            "loss.backward() or torch.autograd.grad, with torch.func.functional_call for other weights"
        )


def require_top_k(top_k: int | None, vocabulary: int) -> None:
    """There are as many entries."""
    if top_k is not None and top_k > vocabulary:
        raise OptionError(f"top_k={top_k}, but the vocabulary has {vocabulary} entries")


def check_options(
    divergence: Divergence, is_clip: float | None, reduction: str, num_items_in_batch: int | Tensor | None
) -> None:
    beta, temperature, top_k = divergence.beta, divergence.temperature, divergence.top_k
    if not (_is_number(beta) and 0 <= beta <= 1):
        raise OptionError(f"beta={quoted(beta)}: expected a number from 0, KL(T || S), to 1, KL(S || T)")
    if not (_is_number(temperature) and 0 < temperature < math.inf):
        raise OptionError(f"temperature={quoted(temperature)}: expected a positive number")
    if temperature < _LEAST_TEMPERATURE:
        raise OptionError(f"temperature={quoted(temperature)}: logits divided by it are infinite; pass 1e-20 or more")
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise OptionError(
            f"top_k={quoted(top_k)}: expected a whole number of at least 1, or None for the whole vocabulary"
        )
    require_switch("add_tail", divergence.add_tail)
    for name, clip in (("token_clip", divergence.token_clip), ("is_clip", is_clip)):
        if clip is not None and not (_is_number(clip) and clip > 0):
            raise OptionError(f"{name}={quoted(clip)}: expected a positive number, or None for no clip")
    if not one_of(reduction, get_args(Reduction)):
        raise OptionError(f"reduction={quoted(reduction)}: use one of {', '.join(map(repr, get_args(Reduction)))}")
    if num_items_in_batch is None:
        items_are_fine = True
    elif isinstance(num_items_in_batch, Tensor):
        items_are_fine = num_items_in_batch.numel() == 1  # its value is on the device, and not waited for
    else:
        items_are_fine = _is_number(num_items_in_batch) and num_items_in_batch > 0
    if not items_are_fine:
        raise OptionError(f"num_items_in_batch={quoted(num_items_in_batch)}: expected a positive number")
    if num_items_in_batch is not None and reduction != "token_mean":
        raise OptionError(f"num_items_in_batch with reduction={quoted(reduction)}: only 'token_mean' divides by it")


def _is_number(value: object) -> bool:
    # No whole number that is too large for a fraction.
    is_whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_WEIGHT
    return is_whole or isinstance(value, float)
