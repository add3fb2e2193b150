"""Sizes, steps and seeds: all that was fixed before a test seed was run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

# Looked at while the settings were chosen, and never reported.
TUNING_SEEDS = (1000, 1001, 1002)
# The run that was planned: looked at once, with the settings below and PLANNED_THETA. In half of these seeds the first
# training did not teach the model to follow hints, without which there is no teacher.
PLANNED_SEEDS = tuple(range(10))
PLANNED_THETA = 10_000.0
# With the settings below, looked at once. The base of the rotary embedding was changed on some of the seeds above, and
# nothing else.
TEST_SEEDS = tuple(range(10, 20))
# Of 3e-4, 1e-3 and 3e-3 (and 1e-4 where 3e-4 was best) the one with the most held-out success at the
# end, on average over the tuning seeds. All else was fixed before.
RATES = {"sft": 3e-4, "sft-filtered": 1e-3, "grpo": 3e-4, "sdpo-off": 1e-3, "sdpo-on": 1e-3}


@dataclass(frozen=True)
class Settings:
    """How large and how long.

    Attributes:
        things, actions: a question names one of each; their numbers are multiples of four.
        old, right: how likely the untrained assistant gives a part of a code as it used to be, and as it is now.
        repeats: how likely a recorded recovery repeats the error in front of it.
        recordings: how many there are, for all arms.
        rope_theta: the base of the rotary embedding. Conversations are short, and hints a few tokens away.
        first_steps, first_rate: of the first training, which all arms of a seed begin with.
        steps, rows: of each arm; a step takes so many recordings, or so many samples.
        group: samples for one question, in GRPO.
        rates: the learning rate of each arm; controls have that of the arm that they control.
        asked: how many recoveries are generated for each held-out combination.
    """

    things: int = 16
    actions: int = 16
    old: float = 0.6
    right: float = 0.15
    repeats: float = 0.4
    recordings: int = 48
    hidden_size: int = 96
    layers: int = 2
    rope_theta: float = 100.0
    first_steps: int = 450
    first_rate: float = 3e-3
    steps: int = 100
    rows: int = 32
    group: int = 8
    rates: Mapping[str, float] = field(default_factory=lambda: dict(RATES))
    asked: int = 2

    @property
    def fingerprint(self) -> str:
        """Tells results of other settings apart."""
        values = asdict(self)
        # Of the run that was planned, before this could be chosen.
        if self.rope_theta == PLANNED_THETA:
            del values["rope_theta"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
