"""Slow, readable twins that the tests compare with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

WORD = re.compile(r"⟦([<>]\d+)⟧")


def sentinel_spans(
    tokenizer: Any, messages: Sequence[dict[str, Any]], **kwargs: Any
) -> tuple[str, dict[int, list[tuple[int, int]]]]:
    """The render, and the character spans of each string content: a word put at both ends of each content, rendered
    by the tokenizer itself, found, and taken out again.

    The words stand inside of the content's own blanks at its ends, so that a template trims what it would trim. How
    many of those blanks are left is the difference to renders without them.
    """

    def marked(lead: bool, trail: bool) -> list[tuple[str, str]]:
        conversation = [_marked(message, index, lead, trail) for index, message in enumerate(messages)]
        pieces = WORD.split(tokenizer.apply_chat_template(conversation, tokenize=False, **kwargs))
        return list(zip(pieces[::2], [*pieces[1::2], ""], strict=True))

    bare, whole = marked(lead=False, trail=False), marked(lead=True, trail=True)
    with_lead, with_trail = marked(lead=True, trail=False), marked(lead=False, trail=True)
    text, open_at, spans = "", {}, {}
    for i, (piece, word) in enumerate(whole):
        text += piece
        if word.startswith("<"):
            open_at[word[1:]] = len(text) - (len(with_lead[i][0]) - len(bare[i][0]))
        elif word:
            kept = len(with_trail[i + 1][0]) - len(bare[i + 1][0])
            spans.setdefault(int(word[1:]), []).append((open_at[word[1:]], len(text) + kept))
    return text, spans


def _marked(message: dict[str, Any], index: int, lead: bool, trail: bool) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, str) or not content.strip():
        return message
    core = content.strip()
    before, after = content.split(core, 1)[0], content[content.index(core) + len(core) :]
    return {**message, "content": f"{before * lead}⟦<{index}⟧{core}⟦>{index}⟧{after * trail}"}


def content_mask(text: str, offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """For each token whether it has characters of the spans, and else none but blanks."""
    covered = {character for start, end in spans for character in range(start, end)}

    def is_in(characters: range) -> bool:
        return any(c in covered for c in characters) and all(c in covered or text[c].isspace() for c in characters)

    return [is_in(range(start, end)) for start, end in offsets]


class PlainView:
    """A tokenizer that shows only what the collator's contract asks of one that returns no offsets."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.pad_token_id = tokenizer.pad_token_id
        self.eos_token_id = tokenizer.eos_token_id

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": self._tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"]}

    def apply_chat_template(self, messages: list[dict[str, Any]], tokenize: bool = True, **kwargs: Any) -> Any:
        assert tokenize
        return self._tokenizer.apply_chat_template(messages, tokenize=True, **kwargs)

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids)
