"""For verl, and SDPO on top of it: the tensors of a batch, and the token builder of its agent loops.

verl is not imported, but by :mod:`chatspan.verl.agent_loop`, which is for its configuration.
"""

from chatspan.verl.tensors import sdpo_tensors, teacher_tensors
from chatspan.verl.token_builder import Merged, TokenBuilder

__all__ = ["Merged", "TokenBuilder", "sdpo_tensors", "teacher_tensors"]
