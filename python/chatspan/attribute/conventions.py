"""What a tokenizer and a template agree on: found once for both, then used for every render."""

from __future__ import annotations

from typing import Any, NamedTuple

from chatspan._core import TurnScaffold
from chatspan.attribute.headers import scaffold_of
from chatspan.render.jinja.template import ChatTemplate
from chatspan.tokenize.control_tokens import control_tokens


class Conventions(NamedTuple):
    """What a tokenizer and a template agree on.

    Attributes:
        control_tokens: the tokens that have a meaning in a render.
        scaffold: what the template writes around assistants' messages.
    """

    control_tokens: tuple[str, ...]
    scaffold: TurnScaffold


def conventions_of(tokenizer: Any, template: ChatTemplate) -> Conventions:
    """The conventions of a tokenizer and a template."""
    controls = control_tokens(tokenizer, template.literal_text)
    found = scaffold_of(template, tokenizer.special_tokens_map, controls)
    return Conventions(controls, found.with_controls(controls))
