"""The slow, readable twin of ``ChatCollator`` on ChatML: lists, one character range a turn."""

from __future__ import annotations

from typing import Any

Messages = list[dict[str, Any]]
Row = tuple[list[int], list[int]]


def slow_row(tokenizer: Any, messages: Messages, trained: list[int]) -> Row:
    """Ids and labels: a token is trained if it begins in a trained message's content or its end of turn."""
    text = ""
    turns = []
    for index, message in enumerate(messages):
        text += f"<|im_start|>{message['role']}\n"
        start = len(text)
        text += message["content"] + "<|im_end|>"
        if message["role"] == "assistant" and index in trained:
            turns.append((start, len(text)))
        text += "\n"
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    labels = []
    for token_id, (first, last) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        inside = any(start <= first < end for start, end in turns)
        labels.append(token_id if inside and last > first else -100)
    return encoded["input_ids"], labels


def slow_cut(row: Row, max_length: int | None, side: str) -> Row:
    """At most so many tokens of a row; its first one is never trained."""
    ids, labels = row
    if max_length is not None and len(ids) > max_length:
        ids = ids[-max_length:] if side == "left" else ids[:max_length]
        labels = labels[-max_length:] if side == "left" else labels[:max_length]
    return ids, [-100, *labels[1:]]


def slow_padded(rows: list[Row], pad_id: int, side: str, multiple: int | None) -> dict[str, list[list[int]]]:
    """The rows, filled up to the longest one's length or the next multiple."""
    width = max(len(ids) for ids, _ in rows)
    while multiple and width % multiple:
        width += 1
    batch: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
    for ids, labels in rows:
        count = width - len(ids)
        for name, values, filler in (
            ("input_ids", ids, pad_id),
            ("attention_mask", [1] * len(ids), 0),
            ("labels", labels, -100),
        ):
            batch[name].append([filler] * count + values if side == "left" else values + [filler] * count)
    return batch
