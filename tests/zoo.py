"""Where things are that tests read: the project's own small tokenizer, and the zoo.

The zoo is a folder of real tokenizers, chat templates and traces beside the checkout (``../shared/zoo``), or where
``CHATSPAN_ZOO`` says. Tests that need it skip without it; everything they cover is also covered on the small tokenizer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[1]
EXAMPLES = REPO / "examples"
ZOO = Path(os.environ.get("CHATSPAN_ZOO", REPO.parent / "shared" / "zoo"))
ZOO_TOKENIZERS = ("qwen2_5", "qwen3", "llama3_2", "gemma3", "deepseek_v3", "mistral_nemo")
# The small tokenizer's template, and all of the zoo.
TEMPLATES = [EXAMPLES / "tokenizer" / "chat_template.jinja", *sorted((ZOO / "templates").glob("*.jinja"))]
NO_ZOO = f"the zoo of real tokenizers, templates and traces is not at {ZOO}"


def require_zoo() -> None:
    if not ZOO.is_dir():
        pytest.skip(NO_ZOO)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").strip().split("\n")]
