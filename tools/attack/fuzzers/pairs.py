"""Two runs of ``chatspan encode`` in one folder at once."""

from __future__ import annotations

from chatspan import ChatEncoder
from encode_kills import ROWS, pair_in_one_folder, run_to_kill
from encoded_files import contents

from attack.fuzzers import small
from attack.tries import Attempt, Outcome, Setting, right


def start(setting: Setting) -> Attempt:
    """A try is a pair, of which one writes what it would alone, and the other does so too or is refused."""
    encoder = ChatEncoder(small.tokenizer())
    encoder.warm_up()
    run = run_to_kill(setting.folder, encoder)
    assert run(setting.folder / "whole").rows == ROWS
    whole = contents(setting.folder / "whole")

    def attempt(number: int) -> Outcome:
        other = pair_in_one_folder(run, setting.folder / f"pair{number}", whole, number)
        return right("one run of the pair was refused" if other else "both runs of the pair ended well")

    return attempt
