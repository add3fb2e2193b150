"""Fixtures of all tests, the option ``--all``, and lines for the end of the run."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import settings
from transformers import AutoTokenizer
from zoo import EXAMPLES, NO_ZOO, ZOO, read_jsonl, require_zoo

# The models here are so small that threads only wait for each other, most of all beside other work.
torch.set_num_threads(1)

_LINES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="more random examples")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LINES] = []
    # A shell has what it runs in the background ignore SIGINT, which children inherit; some tests send it to them.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("few", deadline=None, max_examples=150)
    settings.register_profile("all", deadline=None, max_examples=5000)
    settings.load_profile("all" if config.getoption("--all") else "few")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Several processes must collect the same.
    odd = [item.nodeid for item in items if " at 0x" in item.nodeid or "object at" in item.nodeid]
    if odd:
        raise pytest.UsageError(f"names of tests with an address, another one in each process: {odd}; give them an id")


@pytest.fixture(autouse=True)
def _same_sigterm() -> Iterator[None]:
    """What a test has had Ray do with SIGTERM ends with it: pools of later ones end their workers so."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if signal.getsignal(signal.SIGTERM) is not before:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """``os.environ`` stays one object: ``Dataset.map(num_proc=2)`` puts a copy there, and Rich reads the first one."""
    before = os.environ
    yield
    os.environ = before  # noqa: B003


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Of a process of its own, where tests run in several.
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["lines"] = session.config.stash[_LINES]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes the lines of a process that is done."""
    node.config.stash[_LINES] += getattr(node, "workeroutput", {}).get("lines", [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NO_ZOO in str(report.longrepr)]
    terminalreporter.section("compared with references")
    for line in config.stash[_LINES]:
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"{len(skipped)} tests skipped without the zoo")


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Puts a line under the summary of the run."""
    return request.config.stash[_LINES].append


@pytest.fixture(scope="session")
def small() -> Any:
    """The project's own tokenizer: byte-level BPE, ChatML. A copy for each test that changes it: ``small_copy``."""
    return AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")


@pytest.fixture
def small_copy() -> Any:
    return AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")


@pytest.fixture(scope="session")
def sample_traces() -> list[dict[str, Any]]:
    return read_jsonl(EXAMPLES / "sample_traces.jsonl")


@pytest.fixture(scope="session")
def zoo_tokenizer() -> Callable[[str], Any]:
    """Loads a tokenizer of the zoo by its folder's name, once."""
    require_zoo()
    return functools.cache(lambda name: AutoTokenizer.from_pretrained(ZOO / "tokenizers" / name))


@pytest.fixture(scope="session")
def zoo_traces() -> list[dict[str, Any]]:
    require_zoo()
    return read_jsonl(ZOO / "traces" / "tau_airline_sdpo.jsonl")


@pytest.fixture(scope="session")
def zoo_messages() -> list[list[dict[str, Any]]]:
    """Real conversations, as messages with ``tool_calls``."""
    require_zoo()
    return [row["messages"] for row in read_jsonl(ZOO / "traces" / "tau_airline_messages.jsonl")]
