"""What all tests share: the project's own small tokenizer, the zoo where it is, and lines for the end of the run.

The zoo is a folder of real tokenizers, chat templates and traces beside the checkout (``../shared/zoo``), or where
``CHATSPAN_ZOO`` says. Tests that need it skip without it; everything they cover is also covered on the small tokenizer.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import chromium
from hypothesis import settings
from transformers import AutoTokenizer

REPO = Path(__file__).parents[1]
EXAMPLES = REPO / "examples"
ZOO = Path(os.environ.get("CHATSPAN_ZOO", REPO.parent / "shared" / "zoo"))
ZOO_TOKENIZERS = ("qwen2_5", "qwen3", "llama3_2", "gemma3", "deepseek_v3", "mistral_nemo")
NO_ZOO = f"the zoo of real tokenizers, templates and traces is not at {ZOO}"

# The models here are so small that threads only wait for each other, most of all beside other work.
torch.set_num_threads(1)

_LINES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="more random examples")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LINES] = []
    settings.register_profile("few", deadline=None, max_examples=150)
    settings.register_profile("all", deadline=None, max_examples=5000)
    settings.load_profile("all" if config.getoption("--all") else "few")


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


# Not of the whole session: while playwright runs, nothing else can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real headless Chromium, for pages. Without one the test is skipped; where ``CI`` is set, it fails."""
    with chromium() as found:
        yield found


def require_zoo() -> None:
    if not ZOO.is_dir():
        pytest.skip(NO_ZOO)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").strip().split("\n")]


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Runs ``chatspan audit``, in a folder of its own."""
    from audits import Command

    return Command(monkeypatch, capsys, tmp_path)
