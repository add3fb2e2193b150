"""Encoding on more than one machine, with Ray Data: ``pip install "chatspan[ray]"``."""

from chatspan.ray.pipeline import encode
from chatspan.ray.rows import read, with_row_index

__all__ = ["encode", "read", "with_row_index"]
