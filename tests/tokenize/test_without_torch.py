"""Tokenizers that are loaded without torch are those that are loaded with it; and torch works behind."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from zoo import REPO, ZOO, ZOO_TOKENIZERS

_LOADED = """
import json, sys
from contextlib import nullcontext
from chatspan.tokenize.pretrained import load_pretrained
from chatspan.tokenize.without_torch import without_torch

found = []
with without_torch() if sys.argv[1] == "without" else nullcontext():
    for name in sys.argv[2:]:
        tokenizer = load_pretrained(name)
        found.append([
            type(tokenizer).__name__,
            tokenizer.backend_tokenizer.to_str(),
            str(tokenizer.chat_template),
            sorted(map(str, tokenizer.special_tokens_map.items())),
            {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()},
            tokenizer("Hi <|im_end|>\\n  déjà 🚆")["input_ids"],
        ])
had_torch = sys.modules.get("torch") is not None
import torch
from transformers.utils import is_torch_available
print(json.dumps([found, had_torch, is_torch_available(), torch.ones(2).sum().item()]))
"""


def loaded(how: str, names: list[str]) -> Any:
    run = subprocess.run([sys.executable, "-c", _LOADED, how, *names], capture_output=True, text=True, check=True)
    assert "torch" not in run.stderr.lower(), "nobody asked for models"
    return json.loads(run.stdout.splitlines()[-1])


def test_a_tokenizer_is_the_same_without_torch(pytestconfig: pytest.Config) -> None:
    names = [str(REPO / "examples" / "tokenizer")]
    if ZOO.is_dir():
        # Each takes a second or two, twice.
        some = ZOO_TOKENIZERS if pytestconfig.getoption("--all") else ("llama3_2",)
        names += [str(ZOO / "tokenizers" / name) for name in some]
    without, had, knows, total = loaded("without", names)
    assert (had, knows, total) == (False, True, 2.0), "behind it torch is there"
    with_torch, had, _, _ = loaded("with", names)
    assert had, "with it transformers imports torch, or this shows nothing"
    for name, one, other in zip(names, without, with_torch, strict=True):
        assert one == other, name


def test_what_is_imported_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers
    from chatspan.tokenize.without_torch import without_torch

    with without_torch():
        assert sys.modules["transformers"] is transformers
        import torch

        assert torch is not None
