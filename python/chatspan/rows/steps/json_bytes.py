"""The bytes of a JSON text → its value."""

from __future__ import annotations

import json
from typing import Any

from chatspan._core import read_json


def json_value(data: bytes) -> Any:
    """What ``json.loads`` gives, read in Rust.

    What is no JSON by its standard (``NaN``, half a surrogate pair, UTF-16), has very long numbers or is deeply nested
    is left to ``json.loads`` itself.

    Raises:
        ValueError, RecursionError: as ``json.loads`` raises them.
    """
    found = read_json(data)
    return json.loads(data) if found is None else found
