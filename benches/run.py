"""The benches: ``python benches/run.py [--zoo DIR] [--tokenizer NAME] [--pairs N] [--quick] [--only NAME]``.

Prints figures and whether the target is met; slowness is no failure, unequal results are.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import transformers
from against_prefix_delta import Outcome, report_prefix_delta
from against_transformers import report_transformers
from batches import report_batches
from chatspan import ChatspanError
from cores import report_cores
from distillation import report_distillation
from encoder import report_encoder
from import_time import report_import_time
from inputs import DEFAULT_ZOO, LENGTHS, load_inputs
from linear_loss import report_linear_loss
from loader import report_loader
from loss import report_loss
from media import report_media
from native import report_native
from reading import report_reading
from rollouts import report_rollouts
from stages import report_stages
from tables import Report

_TARGET_RATIO = 30
# What counts as linear: room for caches that a longer row falls out of, far from 2.
_LINEAR_BELOW = 1.25
_QUICK_PAIRS = 3


def main() -> None:
    """Runs all benches, or one, in one process, one after the other."""
    arguments = _arguments()
    start = time.perf_counter()
    # A row longer than the model is fine here, and a warning about it would stand between the tables.
    transformers.logging.set_verbosity_error()
    inputs = load_inputs(arguments.zoo, arguments.tokenizer)
    rounds = _QUICK_PAIRS if arguments.quick else arguments.pairs
    report = Report()
    _print_setting(report, inputs.source, rounds)
    zoo, outcomes = arguments.zoo, list[Outcome]()
    benches: dict[str, Callable[[], object]] = {
        "prefix-delta": lambda: outcomes.extend(report_prefix_delta(report, inputs, rounds)),
        "transformers": lambda: report_transformers(report, inputs, rounds),
        "batches": lambda: report_batches(report, inputs, rounds),
        "cores": lambda: report_cores(report, inputs, rounds),
        "stages": lambda: report_stages(report, inputs, rounds),
        "encoder": lambda: report_encoder(report, inputs, zoo, rounds),
        "native": lambda: report_native(report, inputs, zoo, rounds),
        "loader": lambda: report_loader(report, inputs, rounds),
        "distillation": lambda: report_distillation(report, inputs, rounds),
        "loss": lambda: report_loss(report, rounds),
        "linear-loss": lambda: report_linear_loss(report, rounds),
        "reading": lambda: report_reading(report, inputs, zoo, rounds),
        "rollouts": lambda: report_rollouts(report, inputs, rounds),
        "media": lambda: report_media(report, rounds),
        "import": lambda: report_import_time(report, rounds),
    }
    if arguments.only is not None and arguments.only not in benches:
        raise SystemExit(f"--only {arguments.only}: use one of {', '.join(benches)}")
    for name, bench in benches.items():
        if arguments.only not in (None, name):
            continue
        try:
            bench()
        except ChatspanError as error:
            # As of a template that is not prefix-stable, which has no reference to compare with.
            raise SystemExit(f"nothing to compare on {inputs.source}: {error}") from error
    if outcomes:
        _print_target(report, outcomes)
    report.say(f"{time.perf_counter() - start:.0f} s in all")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What chatspan costs, against prefix delta and transformers.")
    parser.add_argument("--zoo", type=Path, default=DEFAULT_ZOO, help="the folder of tokenizers and traces")
    parser.add_argument(
        "--tokenizer", default="qwen2_5", help="its name in the zoo; its template must be prefix-stable"
    )
    parser.add_argument("--pairs", type=int, default=7, help="how often each comparison runs")
    parser.add_argument("--only", metavar="NAME", help="one of the benches, such as reading")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_PAIRS} pairs")
    return parser.parse_args()


def _print_setting(report: Report, source: str, rounds: int) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("chatspan", "transformers", "tokenizers", "torch"))
    # Of the last minute: where others use the cores, parallelism shows less, and times are longer.
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    report.say(f"{os.cpu_count()} CPUs ({load}), Python {platform.python_version()}, {packages}")
    report.say(f"TOKENIZERS_PARALLELISM={os.environ.get('TOKENIZERS_PARALLELISM', 'not set')}")
    report.say(source)
    report.say(
        f"{rounds} pairs: medians, in brackets the range. Rows are real conversations, cut and joined; those of an"
    )
    report.say("even length have the system message's text in their first message, so that roles go on alternating.\n")


def _print_target(report: Report, outcomes: Sequence[Outcome]) -> None:
    report.say(f"Target: at least {_TARGET_RATIO}x prefix delta at {LENGTHS[-1]} messages, and linear growth")
    for outcome in outcomes:
        met = outcome.ratio >= _TARGET_RATIO and outcome.exponent < _LINEAR_BELOW
        verdict = "met" if met else "NOT met"
        report.say(f"  {outcome.what}: {outcome.ratio:.1f}x, growth {outcome.exponent:.2f}: {verdict}")


if __name__ == "__main__":
    main()
