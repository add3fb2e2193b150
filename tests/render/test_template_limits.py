"""What a chat template may take in the core is said by its user, and a template that takes more by its error."""

from __future__ import annotations

import pickle
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import chatspan
import pytest
from cases import CHATML, assistant, user
from chatspan import ChatEncoder, OptionError, TemplateError
from chatspan.render.renderer import ChatRenderer

TALK = [user("Go."), assistant("Gone.")]
CALLS_ITSELF = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(300) }}"


@pytest.mark.parametrize(
    ("template", "limits", "reached"),
    [
        ("{% for a in range(9999) %}{% endfor %}", {"steps": 5000}, "steps=5000"),
        ("{% for a in range(99) %}{% set x = 'a' * 99999 %}{% endfor %}", {"bytes": 100_000}, "bytes=100000"),
        (CALLS_ITSELF, {}, "depth=400"),
        ("{{ [[[[1]]]] | length }}", {"depth": 3}, "depth=3"),
    ],
)
def test_limits_can_be_set(small: Any, template: str, limits: dict[str, int], reached: str) -> None:
    name = reached.partition("=")[0]
    said = (
        f"the chat template was stopped at its limit {reached}: it may never end; if it needs more, "
        f"raise it with ChatEncoder(template_limits=chatspan.TemplateLimits({name}=…))"
    )
    set_limits = chatspan.TemplateLimits(**limits)
    with pytest.raises(TemplateError, match=f"^{re.escape(said)}$"):
        ChatEncoder(small, chat_template=template + CHATML, template_limits=set_limits).encode(TALK)
    raised = chatspan.TemplateLimits(**{name: 600 if name == "depth" else 2**30})
    if template != CALLS_ITSELF:
        ChatEncoder(small, chat_template=template + CHATML, template_limits=raised).encode(TALK)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"steps": 0}, "steps=0: expected a whole number from 1 to 9223372036854775807"),
        ({"depth": 601}, "depth=601: expected a whole number from 1 to 600"),
        ({"bytes": 1e9}, "bytes=1000000000.0: expected a whole number from 1 to 2147483647"),
    ],
)
def test_limits_that_cannot_be(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(said)}$"):
        chatspan.TemplateLimits(**limits)


def test_limits_of_another_type(small: Any) -> None:
    with pytest.raises(OptionError, match=re.escape("pass a chatspan.TemplateLimits(steps=…, depth=…, bytes=…)")):
        ChatEncoder(small, template_limits={"steps": 5})  # type: ignore[arg-type]


def test_the_most_levels_fit_into_the_stack_of_a_thread(small: Any) -> None:
    """Two MiB, of which other systems give a thread, or the main one, no more."""
    levels = "{% macro f(n) %}{% set x %}{{ ([f(n + 1)] | map('string') | list)[0] ~ 'a' }}{% endset %}{% endmacro %}"
    renderer = ChatRenderer(small, levels + "{{ f(1) }}", chatspan.TemplateLimits(depth=600))
    before = threading.stack_size(2 << 20)
    try:
        with ThreadPoolExecutor(1) as pool, pytest.raises(TemplateError, match="its limit depth=600"):
            pool.submit(renderer.render, TALK).result()
    finally:
        threading.stack_size(before)


def test_lists_nested_more_deeply_than_python_compares_are_left_to_it(small: Any) -> None:
    nest = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(LEVELS) %}{% set ns.x = [ns.x] %}"
    nest += "{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}"
    for levels, left in ((200, {}), (320, {"comparing values nested so deeply": 1})):
        renderer = ChatRenderer(small, nest.replace("LEVELS", str(levels)))
        assert renderer.render(TALK).text == "True"
        assert renderer.left == left


def test_a_function_for_map_keeps_them(small: Any) -> None:
    limits = chatspan.TemplateLimits(steps=5)
    again = pickle.loads(pickle.dumps(ChatEncoder(small, template_limits=limits).as_map_fn()))
    with pytest.raises(TemplateError, match="its limit steps=5:"):
        again({"messages": [TALK]})
