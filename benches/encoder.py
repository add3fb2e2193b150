"""The encoder against transformers: what knowing where every character came from costs."""

from __future__ import annotations

import json
import resource
import sys
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from chatspan import ChatEncoder, ChatspanError
from chatspan.render.renderer import ChatRenderer
from inputs import Inputs
from tables import Report, median, ratio
from timing import alternate, ratios

_SPECIAL_TOKENS: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_CHARACTERS = 1_000_000
_RENDER_TARGET = 0.3


def report_encoder(report: Report, inputs: Inputs, zoo: Path, rounds: int) -> None:
    """Prints renders and encodings against ``apply_chat_template``, and the memory of a long one."""
    conversations = _conversations(zoo)
    if not conversations:
        report.say("5. Rendering and encoding: left out, the zoo's conversations are not there\n")
        return
    _report_renders(report, inputs.tokenizer, zoo, conversations[0], rounds)
    _report_encodings(report, inputs.tokenizer, conversations, rounds)
    _report_memory(report, inputs.tokenizer)


def _conversations(zoo: Path) -> list[list[dict[str, Any]]]:
    path = zoo / "traces" / "tau_airline_messages.jsonl"
    if not path.exists():
        return []
    rows = [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").strip().split("\n")]
    return sorted(rows, key=len)[len(rows) // 2 :: 25]


def _report_renders(report: Report, tokenizer: Any, zoo: Path, messages: list[dict[str, Any]], rounds: int) -> None:
    """Each template of the zoo on a conversation of typical length, or on one without calls where it refuses those."""
    plain = [{"role": m["role"], "content": m["content"]} for m in messages if m["role"] != "tool" and m["content"]]
    alternating = [{"role": ("user", "assistant")[i % 2], "content": m["content"]} for i, m in enumerate(plain)]
    medians = []
    for path in sorted((zoo / "templates").glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        renderer = ChatRenderer(tokenizer, source)
        own = partial(tokenizer.apply_chat_template, tokenize=False, chat_template=source, **_SPECIAL_TOKENS)
        for conversation in (messages, plain, alternating):
            try:
                renderer.render(conversation, **_SPECIAL_TOKENS)
            except ChatspanError:
                continue
            mine = partial(renderer.render, conversation, **_SPECIAL_TOKENS)
            times = alternate([partial(own, conversation), mine], rounds)
            medians.append((float(np.median(ratios(times, 1))), path.stem))
            break
    medians.sort()
    table = report.table(
        "5a. Rendering with provenance: chatspan's time as a multiple of transformers'",
        ["templates", "median", "least", "most"],
    )
    (least, fastest), (most, slowest) = medians[0], medians[-1]
    middle = float(np.median([each for each, _ in medians]))
    table.add_row(str(len(medians)), f"{middle:.2f}x", f"{least:.2f}x {fastest}", f"{most:.2f}x {slowest}")
    verdict = "met" if middle <= _RENDER_TARGET else "NOT met"
    report.show(
        table,
        f"One conversation of {len(messages)} messages, read for each render. "
        f"Target: a median of at most {_RENDER_TARGET}x: {verdict}.",
    )


def _report_encodings(report: Report, tokenizer: Any, conversations: list[list[dict[str, Any]]], rounds: int) -> None:
    encoder, by_hf = ChatEncoder(tokenizer, cache_bytes=0), ChatEncoder(tokenizer, backend="hf")
    encoder.warm_up()
    table = report.table(
        "5b. encode against apply_chat_template(return_dict=True)",
        ["messages", "tokens", "HF ms", "chatspan ms", "chatspan / HF", 'with backend="hf" ms', "chatspan / HF"],
    )
    found = []
    for messages in conversations:
        encoding = encoder.encode(messages)
        own = partial(tokenizer.apply_chat_template, messages, return_dict=True)
        if own()["input_ids"] != encoding.input_ids.tolist():
            raise SystemExit("the ids differ")
        times = alternate([own, partial(encoder.encode, messages), partial(by_hf.encode, messages)], rounds)
        found.append([float(np.median(ratios(times, column))) for column in (1, 2)])
        row = [median(times[:, 0]), median(times[:, 1]), ratio(ratios(times, 1))]
        table.add_row(str(len(messages)), str(len(encoding)), *row, median(times[:, 2]), ratio(ratios(times, 2)))
    native, hf = np.median(np.array(found), axis=0)
    report.show(
        table,
        f"The ids are equal. Target: at most 1.15x; the medians are {native:.2f}x "
        f"({'met' if native <= 1.15 else 'NOT met'}), and with transformers' tokenizer {hf:.2f}x "
        f"({'met' if hf <= 1.15 else 'NOT met'}).",
    )


def _report_memory(report: Report, tokenizer: Any) -> None:
    """Of one encode of a conversation of a million characters: what Python allocates, and what the process grows."""
    line = "The train leaves at nine from platform four, they say. "
    content = line * (_CHARACTERS // 10 // len(line))
    messages = [{"role": ("user", "assistant")[i % 2], "content": content} for i in range(10)]
    encoder = ChatEncoder(tokenizer)
    encoder.warm_up()
    encoder.encode(messages[:2])
    before = _process_size()
    tracemalloc.start()
    encoding = encoder.encode(messages)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    grown = _process_size() - before
    table = report.table(
        f"5c. Memory of one encode of {len(encoding.text):,} characters",
        ["tokens", "kept MB", "peak MB", "process grew MB"],
    )
    table.add_row(f"{len(encoding):,}", *(f"{size / 1e6:.1f}" for size in (kept, peak, grown)))
    report.show(table, "Kept and peak as Python's allocator sees them; the process with the tokenizer's own memory.")


def _process_size() -> int:
    """What the process has of memory now, or the most it had where that cannot be told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
