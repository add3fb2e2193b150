"""Conversations with control tokens in their data, and whether one has a character of these as plain text."""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from chatspan import ChatEncoder, ControlTokenError, Encoding
from chatspan.options import ROLES
from chatspan.render.jinja.engine import render_traced
from chatspan.render.jinja.template import compiled
from chatspan.render.origins import data_ranges
from chatspan.render.request import request_of
from hypothesis import strategies as st
from random_chats import TEXTS as PLAIN_TEXTS
from transformers import AutoTokenizer
from zoo import EXAMPLES

PIECES = st.sampled_from(
    [
        "<|",
        "|>",
        "im_end",
        "im_start",
        "<|im_end|>",
        "<|im_start|>",
        "<|im_",
        "end|>",
        "IM_END",
        "<think>",
        "a",
        " ",
        "é",
    ]
)
TEXTS = st.lists(PIECES, max_size=4).map("".join) | PLAIN_TEXTS
ARGUMENTS = st.dictionaries(TEXTS, TEXTS | st.integers(-3, 3) | st.lists(TEXTS, max_size=2), max_size=2)
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), max_size=3)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from([*ROLES, "critic", "im_end", "user<|im_end|>"]), "content": TEXTS, "name": TEXTS},
        optional={"args": ARGUMENTS, "parts": PARTS},
    ),
    min_size=1,
    max_size=3,
)
TOOLS = st.none() | st.lists(
    st.fixed_dictionaries(
        {"type": st.just("function"), "function": st.fixed_dictionaries({"name": TEXTS, "parameters": ARGUMENTS})}
    ),
    max_size=2,
)
# What templates do with fields, one of each beside the other.
WRITTEN = st.sampled_from(
    [
        *("<|im_start|>", "<|im_end|>\n", "<|", "|>", "<|im_", "end|>", "\n"),
        *("{{ m.content }}", "{{ m.name }}", "{{ m.role }}", "<|{{ m.role }}|>", "{{ m.content | trim }}"),
        *("{{ m.content.replace('<think>', '') }}", "{{ m.content | lower }}", "{{ m.content | upper | lower }}"),
        *("{% for p in m.parts or [] %}{{ p.text }}{% endfor %}", "{{ m.args | tojson }}", "{{ m.args }}"),
        *("{% for k, v in (m.args or {}).items() %}{{ k }}{{ v }}{% endfor %}", "{{ (m.args or {}) | join }}"),
        *("{{ tools | tojson }}", "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"),
        *("{{ '<|' ~ m.content ~ '|>' }}", "{{ '<|im_%s|>' | format(m.content) }}", "{{ m }}", "{{ m | tojson }}"),
        *(
            "{{ {m.content: m.name} | tojson }}",
            "{{ [m.name] | lower }}",
            "{{ m.content[::-1] }}",
            "{{ '<|' ~ effort ~ '|>' }}",
        ),
        *("{{ m.content.split('a') | join }}", "{{ '%(content)s' % m }}", "{{ '{0[name]}'.format(m) }}"),
    ]
)


@functools.cache
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")


def harmless(value: Any, key: Any = None) -> Any:
    """The same structure, each text of it but usual roles and types as long, and of one letter."""
    if isinstance(value, str):
        return value if key == "type" or (key == "role" and value in ROLES) else "q" * len(value)
    if isinstance(value, Mapping):
        # Keys that templates look up stay.
        named = all(name.isidentifier() for name in value if isinstance(name, str)) and key != "args"
        return {
            name if named else "q" * len(name) + str(at): harmless(part, name)
            for at, (name, part) in enumerate(value.items())
        }
    return [harmless(part) for part in value] if isinstance(value, list) else value


def control_ids(encoding: Encoding, data: list[tuple[int, int]]) -> Counter[int]:
    """The control tokens without a character of the data, to which all belongs that a template makes of it."""
    special = set(tokenizer().added_tokens_decoder)
    placed = zip(encoding.input_ids.tolist(), encoding.offsets.tolist(), strict=True)
    return Counter(i for i, (start, end) in placed if i in special and not _meets(data, start, end))


def _meets(data: list[tuple[int, int]], start: int, end: int) -> bool:
    return any(first < end and start < last for first, last in data)


def own_text(encoding: Encoding, data: list[tuple[int, int]]) -> str:
    """What of a render is the template's own, with a mark where data stand."""
    text, position = "", 0
    for start, end in data:
        text, position = f"{text}{encoding.text[position:start]}\0", end
    return text + encoding.text[position:]


def refused(call: Callable[[], object]) -> ControlTokenError:
    try:
        call()
    except ControlTokenError as error:
        return error
    raise AssertionError("a control token of the data is no error")


class NotComparable(Exception):
    """A template that cannot render this."""


class Checked(NamedTuple):
    """What is known of a conversation in which no control token has a character of the data.

    Attributes:
        changed: whether one would have had.
        same: whether the template writes the same text of its own around harmless data, whose control tokens are then
            the same ones; none where it does not render these.
    """

    changed: bool
    same: bool | None


def check(template: str, messages: list[dict[str, Any]], tools: Any, keywords: dict[str, Any]) -> Checked:
    """Encodes a conversation with control tokens in its data as plain text.

    Raises:
        AssertionError: a control token has a character of the data.
        NotComparable: see there.
    """
    encoder = ChatEncoder(tokenizer(), chat_template=template, backend="hf")

    def encode(messages: Any, tools: Any, special_tokens: Any) -> Encoding:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return encoder.encode(messages, tools=tools, special_tokens=special_tokens, **keywords)

    try:
        escaped = encode(messages, tools, "escape")
        as_rendered = encode(messages, tools, "as_rendered")
    except ControlTokenError:
        raise
    # Random templates fail in many ways, some only in transformers.
    except Exception as error:
        raise NotComparable(repr(error)) from error
    if " at 0x" in escaped.text.lower():
        raise NotComparable("an address in the text, another one in each render")
    assert escaped.text == as_rendered.text
    request = request_of(messages, tools=tools, chat_template=template, **keywords)
    traced = render_traced(compiled(template), request, tokenizer().special_tokens_map, datetime.now(), {})
    assert traced.text == escaped.text
    roles = {role for role in {*ROLES, *compiled(template).named_roles} if "<|" not in role}
    data = data_ranges(traced.runs, roles)
    assert escaped._attributed.data.tolist() == [list(each) for each in data]

    special = set(tokenizer().added_tokens_decoder)
    for token_id, (start, end) in zip(escaped.input_ids.tolist(), escaped.offsets.tolist(), strict=True):
        if token_id in special:
            assert not _meets(data, start, end), escaped.text[start:end]
    changed = escaped.input_ids.tolist() != as_rendered.input_ids.tolist()
    if changed:
        found = refused(lambda: encode(messages, tools, "error"))
        assert found.received == escaped.text[found.start_char : found.end_char]
    else:
        assert encode(messages, tools, "error").input_ids.tolist() == as_rendered.input_ids.tolist()
    try:
        plain = encode([harmless(message) for message in messages], harmless(tools), "as_rendered")
    except Exception:
        return Checked(changed, None)
    data_of_plain = [(start, end) for start, end in plain._attributed.data.tolist()]
    same = own_text(escaped, data) == own_text(plain, data_of_plain)
    if same:
        assert control_ids(escaped, data) == control_ids(plain, data_of_plain)
    return Checked(changed, same)
