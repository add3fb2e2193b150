"""The native tokenizer against transformers': speed at first sight of a text, loading, and the whole way to tensors."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chatspan import ChatCollator, prefix_delta
from chatspan.distillation.examples.conversation import Conversation
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.tokenize.backends import DEFAULT_CACHE_BYTES, Backends
from chatspan.tokenize.hf import HFBackend
from inputs import Inputs
from loading import report_loading
from sides import PrefixDeltaView, generation_template
from tables import Report, median, ratio
from timing import alternate, growth, ratios
from transformers import AutoTokenizer

_TARGETS = {"qwen2_5": 80, "qwen3": 80, "llama3_2": 80, "deepseek_v3": 80, "mistral_nemo": 80, "gemma3": 12}
_MESSAGES = 80
# The tokenizer whose template is known with generation tags, so that both sides make a mask.
_TARGETED = "qwen2_5"
_GROWTH = (20, 80, 320, 1000, 2000, 5000, 10_000)
# From here on what a call costs at any length weighs little.
_LONG = 320
_ONE_PASS_TARGET, _PREFIX_TARGET = 60, 1000
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
        f"7b. Messages to a batch's tensors, {_MESSAGES} messages: ChatCollator against HF one-pass",
        ["tokenizer", "render ms", "chatspan ms", "repeated ms", "HF one-pass ms", "HF / chatspan"],
    )
    met = "not measured"
    for name, tokenizer in tokenizers.items():
        collate, repeating = _collator(tokenizer, 0), _collator(tokenizer, DEFAULT_CACHE_BYTES)
        template = generation_template(tokenizer)
        one_pass = partial(_one_pass, tokenizer, template)
        calls: list[Callable[[], object]] = [
            _next(partial(_tensors, collate), rows),
            _next(one_pass, rows),
            _next(collate.encoder._renderer.render, rows),
        ]
        calls[0]()
        times = alternate(calls, rounds)
        _tensors(repeating, rows[0])
        repeated = alternate([partial(_tensors, repeating, rows[0])], rounds)
        if name == _TARGETED:
            met = "met" if np.median(ratios(times, 1)) >= _ONE_PASS_TARGET else "NOT met"
        what = name if template else f"{name} (HF: no mask)"
        columns = [times[:, 2], times[:, 0], repeated[:, 0], times[:, 1]]
        table.add_row(what, *map(median, columns), ratio(ratios(times, 1)))
    report.show(
        table,
        "HF one-pass: apply_chat_template(tokenize=True, return_dict=True, return_assistant_tokens_mask=True) and",
        "tensors, with generation tags written into the template where they are known here.",
        f"Target on {_TARGETED}: {_ONE_PASS_TARGET}x: {met}.",
    )


def _collator(tokenizer: Any, cache_bytes: int) -> ChatCollator:
    collate = ChatCollator(tokenizer, backend="native")
    collate.encoder = EncodingPipeline(tokenizer, backend="native", cache_bytes=cache_bytes)
    return collate


def _tensors(collate: ChatCollator, messages: Any) -> dict[str, torch.Tensor]:
    batch: dict[str, torch.Tensor] = collate([{"messages": messages}])
    return batch


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
        f"7c. Messages to a batch's tensors, {_MESSAGES} messages, against transformers patched with fastokens",
        ["tokenizer", "chatspan ms", "patched, ids alone ms", "patched / chatspan"],
    )
    for name, tokenizer in tokenizers.items():
        with contextlib.redirect_stdout(io.StringIO()):
            fastokens.patch_transformers()
            patched = AutoTokenizer.from_pretrained(zoo / "tokenizers" / name)
            fastokens.unpatch_transformers()
        calls: list[Callable[[], object]] = [
            _next(partial(_tensors, _collator(tokenizer, 0)), rows),
            _next(partial(_one_pass, patched, None), rows),
        ]
        for call in calls:
            call()
        times = alternate(calls, rounds)
        table.add_row(name, median(times[:, 0]), median(times[:, 1]), ratio(ratios(times, 1)))
    report.show(table, "Patched: apply_chat_template without masks, and no offsets.")


def _report_growth(report: Report, inputs: Inputs, rounds: int) -> None:
    table = report.table(
        "7d. Messages to a batch's tensors against prefix delta, and how it grows",
        ["messages", "tokens", "chatspan ms", "ms per 1k tokens", "prefix delta ms", "prefix delta / chatspan"],
    )
    collate = _collator(inputs.tokenizer, 0)
    known = [message for row in inputs.joined_rows(_MESSAGES) for message in row]
    messages = _continued(known, _GROWTH[-1])
    sizes, medians, met = [], [], "not measured"
    for count in _GROWTH:
        row = messages[:count]
        sizes.append(_tensors(collate, row)["input_ids"].numel())
        calls: list[Callable[[], object]] = [partial(_tensors, collate, row)]
        if count <= _LONGEST_WITH_REFERENCE:
            conversation = Conversation("row", row, range(len(row)), {})
            calls.append(partial(prefix_delta.encode_chat, PrefixDeltaView(inputs.tokenizer), conversation))
        times = alternate(calls, rounds if len(calls) == 1 else min(rounds, 3))
        medians.append(float(np.median(times[:, 0])))
        reference = [median(times[:, 1]), ratio(ratios(times, 1))] if len(calls) > 1 else ["", ""]
        if count == _LONGEST_WITH_REFERENCE:
            met = "met" if np.median(ratios(times, 1)) >= _PREFIX_TARGET else "NOT met"
        each = f"{medians[-1] / sizes[-1] * 1e3:.3f}"
        table.add_row(str(count), str(sizes[-1]), median(times[:, 0]), each, *reference)
    long = [at for at, count in enumerate(_GROWTH) if count >= _LONG]
    exponents = [growth(sizes, medians), growth([sizes[at] for at in long], [medians[at] for at in long])]
    report.show(
        table,
        f"Growth of time with tokens (1 = linear): {exponents[0]:.2f} from {_GROWTH[0]} to {_GROWTH[-1]} messages, "
        f"{exponents[1]:.2f} from {_LONG} on.",
        f"After {len(known)} messages they come again, each with a number at its end.",
        f"Target at {_LONGEST_WITH_REFERENCE}: {_PREFIX_TARGET}x: {met}.",
    )


def _continued(messages: Sequence[Any], count: int) -> list[Any]:
    """So many messages of which no two are the same."""
    rounds = range(-(-count // len(messages)))
    return [
        {**message, "content": f"{message['content']}\n{again}"} if again else message
        for again in rounds
        for message in messages
    ][:count]
