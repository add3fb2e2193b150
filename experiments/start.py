"""What all arms of a seed begin with."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import chatspan

from experiments.model import Watch
from experiments.settings import Settings
from experiments.task import Recording, World


@dataclass(frozen=True)
class Start:
    """The same model, recordings and order for each arm.

    Attributes:
        model: after the first training; arms train a copy.
        watch: called after each step of an arm.
    """

    settings: Settings
    seed: int
    world: World
    recordings: Sequence[Recording]
    model: Any
    encoder: chatspan.ChatEncoder
    watch: Watch = lambda step, model: None

    @property
    def tokenizer(self) -> Any:
        """The examples' one."""
        return self.encoder.tokenizer

    def fresh_model(self) -> Any:
        """A copy to train."""
        return copy.deepcopy(self.model)

    def teacher(self) -> Any:
        """A copy that stays as it is."""
        return copy.deepcopy(self.model).eval().requires_grad_(False)

    def draw(self, what: str) -> random.Random:
        """A source of chance of its own for each use."""
        return random.Random(f"{what} {self.seed}")

    def order(self, places: Sequence[int]) -> Iterator[int]:
        """These places in a random order, again and again."""
        draw = self.draw("order")
        while True:
            yield from draw.sample(places, len(places))


def recordings_of(world: World, settings: Settings, seed: int) -> list[Recording]:
    """Those of a seed."""
    return world.recordings(settings.recordings, random.Random(f"recordings {seed}"))
