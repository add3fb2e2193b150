"""Notations: how a template writes a value of JSON's types out.

JSON and Python's ``repr`` are two; a third is what macros write that go through a value themselves, with brackets,
separators and quotes of their own. It is learned from renders of two lists and dicts.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# As deep as values of a completion may be nested; deeper ones are no values.
DEEPEST = 60


class Notation(Protocol):
    """How values are written."""

    def read(self, text: str, start: int) -> tuple[Any, int]:
        """The value that begins at ``start``, and where it ends.

        Raises:
            ValueError: there is none.
        """


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large")
    return value


def _require_plain(value: Any, spelled: str) -> None:
    """Values are not nested too deeply, and their texts are Unicode.

    Raises:
        ValueError: they are not.
    """
    if "\\" in spelled:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError):
            raise ValueError("a lone surrogate is not text") from None
    level: list[Any] = [value]
    depth = 0
    while level := [part for each in level for part in _parts(each)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError("nested too deeply")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)


class JsonNotation:
    """JSON, in which no key stands twice and numbers are finite."""

    def read(self, text: str, start: int) -> tuple[Any, int]:
        """See :class:`Notation`."""
        try:
            value, end = _JSON.raw_decode(text, start)
        except (RecursionError, IndexError):
            raise ValueError("no value begins here") from None
        _require_plain(value, text[start:end])
        return value, end


class PythonNotation:
    """Python's ``repr``."""

    _TOKEN = re.compile(
        r"""(?P<string>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
        r"""|(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|(?P<word>True|False|None)|(?P<open>[\[{])"""
    )
    _WORDS: Mapping[str, Any] = {"True": True, "False": False, "None": None}

    def read(self, text: str, start: int) -> tuple[Any, int]:
        """See :class:`Notation`."""
        value, end = self._read(text, start, 0)
        _require_plain(value, text[start:end])
        return value, end

    def _read(self, text: str, start: int, depth: int) -> tuple[Any, int]:
        found = self._TOKEN.match(text, start)
        if found is None or depth > DEEPEST:
            raise ValueError("no value begins here")
        token, at = found.group(), found.end()
        if found.lastgroup == "word":
            return self._WORDS[token], at
        if found.lastgroup == "open":
            return self._items(text, at, token == "{", depth)
        try:
            value = ast.literal_eval(token)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValueError("no value begins here") from None
        if isinstance(value, float) and math.isinf(value):
            raise ValueError("too large")
        return value, at

    def _items(self, text: str, at: int, keyed: bool, depth: int) -> tuple[Any, int]:
        close = "}" if keyed else "]"
        items: list[Any] = []
        while not text.startswith(close, at):
            if items:
                at = _past(text, at, ",")
            at = _past(text, at, "")
            value, at = self._read(text, at, depth + 1)
            if keyed:
                at = _past(text, _past(text, at, ":"), "")
                part, at = self._read(text, at, depth + 1)
                if not isinstance(value, str):
                    raise ValueError("a key is not text")
                value = (value, part)
            items.append(value)
        return (_unique(items) if keyed else items), at + 1


def _past(text: str, at: int, token: str) -> int:
    """Behind a token, or behind a blank."""
    if not token:
        return at + 1 if text.startswith(" ", at) else at
    if not text.startswith(token, at):
        raise ValueError(f"expected {token!r}")
    return at + len(token)


@dataclass(frozen=True, eq=False)
class OwnNotation:
    """A notation of a template's own.

    Attributes:
        quotes: around texts, which nothing is escaped in.
        key_quote: in front of a key.
        list_marks, dict_marks: the bracket in front, the separator, the bracket behind.
        after_key: between a key and its value, with the quote behind the key.
        words: values that are words.
    """

    quotes: tuple[str, str]
    key_quote: str
    list_marks: tuple[str, str, str]
    dict_marks: tuple[str, str, str]
    after_key: str
    words: Mapping[str, Any]

    _NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")

    def read(self, text: str, start: int) -> tuple[Any, int]:
        """See :class:`Notation`."""
        return self._read(text, start, 0)

    def _read(self, text: str, start: int, depth: int) -> tuple[Any, int]:
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        opening, closing = self.quotes
        if opening and text.startswith(opening, start):
            end = text.find(closing, start + len(opening))
            if end < 0:
                raise ValueError("a text does not end")
            return text[start + len(opening) : end], end + len(closing)
        for marks, keyed in ((self.list_marks, False), (self.dict_marks, True)):
            if text.startswith(marks[0], start):
                return self._items(text, start + len(marks[0]), marks, keyed, depth)
        for word, value in self.words.items():
            if text.startswith(word, start):
                return value, start + len(word)
        number = self._NUMBER.match(text, start)
        if number is None:
            raise ValueError("no value begins here")
        value, end = JsonNotation().read(number.group(), 0)
        return value, start + end

    def _items(self, text: str, at: int, marks: tuple[str, str, str], keyed: bool, depth: int) -> tuple[Any, int]:
        _, between, close = marks
        items: list[Any] = []
        while not text.startswith(close, at):
            if items:
                if not text.startswith(between, at):
                    raise ValueError(f"expected {between!r}")
                at += len(between)
            key = ""
            if keyed:
                key, at = self._key(text, at)
            value, at = self._read(text, at, depth + 1)
            items.append((key, value) if keyed else value)
        return (_unique(items) if keyed else items), at + len(close)

    def _key(self, text: str, at: int) -> tuple[str, int]:
        first = at + len(self.key_quote)
        end = text.find(self.after_key, first)
        if end < 0 or not text.startswith(self.key_quote, at):
            raise ValueError("no key begins here")
        return text[first:end], end + len(self.after_key)


JSON = JsonNotation()
PYTHON = PythonNotation()
USUAL: tuple[Notation, ...] = (JSON, PYTHON)


def read_whole(notation: Notation, text: str) -> Any:
    """The value that a text is.

    Raises:
        ValueError: it is none.
    """
    value, end = notation.read(text, 0)
    if end != len(text):
        raise ValueError("something follows the value")
    return value


def same_data(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON data: 1, 1.0 and true are not."""
    try:
        return _key(one) == _key(other)
    except (TypeError, ValueError, RecursionError):
        return False


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
