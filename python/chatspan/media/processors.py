"""A processor: what makes ids and tensors of a chat with media. Known by its tokenizer and ``apply_chat_template``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chatspan.errors import OptionError, TokenizerError, is_a, quoted


def is_processor(given: Any) -> bool:
    """Whether it is a processor, and no tokenizer."""
    return not hasattr(given, "is_fast") and hasattr(getattr(given, "tokenizer", None), "is_fast")


def template_of(processor: Any) -> str | Mapping[str, str] | None:
    """The processor's own chat template, or several by their names; ``None``: its tokenizer's is taken."""
    found: str | Mapping[str, str] | None = getattr(processor, "chat_template", None)
    return found


def require_processor(processor: Any, boundaries: str) -> None:
    """It renders chats itself, and tokenizes them whole.

    Raises:
        TokenizerError: it does not.
        OptionError: prompts and turns are to be tokenized apart.
    """
    if not callable(getattr(processor, "apply_chat_template", None)):
        raise TokenizerError(
            f"{type(processor).__name__} has no apply_chat_template: use processor.tokenizer, or a processor of "
            "transformers 4.51 or later (AutoProcessor.from_pretrained)"
        )
    if boundaries != "as_rendered":
        raise OptionError(
            f'boundaries={quoted(boundaries)}: a processor tokenizes its text whole; leave boundaries at "as_rendered"'
        )


def checked_options(processor: Any, options: Any) -> Mapping[str, Any]:
    """The keywords of a processor's own call.

    Raises:
        OptionError: there is no processor, or they are none.
    """
    if options is None:
        return {}
    if processor is None:
        raise OptionError("processor_kwargs need a processor: pass the processor in place of its tokenizer")
    if not is_a(options, Mapping) or not all(is_a(name, str) for name in options):
        raise OptionError(f"processor_kwargs={quoted(options)}: expected a mapping of names to values")
    return dict(options)


def settings_text(processor: Any) -> str:
    """What a processor is set to, beside its tokenizer and its template, as text by which it is known again."""
    parts = {name: part.to_dict() for name, part in vars(processor).items() if _is_part(name, part)}
    plain = {name: value for name, value in vars(processor).items() if type(value) in (str, int, float, bool)}
    plain.pop("chat_template", None)
    found = {"processor": type(processor).__name__, **plain, **parts}
    return json.dumps(found, sort_keys=True, default=lambda value: type(value).__name__)


def _is_part(name: str, value: Any) -> bool:
    return name != "tokenizer" and callable(getattr(value, "to_dict", None))


def placeholders_of(processor: Any, modality: str) -> list[str]:
    """The tokens that may stand for a medium in a render, in the order in which they are tried."""
    opening = {"image": ("fake_image_token", "boi_token"), "audio": ("boa_token",)}
    names = (f"{modality}_placeholder_token", f"{modality}_token", *opening.get(modality, ()))
    tokens = (getattr(processor, name, None) for name in names)
    return [text for token in tokens if (text := str(getattr(token, "content", token or "")))]
