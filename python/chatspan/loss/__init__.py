"""A student's and a teacher's logits and a batch → how far apart they are at its in-loss tokens.

In: logits ``[B, T, V]`` of both sides, the batch of a distillation collator. Out: a scalar, or a loss for each token.
Imports torch, :mod:`chatspan.errors` and nothing else of the package.
"""

from chatspan.loss.sdpo import sdpo_loss

__all__ = ["sdpo_loss"]
