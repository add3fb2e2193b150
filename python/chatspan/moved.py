"""Import paths that the docs of 0.1 named, and where they lead now."""

import warnings
from collections.abc import MutableSequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "chatspan.admission": "chatspan.tokenize.admission",
    "chatspan.dataset": "chatspan.rows",
    "chatspan.dataset.conversations": "chatspan.rows.conversations",
    "chatspan.dataset.parallel": "chatspan.rows.parallel",
    "chatspan.dataset.rows": "chatspan.rows.row",
    "chatspan.dataset.sources": "chatspan.rows.sources",
    "chatspan.hf_backend": "chatspan.tokenize.hf",
    "chatspan.map_fn": "chatspan.supervised.map_fn",
    "chatspan.traces": "chatspan.distillation.examples.conversation",
}


class MovedModules:
    """Finds modules by their old paths, with a ``DeprecationWarning``."""

    @classmethod
    def install(cls, finders: MutableSequence[Any]) -> None:
        """Puts itself behind all other finders, so that it is asked only for what is not there."""
        if not any(type(finder) is cls for finder in finders):
            finders.append(cls())

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of a module that was moved."""
        if name not in MOVED:
            return None
        return ModuleSpec(name, self, is_package=name == "chatspan.dataset")  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """A new module: the one in the new place keeps its name."""

    def exec_module(self, module: ModuleType) -> None:
        """Gives it what the module in the new place has."""
        new = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} has moved to {new}", DeprecationWarning, stacklevel=2)
        found = import_module(new)
        vars(module).update({name: value for name, value in vars(found).items() if not name.startswith("__")})
