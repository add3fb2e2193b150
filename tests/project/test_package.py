"""What a user gets who installs the package."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import files, requires
from pathlib import Path

import chatspan
import pytest

HEAVY = ("torch", "transformers", "tokenizers", "jinja2")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = run(f"import sys, chatspan; print([name for name in {HEAVY} if name in sys.modules])")
    assert loaded == "[]"
    loaded = run(
        "import sys; from chatspan import ComposerDataCollator\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    assert loaded == "True False"


def test_the_public_names_are_there() -> None:
    for name in chatspan.__all__:
        assert getattr(chatspan, name) is not None
        assert name in dir(chatspan)
    with pytest.raises(AttributeError, match="module 'chatspan' has no attribute 'ComposerCollator'"):
        chatspan.ComposerCollator  # noqa: B018


def test_only_the_last_step_the_loss_and_what_gets_a_trainers_tensors_import_torch() -> None:
    package = Path(chatspan.__file__).parent
    importers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        # As they are imported, not in a function or an example.
        if re.search("^(import|from) torch", path.read_text(), re.MULTILINE)
    }
    outside = {path for path in importers if not path.startswith(("loss/", "trainer/"))}
    assert outside == {
        *("batch/tensors.py", "batch/context_parallel.py", "batch/media.py", "batch/media_form.py"),
        "distillation/media.py",
        *("verl/tensors.py", "trl/rollouts.py", "trl/sdpo.py", "trl/sdft.py"),
        *("trl/distillation.py", "trl/server_distillation.py"),
    }


def test_types_come_with_the_package() -> None:
    package = Path(chatspan.__file__).parent
    assert (package / "py.typed").exists()
    stub = (package / "_core.pyi").read_text()
    compiled = [name for name in dir(chatspan._core) if not name.startswith("_")]
    assert [name for name in compiled if f"def {name}(" not in stub and f"class {name}:" not in stub] == []


def test_the_metadata_names_what_is_needed() -> None:
    needed = {requirement.split(">=")[0] for requirement in requires("chatspan") or [] if "extra" not in requirement}
    assert needed == {"numpy", "tokenizers", "transformers", "torch", "jinja2", "pyarrow", "rich", "typer"}
    assert chatspan.__version__ in {
        path.parts[0].split("-")[1].removesuffix(".dist")
        for path in files("chatspan") or []
        if ".dist-info" in path.parts[0]
    }


def test_each_module_imports_or_names_the_library_that_it_is_for() -> None:
    """Examples of a module that does not import are not run: only these are for a library that may be missing."""
    code = """
import importlib, pkgutil, chatspan
for module in pkgutil.walk_packages(chatspan.__path__, "chatspan."):
    if module.name != "chatspan.__main__":
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(module.name, error.name)
"""
    may_fail = {"chatspan.renderers renderers", "chatspan.verl.agent_loop verl", "chatspan.swift.proof swift"}
    assert set(run(code).splitlines()) <= may_fail
