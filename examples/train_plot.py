"""The picture of a distillation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def save_picture(
    path: Path, losses: Sequence[float], tokens: Sequence[str], before: Sequence[float], after: Sequence[float]
) -> None:
    """Saves the divergence over steps, and that of each token of one recovery before and after.

    Args:
        losses: of each step, in nat a token.
        tokens: the text of each token of the recovery.
        before, after: for each of them, in nat.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure: Any
    figure, (over_steps, of_tokens) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    over_steps.plot(range(1, len(losses) + 1), losses, color="tab:blue")
    over_steps.set(title="While the student is distilled", xlabel="step", ylabel="KL(teacher ‖ student), nat a token")
    over_steps.set_ylim(bottom=0)
    places = range(len(tokens))
    for values, label, shift, color in (
        (before, "before", -0.2, "tab:orange"),
        (after, "after", 0.2, "tab:blue"),
    ):
        of_tokens.bar([place + shift for place in places], values, width=0.4, label=label, color=color)
    of_tokens.set_xticks(list(places), [token.replace(" ", "␣").replace("\n", "⏎") for token in tokens])
    of_tokens.set(title="Divergence of each token of one recovery", xlabel="token", ylabel="KL(teacher ‖ student), nat")
    of_tokens.legend()
    for axes in (over_steps, of_tokens):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
