"""The build backend that pip calls for a source distribution: maturin's, and a sentence where there is no Rust.

A wheel needs neither this nor Rust. See PEP 517 for the hooks.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import maturin
from maturin import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

_ROOT = Path(__file__).resolve().parents[2]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """The first hook that pip calls."""
    require_rust()
    return list(maturin.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """The same for ``pip install --editable``."""
    require_rust()
    return list(maturin.get_requires_for_build_editable(config_settings))


def require_rust() -> None:
    """Ends the build with a sentence if there is no Rust, or one that is too old.

    maturin would download a toolchain, and cargo would print the error of some crate.
    """
    needed = _version((_ROOT / "Cargo.toml").read_text(encoding="utf-8"), r'^rust-version = "([\d.]+)"$')
    try:
        said = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit(_sentence(needed, "no Rust was found (rustc is not on the PATH)")) from None
    if _numbers(_version(said, r"^rustc ([\d.]+)")) < _numbers(needed):
        raise SystemExit(_sentence(needed, f"{said.split(' (')[0].strip()} was found"))


def _sentence(needed: str, found: str) -> str:
    return (
        f"chatspan has no wheel for this Python and platform, and building it from source needs Rust {needed} or "
        f"newer; {found}: install Rust from https://rustup.rs and repeat the command"
    )


def _version(text: str, pattern: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else "0"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part)
