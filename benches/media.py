"""The encoder with a processor against the processor alone: what knowing whose each token is costs beside an image."""

from __future__ import annotations

import copy
import functools
import importlib
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from chatspan import ChatEncoder
from inputs import REPOSITORY
from tables import Report, median, ratio
from timing import Milliseconds, alternate, ratios

# How a processor is called in the tables, its class and its type of model in the tests' list.
_PROCESSORS = (
    ("Qwen2.5-VL", "Qwen2_5_VLProcessor"),
    ("Gemma-3", "Gemma3Processor"),
    ("Idefics3", "Idefics3Processor"),
)
_MEGAPIXEL, _SMALL = (1024, 1024), (224, 224)
_TARGET = 0.02
# Of a ratio that near to 1 a few pairs tell nothing.
_FEWEST_ROUNDS = 25


class _Case(NamedTuple):
    """A chat with an image of ``size``, width and height in pixels."""

    name: str
    processor: Any
    size: tuple[int, int]
    messages: list[dict[str, Any]]


def report_media(report: Report, rounds: int) -> None:
    """Prints ``ChatEncoder(processor)`` beside ``apply_chat_template`` on a chat, and whether the target is met."""
    try:
        importlib.import_module("torchvision")
        importlib.import_module("PIL")
    except ImportError as error:
        report.say(f"16. Images: left out, there is no {error.name}: pip install chatspan[media]\n")
        return
    table = report.table(
        "16. A chat with an image, milliseconds, beside the processor's apply_chat_template",
        ["processor", "image", "tokens", "transformers", "chatspan", "ratio of pairs", "its own", "share"],
    )
    met = True
    for case in _cases():
        encoder = ChatEncoder(case.processor)
        encoder.warm_up()
        tokens = _require_equal(encoder, case)
        calls = [functools.partial(_own, case), functools.partial(encoder.encode, case.messages)]
        times = alternate(calls, max(rounds, _FEWEST_ROUNDS))
        parts = _parts(case, max(rounds, _FEWEST_ROUNDS))
        # The fastest of each: what else runs slows down the processor's threads more than what has one.
        processors, own = parts.min(axis=0)
        share = float(own / processors)
        met = met and (case.size != _MEGAPIXEL or share < _TARGET)
        size = "×".join(map(str, case.size))
        both = (median(each) for each in times.T)
        row = (case.name, size, f"{tokens:,}", *both, ratio(ratios(times, 1)), f"{own:.2f}", f"{share:.1%}")
        table.add_row(*row)
    report.show(
        table,
        f"Target: chatspan's own under {_TARGET:.0%} beside an image of a megapixel: {'met' if met else 'NOT met'}.",
        f"{max(rounds, _FEWEST_ROUNDS)} pairs. Its own is what encode takes without the processor's calls; share: of",
        "these, both at their fastest. Processors have their class's default parts.",
    )


def _cases() -> list[_Case]:
    # Behind what is there, since benches and tests share names.
    sys.path += [str(REPOSITORY / "tests" / "media"), str(REPOSITORY / "tests")]
    made: Any = importlib.import_module("processors")
    found = []
    for name, kind in _PROCESSORS:
        spec = next(each for each in made.SPECS if each.name == kind)
        processor = made.built(spec.name, spec.model_type, spec.media)
        for size in (_MEGAPIXEL, _SMALL):
            question = [{"type": "image", "image": made.image(*size)}, {"type": "text", "text": "What is it?"}]
            answer = [{"type": "text", "text": "Noise, of every colour, and nothing that I can name."}]
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            found.append(_Case(name, processor, size, messages))
    return found


def _own(case: _Case) -> Any:
    return case.processor.apply_chat_template(case.messages, tokenize=True, return_dict=True, return_tensors="pt")


def _parts(case: _Case, rounds: int) -> Milliseconds:
    """Milliseconds of the processor's part of ``encode`` and of the rest, ``[rounds, 2]``."""
    spent = 0.0

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def measured(*args: Any, **keywords: Any) -> Any:
            nonlocal spent
            start = time.perf_counter()
            try:
                return call(*args, **keywords)
            finally:
                spent += time.perf_counter() - start

        return measured

    processor, kind = copy.copy(case.processor), type(case.processor)
    calls = {name: timed(getattr(kind, name)) for name in ("__call__", "apply_chat_template")}
    processor.__class__ = type(kind.__name__, (kind,), {**calls, "__module__": kind.__module__})
    encoder = ChatEncoder(processor)
    encoder.warm_up()
    encoder.encode(case.messages)
    found = np.zeros((rounds, 2))
    for row in range(rounds):
        spent, start = 0.0, time.perf_counter()
        encoder.encode(case.messages)
        found[row] = spent, time.perf_counter() - start - spent
    return found * 1e3


def _require_equal(encoder: ChatEncoder, case: _Case) -> int:
    own, found = _own(case)["input_ids"][0].tolist(), encoder.encode(case.messages).input_ids.tolist()
    if own != found:
        raise SystemExit(f"{case.name}: the ids are not those of the processor")
    return len(own)
