"""Teachers: the model itself, an average of its weights, or another model."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from chatspan.errors import OptionError, quoted

# The last is of a teacher elsewhere: of a batch its top-k log-probs and ids, ``[B, R, K]`` each.
TeacherOption = Literal["student", "ema"] | nn.Module | Callable[[Any], tuple[Any, Any]]
# Beside the weights of a checkpoint.
_FILE = "ema_teacher.safetensors"


class EmaTeacher:
    """A teacher whose weights follow the student's: after each step ``decay`` of its own and the rest of the student's.

    Args:
        model: the student, without wrappers; it is copied.
        decay: from 0, which is the student one step late, to 1, which never moves.

    Example:
        >>> import torch
        >>> from chatspan.trainer import EmaTeacher
        >>> student = torch.nn.Linear(1, 1, bias=False)
        >>> student.weight.data.fill_(0)
        tensor([[0.]])
        >>> teacher = EmaTeacher(student, decay=0.75)
        >>> student.weight.data.fill_(1)
        tensor([[1.]])
        >>> teacher.update(student)
        >>> teacher.model.weight.data
        tensor([[0.2500]])
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 <= decay <= 1 or math.isnan(decay):
            raise OptionError(f"ema_decay={quoted(decay)}: expected a number from 0 to 1, such as 0.999")
        if any(type(each).__name__ == "DTensor" for each in model.parameters()):
            raise OptionError(
                'teacher="ema" copies the model, whose weights are sharded here: use a frozen model, or "student"'
            )
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        # Small steps of half precision would be lost.
        self._sums = {
            name: each.detach().float() for name, each in self._own() if each.dtype in (torch.bfloat16, torch.float16)
        }

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Follows the student, after its step."""
        theirs = dict([*student.named_parameters(), *student.named_buffers()])
        for name, own in self._own():
            their = theirs[name].detach()
            if not own.dtype.is_floating_point:
                own.copy_(their)
                continue
            total = self._sums.get(name, own)
            total.lerp_(their.to(total.device, total.dtype), 1 - self.decay)
            if total is not own:
                own.copy_(total)

    def save(self, folder: str | Path) -> None:
        """Writes its weights beside a checkpoint's."""
        from safetensors.torch import save_file

        weights = {name: self._sums.get(name, each).contiguous().clone() for name, each in self._own()}
        save_file(weights, str(Path(folder) / _FILE))

    def load(self, folder: str | Path) -> None:
        """Reads what :meth:`save` wrote.

        Raises:
            OptionError: the checkpoint is of a run without such a teacher, or of another model.
        """
        from safetensors.torch import load_file

        path = Path(folder) / _FILE
        if not path.is_file():
            raise OptionError(
                f"{path} is missing: the checkpoint is of a run without an EMA teacher; resume it with that run's "
                "teacher"
            )
        read = load_file(str(path))
        own = dict(self._own())
        if read.keys() != own.keys() or any(read[name].shape != each.shape for name, each in own.items()):
            raise OptionError(f"{path} has the weights of another model: resume with the model of that run")
        with torch.no_grad():
            for name, each in own.items():
                each.copy_(read[name])
                if name in self._sums:
                    self._sums[name].copy_(read[name])

    def to(self, device: torch.device) -> EmaTeacher:
        """On that device."""
        self.model.to(device)
        self._sums = {name: each.to(device) for name, each in self._sums.items()}
        return self

    def _own(self) -> list[tuple[str, Tensor]]:
        return [*self.model.named_parameters(), *self.model.named_buffers()]


@contextmanager
def evaluated(model: nn.Module) -> Iterator[nn.Module]:
    """The model without dropout and without gradients; afterwards each of its modules is as it was."""
    trained = [each for each in model.modules() if each.training]
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        for each in trained:
            each.training = True


def require_teacher(teacher: Any) -> None:
    """What may teach.

    Raises:
        OptionError: it is none of them.
    """
    if isinstance(teacher, str) and teacher in ("student", "ema"):
        return
    if not callable(teacher) or isinstance(teacher, type):
        raise OptionError(
            f'teacher={quoted(teacher)}: pass "student", "ema", a model, or a function of a batch such as '
            "TeacherStore(…).top_k_of"
        )
