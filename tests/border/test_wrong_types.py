"""Values of wrong types at every place of every public call: an error of chatspan, a `TypeError`, or a result."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chatspan
import numpy as np
import pytest
import torch
from arguments import own, places, put
from chatspan import ChatspanError, InternalError
from hostile_objects import ARRAYS, LYING, PLAIN
from public_calls import calls

resource = pytest.importorskip("resource", reason="limits of processes as Linux has them")

# What is made by calls, and of which each is walked by its methods or not at all.
RESULTS = {
    "Alignment",
    "DatasetReport",
    "Encoding",
    "Kind",
    "Medium",
    "Span",
    "BackendMismatchWarning",
    "UnknownKeywordWarning",
}
RESULTS |= {"ParsedCompletion", "ParseNote", "SampledRow", "StabilityEvent", "StabilityReport", "Token"}
# Its arguments are transformers' own, which takes what it takes; tests/trainers tests what is chatspan's.
RESULTS |= {"SelfDistillationTrainer"}
WRONG: dict[str, Callable[[], Any]] = {
    **PLAIN,
    **{what: LYING[what] for what in LYING if "raises" not in what},
    **{what: ARRAYS[what] for what in ("int64 (3,)", "object (3,)", "float64 ()", "texts", "dates")},
    "a tensor": lambda: torch.zeros(2, 2),
    "a tensor of nothing": lambda: torch.zeros(2, 2, device="meta"),
    "a kind": lambda: chatspan.Kind.CONTENT,
    "an array of NaN": lambda: np.array([np.nan, 1]),
}
# Without `--all`, so many of them at each place, others at the next.
SOME = 3


# What Python says of a length that is none.
NO_LENGTH = ("__len__() should return >= 0", "cannot fit 'int' into an index-sized integer")
# Memory that all calls may take, beside what is loaded.
BYTES = 4 << 30


def of_its_own(error: BaseException) -> bool:
    """Whether the object itself raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return last.filename.endswith("hostile_objects.py") or str(error) in NO_LENGTH


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """What would fill the memory is a ``MemoryError``."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def wrong(function: Callable[..., Any], arguments: dict[str, Any]) -> str | None:
    """What a call came to, if that may not be."""
    try:
        function(**arguments)
    except InternalError as error:
        return f"InternalError: {error}"
    except (ChatspanError, TypeError, MemoryError):
        return None
    except Exception as error:
        return None if of_its_own(error) else f"{type(error).__name__}: {error}"
    return None


def cases(arguments: dict[str, Any], offset: int, *, whole: bool) -> Iterator[tuple[tuple[Any, ...], str]]:
    names = list(WRONG)
    for number, at in enumerate(places(arguments)):
        first = (offset + number) * SOME
        chosen = names if whole else [names[(first + each) % len(names)] for each in range(SOME)]
        yield from ((at, name) for name in chosen)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("bounded_memory")
def test_wrong_types_are_errors_of_a_kind_that_is_documented(small: Any, pytestconfig: pytest.Config) -> None:
    found = []
    for number, (name, (function, arguments)) in enumerate(calls(small).items()):
        function(**own(arguments))
        for at, what in cases(arguments, number, whole=pytestconfig.getoption("--all")):
            said = wrong(function, put(own(arguments), at, WRONG[what]()))
            if said is not None:
                found.append(f"{name}, {at} is {what}: {said[:200]}")
    assert found == []


def test_each_public_name_is_called(small: Any) -> None:
    called = {name.replace("(", ".").partition(".")[0] for name in calls(small)}
    public = {name for name in chatspan.__all__ if not name.endswith("Error")}
    assert public - called - RESULTS == set()
