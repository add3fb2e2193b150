"""A row of an input changes while a run of ``chatspan encode`` is stopped."""

from __future__ import annotations

import datasets
from chatspan import ChatEncoder
from chatspan.shards import plan
from encode_inputs import KINDS, change_between_two_runs

from attack.fuzzers import small
from attack.tries import Attempt, Outcome, Setting, refused, right


def start(setting: Setting) -> Attempt:
    """A try is a run that goes on with the changed input: refused where a row that it encoded is another one."""
    datasets.disable_progress_bars()
    # Small files are all edges, by which each change would be noticed: what is left of those finds none.
    plan._EDGE_BYTES = 4
    encoder = ChatEncoder(small.tokenizer())

    def attempt(number: int) -> Outcome:
        make = KINDS[number % len(KINDS)]
        chance = setting.random(number).randrange(1 << 30)
        said = change_between_two_runs(setting.folder / str(number), encoder, make, chance)
        return right("the row was still to come") if said is None else refused("a row that was encoded has changed")

    return attempt
