"""Media on the page: a picture, or a box, in place of their tokens; safe, and in both themes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cases import assistant, user
from chatspan import ChatEncoder
from chatspan.view.media import MediumView
from chatspan.view.view import View, view_of_encoding
from pages import OpenPage, write_page

Open = Callable[..., OpenPage]

# Of the label and what it stands on, as WCAG has it.
_CONTRAST = """() => {
    const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const light = (selector, name) => {
        const colour = getComputedStyle(document.querySelector(selector))[name];
        const [red, green, blue] = colour.match(/[0-9.]+/g).map((part) => linear(part / 255));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const both = [light(".medium-label", "color"), light(".block", "backgroundColor")];
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}"""
_HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Open]:
    opened: list[OpenPage] = []

    def open_view(view: View, **options: Any) -> OpenPage:
        opened.append(OpenPage(browser, write_page(tmp_path / "page.html", [view]), **options))
        return opened[-1]

    yield open_view
    for page in opened:
        page.page.context.close()
        # A picture in the page's own data is no request of anything.
        assert [problem for problem in page.problems if not problem.startswith("request: data:image/jpeg")] == []


@pytest.fixture
def view(small: Any) -> View:
    """A chat, ten of whose tokens stand for an image and four for audio."""
    image = pytest.importorskip("PIL.Image", reason="pictures need pillow: pip install chatspan[media]")
    file = io.BytesIO()
    image.new("RGB", (96, 64), (200, 30, 30)).save(file, "JPEG")
    picture = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    words = " ".join(["pad"] * 20)
    found = view_of_encoding(
        ChatEncoder(small).encode([user(f"{words} What is it?"), assistant("A cat.")]), small, "one"
    )
    media = [
        MediumView(0, 0, "image", 5, 15, "96 × 64", picture),
        MediumView(0, 1, "audio", 15, 19, _HOSTILE),
    ]
    return replace(found, sides=[replace(found.sides[0], media=media)])


def test_a_picture_stands_in_place_of_its_tokens(view: View, open_page: Open) -> None:
    page = open_page(view)
    [image, audio] = page.page.locator(".medium").all()
    assert image.inner_text().split("\n") == ["image", "10 tokens", "content[0]", "96 × 64"]
    assert audio.inner_text().split("\n") == ["audio", "4 tokens", "content[1]", _HOSTILE]
    assert audio.locator("img").count() == 0
    assert image.locator("img").evaluate("(img) => [img.naturalWidth, img.naturalHeight]") == [96, 64]
    shown = page.page.locator(".block[data-message='0'] .t").evaluate_all(
        "(all) => all.map((t) => Number(t.dataset.i))"
    )
    assert shown[:8] == [0, 1, 2, 3, 4, 5, 15, 19]
    assert shown[7:] == list(range(19, shown[-1] + 1))


def test_a_medium_has_one_card_and_arrows_pass_it_at_once(view: View, open_page: Open) -> None:
    page = open_page(view)
    page.token("conversation", 5).click()
    card = page.card()
    assert (card["text"], card["medium"], card["token"]) == ("[image, 10 tokens]", "tokens 5–14", "5")
    assert card["path"] == "content[0]"
    [[start, _], [_, end]] = view.sides[0].encoding.offsets[[5, 14]].tolist()
    assert card["characters"] == f"{start}–{end}"
    tokens = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft"):
        page.page.keyboard.press(key)
        tokens.append(page.card()["token"])
    assert tokens == ["15", "19", "15", "5", "4"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_said_of_a_medium_can_be_read_in_both_themes(view: View, open_page: Open, scheme: Any) -> None:
    page = open_page(view, color_scheme=scheme)
    assert page.page.evaluate(_CONTRAST) >= 4.5
