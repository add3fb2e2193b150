"""The slow, readable twin of side arrays on ChatML: a row is a list of (id, label, number), one a token."""

from __future__ import annotations

from typing import Any

Token = tuple[int, int, float]
Row = list[Token]


def slow_row(tokenizer: Any, messages: list[dict[str, Any]]) -> Row:
    """Each turn's ``token_ids`` with its ``numbers``; what stands between turns is tokenized apart, and has 0."""
    row: Row = []
    text = ""

    def shown(text: str) -> Row:
        return [(token_id, -100, 0.0) for token_id in tokenizer(text, add_special_tokens=False)["input_ids"]]

    for message in messages:
        text += f"<|im_start|>{message['role']}\n"
        if "token_ids" not in message:
            text += message["content"] + "<|im_end|>\n"
            continue
        row += shown(text)
        numbers = message.get("numbers", [0.0] * len(message["token_ids"]))
        row += [(token_id, token_id, number) for token_id, number in zip(message["token_ids"], numbers, strict=True)]
        text = "\n"
    return row + shown(text)


def slow_cut(row: Row, max_length: int | None, side: str) -> Row:
    """At most so many tokens; the first one is never trained."""
    if max_length is not None and len(row) > max_length:
        row = row[-max_length:] if side == "left" else row[:max_length]
    (first, _, number), *others = row
    return [(first, -100, number), *others]


def slow_batch(rows: list[Row], pad_id: int, side: str, multiple: int | None, *, packing: bool) -> list[list[Token]]:
    """The rows filled up; or one behind the other."""
    if packing:
        return [[token for row in rows for token in row]]
    width = max(len(row) for row in rows)
    while multiple and width % multiple:
        width += 1
    filler: Row = [(pad_id, -100, 0.0)]
    return [filler * (width - len(row)) + row if side == "left" else row + filler * (width - len(row)) for row in rows]
