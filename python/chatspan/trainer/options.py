"""What the trainer is told of the loss, checked before anything is trained."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

from chatspan.errors import OptionError, quoted
from chatspan.loss import sdpo_loss
from chatspan.loss.divergence import Divergence
from chatspan.loss.options import check_options

LogitsOption = Literal["auto", "hidden", "gathered", "all"]

_NOT_OPTIONS = ("student_logits", "teacher_logits", "batch")
_THE_TRAINERS = ("num_items_in_batch", "gathered", "reduction")


def require_loss_options(options: Any, *, served: bool = False) -> dict[str, Any]:
    """Keywords of :func:`chatspan.loss.sdpo_loss` that a trainer does not set itself.

    Args:
        served: whether the teacher's top-k is all that is known of it.

    Raises:
        OptionError: a name or a value that cannot be.
    """
    if not isinstance(options, Mapping):
        raise OptionError(
            f'loss_options={quoted(options)}: expected a dict such as {{"beta": 0.5, "temperature": 1.0}}'
        )
    allowed = [name for name in inspect.signature(sdpo_loss).parameters if name not in (*_NOT_OPTIONS, *_THE_TRAINERS)]
    for name in options:
        if name in _THE_TRAINERS:
            raise OptionError(
                f"loss_options has {name!r}, which the trainer sets: a step's loss is its weighted sum over the sum of "
                "the weights of all processes and accumulated batches"
            )
        if name not in allowed:
            raise OptionError(f"loss_options has {quoted(name)}: sdpo_loss takes {', '.join(allowed)}")
    if served and options.get("top_k") is not None:
        raise OptionError(
            f"loss_options has top_k={quoted(options['top_k'])}, the student's most likely entries, which the "
            "top-k of such a teacher does not cover: leave it out"
        )
    defaults = {name: inspect.signature(sdpo_loss).parameters[name].default for name in allowed}
    given = {**defaults, **options}
    divergence = Divergence(*(given[name] for name in ("beta", "temperature", "top_k", "add_tail", "token_clip")))
    check_options(divergence, given["is_clip"], "token_mean", None)
    return {name: value for name, value in options.items() if not (served and name == "top_k")}
