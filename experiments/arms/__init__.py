"""All arms, in the order in which they run: where time is short, the last are left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.arms.grpo import grpo
from experiments.arms.sdpo import off_policy, on_policy, shifted_mask, shuffled_hints
from experiments.arms.supervised import on_hints, on_recordings, on_successes
from experiments.start import Start


class Arm(NamedTuple):
    """A way to train, and what a table calls it; ``sees_hint``: also when it is evaluated."""

    name: str
    title: str
    train: Callable[[Start], Any]
    sees_hint: bool = False


ARMS = (
    Arm("none", "none: the first training alone", lambda start: start.model),
    Arm("teacher", "none, and it sees the hint", lambda start: start.model, sees_hint=True),
    Arm("sft", "SFT on recordings", on_recordings),
    Arm("sdpo-off", "SDPO, off-policy", off_policy),
    Arm("sdpo-on", "SDPO, on-policy", on_policy),
    Arm("sft-filtered", "SFT on successes", on_successes),
    Arm("grpo", "GRPO", grpo),
    Arm("sdpo-shuffled", "SDPO, hints shuffled", shuffled_hints),
    Arm("sdpo-shifted", "SDPO, mask shifted by one", shifted_mask),
    Arm("sft-hints", "SFT on what the hints say", on_hints),
)
BY_NAME = {arm.name: arm for arm in ARMS}
