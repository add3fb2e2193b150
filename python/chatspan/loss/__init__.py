"""A student's and a teacher's logits and a batch → how far apart they are at its in-loss tokens.

In: logits ``[B, T, V]`` of both sides, or hidden states and heads, or a teacher's top-k; the batch of a distillation
collator. Out: a scalar, or a loss for each token.
Imports torch, :mod:`chatspan.errors` and nothing else of the package.
"""

from chatspan.loss.heads import Head
from chatspan.loss.linear import linear_sdpo_loss
from chatspan.loss.models import hidden_states_and_head, model_inputs
from chatspan.loss.sdpo import sdpo_loss
from chatspan.loss.top_k import TopKLoss, topk_sdpo_loss

__all__ = [
    "Head",
    "TopKLoss",
    "hidden_states_and_head",
    "linear_sdpo_loss",
    "model_inputs",
    "sdpo_loss",
    "topk_sdpo_loss",
]
