"""Every field of a conversation is a word of its own: runs stand exactly where transformers' render holds the word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cases import assistant, user
from chatspan import ChatEncoder, Kind, TemplateError, TurnBoundaryError
from conversations import SPECIAL_TOKENS, call, calls, schema, tool
from zoo import ZOO

TEMPLATES = sorted((ZOO / "templates").glob("*.jinja")) if ZOO.is_dir() else []
# Each field's word, and what it is in its own message.
WORDS = {
    "Wqaa": Kind.CONTENT,
    "Wqab": Kind.CONTENT,
    "Wqac": Kind.REASONING,
    "Wqad": Kind.TOOL_CALL,
    "Wqae": Kind.TOOL_CALL,
    "Wqaf": Kind.CONTENT,
    "Wqag": Kind.CONTENT,
    "Wqah": Kind.CONTENT,
    "Wqai": Kind.CONTENT,
}
FULL = [
    user("Wqaa"),
    calls(call("Wqad", {"key": "Wqae"}), content="Wqab", reasoning_content="Wqac"),
    tool("Wqaf", name="Wqad"),
    assistant("Wqag"),
    user("Wqah"),
    assistant("Wqai"),
]
CONVERSATIONS = {
    "full": FULL,
    "no content beside calls": [FULL[0], {**FULL[1], "content": ""}, *FULL[2:]],
    "no calls": [FULL[0], assistant("Wqab", reasoning_content="Wqac"), *FULL[4:]],
    "ends with reasoning": [FULL[0], assistant("Wqai", reasoning_content="Wqac")],
    "plain": [FULL[0], assistant("Wqab"), *FULL[4:]],
}


@pytest.fixture(scope="module")
def outcomes(say: Callable[[str], None]) -> Iterator[Counter[str]]:
    counts: Counter[str] = Counter()
    yield counts
    say(f"words found by chatspan where transformers' render has them: {dict(counts)}")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template(path: Any, zoo_tokenizer: Callable[[str], Any], outcomes: Counter[str]) -> None:
    tokenizer, source = zoo_tokenizer("qwen2_5"), path.read_text()
    encoder = ChatEncoder(tokenizer, chat_template=source)
    for messages in CONVERSATIONS.values():
        for tools in (None, [schema("Wqad")]):
            kwargs = {**SPECIAL_TOKENS, "tools": tools}
            try:
                encoding = encoder.encode(messages, **kwargs)
            except TemplateError:
                outcomes["renders refused"] += 1
                continue
            own = tokenizer.apply_chat_template(messages, tokenize=False, chat_template=source, **kwargs)
            assert encoding.text == own
            assert encoding.input_ids.tolist() == tokenizer(own, add_special_tokens=False)["input_ids"]
            check_words(encoding, own, outcomes)
            check_turns(encoder, encoding, outcomes)


def check_words(encoding: Any, own: str, outcomes: Counter[str]) -> None:
    copies = {(s.start_char, s.end_char): s for s in encoding.spans if s.verbatim}
    segment_of = [s for s in encoding.segments for _ in range(s.start_char, s.end_char)]
    for word, kind in WORDS.items():
        for match in re.finditer(word, own):
            span = copies.get(match.span())
            assert span is not None, (word, own[max(0, match.start() - 30) : match.end() + 30])
            segment = segment_of[match.start()]
            if span.path[0] == "tools":
                assert segment.kind == Kind.TOOLS
            elif span.path[0] == "name" or (kind is Kind.TOOL_CALL and segment.message_index != span.message_index):
                assert segment.kind is Kind.OTHER_FIELD
            else:
                of_tool = kind is Kind.CONTENT and encoding.roles[span.message_index] == "tool"
                wanted = Kind.TOOL_RESULT if of_tool or announces(encoding, span, own) else kind
                assert (segment.kind, segment.message_index) == (wanted, span.message_index)
            outcomes[f"words ({segment.kind.name.lower()})"] += 1


def announces(encoding: Any, span: Any, own: str) -> bool:
    """Whether a call's name is written once more, right in front of the call's result."""
    word = own[span.start_char : span.end_char]
    again = span.path[0] == "tool_calls" and word in own[: span.start_char]
    following = [each for each in encoding.spans if each.start_char >= span.end_char]
    return again and bool(following) and encoding.roles[following[0].message_index] == "tool"


def check_turns(encoder: ChatEncoder, encoding: Any, outcomes: Counter[str]) -> None:
    """A turn holds all that its message says, and nothing that another one says."""
    for policy in ("token", "next_header"):
        try:
            mask = encoding.mask(end_of_turn=policy)
        except TurnBoundaryError:
            outcomes[f"turns refused with end_of_turn={policy}"] += 1
            continue
        trained = encoding.message_index[mask]
        roles = np.array(encoding.roles)
        if policy == "token":
            assert set(roles[trained].tolist()) <= {"assistant"}
        outcomes[f"turns told with end_of_turn={policy}"] += 1
        return
