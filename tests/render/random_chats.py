"""Random messages, tools and keywords: what is in real ones, and what templates cannot take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

PIECES = st.sampled_from(
    [
        *("a", "Hi", " ", "\n", "user", "assistant", "system", "tool", "<think>", "</think>", "\n\n", "\r\n", "\t"),
        *(
            "<|im_end|>",
            "é",
            "ß",
            "🚆",
            "'",
            '"',
            "\\",
            "{{",
            "%}",
            "<b>",
            "&",
            "\x1c",
            "\x85",
            "\u2028",
            "\0",
            "İ",
            "1",
        ),
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=5).map("".join)
KEYS = st.sampled_from(["a", "name", "items", "get", "type", "text", "role", "é", "x y", "keys"])
NUMBERS = st.one_of(st.integers(-3, 12), st.integers(-(2**70), 2**70), st.floats(allow_nan=False))
ATOMS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())
NESTED: st.SearchStrategy[Any] = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
PARTS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}),
        st.sampled_from([{"type": "image"}, {"type": "image_url", "image_url": {"url": "x"}}, {"text": "bare"}]),
    ),
    max_size=3,
)
ARGUMENTS = st.dictionaries(KEYS, NESTED, max_size=3)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(["abcdefghi", "x"]),
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {
                    "name": st.sampled_from(["rebook", "cancel", "é"]),
                    "arguments": ARGUMENTS | st.sampled_from(["{}", '{"a": 1}', "{bad"]),
                }
            ),
        }
    ),
    max_size=2,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "developer"])},
    optional={
        "content": st.one_of(TEXTS, TEXTS, TEXTS, st.none(), PARTS),
        "reasoning_content": TEXTS,
        "thinking": TEXTS,
        "tool_calls": st.one_of(CALLS, st.none()),
        "name": TEXTS,
        "tool_call_id": st.just("abcdefghi"),
        "items": NESTED,
        "extra": NESTED,
    },
)
TOOLS = st.none() | st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {
                    "name": st.sampled_from(["rebook", "cancel"]),
                    "description": TEXTS,
                    "parameters": st.fixed_dictionaries(
                        {"type": st.just("object")},
                        optional={
                            "properties": st.dictionaries(
                                KEYS,
                                st.fixed_dictionaries(
                                    {
                                        "type": st.sampled_from(
                                            ["string", "integer", "array", "object", ["string", "null"]]
                                        )
                                    },
                                    optional={
                                        "description": TEXTS,
                                        "enum": st.lists(ATOMS, max_size=2),
                                        "items": NESTED,
                                    },
                                ),
                                max_size=2,
                            ),
                            "required": st.lists(KEYS, max_size=2),
                        },
                    ),
                },
                optional={"return": NESTED},
            ),
        }
    ),
    max_size=2,
)
# Turns as chats have them, which most templates render; and any.
CHATS = st.lists(st.tuples(TEXTS, TEXTS, st.none() | TEXTS, CALLS, st.booleans()), min_size=1, max_size=3).map(
    lambda turns: [message for turn in turns for message in _turn(*turn)]
)
CONVERSATIONS = st.one_of(CHATS, st.lists(MESSAGES, min_size=1, max_size=4))
OPTIONS = st.fixed_dictionaries(
    {"tools": TOOLS, "add_generation_prompt": st.booleans()},
    optional={
        "enable_thinking": st.booleans(),
        "documents": st.lists(st.dictionaries(KEYS, TEXTS, max_size=2), max_size=2),
    },
)


def _turn(
    question: str, answer: str, reasoning: str | None, calls: list[Any], answered: bool
) -> Iterator[dict[str, Any]]:
    yield {"role": "user", "content": question}
    if calls:
        yield {"role": "assistant", "content": answer, "tool_calls": calls}
        if answered:
            yield from ({"role": "tool", "content": question, "tool_call_id": call["id"]} for call in calls)
    yield {"role": "assistant", "content": answer, **({} if reasoning is None else {"reasoning_content": reasoning})}
