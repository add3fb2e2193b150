"""The site of docs: what its hooks make of pages and docstrings, and that it loads nothing from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from check_site import loaded_from_elsewhere, not_found_by_search
from mkdocs_tables import on_page_markdown


def test_a_page_that_loads_something_from_elsewhere_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        '<link rel="stylesheet" href="https://elsewhere.example/a.css"><script src="//elsewhere.example/b.js"></script>'
        '<link rel="canonical" href="https://elsewhere.example/"><a href="https://elsewhere.example/">a link</a>'
        '<script src="assets/own.js"></script><img src="images/own.png">'
    )
    (tmp_path / "page.css").write_text(
        "@import 'https://elsewhere.example/c.css'; a { src: url(//elsewhere.example/d.woff) }"
    )
    assert loaded_from_elsewhere(tmp_path) == [
        "page.html: https://elsewhere.example/a.css",
        "page.html: //elsewhere.example/b.js",
        "page.css: https://elsewhere.example/c.css",
        "page.css: //elsewhere.example/d.woff",
    ]


def test_a_page_that_the_search_does_not_know_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    for name in ("index.html", "a.html", "b.html", "404.html"):
        (tmp_path / name).write_text("")
    entries = [
        {"location": "index.html", "title": "Start", "text": "words"},
        {"location": "a.html#part", "title": "A part", "text": "words"},
        {"location": "b.html", "title": "B", "text": " "},
    ]
    (tmp_path / "search" / "search_index.json").write_text(json.dumps({"docs": entries}))
    assert not_found_by_search(tmp_path) == ["b.html: the search does not know it"]


def test_a_pipe_in_the_code_of_a_table_is_a_pipe() -> None:
    page = "| `<\\|im_end\\|>` | a \\| b |\n\n`\\|`\n"
    assert on_page_markdown(page) == "| `<|im_end|>` | a \\| b |\n\n`\\|`\n"


def test_docstrings_become_what_the_reference_reads() -> None:
    code = '''
class Box:
    """Holds ``things``, see :meth:`put` and :class:`chatspan.Kind`.

    Returns (of a call):
        a list:
        of things.

    Raises:
        OptionError, TextError: both
            at once.
        RowError,
            SpanError: these
            too.
        LossError.

    Returns:
        int64: ``[B]``,
        and no more.

    Example:
        >>> 1 + 1
        2
    """
'''
    griffe = pytest.importorskip("griffe", reason="mkdocstrings is not installed: it needs Python 3.11")
    from griffe_docstrings import Docstrings

    loaded = griffe.visit("box", Path("box.py"), code, extensions=griffe.load_extensions(Docstrings))
    sections: Any = loaded["Box"].docstring.parse("google", warnings=False)
    text, raises, returns, examples = sections
    assert text.value == (
        'Holds `things`, see <autoref optional identifier="chatspan.Box.put">`Box.put`</autoref> and '
        '<autoref optional identifier="chatspan.Kind">`Kind`</autoref>.\n\n'
        "**A call returns:**\n\na list:\nof things."
    )
    assert returns.value == "**Returns:**\n\nint64: `[B]`,\nand no more."
    errors = [(str(entry.annotation), entry.description) for entry in raises.value]
    assert errors == [
        ("OptionError", "both\nat once."),
        ("TextError", "both\nat once."),
        ("RowError", "these\ntoo."),
        ("SpanError", "these\ntoo."),
        ("LossError", "as its name says."),
    ]
    assert examples.value[0][1] == ">>> 1 + 1\n2"
