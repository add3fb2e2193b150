"""Heads: hidden states → logits, as a model's own forward makes them, for a chunk of tokens at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from chatspan.errors import LossError, OptionError, quoted
from chatspan.options import LARGEST_WEIGHT, as_fraction


@dataclass(frozen=True)
class Head:
    """What a model does with hidden states ``[C, H]`` to get logits ``[C, V]``.

    logits = softcap * tanh(scale * (hidden W^T + b) / softcap), without what is not given.

    Attributes:
        module: ``nn.Linear`` or any module that maps ``[C, H]`` to ``[C, V]``, such as one with LoRA on it; or a weight
            ``[V, H]``.
        bias: ``[V]``, beside a weight.
        logit_scale: of the logits, before the soft cap: Cohere's ``logit_scale``, 1 / Granite's ``logits_scaling``.
        logit_softcap: Gemma's ``final_logit_softcapping``.
        vocabulary: how many entries count; what a head is padded with is cut off.

    Example:
        >>> head = Head(torch.eye(3)[:2], logit_scale=2.0)
        >>> head.logits(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[2., 4.]])
    """

    module: nn.Module | Tensor
    bias: Tensor | None = None
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.module, (nn.Module, Tensor)):
            raise LossError(f"a head is {type(self.module).__name__}: pass a weight [V, H], or the module of the head")
        if isinstance(self.module, Tensor) and self.module.dim() != 2:
            raise LossError(f"a head's weight is {list(self.module.shape)}: expected [V, H]")
        if self.bias is not None and not isinstance(self.module, Tensor):
            raise LossError("a head's bias goes beside a weight: a module has its own")
        if self.vocabulary is not None and (type(self.vocabulary) is not int or self.vocabulary < 1):
            raise OptionError(
                f"vocabulary={quoted(self.vocabulary)}: expected the number of entries that are tokens, or None for all"
            )
        for name in ("logit_scale", "logit_softcap"):
            value = getattr(self, name)
            if value is None and name == "logit_softcap":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LARGEST_WEIGHT:
                raise OptionError(f"{name}={quoted(value)}: expected a positive number")
            object.__setattr__(self, name, as_fraction(value))

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """What of the head is trained."""
        own = [self.module, self.bias] if isinstance(self.module, Tensor) else [*self.module.parameters()]
        return tuple(each for each in own if each is not None and each.requires_grad)

    @property
    def plain(self) -> tuple[Tensor, Tensor | None] | None:
        """Weight and bias, where the head is no more than a product with them."""
        if isinstance(self.module, Tensor):
            return self.module, self.bias
        # A subclass, or a hook, may do more.
        has_hooks = type(self.module) is nn.Linear and (
            self.module._forward_hooks or self.module._forward_pre_hooks or self.module._backward_hooks
        )
        if type(self.module) is nn.Linear and not has_hooks and "forward" not in vars(self.module):
            return self.module.weight, self.module.bias
        return None

    def logits(self, hidden: Tensor) -> Tensor:
        """``[C, H]`` → ``[C, V]``."""
        return self.finished(self.projected(hidden))

    def projected(self, hidden: Tensor) -> Tensor:
        """``[C, V]`` before scale and soft cap."""
        plain = self.plain
        if plain is None:
            assert isinstance(self.module, nn.Module)
            logits: Tensor = self.module(hidden)
            return logits if self.vocabulary is None else logits[:, : self.vocabulary]
        weight, bias = (None if each is None else each[: self.vocabulary] for each in plain)
        assert weight is not None
        return nn.functional.linear(hidden, weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype))

    def finished(self, projected: Tensor) -> Tensor:
        """Scale and soft cap; a tensor of its own."""
        logits = projected if self.logit_scale == 1 else projected * self.logit_scale
        if self.logit_softcap is None:
            return logits
        return torch.tanh(logits / self.logit_softcap) * self.logit_softcap

    def slope(self, logits: Tensor) -> Tensor | None:
        """By what the gradient of finished logits is multiplied for that of projected ones; ``None`` for nothing."""
        if self.logit_softcap is None:
            return None
        return 1 - (logits / self.logit_softcap).square()


def as_head(given: Any, name: str, *, logit_scale: float, logit_softcap: float | None) -> Head:
    """A head as it is given: one, a module, a weight.

    Raises:
        LossError: it is none of these.
        OptionError: a scale or a soft cap beside a head that has its own.
    """
    if isinstance(given, Head):
        if logit_scale != 1 or logit_softcap is not None:
            raise OptionError(f"{name} is a Head, which has its own logit_scale and logit_softcap: set them there")
        return given
    if not isinstance(given, (nn.Module, Tensor)):
        raise LossError(f"{name} is {type(given).__name__}: pass a Head, the module of the head, or its weight [V, H]")
    return Head(given, logit_scale=logit_scale, logit_softcap=logit_softcap)
