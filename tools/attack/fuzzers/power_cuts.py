"""The power is cut after every prefix of the operations on the disk that a run of ``chatspan encode`` makes."""

from __future__ import annotations

from chatspan import ChatEncoder
from chatspan.shards import whole_files
from encode_runs import Run
from encoded_files import chat, contents, write_rows
from power_cuts import Machine, Noted, cuts, laid_out

from attack.fuzzers import small
from attack.tries import Attempt, Outcome, Setting, failed, right

_FORMATS = ("parquet", "arrow")


def start(setting: Setting) -> Attempt:
    """A try is all states that may be found after a cut of one run: resumed, each has to write what that run did."""
    encoder = ChatEncoder(small.tokenizer())
    disk = whole_files.disk = Noted()

    def attempt(number: int) -> Outcome:
        chance, folder = setting.random(number), setting.folder / str(number)
        folder.mkdir()
        rows = [chat(i) if chance.random() < 0.8 else "broken" for i in range(chance.randint(3, 9))]
        options = {"rows_per_shard": chance.randint(1, 4), "file_format": _FORMATS[number % 2]}
        run = Run(write_rows(folder / "data.jsonl", rows), encoder, options)
        disk.operations.clear()
        out = folder / "whole"
        summary = run(out)
        whole, operations = contents(out), list(disk.operations)
        wrong, states = [], 0
        for prefix, found in cuts(Machine(), operations):
            states += 1
            again = folder / f"{prefix}-{states}"
            laid_out(found, out, again)
            resumed = run(again)
            if (resumed.rows, resumed.rejected) != (summary.rows, summary.rejected) or contents(again) != whole:
                wrong.append(prefix)
        if wrong:
            return failed(f"after these of {len(operations)} operations: {wrong}", tries=states)
        return right(tries=states)

    return attempt
