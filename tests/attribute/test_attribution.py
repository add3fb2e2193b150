"""Whose each character is: the core against its slow twin, on every template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chatspan import ChatEncoder, ChatspanError, Kind
from chatspan._core import Segments, attribute
from chatspan.errors import OffsetsError, SpanError
from chatspan.render.request import request_of
from conversations import CONVERSATIONS, FIREFUNCTION, SPECIAL_TOKENS
from slow_attribution import assert_equal_to_slow
from zoo import TEMPLATES


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_segments_and_regions_are_those_of_the_slow_twin(path: Path, small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=path.read_text())
    compared = 0
    for messages, keywords in CONVERSATIONS.values():
        for prompt in (False, True):
            try:
                request = request_of(
                    messages, **{**FIREFUNCTION, **SPECIAL_TOKENS, **keywords, "add_generation_prompt": prompt}
                )
                [rendered] = encoder._pipeline.render([request])
            except ChatspanError:
                continue
            assert_equal_to_slow(rendered.attributed)
            compared += 1
    assert compared


def test_a_tag_in_a_content_counts_at_its_beginning_only(small: Any) -> None:
    def reasoning(content: str) -> list[str]:
        encoding = ChatEncoder(small).encode(
            [{"role": "user", "content": "q"}, {"role": "assistant", "content": content}]
        )
        return [encoding.text[s.start_char : s.end_char] for s in encoding.segments if s.kind is Kind.REASONING]

    assert reasoning("<think>é😀</think>Yes") == ["<think>é😀</think>"]
    assert reasoning(" <think>r</think>Yes") == ["<think>r</think>"]
    assert reasoning("r</think>Yes") == ["r</think>"]
    assert reasoning("Yes <think>r</think>") == []
    assert reasoning("</think><think>Yes") == []


def array(values: list[int], dtype: Any) -> Any:
    return np.array(values, dtype=dtype)


def test_wrong_segments_are_refused() -> None:
    with pytest.raises(SpanError, match=r"span 1: \[3, 3\) is empty or backwards"):
        Segments(array([0, 3, 3], np.int64), array([0, 0], np.int32), array([0, 0], np.uint8))
    segments = Segments(array([0, 3], np.int64), array([0], np.int32), array([1], np.uint8))
    with pytest.raises(OffsetsError, match="past the end of the last segment"):
        attribute([(0, 2), (2, 5)], segments)
