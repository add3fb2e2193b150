"""README and docs: links that lead somewhere, names that exist, figures that a command prints and that are not old."""

from __future__ import annotations

from pathlib import Path

import check_docs
import pytest
from check_docs import PAGES, Page, broken_links, links_elsewhere, unknown_names, unprinted_figures
from zoo import REPO

RELEASES = ["0.3.0", "0.2.0", "0.1.0"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(REPO).as_posix())
def test_a_page_is_as_it_should_be(path: Path) -> None:
    assert [str(problem) for problem in check_docs.problems(Page(path))] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("See [it](docs/index.md).", []),
        ("See [it](docs/no-page.md).", ["README.md:1: there is no docs/no-page.md"]),
        ("\n[it](docs/index.md#no-part)", ["README.md:2: docs/index.md has no heading #no-part"]),
        (
            "# A `code`, and more\n[it](#a-code-and-more) [no](#a-code)",
            ["README.md:2: README.md has no heading #a-code"],
        ),
        ('<img src="docs/images/none.png">', ["README.md:1: there is no docs/images/none.png"]),
        ("```python\n[a](docs/no-page.md)\n```\n", []),
        ("[it](https://elsewhere.example/a#b)", []),
    ],
)
def test_links_that_lead_nowhere(text: str, told: list[str]) -> None:
    assert [str(problem) for problem in broken_links(Page(REPO / "README.md", text))] == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('`make test-python ARGS=--all`, `make wheel ARGS="--zig"`', []),
        ("`make tests`", ["make has no tests"]),
        ("`chatspan audit chats.jsonl --max-length 8`", []),
        ("`chatspan audit --max-tokens 8`", ["chatspan audit has no option --max-tokens"]),
        ("`chatspan explain`", ["chatspan has no command explain"]),
        ("`chatspan.ChatCollator(tokenizer)`, `chatspan.Encoding.mask`, `chatspan.loss.sdpo_loss`", []),
        ("`chatspan.Encoding.input_ids`", []),
        ("`chatspan.ChatColator(tokenizer)`", ["there is no chatspan.ChatColator"]),
        ("`chatspan.no_room.thing`", ["there is no chatspan.no_room.thing"]),
        ("`python tools/screenshots.py`, `python tools/none.py`", ["there is no tools/none.py"]),
    ],
)
def test_names_that_do_not_exist(text: str, told: list[str]) -> None:
    assert [problem.what for problem in unknown_names(Page(REPO / "README.md", text))] == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# A\nIt takes 3.5 ms.", ["no command prints the figure '3.5 ms'", "its figures name no release: write"]),
        ("# A\nFigures of `make bench` are of version 0.2.0.\n## B\nIt takes 3.5 ms.\n## C\n48x as fast", []),
        (
            "# A\nFigures are of version 0.3.0.\n## B\n12x by `make bench`\n## C\n48.2x",
            ["no command prints the figure '48.2x'"],
        ),
        (
            "# A\nFigures of `make bench` are of version 0.1.0: 3 ms.",
            ["its figures are of version 0.1.0, older than 0.2.0"],
        ),
        (
            "# A\n0 of 25,615 renders differ",
            ["no command prints the figure '0 of 25,615'", "its figures name no release"],
        ),
        ("# A\n1 of 3 messages, 30 seconds at most, x86, `max_dropped=2 %`, version 2x4", []),
        ('# A\n```python\nprint("3 ms")\n```\n', []),
        ('# A\n```text title="make bench"\n48x\n```\nFigures are of version 0.3.0.', []),
        (
            '# A\n```text title="a table"\n48x\n```\nFigures are of version 0.3.0.',
            ["no command prints the figure '48x'"],
        ),
    ],
)
def test_figures_name_their_command_and_their_release(text: str, told: list[str]) -> None:
    found = [problem.what for problem in unprinted_figures(Page(REPO / "README.md", text), RELEASES)]
    assert len(found) == len(told)
    assert all(what.startswith(start) for what, start in zip(found, told, strict=True))


def test_addresses_elsewhere_are_asked_for_only_when_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(REPO / "README.md", "[a](https://elsewhere.example/a) [b](docs/index.md)")
    assert list(links_elsewhere(page)) == [(2, "https://elsewhere.example/a")]

    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    assert check_docs.unreachable("https://elsewhere.example/a") == "https://elsewhere.example/a: no network"
