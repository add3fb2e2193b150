"""The page as a file, without a browser: what is in it, and how the command writes it."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import re
import resource
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import pytest
from cases import TEMPLATES, assistant, system, user
from chatspan import ChatEncoder, Encoding
from chatspan.cli import main
from chatspan.page.build import SCRIPTS, page_of_views
from chatspan.page.data import page_data
from chatspan.view.as_json import view_as_json
from chatspan.view.blocks import message_blocks
from chatspan.view.view import view_of_encoding
from conversations import CONVERSATIONS
from zoo import EXAMPLES

TRACES = str(EXAMPLES / "sample_traces.jsonl")
TOKENIZER = str(EXAMPLES / "tokenizer")
HOSTILE = "</script><script>alert(1)</script><!--<script> & \u2028 {{style}}"

Run = Callable[..., tuple[int, str, str]]


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.inside = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        self.texts[self.inside] = self.texts.get(self.inside, "") + data


def digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def view_of(tokenizer: Any, messages: list[Any], **kwargs: Any) -> Any:
    return view_of_encoding(ChatEncoder(tokenizer).encode(messages, **kwargs), tokenizer, HOSTILE)


def test_nothing_is_loaded_and_the_policy_names_what_is_inside(small: Any) -> None:
    page = page_of_views([view_of(small, [user(HOSTILE), assistant("é 🚆")])], mask="turn")
    elements = Elements(page)
    names = [name for name, _ in elements.found]
    assert names.count("script") == 2
    assert names.count("style") == 1
    assert {"link", "img", "iframe", "object", "base"}.isdisjoint(names)
    attributes = {name for _, found in elements.found for name in found}
    assert {"src", "href", "srcset", "action", "style"}.isdisjoint(attributes)
    assert not [name for name in attributes if name.startswith("on")]
    (policy,) = [found["content"] for name, found in elements.found if name == "meta" and "http-equiv" in found]
    directives = dict(part.strip().split(" ", 1) for part in (policy or "").split(";"))
    assert directives == {
        "default-src": "'none'",
        "style-src": digest(elements.texts["style"]),
        "script-src": digest(elements.texts["script"]),
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
    }
    assert "url(" not in elements.texts["style"]
    assert "@import" not in elements.texts["style"]
    assert "http" not in elements.texts["script"]
    assert "innerHTML" not in elements.texts["script"]
    assert elements.texts["title"] == HOSTILE


def test_the_data_in_the_page_is_the_view(small: Any) -> None:
    view = view_of(small, [user(HOSTILE), assistant("Yes 🚆.")])
    text = Elements(page_of_views([view], mask="turn")).texts["data"]
    assert "<" not in text
    assert json.loads(text) == json.loads(json.dumps(page_data([view], mask="turn")))
    assert json.loads(text)["views"][0]["sides"][0]["texts"] == list(view.sides[0].texts)


def test_half_a_surrogate_pair_can_be_written(small: Any) -> None:
    view = view_of_encoding(ChatEncoder(small).encode([user("Hi")]), small, "row \ud83d")
    page = page_of_views([view], mask="turn").encode()
    assert json.loads(Elements(page.decode()).texts["data"])["views"][0]["title"] == "row \ud83d"


def test_the_files_of_the_page_come_with_the_package() -> None:
    folder = importlib.resources.files("chatspan.page")
    names = {entry.name for entry in folder.iterdir() if not entry.name.endswith(".py") and entry.is_file()}
    assert names == {"page.html", "page.css", *SCRIPTS}


def test_json_says_path_and_characters_of_each_token(small: Any) -> None:
    messages, kwargs = CONVERSATIONS["tools"]
    view = view_of(small, messages, **kwargs)
    (side,) = view_as_json(view)["sides"]
    paths = [None if number < 0 else side["paths"][number] for number in side["path"]]
    assert paths == list(view.sides[0].paths)
    parts = dict(side["parts"])
    text = view.sides[0].encoding.text
    for i, (start, end) in enumerate(side["offsets"]):
        assert parts.get(i, side["texts"][i]) == text[start:end]


def blocks_of(encoding: Encoding) -> list[tuple[int, str]]:
    offsets = encoding.offsets.tolist()
    return [
        (block.message, encoding.text[offsets[block.start][0] : offsets[block.end - 1][1]])
        for block in message_blocks(encoding)
    ]


def test_blocks_are_what_a_person_would_cut(small: Any) -> None:
    messages, kwargs = CONVERSATIONS["prompt after tool"]
    blocks = blocks_of(ChatEncoder(small).encode(messages, **kwargs))
    assert [message for message, _ in blocks] == [-1, 0, 1, 2, -1]
    assert blocks[0][1].startswith("<|im_start|>system\nYou may call these tools:\n{")
    assert [text for _, text in blocks[1:]] == [
        "<|im_start|>user\nHi<|im_end|>\n",
        '<|im_start|>assistant\n\n<tool_call>\n{"name": "rebook", "arguments": {"train": "IC 900"}}\n</tool_call>'
        "<|im_end|>\n",
        "<|im_start|>tool\ndone<|im_end|>\n",
        "<|im_start|>assistant\n",
    ]
    moved = [system("S1"), user("U1"), assistant("A1"), user("U2")]
    blocks = blocks_of(ChatEncoder(small, chat_template=TEMPLATES["empty header"]).encode(moved))
    assert blocks == [
        (1, "[I]U1[/I]"),
        (2, "A1<|im_end|>"),
        (3, "[I]"),
        (0, "S1"),
        (3, "\n\nU2[/I]"),
    ]


@pytest.mark.parametrize("template", [None, *TEMPLATES])
def test_every_token_is_in_one_block(small: Any, template: str | None) -> None:
    encoder = ChatEncoder(small, chat_template=TEMPLATES.get(template or ""))
    messages = [system("Be kind."), user("Hi"), assistant("A."), user("Go"), assistant("B.")]
    encoding = encoder.encode(messages[template == "alternating" :])
    blocks = message_blocks(encoding)
    assert [token for block in blocks for token in range(block.start, block.end)] == list(range(len(encoding)))
    for block in blocks:
        assert set(encoding.message_index[block.start : block.end].tolist()) <= {block.message, -1}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs ``chatspan inspect`` on the sample traces: its exit code, stdout and stderr."""

    def run_inspect(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["chatspan", "inspect", TRACES, "--tokenizer", TOKENIZER, *arguments])
        code = main()
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run_inspect


def test_the_command_writes_the_page_and_says_where(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    code, said, errors = run("--html", str(out))
    assert (code, errors) == (0, "")
    assert said.startswith(f"wrote {out}: ")
    data = json.loads(Elements(out.read_text(encoding="utf-8")).texts["data"])
    assert [side["name"] for side in data["views"][0]["sides"]] == ["student", "teacher"]
    assert (data["mask"], data["subtitle"]) == ("loss", TOKENIZER)
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


def test_a_file_is_written_over_only_by_force(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    out.write_text("mine")
    code, _, errors = run("--html", str(out))
    assert (code, errors) == (1, f"chatspan: {out} exists: use another file, or overwrite it with --force\n")
    assert out.read_text() == "mine"
    assert run("--html", str(out), "--force")[0] == 0
    assert out.read_text().startswith("<!doctype html>")


def test_places_that_cannot_be_written_to(run: Run, tmp_path: Path) -> None:
    for place, reason in [
        (tmp_path, f"{tmp_path} is a folder: name a file in it"),
        (tmp_path / "no" / "a.html", f"there is no folder {tmp_path / 'no'} to write a.html into: create it first"),
        (Path("/dev/null"), "/dev/null is not a regular file: use another path"),
        (Path("/proc/a.html"), "cannot write /proc/a.html: No such file or directory; use another path"),
    ]:
        code, said, errors = run("--html", str(place), "--force")
        assert (code, said, errors) == (1, "", f"chatspan: {reason}\n")
    code, _, errors = run("--html", "a.html", "--json")
    assert (code, errors) == (1, "chatspan: --html and --json exclude each other: use only one of them\n")


def test_where_there_is_no_space_nothing_is_left_and_nothing_lost(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    out.write_text("mine")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        code, _, errors = run("--html", str(out), "--force")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (code, errors) == (
        1,
        f"chatspan: no space left for {out}: File too large; free some space, or use another path\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]
    assert out.read_text() == "mine"


def test_where_ci_is_set_a_missing_browser_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, outcome in [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]:
        monkeypatch.setenv("CI", variable)
        with pytest.raises(outcome, match="no Chromium"):
            browser.missing("no Chromium")


def test_a_browser_is_looked_for_where_people_have_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CHATSPAN_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.executable(str(tmp_path / "none")) is None
    own = tmp_path / "own"
    own.touch()
    assert browser.executable(str(own)) == str(own)
    found = tmp_path / "chromium-browser"
    found.touch(mode=0o755)
    assert browser.executable(str(own)) == str(found)
    monkeypatch.setenv("CHATSPAN_CHROMIUM", "/opt/chrome")
    assert browser.executable(str(own)) == "/opt/chrome"


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """As WCAG 2 has it; 4.5 is wanted of text."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_texts_can_be_read_on_what_they_stand_on() -> None:
    style = importlib.resources.files("chatspan.page").joinpath("page.css").read_text(encoding="utf-8")
    themes = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", theme)) for theme in style.split("@media", 2)[:2]]
    texts = ("text", "scaffold", "reasoning", "tool-call", "end-of-turn", "tools", "documents")
    texts += ("other-field", "tool-result")
    pairs = [(text, ground) for text in texts for ground in ("panel", "mark-ground", "mark-edge", "hint-ground")]
    pairs += [("quiet", "ground"), ("quiet", "panel"), ("quiet", "hint-ground"), ("mark", "panel"), ("hint", "panel")]
    pairs += [("hint", "hint-ground"), ("hit-text", "hit")]
    for theme in themes:
        low = {pair: round(found, 2) for pair in pairs if (found := contrast(theme[pair[0]], theme[pair[1]])) < 4.5}
        assert low == {}
