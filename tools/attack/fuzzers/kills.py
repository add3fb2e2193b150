"""Runs of ``chatspan encode`` are killed, with 1 and 2 processes: all, the workers alone, or the first one alone."""

from __future__ import annotations

from chatspan import ChatEncoder
from encode_kills import ROWS, kill_at_a_moment, run_to_kill, seconds_of
from encoded_files import contents

from attack.fuzzers import small
from attack.tries import Attempt, Outcome, Setting, right


def start(setting: Setting) -> Attempt:
    """A try is a run that is killed, and one after it that has to write what an undisturbed one does."""
    encoder = ChatEncoder(small.tokenizer())
    encoder.warm_up()
    run = run_to_kill(setting.folder, encoder)
    assert run(setting.folder / "whole").rows == ROWS
    whole = contents(setting.folder / "whole")
    seconds = {processes: seconds_of(run, setting.folder / f"timed{processes}", processes) for processes in (1, 2)}

    def attempt(number: int) -> Outcome:
        # Which process is killed goes by the number itself: each in its turn.
        moment = setting.random(number).randrange(1 << 30) * 4 + number % 4
        between = kill_at_a_moment(run, setting.folder / f"killed{number}", whole, moment, seconds)
        return right("killed between its first file and its last" if between else "killed before or after")

    return attempt
