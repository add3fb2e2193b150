"""The browser of the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import chromium


# Not of the whole session: while playwright runs, nothing else can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real headless Chromium, for pages. Without one the test is skipped; where ``CI`` is set, it fails."""
    with chromium() as found:
        yield found
