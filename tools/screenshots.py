"""Makes the pictures of the docs: pages in a headless Chromium, what commands print on a terminal, and drawings.

``make screenshots`` makes all of ``SHOTS``; ``python tools/screenshots.py NAME …`` those of these names.
"""

from __future__ import annotations

import html
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

REPO = Path(__file__).parents[1]
OUT = REPO / "docs" / "images"
MOST_BYTES = 300_000
sys.path[:0] = [str(REPO / "tests" / "page"), str(REPO / "tests")]

# As most terminals are: light on dark.
_COLOURS = ("#16191c", "#ff6b68", "#6cc76c", "#e2b454", "#74a8f5", "#cf8ef0", "#56c2d6", "#d4d8dc")
THEME = TerminalTheme(
    (22, 25, 28),
    (212, 216, 220),
    [tuple(bytes.fromhex(colour[1:])) for colour in _COLOURS],
    [tuple(bytes.fromhex(colour[1:])) for colour in ("#8b949e", *_COLOURS[1:])],
)
TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #fff; }}
#shot {{ display: inline-block; background: #16191c; color: #d4d8dc; }}
p {{ margin: 0; padding: 12px 14px 0; font: 12.5px "DejaVu Sans Mono", monospace; }}
p::before {{ content: "$ "; color: #7d8791; }}
pre {{ margin: 0; padding: 12px 14px 14px; font: 12.5px/1.4 "DejaVu Sans Mono", monospace; }}
{stylesheet}
</style><div id="shot"><p>{command}</p><pre>{code}</pre></div>"""


@dataclass(frozen=True)
class Terminal:
    """What a command prints.

    Attributes:
        name: of the picture.
        arguments: of ``chatspan``, from the folder of the repository.
        columns: of the terminal.
        lines: which of those printed, from and to; what is left out between them is marked.
    """

    name: str
    arguments: Sequence[str]
    columns: int = 110
    lines: Sequence[tuple[int, int | None]] = ((0, None),)


@dataclass(frozen=True)
class Page:
    """An HTML page that a command writes.

    Attributes:
        name: of the picture.
        arguments: of ``chatspan``, from the folder of the repository; the page's file follows them.
        size: of the window.
        scheme: what the reader's system prefers.
        steps: what a person does before: ``("click", selector)``, ``("hover", selector)``, ``("press", key)``.
    """

    name: str
    arguments: Sequence[str]
    size: tuple[int, int] = (1280, 800)
    steps: Sequence[tuple[str, str]] = field(default=())
    scheme: Literal["light", "dark"] = "light"


@dataclass(frozen=True)
class Drawing:
    """What a module of this folder draws as an SVG, light and dark.

    Attributes:
        name: of the picture.
        module: whose ``svg()`` it is.
    """

    name: str
    module: str


TRACE = ("inspect", "examples/sample_traces.jsonl", "--tokenizer", "examples/tokenizer")

CHATS = ("audit", "examples/sample_chats.jsonl", "--tokenizer", "examples/tokenizer", "--max-length", "60")

_SCHEMES: Sequence[tuple[str, Literal["light", "dark"]]] = (("", "light"), ("-dark", "dark"))

SHOTS: Sequence[Terminal | Page | Drawing] = (
    Terminal("inspect-terminal", TRACE, columns=124, lines=((0, 3), (36, 59))),
    Page(
        "inspect-page",
        (*TRACE, "--html"),
        steps=(
            ("click", '.jump:has-text("3") >> nth=0'),
            ("hover", '.block[data-side="teacher"][data-message="5"] .in-loss >> nth=6'),
        ),
    ),
    *(
        Page(
            f"inspect-page-chat{name}",
            (*TRACE, "--row", "1", "--html"),
            size=(1000, 640),
            steps=(("press", "2"), ("hover", '.block[data-role="assistant"] .in-turn >> nth=3')),
            scheme=scheme,
        )
        for name, scheme in _SCHEMES
    ),
    Terminal("audit-terminal", (*CHATS, "--against", "prefix-delta"), columns=104),
    Page("audit-page", (*CHATS, "--html"), size=(1000, 1000)),
    Drawing("media-row", "media_picture"),
)


def main(names: Sequence[str]) -> None:
    unknown = set(names) - {shot.name for shot in SHOTS}
    if unknown:
        sys.exit(f"no such pictures: {', '.join(sorted(unknown))}; there are {', '.join(shot.name for shot in SHOTS)}")
    OUT.mkdir(parents=True, exist_ok=True)
    chosen = [shot for shot in SHOTS if not names or shot.name in names]
    for shot in chosen:
        if isinstance(shot, Drawing):
            path = OUT / f"{shot.name}.svg"
            path.write_text(importlib.import_module(shot.module).svg(), encoding="utf-8")
            say_size(path)
    shoot([shot for shot in chosen if not isinstance(shot, Drawing)])


def shoot(shots: Sequence[Terminal | Page]) -> None:
    if not shots:
        return
    from browser import chromium

    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        for shot in shots:
            path = OUT / f"{shot.name}.png"
            if isinstance(shot, Terminal):
                shoot_terminal(browser, shot, Path(folder), path)
            else:
                shoot_page(browser, shot, Path(folder), path)
            say_size(path)


def say_size(path: Path) -> None:
    size = path.stat().st_size
    print(f"{path.relative_to(REPO)}: {size / 1e3:,.0f} kB")
    if size > MOST_BYTES:
        sys.exit(f"{path.name} has {size:,} bytes, more than {MOST_BYTES:,}: make it smaller")


def shoot_terminal(browser: Any, shot: Terminal, folder: Path, path: Path) -> None:
    environment = {**os.environ, "COLUMNS": str(shot.columns), "FORCE_COLOR": "1", "COLORTERM": "truecolor"}
    printed = run(shot.arguments, {**environment, "TERM": "xterm-256color"})
    lines = "\n ⋯\n".join("\n".join(printed.splitlines()[slice(*part)]) for part in shot.lines)
    console = Console(record=True, width=shot.columns, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(lines), soft_wrap=True)
    command = html.escape("chatspan " + " ".join(shot.arguments))
    page = TERMINAL.replace("{command}", command.replace("{", "{{").replace("}", "}}"))
    file = folder / f"{shot.name}.html"
    file.write_text(console.export_html(code_format=page, theme=THEME), encoding="utf-8")
    window = browser.new_page(viewport={"width": 1600, "height": 900})
    window.goto(file.as_uri())
    window.locator("#shot").screenshot(path=path)
    window.close()


def shoot_page(browser: Any, shot: Page, folder: Path, path: Path) -> None:
    file = folder / f"{shot.name}.html"
    run([*shot.arguments, str(file)], dict(os.environ))
    width, height = shot.size
    window = browser.new_page(viewport={"width": width, "height": height}, color_scheme=shot.scheme)
    window.goto(file.as_uri())
    window.wait_for_load_state()
    for act, target in shot.steps:
        if act == "press":
            window.keyboard.press(target)
        else:
            getattr(window.locator(target), act)()
    window.wait_for_timeout(300)
    window.screenshot(path=path)
    window.close()


def run(arguments: Sequence[str], environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "chatspan", *arguments]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    # An audit that found problems ends with 1 and is a picture worth having; an error prints nothing to stdout.
    if not done.stdout:
        sys.exit(done.stderr)
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1:])
