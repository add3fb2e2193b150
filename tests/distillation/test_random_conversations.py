"""Random conversations on templates of every habit: what sentinel words say, or a typed error."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from batches import check
from cases import TEMPLATES, config, trace
from chatspan import ChatspanError, ComposerDataCollator
from hypothesis import event, given
from references import PlainView, content_mask, sentinel_spans

# Words that templates write themselves, blanks, control tokens, and characters of several bytes.
PIECES = st.sampled_from(
    [
        "user",
        "assistant",
        "system",
        "\n",
        "\n\n",
        " ",
        "\r\n",
        "Hi",
        "a",
        "Hint",
        ":",
        "/",
        "[I]",
        "<|im_end|>",
        "é",
        "🚆",
    ]
)
CONTENTS = st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=5).map("".join)
TURNS = st.tuples(CONTENTS, CONTENTS, st.booleans())


def conversation(turns: list[tuple[str, str, bool]], first: str | None) -> list[dict[str, Any]]:
    messages = [] if first is None else [{"role": "system", "content": first}]
    for question, answer, fires in turns:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer, **({"tool_error": "no"} if fires else {})})
    return messages


@given(
    name=st.sampled_from(sorted(TEMPLATES)),
    turns=st.lists(TURNS, min_size=1, max_size=4),
    first=st.none() | CONTENTS,
    placement=st.sampled_from(["before_turn", "append_to_previous", "first_system"]),
    layout=st.sampled_from(["aligned", "indexed", "placeholder"]),
)
def test_masks_are_what_sentinel_words_say(
    small: Any, name: str, turns: list[tuple[str, str, bool]], first: str | None, placement: Any, layout: Any
) -> None:
    messages = conversation(turns, first)
    kwargs = {"chat_template": TEMPLATES[name]}
    collate = ComposerDataCollator(tokenizer=small, config=config(hint_placement=placement, layout=layout))
    try:
        batch = collate([trace(*messages, chat_template_kwargs=kwargs)])
    except ChatspanError as error:
        event(type(error).__name__)
        return
    event("answered")
    check(batch, holes=layout != "indexed")
    if layout == "placeholder" and "sdpo_loss_mask" in batch:
        return  # the student's conversation is another one
    plain = [{"role": m["role"], "content": m["content"]} for m in messages]
    text, spans = sentinel_spans(small, plain, **kwargs)
    if text != small.apply_chat_template(plain, tokenize=False, **kwargs):
        return  # the words changed what the template does, so they say nothing here
    encoded = small(text, add_special_tokens=False, return_offsets_mapping=True)
    seen = batch["attention_mask"][0] == 1
    assert batch["input_ids"][0][seen].tolist() == encoded["input_ids"]
    for key, wanted in (("response_mask", "role"), ("sdpo_loss_mask", "tool_error")):
        if key in batch:
            indices = [i for i, m in enumerate(messages) if m["role"] == "assistant" and wanted in m]
            mask = content_mask(text, encoded["offset_mapping"], [span for i in indices for span in spans.get(i, [])])
            found = batch[key][0][seen].tolist()
            if key == "sdpo_loss_mask" and int(batch["dropped_tokens"]):
                event("dropped tokens")
                assert all(wanted or not is_in for is_in, wanted in zip(found, mask, strict=True))
                assert sum(mask) - sum(found) == int(batch["dropped_tokens"])
            else:
                assert found == [int(m) for m in mask]


@given(
    name=st.sampled_from(sorted(TEMPLATES)), turns=st.lists(TURNS, min_size=1, max_size=3), first=st.none() | CONTENTS
)
def test_where_prefix_delta_answers_it_answers_the_same(
    small: Any, name: str, turns: list[tuple[str, str, bool]], first: str | None
) -> None:
    messages = [m for m in conversation(turns, first) if m.pop("tool_error", None) or True]
    rows = [trace(*messages, chat_template_kwargs={"chat_template": TEMPLATES[name]})]
    try:
        reference = ComposerDataCollator(tokenizer=PlainView(small), config=config())(rows)
        batch = ComposerDataCollator(tokenizer=small, config=config(straddle="inside"))(rows)
    except ChatspanError:
        return
    event("compared")
    for key in batch:
        assert batch[key].tolist() == reference[key].tolist(), key
