"""Teachers that are servers: a batch → the ids to score, and the servers' answers → the top-k that the loss takes.

``prompts.py`` (what to send) → ``responses.py`` (what vLLM, SGLang and TRL's client answer) → ``top_k.py``
(``[B, R, K]``, each row of the token that it is of). ``scorers.py`` asks a server, or a model that is loaded here.
Imports :mod:`chatspan.errors` and nothing else of the package.
"""

from chatspan.distillation.teachers.prompts import TeacherPrompt, teacher_prompts
from chatspan.distillation.teachers.top_k import TeacherTopK, top_k_of

__all__ = ["TeacherPrompt", "TeacherTopK", "teacher_prompts", "top_k_of"]
