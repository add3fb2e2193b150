"""Instructions with an output: Alpaca and its kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatspan.errors import quoted
from chatspan.rows.dialects.calls import decoded
from chatspan.rows.dialects.found import DialectError, Found, Message, listed, shown
from chatspan.rows.notes import Note

# The columns of an instruction, of what it is about, and of the answer.
_SHAPES: tuple[tuple[str, str | None, str], ...] = (
    ("instruction", "input", "output"),  # Alpaca, LLaMA-Factory
    ("instruction", "context", "response"),  # Dolly
    ("query", None, "response"),  # ms-swift
    ("question", None, "response"),  # OpenOrca
    ("question", None, "answer"),  # GSM8K
)
_SYSTEMS = ("system", "system_prompt")
# All columns that a shape may have.
COLUMNS = frozenset({*(name for shape in _SHAPES for name in shape if name is not None), *_SYSTEMS})


def is_alpaca(row: Mapping[str, Any]) -> bool:
    """Whether a row has the columns of one of the shapes that :func:`of_alpaca` reads."""
    return _shape(row) is not None


def of_alpaca(row: Mapping[str, Any]) -> Found:
    """The messages of a row with an instruction and an answer.

    Shapes: ``instruction``, ``input``, ``output`` (Alpaca), ``instruction``, ``context``, ``response`` (Dolly),
    ``query``, ``response`` (ms-swift), ``question``, ``response`` (OpenOrca), ``question``, ``answer`` (GSM8K); with
    ``system`` or ``system_prompt``, and ``history`` as pairs of question and answer. The user's text is the
    instruction, a line break and the input, as in LLaMA-Factory.

    Raises:
        DialectError: a column is not text, there is no instruction, or ``history`` is no list of pairs.

    Example:
        >>> row = {"instruction": "Translate.", "input": "Hallo", "output": "Hello"}
        >>> [message["content"] for message in of_alpaca(row).messages]
        ['Translate.\\nHallo', 'Hello']
    """
    shape = _shape(row)
    if shape is None:
        raise DialectError(
            f"an instruction needs its answer: columns 'instruction' and 'output', got {', '.join(map(quoted, row))}"
        )
    first, second, last = shape
    messages: list[Message] = []
    system = next((name for name in _SYSTEMS if row.get(name)), None)
    if system is not None:
        messages.append({"role": "system", "content": _text(row, system)})
    for question, answer in _history(row):
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    texts = [_text(row, name) for name in (first, second) if name is not None and row.get(name) is not None]
    asked = "\n".join(text for text in texts if text.strip())
    if not asked:
        raise DialectError(f"{first!r} is blank: there is nothing that the answer is about; drop the row")
    messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": _text(row, last)}]
    read = {first, last, *([second] if second in row else []), *([system] if system else [])}
    columns = frozenset(name for name in (*read, *(("history",) if "history" in row else ())) if name is not None)
    what = f"{first!r} is read as the user's message, {last!r} as the assistant's"
    return Found(messages, columns=columns, notes=[Note("instruction_read", what)])


def require_no_preferences(row: Mapping[str, Any]) -> None:
    """Refuses pairs of a chosen and a rejected answer, which are no rows for supervised training.

    Raises:
        DialectError: the row has ``chosen`` and ``rejected``, and no ``completion``.
    """
    if "chosen" in row and "rejected" in row and "completion" not in row:
        raise DialectError(
            "'chosen' and 'rejected' are a preference pair, not a row for supervised training; pass such pairs to "
            "ComposerDataCollator as the 'dpo_pairs' of a trace, or keep the chosen answer as 'messages'"
        )


def _shape(row: Mapping[str, Any]) -> tuple[str, str | None, str] | None:
    return next((shape for shape in _SHAPES if row.get(shape[0]) is not None and shape[2] in row), None)


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise DialectError(f"{name!r} must be text, got {shown(value)}")
    return value


def _history(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    history = decoded(row.get("history"))
    if not history:
        return []
    pairs = []
    for number, pair in enumerate(listed(history, "'history'")):
        is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        if not is_pair:
            raise DialectError(f"'history' must hold pairs of question and answer; item {number} is {shown(pair)}")
        pairs.append((pair[0], pair[1]))
    return pairs
