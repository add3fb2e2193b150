"""The tokens at which generation stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILE = "generation_config.json"


def stop_ids(tokenizer: Any, name: str) -> frozenset[int]:
    """The tokenizer's end-of-sequence token, and those of the model's generation config, where that is at hand.

    Args:
        name: the folder or the model on the hub that the tokenizer was loaded from.
    """
    found = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    named = _generation_config(name).get("eos_token_id")
    for token in named if isinstance(named, list) else [named]:
        if isinstance(token, int):
            found.add(token)
    return frozenset(found)


def _generation_config(name: str) -> dict[str, Any]:
    path: Any = Path(name) / _FILE
    if not Path(name).is_dir():
        # Only what is in the cache: this is not worth waiting for.
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            path = try_to_load_from_cache(name, _FILE)
        except HFValidationError:
            return {}
    if not isinstance(path, (str, Path)):
        return {}
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
