"""Prints, as Markdown, what other libraries and their methods would train on real conversations.

    python tools/against_table.py            # 50 rows of each data set
    python tools/against_table.py --rows 0   # all

All get the rows as chatspan reads them by default. It needs TRL, renderers and the zoo of tokenizers and traces
(``CHATSPAN_ZOO``, default ``../shared/zoo``).
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

import chatspan
from chatspan.audit.against.compare import OURS, THEIRS
from chatspan.audit.against.peer import PeerError
from chatspan.audit.against.prefix_delta import UNSTABLE
from chatspan.audit.against.result import NOTHING, OTHER, OUTCOME, REMARK, SAME, PeerReport
from chatspan.audit.against.run import PEERS, compare_with_peers
from chatspan.audit.settings import AuditSettings
from chatspan.rows.sources import open_source

REPO = Path(__file__).parents[1]
ZOO = Path(os.environ.get("CHATSPAN_ZOO", REPO.parent / "shared" / "zoo"))
DATA = {"text only": "tau_airline_sdpo.jsonl", "tool calls": "tau_airline_messages.jsonl"}
# Tokenizer, and the name of TRL's template in place of its own.
CASES = (
    ("qwen3", None),
    ("llama3_2", None),
    ("qwen2_5", None),
    ("qwen3", "qwen3_training_chat_template"),
    ("llama3_2", "llama3_training_chat_template"),
)
# As on the hub, by which renderers chooses.
NAMES = {
    "qwen3": "Qwen/Qwen3-8B",
    "llama3_2": "meta-llama/Llama-3.2-1B-Instruct",
    "qwen2_5": "Qwen/Qwen2.5-7B-Instruct",
}

_JINJA = re.compile(r"\w+\.jinja")
# Outcomes in a table's cell.
SHORT = {
    SAME: "the same tokens",
    OTHER: "other tokens",
    NOTHING: "**trains nothing**",
    UNSTABLE: "**unstable**",
    "the template raises, as chatspan does": "raises, as in chatspan",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50, help="of each data set; 0: all")
    options = parser.parse_args()
    if not ZOO.is_dir():
        print(f"there is no zoo at {ZOO}: set CHATSPAN_ZOO", file=sys.stderr)
        return 1
    print(f"| tokenizer, template | conversations | {' | '.join(PEERS)} |")
    print(f"|---|---|{'---|' * len(PEERS)}")
    examples: dict[str, str] = {}
    try:
        for tokenizer, template in CASES:
            for name, file in DATA.items():
                print_row(tokenizer, template, name, ZOO / "traces" / file, options.rows or None, examples)
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n```text")
    for title, quote in examples.items():
        print(f"{title}\n    {quote}")
    print("```")
    return 0


def print_row(
    tokenizer: str, template: str | None, name: str, path: Path, rows: int | None, examples: dict[str, str]
) -> None:
    """A line of the table: what each does with one template on one data set; the first example of each difference."""
    from transformers import AutoTokenizer

    source = None
    if template is not None:
        import trl.chat_template_utils as utils

        source = getattr(utils, template)
    loaded = AutoTokenizer.from_pretrained(ZOO / "tokenizers" / tokenizer)
    loaded.name_or_path = NAMES[tokenizer]
    encoder = chatspan.ChatEncoder(loaded, chat_template=source)
    reports = compare_with_peers(open_source(str(path)), encoder, AuditSettings(), list(PEERS), limit=rows)
    count = max(report.rows for report in reports)
    whose = "its own" if template is None else f"TRL's `{template.removesuffix('_chat_template')}`"
    print(f"| {tokenizer}, {whose} | {name}, {count} | {' | '.join(map(cell, reports))} |", flush=True)
    for report in reports:
        case = f"{tokenizer}, {whose.replace('`', '')}, {name}"
        for group in (*report.outcomes, *report.remarks, *report.differences):
            quote = group.places[0].quote.replace("\n", "⏎")
            what = group.what if group.category in (OUTCOME, REMARK) else f"{group.category}: {group.what}"
            if quote:
                place = f"row {group.places[0].row.rpartition(':')[2]}"
                if group.places[0].message_index is not None:
                    place += f", message {group.places[0].message_index}"
                examples.setdefault(f"{report.name}: {what}", f"{quote}    ({case}, {place})")


def cell(report: PeerReport) -> str:
    """What became of the rows."""
    said = [f"swaps the template for `{name}`" for text in report.statements for name in _JINJA.findall(text)]
    if report.refused:
        said.append("**refuses the template**")
    for group in (*report.outcomes, *report.remarks):
        what = SHORT.get(group.what, f"**{group.what}**")
        said.append(f"{what}: {group.rows}")
    for side, sign in ((THEIRS, "+"), (OURS, "−")):
        said += [f"{sign}{g.amount:,} {g.what}" for g in report.differences if g.category == side]
    return "; ".join(said)


if __name__ == "__main__":
    sys.exit(main())
