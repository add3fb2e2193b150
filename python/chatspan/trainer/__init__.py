"""A trainer for self-distillation on top of transformers' ``Trainer``, which nothing else of the package imports.

In: a model, a teacher, rows, a distillation collator. Out: a trained model.
Imports transformers, :mod:`chatspan.loss` and :mod:`chatspan.distillation`.
"""

from chatspan.trainer.teachers import EmaTeacher
from chatspan.trainer.trainer import SelfDistillationTrainer

__all__ = ["EmaTeacher", "SelfDistillationTrainer"]
