"""Where the browser for tests of pages is: what ``CHATSPAN_CHROMIUM`` names, one on the PATH, playwright's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

VARIABLE = "CHATSPAN_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Any]:
    """Starts it headless."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    with sync_playwright() as playwright:
        path = executable(playwright.chromium.executable_path)
        if path is None:
            missing(f"no Chromium: set {VARIABLE}, or install one of {', '.join(NAMES)}")
        # Its sandbox does not work for root, as whom containers run.
        arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def executable(playwrights_own: str) -> str | None:
    """The path of a Chromium; ``None`` if there is none."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return found or (playwrights_own if Path(playwrights_own).exists() else None)


def missing(reason: str) -> NoReturn:
    """Skips a test for want of a browser; where ``CI`` is set, fails it."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; where CI is set, the page must be tested")
    pytest.skip(reason)
