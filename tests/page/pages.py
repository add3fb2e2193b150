"""The page in a browser: opened without a network, watched for whatever must not happen, and read as a person does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chatspan.page.build import page_of_views
from chatspan.view.view import View

# The page's own helpers; each is of one question.
_CARD = """() => Object.fromEntries([
    ["text", document.querySelector("#card .card-text").textContent],
    ...[...document.querySelectorAll("#card dd")].map((fact) => [fact.dataset.fact, fact.textContent])])"""
_ALL_CARDS = f"""(name) => {{
    const read = {_CARD};
    return [...document.querySelectorAll(`.block[data-side="${{name}}"] .t`)].map((element) => {{
        element.dispatchEvent(new PointerEvent("pointerover", {{ bubbles: true }}));
        return read();
    }});
}}"""
_MARKED = """(name) => [...document.querySelectorAll(`.block[data-side="${name}"] .t`)]
    .filter((element) => getComputedStyle(element).boxShadow !== "none").map((element) => element.textContent)"""
_TIMES = """async () => {
    const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const timed = async (act) => {
        const began = performance.now();
        act();
        await frame();
        return performance.now() - began;
    };
    await frame();
    const target = document.querySelectorAll(".t")[200];
    target.scrollIntoView({ block: "center" });
    await frame();
    return {
        "first paint": performance.getEntriesByName("first-contentful-paint")[0].startTime,
        "first tokens": performance.getEntriesByName("chatspan-shown")[0].startTime,
        "all drawn": performance.getEntriesByName("chatspan-drawn")[0].startTime,
        toggle: await timed(() => document.querySelector("#masks input[value=content]").click()),
        hover: await timed(() => target.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }))),
    };
}"""


class OpenPage:
    """A page in a browser.

    Attributes:
        page: playwright's.
        problems: what must not happen: dialogs, errors, refusals of the policy, requests of anything but the file.
    """

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
        context.set_offline(True)
        self.page = context.new_page()
        self.problems: list[str] = []
        say = self.problems.append
        self.page.on("console", lambda message: say(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: say(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (say(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: request.url == path.as_uri() or say(f"request: {request.url}"))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-drawn]", timeout=60_000)

    def token(self, side: str, index: int) -> Any:
        return self.page.locator(f'.block[data-side="{side}"] .t[data-i="{index}"]')

    def card(self) -> Mapping[str, str]:
        """What is said of the token under the pointer."""
        return self.page.evaluate(_CARD)

    def cards(self, side: str) -> Sequence[Mapping[str, str]]:
        """What is said of each token when the pointer comes over it."""
        return self.page.evaluate(_ALL_CARDS, side)

    def marked(self, side: str) -> Sequence[str]:
        """The texts of the tokens that look marked."""
        return self.page.evaluate(_MARKED, side)

    def choose(self, mask: str) -> None:
        """Clicks on the name of a mask."""
        self.page.locator("#masks label", has=self.page.locator(f'input[value="{mask}"]')).click()

    def block(self, side: str, message: int) -> Any:
        return self.page.locator(f'.block[data-side="{side}"][data-message="{message}"]')

    def times(self) -> Mapping[str, float]:
        """Milliseconds from the opening on: to the first paint, until the first tokens are seen, until all is drawn.

        And of a toggle and a hover, to the second frame behind.
        """
        return self.page.evaluate(_TIMES)


def write_page(path: Path, views: Sequence[View], mask: str = "turn") -> Path:
    path.write_text(page_of_views(views, mask=mask, subtitle="a tokenizer"), encoding="utf-8")
    return path
