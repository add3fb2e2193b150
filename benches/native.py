"""The native tokenizer against transformers': speed at first sight of a text, loading, and the whole way to tensors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from chatspan import ChatEncoder, prefix_delta
from chatspan.backends import Backends
from chatspan.hf_backend import HFBackend
from chatspan.traces import Conversation
from inputs import Inputs
from sides import PrefixDeltaView, generation_template
from tables import Report, median, ratio
from timing import alternate, growth, ratios
from transformers import AutoTokenizer

_TARGETS = {"qwen2_5": 80, "qwen3": 80, "llama3_2": 80, "deepseek_v3": 80, "mistral_nemo": 80, "gemma3": 12}
_MESSAGES = 80
_GROWTH = (5, 20, 80, 320, 640)
_LONGEST_WITH_REFERENCE = 80


def report_native(report: Report, inputs: Inputs, zoo: Path, rounds: int) -> None:
    """Prints what tokenizing in Rust gains, for each tokenizer of the zoo that has a target."""
    names = [name for name in _TARGETS if (zoo / "tokenizers" / name).is_dir()]
    if not names:
        report.say("7. Tokenizing natively: left out, the zoo's tokenizers are not there\n")
        return
    tokenizers = {name: AutoTokenizer.from_pretrained(zoo / "tokenizers" / name) for name in names}
    rows = joined_rows(inputs, _MESSAGES)
    _report_tokens(report, tokenizers, rows, rounds)
    _report_tensors(report, tokenizers, rows, rounds)
    _report_growth(report, inputs, rounds)
    _report_loading(report, zoo, names, "\n".join(message["content"] for message in rows[0]))


def joined_rows(inputs: Inputs, messages: int) -> list[list[dict[str, Any]]]:
    """Conversations of so many messages, each of which is two real ones, joined; no text is in two of them."""
    exchanges = inputs.exchanges
    rows = []
    for start in range(0, len(exchanges) - messages + 1, messages):
        row = []
        for first, second in zip(exchanges[start : start + messages : 2], exchanges[start + 1 :: 2], strict=False):
            row += [
                {"role": role, "content": f"{first[at]['content']}\n\n{second[at]['content']}"}
                for at, role in enumerate(("user", "assistant"))
            ]
        rows.append(row[:messages])
    return rows


def _next(call: Callable[[Any], object], rows: Sequence[Any]) -> Callable[[], object]:
    """A call that takes another row each time, so that each text is seen for the first time in a long while."""
    turn: Iterator[Any] = cycle(rows)
    return lambda: call(next(turn))


def _report_tokens(report: Report, tokenizers: Any, rows: Any, rounds: int) -> None:
    table = report.table(
        f"7a. Ids and offsets of a render of {_MESSAGES} messages at first sight",
        ["tokenizer", "tokens", "native ms", "HF ms", "HF / native", "target", "from memory ms"],
    )
    for name, tokenizer in tokenizers.items():
        texts = ["".join(f"{m['role']}\n{m['content']}\n" for m in row) for row in rows]
        hf, native = HFBackend(tokenizer), Backends(tokenizer, "native", 0)
        remembering = Backends(tokenizer, "native", 2**26)
        # With a control token in front of each message, as templates write them.
        token = tokenizer.all_special_tokens[0]
        texts = [text.replace("assistant\n", f"{token}assistant\n") for text in texts]
        for mine, theirs in zip(native.encode_batch(texts), hf.encode_batch(texts), strict=True):
            if mine.backend != "native" or mine.input_ids.tolist() != theirs.input_ids.tolist():
                raise SystemExit(f"{name}: the native tokenizer's ids differ")
        one = texts[0]
        remembering.encode_batch([one])
        calls: list[Callable[[], object]] = [
            _next(partial(_encode, native), texts),
            _next(partial(_encode, hf), texts),
        ]
        calls[0]()
        times = alternate(calls, rounds)
        # By itself: a thread that goes from one native tokenizer to another fills its tables of words anew.
        remembering.encode_batch([one])
        remembered = alternate([partial(_encode, remembering, one)], rounds)
        factors = ratios(times, 1)
        tokens = sum(len(each.input_ids) for each in native.encode_batch(texts)) // len(texts)
        met = "met" if sorted(factors)[len(factors) // 2] >= _TARGETS[name] else "NOT met"
        table.add_row(
            name,
            str(tokens),
            median(times[:, 0]),
            median(times[:, 1]),
            ratio(factors),
            f"{_TARGETS[name]}x {met}",
            median(remembered[:, 0]),
        )
    report.show(table, f"{len(rows)} texts in turn, without a cache of texts; ids and offsets as numpy and a table.")


def _encode(backend: Any, text: str) -> object:
    return backend.encode_batch([text])


def _report_tensors(report: Report, tokenizers: Any, rows: Any, rounds: int) -> None:
    table = report.table(
        f"7b. Messages to tensors, {_MESSAGES} messages: encode + mask, against HF one-pass",
        ["tokenizer", "render ms", "chatspan ms", "repeated ms", "HF one-pass ms", "HF / chatspan"],
    )
    for name, tokenizer in tokenizers.items():
        encoder = ChatEncoder(tokenizer, backend="native", cache_bytes=0)
        repeating = ChatEncoder(tokenizer, backend="native")
        template = generation_template(tokenizer)
        one_pass = partial(_one_pass, tokenizer, template)
        calls: list[Callable[[], object]] = [
            _next(partial(_tensors, encoder), rows),
            _next(one_pass, rows),
            _next(encoder._drafter.renderer.render, rows),
        ]
        calls[0]()
        times = alternate(calls, rounds)
        _tensors(repeating, rows[0])
        repeated = alternate([partial(_tensors, repeating, rows[0])], rounds)
        what = name if template else f"{name} (HF: no mask)"
        columns = [times[:, 2], times[:, 0], repeated[:, 0], times[:, 1]]
        table.add_row(what, *map(median, columns), ratio(ratios(times, 1)))
    report.show(
        table,
        "HF one-pass: apply_chat_template(tokenize=True, return_dict=True, return_assistant_tokens_mask=True) and",
        "tensors, with generation tags written into the template where they are known here. Target on qwen2_5: 12x.",
    )


def _tensors(encoder: ChatEncoder, messages: Any) -> dict[str, torch.Tensor]:
    encoding = encoder.encode(messages)
    labels = torch.from_numpy(encoding.labels(what="content"))
    return {"input_ids": torch.from_numpy(encoding.input_ids), "labels": labels}


def _one_pass(tokenizer: Any, template: str | None, messages: Any) -> dict[str, torch.Tensor]:
    encoded = tokenizer.apply_chat_template(
        messages,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=template is not None,
        chat_template=template,
    )
    return {key: torch.tensor([values]) for key, values in encoded.items()}


def _report_growth(report: Report, inputs: Inputs, rounds: int) -> None:
    table = report.table(
        "7c. encode + mask against prefix delta, and how it grows",
        ["messages", "chatspan ms", "prefix delta ms", "prefix delta / chatspan"],
    )
    encoder = ChatEncoder(inputs.tokenizer, backend="native", cache_bytes=0)
    rows = joined_rows(inputs, max(_GROWTH)) or joined_rows(inputs, _MESSAGES)
    medians = []
    for messages in _GROWTH:
        row = rows[0][: messages - messages % 2] if messages <= len(rows[0]) else (rows[0] * messages)[:messages]
        calls: list[Callable[[], object]] = [partial(_tensors, encoder, row)]
        if messages <= _LONGEST_WITH_REFERENCE:
            conversation = Conversation("row", row, range(len(row)), {})
            calls.append(partial(prefix_delta.encode_chat, PrefixDeltaView(inputs.tokenizer), conversation))
        times = alternate(calls, rounds if len(calls) == 1 else min(rounds, 3))
        medians.append(float(sorted(times[:, 0])[len(times) // 2]))
        reference = [median(times[:, 1]), ratio(ratios(times, 1))] if len(calls) > 1 else ["", ""]
        table.add_row(str(len(row)), median(times[:, 0]), *reference)
    exponent = growth(_GROWTH, medians)
    report.show(table, f"Growth from {_GROWTH[0]} to {_GROWTH[-1]} messages: {exponent:.2f}. Target at 80: 500x.")


_LOADING = """
import json, resource, sys, time
from pathlib import Path
from transformers import AutoTokenizer
import chatspan.encoder
def grown():
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
before, start = grown(), time.perf_counter()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
hf_ms, hf_mb = (time.perf_counter() - start) * 1e3, grown() - before
before, start = grown(), time.perf_counter()
backends = chatspan.encoder.Backends(tokenizer, "native", 0)
backends.wait()
ms, mb = (time.perf_counter() - start) * 1e3, grown() - before
start = time.perf_counter()
backends.encode_batch([sys.argv[2]])
print(json.dumps([hf_ms, hf_mb, ms, mb, (time.perf_counter() - start) * 1e3]))
"""


def _report_loading(report: Report, zoo: Path, names: Sequence[str], text: str) -> None:
    table = report.table(
        "7d. Loading, each in a process of its own",
        ["tokenizer", "HF ms", "HF MB", "native ms more", "native MB more", "first text ms"],
    )
    for name in names:
        command = [sys.executable, "-c", _LOADING, str(zoo / "tokenizers" / name), text]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split("\n")[-1]
        table.add_row(name, *(f"{value:.0f}" for value in json.loads(found)[:4]), f"{json.loads(found)[4]:.1f}")
    report.show(
        table, "Native: the JSON of the live tokenizer and the test at load included; it loads beside the first rows."
    )
