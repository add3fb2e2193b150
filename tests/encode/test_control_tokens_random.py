"""No control token has a character of the caller's data, whatever the data and whatever the template makes of them."""

from __future__ import annotations

from typing import Any

import control_tokens
from control_tokens import MESSAGES, PIECES, TOOLS, WRITTEN, NotComparable
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from random_templates import VALUES, templates

FAST = settings(max_examples=settings.default.max_examples // 2, suppress_health_check=list(HealthCheck))


def check(*conversation: Any) -> None:
    try:
        checked = control_tokens.check(*conversation)
    except NotComparable:
        assume(False)
        raise
    event(f"control tokens of data: {checked.changed}")
    event(f"the template's own text is the same: {checked.same}")


@FAST
@given(st.lists(WRITTEN, min_size=1, max_size=6).map("".join), MESSAGES, TOOLS, PIECES)
def test_templates_that_join_what_they_get(written: str, messages: Any, tools: Any, effort: str) -> None:
    check(f"{{% for m in messages %}}{written}{{% endfor %}}", messages, tools, {"effort": effort})


@FAST
@given(templates(), MESSAGES, VALUES)
def test_templates_of_any_kind(template: str, messages: Any, values: dict[str, Any]) -> None:
    check(template, messages, None, values)
