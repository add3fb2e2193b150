"""For ms-swift: conversations → the columns of its on-policy self-distillation (OPSD), with the ids of every turn.

ms-swift is not imported, but by :mod:`chatspan.swift.proof`.
"""

from chatspan.swift.opsd import opsd_rows

__all__ = ["opsd_rows"]
