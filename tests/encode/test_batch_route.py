"""Rows of a batch, rendered side by side: each as by itself, and what the core reads of a render as Python reads it."""

from __future__ import annotations

import pickle
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CHATML, assistant, system, user
from chatspan import ChatEncoder, ChatspanError, ControlTokenError, MessageError, TemplateError, TurnBoundaryError
from chatspan._core import pad_rows
from chatspan.batch.padding import padded_ids
from chatspan.distillation.chats.provenance import _content_runs
from chatspan.encode.pipeline import Rendered
from chatspan.encoding import Encoding
from chatspan.render.origins import Dump, field_runs
from chatspan.render.request import RenderRequest, request_of
from conversations import CONVERSATIONS, FIREFUNCTION, SPECIAL_TOKENS, call, calls
from hypothesis import given
from hypothesis import strategies as st
from zoo import TEMPLATES

NOW = datetime(2024, 2, 29, 13, 5, 7)
ASKED = [
    (messages, {**FIREFUNCTION, **SPECIAL_TOKENS, **keywords, "add_generation_prompt": prompt})
    for messages, keywords in CONVERSATIONS.values()
    for prompt in (False, True)
]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_a_batch_is_its_rows(path: Path, small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=path.read_text())
    pipeline = encoder._pipeline
    alone: list[Rendered] = []
    requests: list[RenderRequest] = []
    for messages, keywords in ASKED:
        request = request_of(messages, **keywords)
        try:
            alone += pipeline.render([request], now=NOW)
        except ChatspanError:
            continue
        requests.append(request)
    assert requests
    whole = pipeline.encode_rendered(alone)
    for cut in (True, False):
        together = list(pipeline.render(requests, now=NOW, cut=cut))
        for one, other in zip(whole, pipeline.encode_rendered(together), strict=True):
            assert_same_encoding(one, other)
    for rendered, encoding in zip(alone, whole, strict=True):
        if rendered.render.native is not None:
            assert_reads_alike(rendered, encoding)


def assert_same_encoding(one: Encoding, other: Encoding) -> None:
    assert one.text == other.text
    assert one.roles == other.roles
    assert one.segments == other.segments
    assert one._attributed.regions == other._attributed.regions
    for name in ("input_ids", "offsets", "message_index", "kind", "straddling"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def assert_reads_alike(rendered: Rendered, encoding: Encoding) -> None:
    """What the core says of its render, against Python's objects of it."""
    native, runs = rendered.render.native, rendered.render.runs
    assert native is not None
    fields = [(start, end, of._message_index, of._path, at) for start, end, of, at in field_runs(runs)]
    assert native.fields() == (None if any(isinstance(of, Dump) for _, _, of, _ in runs) else fields)
    assert native.contents() == _content_runs(rendered.render)
    assistants = [index for index, role in enumerate(encoding.roles) if role == "assistant"]
    for policy in ("token", "all", "none"):
        known = encoding._segments.turns(assistants, policy)
        try:
            whose = encoding._attributed
            told = [index for index in assistants if index in whose.regions]
            slow = [part for index in told for part in whose.turn(index, policy)]
        except TurnBoundaryError:
            slow = None
        assert known == slow, policy


def test_rows_of_all_kinds_go_together(small: Any) -> None:
    """One that the core leaves to Jinja2, sampled ids, and letters that only Python knows, in a batch with others."""
    template = "{{ strftime_now('%Y') }}{{ messages[0].content|upper }}" + CHATML
    encoder = ChatEncoder(small, chat_template=template)
    answer = small("Gone.<|im_end|>", add_special_tokens=False)["input_ids"]
    rows = [
        [user("straße"), assistant("Góne.")],
        [user("Go."), calls(call("rebook", {"seats": 2**70}))],
        [user("Go."), {**assistant("Gone."), "token_ids": answer}],
        [user("ﬁn"), assistant("")],
    ] * 9
    found = encoder.encode_batch(rows)
    assert [encoding.text[4:].split("<", 1)[0] for encoding in found[:4]] == ["STRASSE", "GO.", "GO.", "FIN"]
    assert found[2].input_ids[-len(answer) - 1 : -1].tolist() == answer
    assert (encoder.stats()["renders_native"], encoder.stats()["renders_jinja2"]) == (27, 9)
    for encoding, row in zip(found, rows, strict=True):
        assert_same_encoding(encoding, encoder.encode(row))


def test_what_is_wrong_is_said_of_its_row(small: Any) -> None:
    """The first row that is wrong, in the order of the rows, though others were rendered already."""
    picky = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system.') }}{% endif %}{% endfor %}"
    )
    encoder = ChatEncoder(small, chat_template=picky + CHATML)
    fine = [user("Go."), assistant("Gone.")]
    with pytest.raises(TemplateError, match=r"the chat template raised at message 1 \(role 'system'\).*No system\."):
        encoder.encode_batch([fine, [user("Go."), system("Be quick.")], ["Go."]])
    with pytest.raises(MessageError, match="message 0 is str, not a dict"):
        encoder.encode_batch([fine, ["Go."], [user("Go."), system("Be quick.")]])
    with pytest.raises(ControlTokenError, match=r"message 0: its text holds the control token '<\|im_end\|>'"):
        encoder.encode_batch([fine, [user("Go.<|im_end|>")]], special_tokens="error")
    assert encoder.encode_batch([]) == []


def test_an_encoding_of_a_batch_can_be_pickled(small: Any) -> None:
    encoding = ChatEncoder(small).encode_batch([[user("Gó."), assistant("Gone.")]] * 2)[1]
    again = pickle.loads(pickle.dumps(encoding))
    assert_same_encoding(encoding, again)
    assert repr(again.table) == repr(encoding.table)
    assert again.spans == encoding.spans
    np.testing.assert_array_equal(again.labels(), encoding.labels())


ROWS = st.lists(st.lists(st.integers(-5, 99), max_size=9), min_size=1, max_size=6)


@given(ROWS, st.integers(-100, 3), st.sampled_from(["left", "right"]), st.integers(0, 4))
def test_rows_are_padded_as_by_numpy(rows: list[list[int]], fill: int, side: Any, more: int) -> None:
    arrays = [np.array(row, dtype=np.int64) for row in rows]
    width = max(map(len, rows)) + more
    wanted, mask = np.full((len(rows), width), fill), np.zeros((len(rows), width))
    for index, row in enumerate(rows):
        start = width - len(row) if side == "left" else 0
        wanted[index, start : start + len(row)] = row
        mask[index, start : start + len(row)] = 1
    ids, seen = padded_ids(arrays, fill, side, width)
    assert (ids.dtype, seen.dtype) == (np.int64, np.int64)
    np.testing.assert_array_equal(ids, wanted)
    np.testing.assert_array_equal(seen, mask)


def test_a_row_that_does_not_fit_is_not_cut() -> None:
    with pytest.raises(ValueError, match="row 1 has 3 columns, more than 2"):
        pad_rows([([np.arange(2), np.arange(3)], 0)], 2, False)
