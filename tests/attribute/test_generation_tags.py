"""Templates that say themselves what an assistant wrote: transformers' blocks, and its masks where those are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import assistant, user
from chatspan import ChatEncoder
from conversations import CONVERSATIONS

BLOCKS = {
    "content and end": "{% generation %}{{ m.content or '' }}{{ '<|im_end|>' }}{% endgeneration %}",
    "content": "{% generation %}{{ m.content or '' }}{% endgeneration %}{{ '<|im_end|>' }}",
    "trimmed": "{%- generation -%} {{ (m.content or '') | trim }} {%- endgeneration -%}{{ '<|im_end|>' }}",
    "in a condition": (
        "{% if m.content %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{{ '<|im_end|>' }}"
    ),
}
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}BLOCK"
    "{% else %}{{ m.content or '' }}{{ '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
)


def template(name: str) -> str:
    return TEMPLATE.replace("BLOCK", BLOCKS[name])


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name", [name for name in CONVERSATIONS if name not in ("parts", "documents")])
def test_blocks_and_masks_are_those_of_transformers(small: Any, block: str, name: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [{"role": m["role"], "content": m["content"] or "x"} for m in CONVERSATIONS[name][0]]
    encoding = ChatEncoder(small, chat_template=template(block)).encode(messages)
    rendered, indices = render_jinja_template(
        [messages], chat_template=template(block), return_assistant_tokens_mask=True, **small.special_tokens_map
    )
    assert rendered[0] == encoding.text
    assert list(encoding._render.generation) == indices[0]
    own = small.apply_chat_template(
        messages, chat_template=template(block), return_assistant_tokens_mask=True, return_dict=True
    )
    mine = encoding.mask(what="generation", straddle="touch")
    wrong = np.flatnonzero(mine != np.array(own["assistant_masks"], dtype=bool))
    # transformers asks which token a character is in: it loses the later tokens of a character that has several.
    shared = {at for at in wrong if at and tuple(encoding.offsets[at]) == tuple(encoding.offsets[at - 1])}
    # And it marks a token for a block that is empty, or of which only a straddling token is left.
    empty = any(start == end for start, end in indices[0])
    assert set(wrong.tolist()) == shared or empty


def test_an_emoji_at_the_end_is_whole(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=template("content"))
    encoding = encoder.encode([user("Hi"), assistant("Go 🚆")])
    assert encoder.decode(encoding.input_ids[encoding.mask(what="generation")]) == "Go 🚆"


def test_an_empty_block_has_no_token(small: Any) -> None:
    encoding = ChatEncoder(small, chat_template=template("content")).encode([user("Hi"), assistant("")])
    assert not encoding.mask(what="generation").any()


def test_truncation_keeps_what_is_left_of_a_block(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=template("content and end"))
    whole = encoder.encode([user("Hi"), assistant("One two three four.")])
    cut = encoder.encode([user("Hi"), assistant("One two three four.")], max_length=6, truncation="left")
    assert cut.mask(what="generation").tolist() == whole.mask(what="generation")[-6:].tolist()
    assert cut.mask(what="generation").any()
