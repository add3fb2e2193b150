"""The attacks, in the order in which they run: first those that end by themselves, which leave the others time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    """An attack.

    Attributes:
        name: as ``--only`` takes it.
        what: is tried, for a reader of the table.
        module: of ``attack.fuzzers``, whose ``start`` makes the attempt of a setting.
        share: of the time, by weight.
        seconds: what a try may take; one that takes longer hangs.
        count: how many tries; none where it goes on until its time is over.
        all_count: how many with ``--all``.
    """

    name: str
    what: str
    module: str
    share: float = 1.0
    seconds: float = 30
    count: int | None = None
    all_count: int | None = None


ATTACKS = (
    Attack("kills", "`chatspan encode` killed at a random moment, run again", "kills", 1.5, 120, 20, 200),
    Attack("pairs", "two runs of `chatspan encode` in one folder", "pairs", 1, 120, 20, 200),
    Attack("changed inputs", "an input that changes between two runs", "changed_inputs", 1, 120, 20, 200),
    Attack("power cuts", "every prefix of the operations on the disk, resumed", "power_cuts", 1, 120, 6, 6),
    Attack("forks", "forks while threads encode and load", "forks", 1, 40),
    Attack("memory: encodes", "200,000 encodes by one encoder", "memory_encodes", 2, 120, 20, 20),
    Attack("memory: templates", "10,000 templates", "memory_templates", 2, 120, 20, 20),
    Attack("memory: tokenizers", "100 tokenizers", "memory_tokenizers", 2, 120, 20, 20),
    Attack("objects", "odd objects in messages, tools, documents and keywords", "objects", 1.5),
    Attack("calls", "odd objects as arguments of public functions", "calls", 1.5),
    Attack("templates", "random and mutated chat templates", "templates", 1.5, 60),
    Attack("tokenizers", "random and mutated tokenizers", "random_tokenizers", 1.5),
    Attack("control tokens", "control tokens in data, escaped", "control", 1),
    Attack("files", "mutated files for `encode`, `audit` and `convert`", "files", 1.5),
)
BY_NAME = {attack.name: attack for attack in ATTACKS}
