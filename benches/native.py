"""The native tokenizer against transformers': speed at first sight of a text, loading, and the whole way to tensors."""

from __future__ import annotations

import contextlib
import io
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
from loading import report_loading
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
    rows = inputs.joined_rows(_MESSAGES)
    _report_tokens(report, tokenizers, rows, rounds)
    _report_tensors(report, tokenizers, rows, rounds)
    _report_patched(report, zoo, tokenizers, rows, rounds)
    _report_growth(report, inputs, rounds)
    report_loading(report, zoo, names, "\n".join(message["content"] for message in rows[0]))


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


def _report_patched(report: Report, zoo: Path, tokenizers: Any, rows: Any, rounds: int) -> None:
    try:
        import fastokens
    except ImportError:
        report.say("7c. Against transformers patched with fastokens: left out, fastokens is not installed\n")
        return
    table = report.table(
        f"7c. Messages to tensors, {_MESSAGES} messages: encode + mask, against transformers patched with fastokens",
        ["tokenizer", "chatspan ms", "patched, ids alone ms", "patched / chatspan"],
    )
    for name, tokenizer in tokenizers.items():
        with contextlib.redirect_stdout(io.StringIO()):
            fastokens.patch_transformers()
            patched = AutoTokenizer.from_pretrained(zoo / "tokenizers" / name)
            fastokens.unpatch_transformers()
        encoder = ChatEncoder(tokenizer, backend="native", cache_bytes=0)
        calls: list[Callable[[], object]] = [
            _next(partial(_tensors, encoder), rows),
            _next(partial(_one_pass, patched, None), rows),
        ]
        for call in calls:
            call()
        times = alternate(calls, rounds)
        table.add_row(name, median(times[:, 0]), median(times[:, 1]), ratio(ratios(times, 1)))
    report.show(table, "Patched: apply_chat_template without masks, and no offsets.")


def _report_growth(report: Report, inputs: Inputs, rounds: int) -> None:
    table = report.table(
        "7d. encode + mask against prefix delta, and how it grows",
        ["messages", "chatspan ms", "prefix delta ms", "prefix delta / chatspan"],
    )
    encoder = ChatEncoder(inputs.tokenizer, backend="native", cache_bytes=0)
    rows = inputs.joined_rows(max(_GROWTH)) or inputs.joined_rows(_MESSAGES)
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
