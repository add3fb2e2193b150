"""A batch as notebooks show it: its keys, and the first rows' tokens with those of the loss marked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chatspan.kinds import Kind
from chatspan.shown.html import MOST, TokenBox, table_html, tokens_html

_ROWS = 4
_IGNORED = -100
_TEACHER = "ctx_teacher_"


class Batch(dict[str, Any]):
    """The tensors of a collator, by name; a plain dict but for how a notebook shows it.

    Attributes:
        decode_one: the text of an id; lost where the batch goes to another process.
    """

    decode_one: Callable[[int], str] | None = None

    def __reduce__(self) -> Any:
        return (type(self), (dict(self),))

    def to_html(self) -> str:
        """Its keys, and the tokens of the first rows, those of the loss marked: self-contained, without a script."""
        every = list(_sides(self))
        sides = every[:_ROWS]
        groups = [name for name, _, _ in sides]
        boxes = [
            TokenBox(text, Kind.CONTENT, group, is_marked, f"column {column}: id {token_id}")
            for group, (_, tokens, _) in enumerate(sides)
            for column, token_id, is_marked in tokens[: MOST // _ROWS]
            for text in [str(token_id) if self.decode_one is None else self.decode_one(token_id)]
        ]
        left = sum(max(0, len(tokens) - MOST // _ROWS) for _, tokens, _ in sides)
        rows = [
            (name, str(list(getattr(value, "shape", ()))), str(getattr(value, "dtype", type(value).__name__)))
            for name, value in self.items()
        ]
        in_loss = sum(count for _, _, count in every)
        rows_and_columns = " × ".join(map(str, getattr(self.get("input_ids"), "shape", ())))
        title = f"Batch({rows_and_columns} tokens, {in_loss} in the loss)"
        behind = table_html(("key", "shape", "dtype"), rows)
        return tokens_html(title, boxes, groups, marked="in the loss", left=left, behind=behind)

    def _repr_html_(self) -> str:
        return self.to_html()


def _sides(batch: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[int, int, bool]], int]]:
    """The rows of either side: a name; column, id and mark of each token; how many are in the loss, counted once."""
    ids = batch.get("input_ids")
    if getattr(ids, "ndim", 0) != 2:
        return
    has_teacher = f"{_TEACHER}input_ids" in batch
    for row in range(len(ids)):  # type: ignore[arg-type]
        for prefix in ("", _TEACHER) if has_teacher else ("",):
            marks = _marks(batch, prefix, row)
            given = batch[f"{prefix}input_ids"][row].tolist()
            seen = (
                batch[f"{prefix}attention_mask"][row].tolist()
                if f"{prefix}attention_mask" in batch
                else [1] * len(given)
            )
            tokens = [(at, token_id, at in marks) for at, token_id in enumerate(given) if seen[at]]
            whose = ", teacher" if prefix else ", student" if has_teacher else ""
            yield f"row {row}{whose}", tokens, 0 if prefix else len(marks)


def _marks(batch: Mapping[str, Any], prefix: str, row: int) -> set[int]:
    """The columns of the tokens in the loss."""
    if "response_idx_mask" in batch:
        at = batch["teacher_response_idx" if prefix else "student_response_idx"][row]
        return set(at[batch["response_idx_mask"][row]].tolist())
    if "labels" in batch:
        return {column for column, label in enumerate(batch["labels"][row].tolist()) if label != _IGNORED}
    return set()
