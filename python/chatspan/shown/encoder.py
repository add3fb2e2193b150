"""An encoder in one line."""

from __future__ import annotations

from typing import Any


class ShownEncoder:
    """Says what it was made of, and loads nothing for it."""

    def __repr__(self) -> str:
        pipeline: Any = self.pipeline  # type: ignore[attr-defined]
        given = pipeline.tokenizer if pipeline.processor is None else pipeline.processor
        return f"{type(self).__name__}({type(given).__name__}, {pipeline.summary()})"
