"""How objects look: short reprs, tokens one by one, tables, HTML; and the example notebook, run cell by cell."""

from __future__ import annotations

import ast
import json
import pickle
from html.parser import HTMLParser
from typing import Any

import chatspan
import matplotlib
import numpy as np
import pytest
import torch
from cases import assistant, system, user
from chatspan import ChatCollator, ChatEncoder, EmptyBatchError, Kind, OptionError, SelfDistillationCollator
from hypothesis import given
from hypothesis import strategies as st
from zoo import REPO

matplotlib.use("Agg")
CHAT = [system("Be <b>brief</b>."), user("2 + 2?"), assistant("It is 4.\n")]


class Page(HTMLParser):
    """The words of spans by their class, and all tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.spans: list[tuple[str, str]] = []
        self._open: list[str] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)
        given = dict(attributes)
        if tag == "span" and "title" in given:
            self.spans.append((given["class"], ""))
            self._open = ["span"]
        elif tag == "br" and self._open:
            self._add("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "span":
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open:
            self._add(data.replace("⏎", ""))

    def _add(self, text: str) -> None:
        name, before = self.spans[-1]
        self.spans[-1] = (name, before + text)

    def words(self, wanted: str) -> str:
        return "".join(text for name, text in self.spans if wanted in name.split())


def test_reprs_say_what_it_is_and_load_nothing(small: Any) -> None:
    encoder = ChatEncoder(small)
    characters = len(small.chat_template)
    assert repr(encoder).startswith(f"ChatEncoder({type(small).__name__}, template of {characters:,} characters, ")
    encoder.warm_up()
    assert repr(encoder).endswith(", native)")
    assert repr(ChatEncoder(small, backend="hf")).endswith(", hf)")
    encoding = encoder.encode(CHAT)
    assert repr(encoding) == f"Encoding({len(encoding)} tokens, {int(encoding.mask().sum())} in turns, 3 messages)"
    assert repr(encoder.encode(CHAT, max_length=5, truncation="right")).endswith(f"{len(encoding) - 5} cut off)")


def test_tokens_one_by_one(small: Any) -> None:
    encoding = ChatEncoder(small).encode(CHAT)
    tokens = list(encoding)
    assert len(tokens) == len(encoding)
    assert [token.token_id for token in tokens] == encoding.input_ids.tolist()
    said = [token for token in tokens if token.role == "assistant" and token.kind == Kind.CONTENT]
    assert "".join(token.text for token in said) == "It is 4.\n"
    assert encoding[-1] == tokens[-1] == encoding[np.int64(len(encoding) - 1)]
    assert encoding[2:5] == tokens[2:5]
    assert encoding[0].token_index == 0
    with pytest.raises(IndexError, match=f"there are {len(encoding)} tokens, and none at {len(encoding)}"):
        encoding[len(encoding)]
    with pytest.raises(OptionError, match="a token's index is 'a': expected a number or a slice"):
        encoding["a"]  # type: ignore[call-overload]


def test_tables(small: Any) -> None:
    encoding = ChatEncoder(small).encode(CHAT)
    found = encoding.to_dict()
    assert json.loads(json.dumps(found)) == found
    table = encoding.to_pandas()
    assert table.loc[table.in_turn, "token_id"].tolist() == encoding.input_ids[encoding.mask()].tolist()
    rows = zip(table.start_char, table.end_char, table.text, strict=True)
    assert all(encoding.text[start:end] == text for start, end, text in rows)
    assert table[table.kind == "CONTENT"].groupby("message_index").text.sum()[0] == "Be <b>brief</b>."


def test_html_has_the_text_its_kinds_and_the_loss(small: Any) -> None:
    encoding = ChatEncoder(small).encode(CHAT)
    page = Page(encoding._repr_html_())
    assert "".join(text for _, text in page.spans) == encoding.text
    assert page.words(f"k{int(Kind.CONTENT)}") == "Be <b>brief</b>.2 + 2?It is 4.\n"
    assert page.words("m") == "It is 4.\n<|im_end|>"
    assert not {"script", "b"} - {"b"} & set(page.tags)
    assert "script" not in page.tags
    assert "http" not in encoding.to_html()
    nothing = Page(encoding.to_html(np.zeros(len(encoding), dtype=bool)))
    assert nothing.words("m") == ""
    with pytest.raises(OptionError, match=r"mask is int64 \[3\]: expected booleans"):
        encoding.to_html(np.array([1, 2, 3]))


@given(st.text(max_size=80).filter(lambda text: "<|" not in text))
def test_no_text_is_markup_or_a_control(small: Any, text: str) -> None:
    try:
        encoding = ChatEncoder(small, backend="hf").encode([user(text), assistant("ok")])
    except chatspan.ChatspanError:
        return
    html = encoding.to_html()
    assert html.isprintable()
    assert not {"script", "img", "iframe"} & set(Page(html).tags)


def test_a_long_chat_is_cut_on_the_page(small: Any) -> None:
    encoding = ChatEncoder(small).encode([user("word " * 3000), assistant("ok")])
    html = encoding.to_html()
    assert len(Page(html).spans) == 2000
    assert f"and {len(encoding) - 2000:,} more tokens" in html


def test_batches(small: Any) -> None:
    batch = ChatCollator(small)([{"messages": CHAT}, {"messages": CHAT[1:]}])
    page = Page(batch.to_html())  # type: ignore[attr-defined]
    assert page.words("m") == "It is 4.\n<|im_end|>" * 2
    assert "<|endoftext|>" not in "".join(text for _, text in page.spans)
    assert f"Batch(2 × {batch['input_ids'].shape[1]} tokens" in batch._repr_html_()  # type: ignore[attr-defined]
    copied = pickle.loads(pickle.dumps(batch))
    assert torch.equal(copied["labels"], batch["labels"])
    # In another process nothing decodes it; what is there is shown.
    assert "in the loss" in copied.to_html()
    hinted = [user("2 + 2? (4.)"), CHAT[2]]
    pair = SelfDistillationCollator(small)([{"messages": CHAT[1:], "teacher_messages": hinted}])
    found = Page(pair.to_html())  # type: ignore[attr-defined]
    assert found.words("m") == "It is 4.\n" * 2
    assert "(4.)" in "".join(text for _, text in found.spans)


def test_pictures_of_a_data_set(small: Any) -> None:
    collator = ChatCollator(small, max_length=64, empty_rows="drop")
    rows = [{"messages": CHAT}, {"messages": CHAT[1:]}, {"messages": CHAT, "loss_messages": []}]
    axes = chatspan.plot_lengths(collator, rows)
    assert axes.get_title() == f"3 rows, {sum(collator.lengths(rows))} tokens"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["max_length=64"]
    shares = chatspan.plot_loss_share(collator, rows, ax=axes)
    assert shares is axes
    assert "of the tokens in the loss" in axes.get_title()
    with pytest.raises(OptionError, match="collator is str: pass a collator"):
        chatspan.plot_lengths("collator", rows)
    with pytest.raises(OptionError, match="rows are an empty list: pass at least one row"):
        chatspan.plot_loss_share(collator, [])
    with pytest.raises(EmptyBatchError):
        collator(rows[2:])


def test_the_example_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell; what its last line gives shows itself in one of the ways that notebooks have."""
    monkeypatch.chdir(REPO)
    notebook = json.loads((REPO / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    names: dict[str, Any] = {}
    shown = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        *body, last = ast.parse("".join(cell["source"])).body
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        assert isinstance(last, ast.Expr)
        shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
    assert [type(each).__name__ for each in shown] == [
        *("ChatEncoder", "Encoding", "list", "DataFrame", "Batch", "Batch", "StabilityReport", "Axes"),
    ]
    assert all(hasattr(shown[at], "_repr_html_") for at in (1, 3, 4, 5, 6))
