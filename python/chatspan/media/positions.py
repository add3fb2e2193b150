"""Whether a model finds the positions of its tokens itself, of media in more than one dimension (Qwen2-VL's mrope)."""

from __future__ import annotations

import functools
import importlib
from typing import Any


def makes_own_positions(of_family: Any) -> bool:
    """Whether the model of a processor's or a configuration's family makes ``position_ids`` itself of rows with media.

    Those that are given in two dimensions are silently taken as those of text. It is what the family's module of
    transformers says that has a ``get_rope_index``; of one without such a module nothing is known.

    Args:
        of_family: a processor, or a configuration such as ``model.config``.

    Example:
        >>> from transformers import GemmaConfig, Qwen2VLConfig
        >>> makes_own_positions(Qwen2VLConfig()), makes_own_positions(GemmaConfig())
        (True, False)
    """
    return any(_has_rope_index(kind.__module__) for kind in type(of_family).__mro__)


@functools.cache
def _has_rope_index(module: str) -> bool:
    package, _, name = module.rpartition(".")
    begins, _, family = name.partition("_")
    if begins not in ("processing", "configuration") or not family:
        return False
    try:
        modeling = importlib.import_module(f"{package}.modeling_{family}")
    # A family without models, or one whose models need more than is installed.
    except Exception:
        return False
    return any(hasattr(each, "get_rope_index") for each in vars(modeling).values() if isinstance(each, type))
