"""For NeMo-RL: conversations → the two batches of its SDPO loop, the student's and the teacher's.

NeMo-RL is not imported: its ``BatchedDataDict`` takes what is here as it is.
"""

from chatspan.nemo_rl.sdpo import SDPOBatches, sdpo_batches

__all__ = ["SDPOBatches", "sdpo_batches"]
