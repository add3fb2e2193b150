"""Random messages → transformers' render → parsed: the same message, or one that is said to be unsure."""

from __future__ import annotations

from typing import Any

import pytest
from call_templates import CALL_TEMPLATES
from chatspan import ChatEncoder
from parsing_table import OTHER, SHAPES, Sweep
from prompts import SOURCES
from random_messages import Template


@pytest.fixture(scope="module")
def count(request: Any) -> int:
    return 1000 if request.config.getoption("--all") else 6


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_real_templates(name: str, count: int) -> None:
    for shape, outcome, case in Sweep(name).run(count, 1):
        assert outcome != OTHER, (shape, case)


@pytest.mark.parametrize("name", CALL_TEMPLATES)
def test_forms_of_calls(name: str, count: int, small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=CALL_TEMPLATES[name])
    sweep = Sweep(name, encoder=encoder, templates=[Template(small, CALL_TEMPLATES[name])])
    seen = set()
    for shape, outcome, case in sweep.run(4 * count, 1):
        assert outcome != OTHER, (shape, case)
        seen.add(shape)
    assert seen == set(SHAPES)


@pytest.mark.parametrize("name", CALL_TEMPLATES)
def test_texts_that_spell_the_templates_marks(name: str, count: int, small: Any) -> None:
    """Those are read as what they spell; whatever is found, the sweep checks that it renders back if it is certain."""
    encoder = ChatEncoder(small, chat_template=CALL_TEMPLATES[name])
    sweep = Sweep(name, encoder=encoder, templates=[Template(small, CALL_TEMPLATES[name])], marked=True)
    assert len(list(sweep.run(4 * count, 2))) == 4 * count
