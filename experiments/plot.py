"""The picture of a run: every seed, means with intervals, and the way there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.arms import ARMS, BY_NAME
from experiments.intervals import interval
from experiments.report import by_arm
from experiments.results import Result

_COLORS = (
    "0.5", "0.75", "tab:orange", "tab:blue", "tab:cyan", "tab:red", "tab:green", "tab:purple", "tab:brown", "black",
)  # fmt: skip


def save_picture(path: Path, results: Sequence[Result]) -> None:
    """Saves it; with the ways there only where results have them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure: Any
    figure, (ends, ways) = plt.subplots(1, 2, figsize=(13, 4.6), constrained_layout=True)
    colors = dict(zip((arm.name for arm in ARMS), _COLORS, strict=True))
    _draw_ends(ends, results, colors)
    _draw_ways(ways, results, colors)
    for axes in (ends, ways):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_ends(axes: Any, results: Sequence[Result], colors: dict[str, str]) -> None:
    successes = by_arm(results)
    for place, (name, of_seeds) in enumerate(successes.items()):
        values = list(of_seeds.values())
        own = interval(values)
        spread = [place + 0.25 * (at / max(len(values) - 1, 1) - 0.5) for at in range(len(values))]
        axes.plot([100 * value for value in values], spread, "o", color=colors[name], alpha=0.45, markersize=5)
        axes.plot([100 * own.low, 100 * own.high], [place + 0.3] * 2, color=colors[name], linewidth=2)
        axes.plot(100 * own.mean, place + 0.3, "D", color=colors[name], markersize=6)
    axes.set_yticks(range(len(successes)), [BY_NAME[name].title for name in successes])
    axes.invert_yaxis()
    axes.set(title="At the end: each seed, mean, 95 % interval", xlabel="success on held-out combinations, %")
    axes.set_xlim(-3, 103)


def _draw_ways(axes: Any, results: Sequence[Result], colors: dict[str, str]) -> None:
    for arm in ARMS:
        curves = [result.curve for result in results if result.arm == arm.name and len(result.curve) > 1]
        if curves:
            steps = [step for step, _ in curves[0]]
            means = [100 * sum(curve[at][1] for curve in curves) / len(curves) for at in range(len(steps))]
            axes.plot(steps, means, color=colors[arm.name], label=arm.name, marker=".")
    axes.set(title="On the way: means over seeds", xlabel="step", ylabel="success on held-out combinations, %")
    axes.set_ylim(-3, 103)
    if axes.lines:
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
