"""How a report looks: as a page, and as a cell of a notebook, in light and in dark."""

from __future__ import annotations

from chatspan.shown.html import DARK_THEMES, LIGHT_THEMES

_LIGHT = (
    "color-scheme: light; --fg: #1c2024; --dim: #5b6570; --line: #d8dce2; --bg: #fff; --bar: #3a78c9; "
    "--trained: #1f7a3d; --problem: #b83227; --note: #8a5f00; --mark: #fff1b8; --link: #2257b8;"
)
_DARK = (
    "color-scheme: dark; --fg: #e4e7ea; --dim: #98a2ad; --line: #363c44; --bg: #16191d; --bar: #6ea8f0; "
    "--trained: #5cc583; --problem: #ff7b6b; --note: #e6b34d; --mark: #5a4a00; --link: #8ab4ff;"
)
# The page and a notebook's cell: what is around a cell keeps its own style.
STYLE = f"""
.chatspan-report {{ {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ .chatspan-report {{ {_DARK} }} }}
{", ".join(f"{theme} .chatspan-report" for theme in DARK_THEMES)} {{ {_DARK} }}
{", ".join(f"{theme} .chatspan-report" for theme in LIGHT_THEMES)} {{ {_LIGHT} }}
.chatspan-report {{
  font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); max-width: 72rem; padding: 0 1rem;
  & h1 {{ font-size: 1.4rem; margin-bottom: .2rem; overflow-wrap: anywhere }}
  & h2 {{ font-size: 1.1rem; margin-top: 2.2rem }}
  & h3 {{ font-size: 1rem; margin-bottom: .3rem }}
  & table {{ border-collapse: collapse; width: 100%; font: inherit; color: inherit }}
  & .wide {{ overflow-x: auto }}
  & th, & td {{ text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top;
    background: var(--bg); white-space: normal }}
  & th {{ color: var(--dim); font-weight: 600 }}
  & .n {{ text-align: right; font-variant-numeric: tabular-nums }}
  & .problem {{ color: var(--problem); font-weight: 600 }}
  & .note, & .rewritten {{ color: var(--note) }}
  & .refused {{ color: var(--problem) }}
  & .stable {{ color: var(--trained) }}
  & .dim, & figcaption {{ color: var(--dim) }}
  & a {{ color: var(--link) }}
  & code {{ font: 13px/1.4 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; color: inherit;
    background: none; padding: 0 }}
  & mark {{ background: var(--mark); color: inherit; border-radius: 2px }}
  & figure {{ margin: 0 0 1.5rem }}
  & svg {{ width: 100%; height: auto }}
  & svg rect {{ fill: var(--bar) }}
  & svg .t rect {{ fill: var(--trained) }}
  & svg text {{ fill: var(--dim); font: 11px system-ui, sans-serif }}
  & .partial {{ border-left: 4px solid var(--problem); padding-left: .8rem; overflow-wrap: anywhere }}
}}
html:has(> .chatspan-report) {{ background: var(--bg) }}
body.chatspan-report {{ margin: 2rem auto; box-sizing: border-box }}
@media (max-width: 600px) {{
  /* A line of a table of texts becomes a small list: its numbers beside each other, its texts below them. */
  .chatspan-report .texts {{
    & thead {{ display: none }}
    & tr {{ display: block; border-bottom: 1px solid var(--line); padding: .5rem 0 }}
    & td {{ display: block; border: 0; padding: .1rem 0; text-align: left }}
    & td.n, & td:first-child {{ display: inline-block; margin-right: .9rem }}
    & td:empty {{ display: none }}
    & td.n::after {{ content: " " attr(data-of); color: var(--dim) }}
  }}
}}
""".strip()
