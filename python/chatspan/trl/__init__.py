"""For TRL's trainers: batches for GKD and GOLD, the teacher's side for distillation, SDPO and SDFT, rollouts of many
turns for GRPO.

TRL is not imported: what is here is given to its trainers, which are written against TRL 1.16.
"""

from chatspan.trl.distillation import DistillationMixin
from chatspan.trl.distillation_inputs import distillation_inputs
from chatspan.trl.gkd import GKDCollator, response_rows
from chatspan.trl.rollout_func import rollout_columns, rollout_func
from chatspan.trl.sdft import DemonstrationContextBuilder
from chatspan.trl.sdpo import TeacherContextBuilder
from chatspan.trl.sdpo_data import sdpo_rows
from chatspan.trl.server_distillation import ServerDistillationMixin

__all__ = [
    "DemonstrationContextBuilder",
    "DistillationMixin",
    "GKDCollator",
    "ServerDistillationMixin",
    "TeacherContextBuilder",
    "distillation_inputs",
    "response_rows",
    "rollout_columns",
    "rollout_func",
    "sdpo_rows",
]
