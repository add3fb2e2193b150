"""As a program: calls all that the core offers with right arguments, and then with hostile objects at every place in
them. Each line is JSON: a name and what it came to, of calls that ended as none may; at last the names and counts of
all.

A process of its own, with ``tests`` on its path, which may take so much memory and time: what would end it is seen
outside.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from arguments import DEEPEST, at_place, own, places, put
from chatspan.errors import InternalError
from hostile_objects import CHANGING, HOSTILE, Changes
from valid_calls import Arguments, offered

# Room that is asked for; the core's allocator asks for a gigabyte at once.
BYTES = 4 << 30
# No call takes a second.
SECONDS = 60
# Read item by item, these end when memory does.
NO_ENDLESS = {what: make for what, make in HOSTILE.items() if "many times" not in what}


def containers(value: Any, depth: int = 0) -> Iterator[Any]:
    """All lists, dicts and arrays of the arguments."""
    if depth > DEEPEST:
        return
    # By type: objects of classes that lie are let alone.
    if type(value) in (list, dict, np.ndarray):
        yield value
    if type(value) in (list, tuple, dict):
        for part in value.values() if type(value) is dict else value:
            yield from containers(part, depth + 1)


def outcome(function: Any, arguments: Arguments) -> str | None:
    """What a call ended with, if none may end so."""
    try:
        function(**arguments)
    except (InternalError, SystemError) as error:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return None
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None


class Walk:
    def __init__(self, log: int) -> None:
        self.log = log
        self.counts: dict[str, int] = {}

    def call(self, name: str, function: Any, arguments: Arguments, what: str) -> None:
        os.pwrite(self.log, f"{name}: {what}"[:400].ljust(400).encode(errors="replace"), 0)
        self.counts[name] = self.counts.get(name, 0) + 1
        ended = outcome(function, arguments)
        if ended is not None:
            print(json.dumps([f"{name}: {what}", ended[:300]]), flush=True)

    def one_wrong(self) -> None:
        """One place is wrong at a time."""
        for name, get, right in offered():
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            function = get()
            # Right ones are right; but for the one that is there to panic.
            if name != "_panic":
                function(**right())
            self.counts[name] = self.counts.get(name, 0) + 1
            for at in [] if name == "_panic" else [*places(right())]:
                for what, make in (HOSTILE if type(at_place(right(), at)) is np.ndarray else NO_ENDLESS).items():
                    new = make()
                    arguments = put(own(right()), at, new)
                    if type(new) is Changes:
                        new.containers = list(containers(arguments))
                    self.call(name, function, arguments, f"{at} is {what}")

    def many_wrong(self, seed: int, count: int) -> None:
        """Several places are wrong, and often something changes the others."""
        rng = random.Random(seed)
        calls = [each for each in offered() if each[0] != "_panic"]
        for number in range(count):
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            name, get, right = rng.choice(calls)
            arguments, said = own(right()), []
            for _ in range(rng.randint(1, 4)):
                at = rng.choice([*places(arguments)] or [()])
                if not at:
                    break
                what = rng.choice(list(CHANGING if rng.random() < 0.3 else NO_ENDLESS))
                new = HOSTILE[what]()
                arguments = put(arguments, at, new)
                said.append(f"{at} is {what}")
            for new in changers(arguments):
                new.containers = list(containers(arguments))
            self.call(name, get(), arguments, f"seed {seed}, call {number}: {'; '.join(said)}")

    def changed_meanwhile(self, rounds: int) -> None:
        """A thread changes all lists, dicts and arrays of a call, and puts back what was in them."""
        sys.setswitchinterval(1e-6)
        for name, get, right in offered():
            arguments = own(right())
            kept = [(each, each.copy()) for each in containers(arguments)]
            if not kept or name == "_panic":
                continue
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            stop = threading.Event()
            thread = threading.Thread(target=change_and_restore, args=(kept, stop))
            thread.start()
            function = get()
            for number in range(rounds):
                self.call(name, function, arguments, f"changed by a thread, call {number}")
            stop.set()
            thread.join()


def change_and_restore(kept: list[tuple[Any, Any]], stop: threading.Event) -> None:
    changes = Changes(0)
    changes.containers = [each for each, _ in kept]
    while not stop.is_set():
        changes.size = (changes.size + 7) % 300
        changes.change()
        for each, copy in kept:
            if isinstance(each, dict):
                each.clear()
                each.update(copy)
            elif isinstance(each, list):
                each[:] = copy
            elif each.ndim == 1:
                each.resize(len(copy), refcheck=False)
                each[:] = copy


def changers(value: Any, depth: int = 0) -> Iterator[Changes]:
    if type(value) is Changes:
        yield value
    elif type(value) in (list, tuple, dict) and depth <= DEEPEST:
        for part in value.values() if type(value) is dict else value:
            yield from changers(part, depth + 1)


def main(log: str, seed: str, count: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    faulthandler.enable()
    warnings.simplefilter("ignore")
    # Panics would be said on stderr, where nobody would look for them among what objects raise.
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None
    walk = Walk(os.open(log, os.O_RDWR | os.O_CREAT))
    walk.one_wrong()
    walk.many_wrong(int(seed), int(count))
    walk.changed_meanwhile(int(count) // 20)
    print(json.dumps(["counts", walk.counts]))


if __name__ == "__main__":
    main(*sys.argv[1:])
