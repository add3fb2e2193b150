"""Loading what a command stands on: the tokenizer, the template, the encoder."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from chatspan.cli.console import waiting
from chatspan.cli.failures import CliError
from chatspan.cli.options import model_name
from chatspan.encoder import ChatEncoder
from chatspan.errors import TokenizerError
from chatspan.media import pretrained
from chatspan.tokenize.ahead import make_ahead
from chatspan.tokenize.backends import DEFAULT_CACHE_BYTES
from chatspan.tokenize.pretrained import load_pretrained, require_folder
from chatspan.tokenize.without_torch import without_torch


def load_encoder(
    tokenizer: str | None,
    template: str | None,
    processor: str | None = None,
    *,
    with_torch: bool = False,
    ahead: bool = False,
) -> ChatEncoder:
    """The encoder of a tokenizer's or a processor's name or folder, with a template's file or text in place of its own.

    Args:
        with_torch: whether the command also uses what transformers makes with torch; processors always do.
        ahead: whether the native tokenizer, which will be needed, is made while transformers is imported and beside
            what else is to be done.

    Raises:
        CliError: there is no such tokenizer or processor, or no such template.
        TokenizerError: it has no chat template, or returns no offsets.
    """
    chat_template = None if template is None else read_template(template)
    name = model_name(tokenizer, processor)
    what = "tokenizer" if processor is None else "processor"
    if ahead:
        make_ahead(name, DEFAULT_CACHE_BYTES)
    loaded = load_tokenizer(name, with_torch=with_torch) if processor is None else load_processor(name)
    own = (getattr(each, "chat_template", None) for each in (loaded, getattr(loaded, "tokenizer", None)))
    if chat_template is None and not any(own):
        raise CliError(f"the {what} {name} has no chat template: set one with --template FILE")
    encoder = ChatEncoder(loaded, chat_template=chat_template)
    if ahead:
        encoder.warm_up(background=True)
    return encoder


def read_template(name: str) -> str:
    """A chat template by its file, or as it is."""
    if "{%" in name or "{{" in name:
        return name
    try:
        # As transformers reads it: a template's own line ends are part of it.
        return Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CliError(f"the template {name} is not UTF-8 text") from None
    except OSError as error:
        raise CliError(f"cannot read the template {name}: {error.strerror}; name a .jinja file") from None


def load_tokenizer(name: str, *, with_torch: bool = False) -> Any:
    """The tokenizer of a folder or of the hub.

    Raises:
        CliError: there is none.
    """
    with nullcontext() if with_torch else without_torch():
        return _loaded(name, "tokenizer", load_pretrained)


def load_processor(name: str) -> Any:
    """The processor of a folder or of the hub.

    Raises:
        CliError: there is none.
    """
    return _loaded(name, "processor", pretrained.load_processor)


def _loaded(name: str, what: str, load: Callable[[str], Any]) -> Any:
    try:
        # Before transformers is imported.
        require_folder(name, what)
    except TokenizerError as error:
        raise CliError(error.message) from None
    with waiting("importing transformers"), _without_garbage():
        import transformers
    transformers.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    where = "" if Path(name).exists() else " (from the Hugging Face hub, if it is not in the cache yet)"
    with waiting(f"loading the {what} {name}{where}"), _without_garbage():
        try:
            return load(name)
        except TokenizerError as error:
            raise CliError(error.message) from None


@contextmanager
def _without_garbage() -> Iterator[None]:
    """Python does not look for garbage while things are loaded that stay."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
