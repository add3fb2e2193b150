"""Tokens as HTML: coloured by kind, those of the loss marked; for light and dark, without a script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from chatspan.kinds import Kind

# Of more tokens a notebook gets slow.
MOST = 2000
# By kind the colour of its text in light and in dark, as on the page of ``chatspan inspect``.
_COLOURS = {
    Kind.SCAFFOLD: ("#59616b", "#a0a9b3"),
    Kind.CONTENT: ("#1c2024", "#e4e7ea"),
    Kind.REASONING: ("#7336a8", "#cfa6f5"),
    Kind.TOOL_CALL: ("#075f81", "#6fcbee"),
    Kind.END_OF_TURN: ("#8a4600", "#efb06a"),
    Kind.GENERATION_PROMPT: ("#59616b", "#a0a9b3"),
    Kind.TOOLS: ("#2c4fae", "#9db6ff"),
    Kind.DOCUMENTS: ("#5a3fb3", "#bcaeff"),
    Kind.OTHER_FIELD: ("#9a2465", "#f49ac6"),
    Kind.TOOL_RESULT: ("#5c5a00", "#d3cf6e"),
    Kind.MEDIA: ("#006a60", "#5fd6c7"),
}
# How notebooks and documentation say in which theme they are, whatever the system prefers.
DARK_THEMES = (
    '[data-jp-theme-light="false"]',
    ".vscode-dark",
    '[data-md-color-scheme="slate"]',
    '[theme="dark"]',
)
LIGHT_THEMES = ('[data-jp-theme-light="true"]', ".vscode-light")
_LIGHT = "--ground: #fff; --line: #dfe1e4; --quiet: #59616b; --mark: #1a7f37; --mark-ground: #dcf3e1;"
_DARK = "--ground: #1a1e22; --line: #2e343a; --quiet: #a0a9b3; --mark: #4cc26a; --mark-ground: #173822;"


class TokenBox(NamedTuple):
    """A token as it is shown.

    Attributes:
        text: what it stands for.
        group: whose it is; -1: nobody's.
        said: of it where the pointer rests.
    """

    text: str
    kind: Kind
    group: int
    is_marked: bool
    said: str


def tokens_html(
    title: str, boxes: Iterable[TokenBox], groups: Sequence[str], *, marked: str, left: int = 0, behind: str = ""
) -> str:
    """An HTML fragment of tokens, group by group.

    Args:
        title: the line above them.
        groups: the name of each.
        marked: what the marked ones are called; ``""`` if none are marked.
        left: how many more tokens there are, which are not shown.
        behind: HTML that stands below them.
    """
    parts: list[str] = []
    kinds: set[Kind] = set()
    group = None
    for box in boxes:
        if box.group != group:
            group = box.group
            name = groups[group] if group >= 0 else "of no message"
            parts.append(f"{'</p>' if parts else ''}<p><b>{escape(name)}</b>")
        kinds.add(box.kind)
        mark = " m" if box.is_marked else ""
        parts.append(f'<span class="k{int(box.kind)}{mark}" title="{escape(box.said)}">{_shown(box.text)}</span>')
    legend = [f'<span class="k{int(kind)}">{_words(kind)}</span>' for kind in sorted(kinds)]
    if marked:
        legend.append(f'<span class="m">{escape(marked)}</span>')
    more = f"<p><i>and {left:,} more tokens</i></p>" if left else ""
    return (
        f'<div class="chatspan-tokens"><style>{_style()}</style><p><b>{escape(title)}</b> {" ".join(legend)}</p>'
        f"{''.join(parts)}{'</p>' if parts else ''}{more}{behind}</div>"
    )


def table_html(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table of texts."""
    head = "".join(f"<th>{escape(each)}</th>" for each in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shown(text: str) -> str:
    """A token's text: blanks stay, line feeds are seen, and controls are none."""
    safe = "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)
    return escape(safe).replace("\n", "⏎<br>") or "∅"


def _words(kind: Kind) -> str:
    return kind.name.lower().replace("_", " ")


def _style() -> str:
    """Colours by what the reader's system prefers, and by what notebooks say of themselves."""
    own = ".chatspan-tokens"
    light, dark = (
        base + " ".join(f"--k{int(kind)}: {pair[at]};" for kind, pair in _COLOURS.items())
        for at, base in enumerate((_LIGHT, _DARK))
    )
    kinds = " ".join(f"{own} .k{int(kind)} {{ color: var(--k{int(kind)}); }}" for kind in _COLOURS)
    darks, lights = (", ".join(f"{theme} {own}" for theme in themes) for themes in (DARK_THEMES, LIGHT_THEMES))
    return (
        f"{own} {{ {light} background: var(--ground); color: var(--k1); border: 1px solid var(--line); "
        "border-radius: 6px; padding: 8px 12px; font: 13px/1.7 ui-monospace, Menlo, Consolas, monospace; "
        "overflow-wrap: anywhere; } "
        f"@media (prefers-color-scheme: dark) {{ {own} {{ {dark} }} }} {darks} {{ {dark} }} "
        f"{lights} {{ {light} }} "
        f"{own} p {{ margin: 4px 0; }} {own} p > b {{ color: var(--quiet); font-family: system-ui, sans-serif; "
        f"margin-inline-end: 8px; }} {own} span {{ white-space: pre-wrap; box-shadow: inset 1px 0 var(--line); }} "
        f"{own} table {{ font: inherit; color: inherit; }} {own} td, {own} th {{ text-align: start; "
        "padding: 2px 12px 2px 0; } "
        f"{own} .m {{ background: var(--mark-ground); border-bottom: 2px solid var(--mark); }} {kinds}"
    )
