"""What of TRL's own classes is built on: looked at when a class is made, since no version of TRL promises it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from chatspan.errors import OptionError

WRITTEN_AGAINST = "1.16"
# Of a method the arguments that are given to it, or taken from it.
Hooks = Mapping[str, Sequence[str]]


def base_of(trainer: type, name: str) -> type | None:
    """TRL's class of that name among those that ``trainer`` is made of."""
    found = (base for base in trainer.__mro__ if base.__name__ == name and base.__module__.split(".")[0] == "trl")
    return next(found, None)


def require_hooks(trainer: type, mixin: type, base: type, hooks: Hooks) -> None:
    """The class is made in the right order, of a TRL that has what the mixin builds on.

    Raises:
        OptionError: it is not; with the version that is installed, and what it lacks.
    """
    if trainer.__mro__.index(base) < trainer.__mro__.index(mixin):
        raise OptionError(
            f"{trainer.__name__}: {base.__name__} comes before {mixin.__name__}, so its own methods would be "
            f"called: write class {trainer.__name__}({mixin.__name__}, {base.__name__})"
        )
    for name, expected in hooks.items():
        missing = _missing(getattr(base, name, None), expected)
        if missing is not None:
            raise other_version(mixin, f"{base.__name__}.{name} {missing}")


def other_version(mixin: type, what: str) -> OptionError:
    """The TRL that is installed is not what the mixin was written for."""
    return OptionError(
        f"{mixin.__name__} is written for TRL {WRITTEN_AGAINST}; in TRL {_installed()}, {what}: "
        f'pip install "trl=={WRITTEN_AGAINST}.*"'
    )


def _missing(method: Any, expected: Sequence[str]) -> str | None:
    if method is None:
        return "does not exist"
    names = list(inspect.signature(method).parameters)[1:]
    lacking = [name for name in expected if name not in names]
    return f"has no {', '.join(lacking)}, but {', '.join(names)}" if lacking else None


def _installed() -> str:
    try:
        return version("trl")
    except PackageNotFoundError:
        return "of unknown version"
