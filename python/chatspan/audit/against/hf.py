"""transformers: ``apply_chat_template(return_assistant_tokens_mask=True)``, the template's ``{% generation %}`` blocks.

What it does is asked of the installed transformers, row by row.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from chatspan.audit.against.peer import PeerRow, apply_template
from chatspan.rows.conversations import Chat

_TAGS = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


class Transformers:
    """See :class:`chatspan.audit.against.peer.Peer`."""

    name = "hf"

    def __init__(self, tokenizer: Any) -> None:
        import transformers

        transformers.logging.set_verbosity_error()
        self._tokenizer = tokenizer
        self.method = f"transformers {transformers.__version__}, apply_chat_template(return_assistant_tokens_mask=True)"
        self.refused = False
        self.statements: list[str] = []
        if not has_generation_tags(tokenizer.chat_template):
            self.statements.append(
                "the template has no {% generation %} blocks: a warning, and a mask of zeros on every row. "
                "It trains nothing."
            )

    def row(self, chat: Chat) -> PeerRow:
        """What it makes of a row."""
        return masked_row(self._tokenizer, chat)


def masked_row(tokenizer: Any, chat: Chat, **options: Any) -> PeerRow:
    """The ids and the mask that transformers gives.

    Raises:
        PeerRefusal: the template raises.
    """
    found = apply_template(tokenizer, chat, return_dict=True, return_assistant_tokens_mask=True, **options)
    # Without blocks, some versions leave the mask out.
    mask = found.get("assistant_masks", found.get("assistant_tokens_mask"))
    ids = list(found["input_ids"])
    return PeerRow(ids, np.zeros(len(ids), dtype=bool) if mask is None else np.array(mask, dtype=bool))


def has_generation_tags(chat_template: Any) -> bool:
    """Whether any of a tokenizer's templates has ``{% generation %}`` blocks."""
    templates = chat_template.values() if isinstance(chat_template, dict) else [chat_template]
    return any(_TAGS.search(template) is not None for template in templates)
