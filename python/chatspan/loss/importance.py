"""SDPO's importance weights, for tokens that another policy sampled."""

from __future__ import annotations

from torch import Tensor

from chatspan.options import as_fraction

# As in SDPO: e^20 is far above any useful clip, and e^88 would be infinite in float32.
_LARGEST_LOG_RATIO = 20.0


def importance(log_probs: Tensor, old_log_probs: Tensor, largest: float) -> Tensor:
    """min(pi / pi_old, ``largest``) of each token, without gradient."""
    log_ratio = (log_probs - old_log_probs.to(log_probs.dtype)).detach()
    return log_ratio.clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO).exp().clamp(max=as_fraction(largest))
