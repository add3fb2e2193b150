"""JSON read in Rust is what Python's own ``json`` reads: the same values in the same order, and the same errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chatspan._core import read_json
from chatspan.rows.steps.json_bytes import json_value
from hypothesis import given
from hypothesis import strategies as st

PARTS = (
    rb'{ } [ ] , : "a" "a": "k":1,"k":2 " \ \u \ud83d \ude00 \u0041 \n \/ \x /**/ 0 1 01 -0 -0.0 -1 --1 +1 1. .5 0.1 '
    rb"1e 1e5 1E+5 1e-5 0e1 1e400 -1e400 1e-400 4.9e-324 2.2250738585072014e-308 1_0 "
    rb"179769313486231580793728971405301e276 18446744073709551616 9223372036854775808 "
    rb"-9223372036854775809 123456789012345678901234567890.5 "
    rb"NaN Infinity -Infinity nan inf null true false nul True"
).split()
PARTS += [b" ", b"\t", b"\n", b"\r", b"\x00", b"\x0b", b"\x7f", b"\xed\xa0\x80", b"\xff", b"\xef\xbb\xbf", b"9" * 5000]
PARTS += ["é".encode(), "😀".encode(), "\u2028".encode()]
AROUND = ((b"", b""), (b"[", b"]"), (b'{"x":', b"}"), (b'"', b'"'))


def outcome(read: Any, data: bytes) -> tuple[str, str]:
    """The value with the types and the order of all in it, or the error."""
    try:
        return "value", _told(read(data))
    except (ValueError, RecursionError) as error:
        return type(error).__name__, str(error)


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(["{", *(f"{key!r}: {_told(item)}, " for key, item in value.items()), "}"])
    if isinstance(value, list):
        return "".join(["[", *(f"{_told(item)}, " for item in value), "]"])
    # The bits of a float are told by its repr, but for its sign where it is no number.
    return f"{type(value).__name__} {value!r}"


@given(st.lists(st.sampled_from(PARTS), max_size=8).map(b"".join), st.sampled_from(AROUND))
def test_pieces_of_json(inner: bytes, around: tuple[bytes, bytes]) -> None:
    data = around[0] + inner + around[1]
    assert outcome(json_value, data) == outcome(json.loads, data)


@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    assert outcome(json_value, data) == outcome(json.loads, data)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(_VALUES, st.booleans(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be"]))
def test_values_come_back(value: Any, ascii_only: bool, encoding: str) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode(encoding, "surrogatepass")
    assert outcome(json_value, data) == outcome(json.loads, data)


@pytest.mark.parametrize("number", ["0.1", "1e23", "8.5e-322", "9007199254740993", "1" + "0" * 4299, "1" + "0" * 4300])
def test_numbers(number: str) -> None:
    assert outcome(json_value, number.encode()) == outcome(json.loads, number.encode())


@pytest.mark.parametrize("depth", [100, 150, 190, 199, 200, 201, 250, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nested(depth: int, opening: str, closing: str) -> None:
    data = (opening * depth + "1" + closing * depth).encode()
    assert outcome(json_value, data) == outcome(json.loads, data)


def test_what_is_read_in_rust() -> None:
    row = {"messages": [{"role": "user", "content": 'Grüße 👋\n\u2028 "x"', "n": [1, -2.5, 10**30, True, None]}]}
    for ascii_only in (True, False):
        assert read_json(json.dumps(row, ensure_ascii=ascii_only).encode()) == row
    for left in (b"null", b"NaN", b'"\\ud83d"', b"{", b"\xff", "{}".encode("utf-16")):
        assert read_json(left) is None
