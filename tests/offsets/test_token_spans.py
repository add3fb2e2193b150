"""``token_spans`` and ``token_mask`` from Python: every form of input, every policy, every refusal."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from chatspan import Offsets, OffsetsError, OptionError, SpanError, StraddleError, token_mask, token_spans
from hypothesis import given

TABLE = [(0, 0), (0, 2), (2, 5), (5, 6), (5, 6), (6, 9), (0, 0)]


def tokens_in(mask: np.ndarray) -> list[int]:
    assert mask.dtype == np.bool_
    return np.flatnonzero(mask).tolist()


@pytest.mark.parametrize(("straddle", "tokens"), [("touch", [2, 3, 4, 5]), ("inside", [3, 4])])
def test_straddling_tokens_are_in_or_out(straddle: str, tokens: list[int]) -> None:
    assert tokens_in(token_mask(TABLE, [(3, 8)], straddle=straddle)) == tokens
    assert token_spans(TABLE, [(3, 8)], straddle=straddle).tolist() == [[tokens[0], tokens[-1] + 1]]


def test_a_straddling_token_can_be_an_error() -> None:
    with pytest.raises(StraddleError, match=r"token 2 has characters \[2, 5\).*the span \[3, 8\)") as error:
        token_mask(TABLE, [(3, 8)], straddle="error")
    assert error.value.token_index == 2
    assert tokens_in(token_mask(TABLE, [(2, 6)], straddle="error")) == [2, 3, 4]


def test_tokens_of_one_emoji_are_in_together() -> None:
    assert tokens_in(token_mask(TABLE, [(5, 6)], straddle="inside")) == [3, 4]


def test_adjoining_spans_hold_the_token_across_their_border() -> None:
    assert tokens_in(token_mask(TABLE, [(4, 5), (0, 4)], straddle="inside")) == [1, 2]


def test_empty_and_absent_spans() -> None:
    assert token_spans(TABLE, [(-1, -1), (5, 5), (9, 9)]).tolist() == [[-1, -1], [3, 3], [7, 7]]
    assert not token_mask(TABLE, [(-1, -1), (3, 3)]).any()
    assert token_spans(TABLE, []).shape == (0, 2)
    assert token_mask([], [(0, 3)]).shape == (0,)


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", "u2", "i4", "u4", "i8", "u8", ">i4", ">u8"])
def test_any_integer_array_will_do(dtype: str) -> None:
    table = np.array(TABLE, dtype=dtype)
    assert tokens_in(token_mask(table, np.array([(3, 8)], dtype=dtype))) == [2, 3, 4, 5]
    strided = np.repeat(np.repeat(table, 2, axis=0), 2, axis=1)[::2, ::2]
    assert tokens_in(token_mask(strided, [[3, 8]])) == [2, 3, 4, 5]


@pytest.mark.parametrize("table", [tuple(TABLE), [list(pair) for pair in TABLE], [np.array(pair) for pair in TABLE]])
def test_any_sequence_of_pairs_will_do(table: object) -> None:
    assert tokens_in(token_mask(table, [(3, 8)])) == [2, 3, 4, 5]


def test_a_checked_table_is_used_again() -> None:
    table = Offsets(TABLE, text_length=9)
    assert (len(table), repr(table)) == (7, "Offsets(7 tokens over 9 characters)")
    assert tokens_in(token_mask(table, [(3, 8)])) == [2, 3, 4, 5]
    with pytest.raises(SpanError, match=r"span 1: \(8, 10\) is past the end of the text, which has 9 characters"):
        token_spans(table, [(0, 1), (8, 10)])


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([(0, 2), (5, 3)], r"token 1: \(5, 3\) ends before it starts"),
        ([(4, 6), (2, 4)], r"token 1: \(2, 4\) comes after \[4, 6\)"),
        ([(0, 2), (-3, 4)], "token 1: .*negative"),
        ([(0, 2), (2, 2.5)], "token 1: expected a pair of whole numbers"),
        ([(0, 2), (2, True)], "token 1: expected a pair of whole numbers"),
        ([(0, 2), 7], "token 1: expected a pair of whole numbers"),
        ([(0, 2), (1, 2, 3)], "token 1: expected a pair of whole numbers"),
        ([(0, 2), (2, 2**70)], "token 1: expected a pair of whole numbers"),
        (np.zeros((3, 3), dtype=int), r"wrong shape \[3, 3\]"),
        (np.zeros(4, dtype=int), r"wrong shape \[4\]"),
        (np.zeros((3, 2)), "wrong dtype float64"),
        (np.zeros((3, 2), dtype=bool), "wrong dtype bool"),
        (np.array([[0, 2**64 - 1]], dtype="u8"), "token 0: a number beyond 64 bits"),
        ("text", "expected a list of"),
        (None, "expected a list of"),
    ],
)
def test_wrong_offsets_are_refused(offsets: object, message: str) -> None:
    with pytest.raises(OffsetsError, match=message):
        token_mask(offsets, [(0, 1)])


def test_wrong_spans_are_refused() -> None:
    with pytest.raises(SpanError, match=r"span 1: \(3, 2\) ends before it starts") as error:
        token_mask(TABLE, [(0, 1), (3, 2)])
    assert error.value.span_index == 1
    with pytest.raises(SpanError, match=r"span 0: \(-1, 4\) has a negative end"):
        token_spans(TABLE, [(-1, 4)])
    with pytest.raises(OptionError, match='straddle="in"'):
        token_mask(TABLE, [(0, 1)], straddle="in")  # type: ignore[arg-type]


@given(text=st.text(min_size=1), data=st.data())
def test_masks_on_real_offsets_are_what_the_words_say(small: object, text: str, data: st.DataObject) -> None:
    offsets = small(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    edges = st.integers(0, len(text))
    spans = [tuple(sorted(pair)) for pair in data.draw(st.lists(st.tuples(edges, edges), max_size=4))]
    covered = {character for start, end in spans for character in range(start, end)}
    touch = [any(c in covered for c in range(start, end)) for start, end in offsets]
    inside = [start < end and all(c in covered for c in range(start, end)) for start, end in offsets]
    table = Offsets(offsets, text_length=len(text))
    assert token_mask(table, spans, straddle="touch").tolist() == touch
    assert token_mask(table, spans, straddle="inside").tolist() == inside
    if touch == inside:
        assert token_mask(table, spans, straddle="error").tolist() == touch
    else:
        with pytest.raises(StraddleError):
            token_mask(table, spans, straddle="error")
