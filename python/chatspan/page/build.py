"""Views → one HTML page: its style, its script and its data inside, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from importlib import resources

from chatspan.page.data import as_script_text, page_data
from chatspan.view.view import View

# In this order one script: what a file needs stands in those before it.
SCRIPTS = (
    "text.js",
    "model.js",
    "blocks.js",
    "card.js",
    "controls.js",
    "search.js",
    "outline.js",
    "open.js",
    "main.js",
)


def page_of_views(views: Sequence[View], *, mask: str, subtitle: str = "") -> str:
    """The page, as the text of an HTML file in UTF-8.

    Texts of the conversation stand in it as JSON, of which the script makes text nodes; a policy in the page lets no
    other script run, and nothing be loaded.

    Args:
        views: of one conversation, or of a student and a teacher; see :func:`chatspan.view.rows.views_of_chat`.
        mask: which mask is marked when the page opens: a name of :attr:`chatspan.view.view.SideView.masks`, ``"none"``.
        subtitle: what stands beside the title, the tokenizer's name.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from chatspan import ChatEncoder
        >>> from chatspan.view.view import view_of_encoding
        >>> encoder = ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> encoding = encoder.encode([{"role": "user", "content": "Hi"}])
        >>> page = page_of_views([view_of_encoding(encoding, encoder.tokenizer, "one")], mask="turn")
        >>> page[:15], "<title>one</title>" in page
        ('<!doctype html>', True)
    """
    style = _read("page.css")
    script = "\n".join(['"use strict";', *(_read(name) for name in SCRIPTS)])
    title = views[0].title if views else "chatspan"
    parts = {
        "policy": policy(style, script, has_pictures=_has_pictures(views)),
        "title": html.escape(title.encode("utf-8", "replace").decode()),
        "style": style,
        "data": as_script_text(page_data(views, mask=mask, subtitle=subtitle)),
        "script": script,
    }
    # At once, so that nothing is looked for in what was put in.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("page.html"))


def policy(style: str, script: str, *, has_pictures: bool = False) -> str:
    """A Content-Security-Policy under which only this style and this script work, and no text becomes HTML.

    Args:
        has_pictures: whether pictures that stand in the page's own data are shown.
    """
    return "; ".join(
        [
            "default-src 'none'",
            *(["img-src data:"] if has_pictures else []),
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ]
    )


def _has_pictures(views: Sequence[View]) -> bool:
    return any(medium.picture is not None for view in views for side in view.sides for medium in side.media)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _read(name: str) -> str:
    return resources.files("chatspan.page").joinpath(name).read_text(encoding="utf-8")
