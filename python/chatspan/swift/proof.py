"""Whether ms-swift's own template makes the same tokens of OPSD rows. Imports ms-swift (4.6).

In: a collator, rows and ms-swift's ``Template``. Out: the rows, or an error that says where they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from chatspan.errors import AlignmentError, OptionError
from chatspan.swift.opsd import OpsdRow, examined_rows

_REMEDY = 'pip install "ms-swift>=4.6,<5"'

try:
    from swift.rl_core.data import GKDSample
    from swift.rlhf_trainers.gkd_helpers import encode_gkd_samples
except ImportError as error:
    if error.name == "swift":
        raise
    # Another version, or OpenStack's client of the same name.
    raise OptionError(f"the module swift that is installed is not that of ms-swift 4.6 ({error}): {_REMEDY}") from error

if TYPE_CHECKING:
    from chatspan.distillation.collator import SelfDistillationCollator

_IGNORED = -100


def proven_rows(collator: SelfDistillationCollator, rows: Sequence[Any], template: Any) -> list[dict[str, Any]]:
    """The rows of :func:`chatspan.swift.opsd_rows`, of which ms-swift makes the tokens and masks that they stand for.

    Each is encoded by ms-swift as its trainer does it, for the student and for the teacher.

    Args:
        collator, rows: see :func:`chatspan.swift.opsd_rows`.
        template: ms-swift's, as ``get_template`` gives it, in training mode: ``template.set_mode("train")``.

    Raises:
        AlignmentError: ms-swift's template writes something else than the chat template, such as a system message of
            its own; with ``trace_id``, the side and the place.
        OptionError: a template in another mode, or an ms-swift whose samples do not have these columns.
        ChatspanError: as :func:`chatspan.swift.opsd_rows`.
    """
    if not getattr(template, "is_training", False):
        raise OptionError(f'template={type(template).__name__} is not in training mode: template.set_mode("train")')
    fields = getattr(GKDSample, "__dataclass_fields__", {})
    lacking = {"teacher_prompt", "response_token_ids", "response_loss_mask", "add_eos"} - set(fields)
    if lacking:
        raise OptionError(f"GKDSample of ms-swift {version('ms-swift')} has no {', '.join(sorted(lacking))}: {_REMEDY}")
    found = examined_rows(collator, rows)
    for one in found:
        students, teachers, _ = encode_gkd_samples([GKDSample.from_row(one.row)], template)
        _require_same("student", students[0], one.student_ids, one.student_mask, one, template)
        _require_same("teacher", teachers[0], one.teacher_ids, one.teacher_mask, one, template)
    return [one.row for one in found]


def _require_same(side: str, encoded: Any, ids: Any, mask: Any, one: OpsdRow, template: Any) -> None:
    theirs = list(encoded["input_ids"])
    if theirs != ids.tolist():
        same = next((i for i, pair in enumerate(zip(theirs, ids.tolist(), strict=False)) if pair[0] != pair[1]), None)
        at = min(len(theirs), len(ids)) if same is None else same
        decode = template.tokenizer.decode
        raise AlignmentError(
            f"the {side}'s tokens differ from token {at} on: ms-swift writes {decode(theirs[at : at + 8])!r}, the chat "
            f"template {decode(ids[at : at + 8])!r}; use a template_type, default_system and agent_template that write "
            "the same",
            trace_id=one.trace_id,
        )
    in_loss = np.array(encoded["labels"]) != _IGNORED
    if not np.array_equal(in_loss, mask):
        at = int(np.argmax(in_loss != mask))
        raise AlignmentError(
            f"the {side}'s loss differs at token {at}, {template.tokenizer.decode(theirs[at : at + 1])!r}: ms-swift "
            f"{'trains it' if in_loss[at] else 'does not train it'}, chatspan {'does not' if in_loss[at] else 'does'}",
            trace_id=one.trace_id,
        )
