"""The search for differences between the machine and traced Jinja2 finds them, and makes them small."""

from __future__ import annotations

import dataclasses
from typing import Any

import compare_templates
import pytest
from chatspan.render.rendered import Render
from compare_templates import Search
from machine import native
from random_inputs import pool
from smallest import smallest

SEED = 7


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_templates, "TEMPLATES", 20)


def test_a_search_is_the_same_for_the_same_number() -> None:
    first, again, other = Search(), Search(), Search()
    for search, number in ((first, SEED), (again, SEED), (other, SEED + 10)):
        search.of_random_templates(number)
    assert first.counts == again.counts != other.counts
    assert first.sources == again.sources
    assert first.counts.total() == first.renders.total() > 100
    assert not first.differences


def test_what_was_rendered_before_is_not_rendered_again() -> None:
    search = Search()
    search.of_real_templates(SEED, {"one": "{{ messages | length }}", "the same": "{{ messages | length }}"})
    before = search.renders.total()
    assert before < 2 * compare_templates.RENDERS_OF_REAL
    search.of_real_templates(SEED, {"again": "{{ messages | length }}"})
    assert search.renders.total() == before
    assert len(search.sources) == 1


def test_a_difference_is_shown_in_its_smallest_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(source: str, what: Any) -> Any:
        found = native(source, what)
        if not isinstance(found, Render) or "<|im_start|>" not in found.text or len(what.messages) < 2:
            return found
        return dataclasses.replace(found, owners=[*found.owners, (1, 9)])

    monkeypatch.setattr(compare_templates, "native", wrong)
    # Hypothesis draws words that it finds in the modules that are there, so that how many differ depends on these.
    monkeypatch.setattr(compare_templates, "TEMPLATES", 80)
    search = Search()
    search.of_random_templates(SEED)
    assert search.counts["different"] > 1
    said = capsys.readouterr().out
    assert "template: '<|im_start|>'\n" in said
    assert "messages: [{}, {}]\nvalues: {}\n" in said
    assert "owners: Jinja2 [(0, -1)], the machine [(0, -1), (1, 9)]" in said


def test_an_error_of_the_machine_is_a_difference(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def panics(source: str, what: Any) -> Any:
        if any(message.get("content") is None for message in what.messages):
            raise KeyError("content")
        return native(source, what)

    monkeypatch.setattr(compare_templates, "native", panics)
    search = Search()
    search.of_real_templates(SEED, {"a template": "{{ messages[0].content }}"})
    assert search.differences == {("KeyError: ", "a template")}
    assert "template: 'a template'\nmessages: [{}]\nvalues: {}\nKeyError: 'content'" in capsys.readouterr().out


def test_inputs_are_different_and_can_be_rendered() -> None:
    inputs = pool(SEED, values=True, inputs=100)
    assert len({one.key for one in inputs}) == len(inputs) == 100
    assert all(one.messages and all(type(message) is dict for message in one.messages) for one in inputs)
    assert all(type(tool) is dict for one in inputs for tool in one.keywords["tools"] or ())
    assert [one.key for one in pool(SEED, values=True, inputs=100)] == [one.key for one in inputs]


@pytest.mark.parametrize(
    ("value", "shows", "wanted"),
    [
        (list(range(100)), lambda it: 50 in it and 7 in it, [7, 50]),
        ("a long text", lambda it: "g" in it, "g"),
        ({"a": [1, {"b": 12}], "c": 1}, lambda it: "a" in it, {"a": []}),
        ((["x"], [9]), lambda it: True, ([], [])),
        ((1, -8, True, 2.5, None), lambda it: it[1] < 0, (0, -1, False, 0.0, None)),
    ],
)
def test_smallest(value: Any, shows: Any, wanted: Any) -> None:
    assert smallest(value, shows, 1000) == wanted
    assert smallest(value, shows, 0) == value
