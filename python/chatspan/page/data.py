"""Views → the data of the page, which its script reads."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from chatspan._core import __version__
from chatspan.view.as_json import view_as_json
from chatspan.view.blocks import block_rows, message_blocks, same_tokens
from chatspan.view.view import View

# What could end the element that the data stands in, and what UTF-8 cannot hold: half of a surrogate pair.
_ESCAPED = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def page_data(views: Sequence[View], *, mask: str, subtitle: str = "") -> dict[str, Any]:
    """What :func:`chatspan.view.as_json.view_as_json` says, with what the page shows together.

    Of each side ``blocks``, ``[message, start_token, end_token]``; of each view ``rows``, the numbers of the blocks
    beside each other, and ``same``, ``[student_token, teacher_token, count]``: runs of tokens that are the same.
    """
    return {
        "version": __version__,
        "subtitle": subtitle,
        "mask": mask,
        "views": [_view(view) for view in views],
    }


def _view(view: View) -> dict[str, Any]:
    data = view_as_json(view)
    for side, found in zip(data["sides"], view.sides, strict=True):
        side["blocks"] = [[block.message, block.start, block.end] for block in message_blocks(found.encoding)]
    data["rows"] = [list(row) for row in block_rows(view)]
    data["same"] = _as_runs(same_tokens(view).tolist())
    return data


def _as_runs(pairs: Sequence[Sequence[int]]) -> list[list[int]]:
    runs: list[list[int]] = []
    for student, teacher in pairs:
        if runs and (runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]) == (student, teacher):
            runs[-1][2] += 1
        else:
            runs.append([student, teacher, 1])
    return runs


def as_script_text(data: Any) -> str:
    r"""JSON that can stand inside of a ``script`` element, whatever its texts hold.

    Example:
        >>> as_script_text(["</script><!--"])
        '["\\u003c/script\\u003e\\u003c!--"]'
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
