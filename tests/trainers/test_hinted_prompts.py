"""Prompts and hints in every form that trainers keep them in, and batches that are not verl's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from chatspan import EmptyBatchError, HintedPrompts, HintError, LayoutError, OptionError, TruncationError
from chatspan.verl import teacher_tensors
from conversations import schema
from test_verl import BOOK, FULL, sampled, seen


def test_prompts_as_arrays(small: Any) -> None:
    """verl keeps raw_prompt as an array of objects; one of prompts of one length may have two dimensions."""
    batch, found = sampled(small)
    raw = np.empty(2, dtype=object)
    raw[:] = [np.array([BOOK], dtype=object), [{"role": "user", "content": np.array([{"text": "Hi"}], dtype=object)}]]
    prompts = HintedPrompts(small, hint_placement="before_turn")
    of_arrays = teacher_tensors(batch, raw, np.array(["Mind the limit.", None], dtype=object), prompts=prompts)
    assert seen(small, of_arrays, "teacher_", 0) == seen(small, found, "teacher_", 0)
    assert seen(small, of_arrays, "teacher_", 1).startswith("<|im_start|>user\nHi<|im_end|>\n")
    flat = np.array([[BOOK, FULL], [BOOK, FULL]])
    assert flat.shape == (2, 2)
    assert seen(small, teacher_tensors(batch, flat, [None] * 2, prompts=prompts), "teacher_", 1) == (
        seen(small, found, "teacher_", 1)
    )


IDS, SEEN = torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 7, dtype=torch.int64)
BAD_BATCHES: dict[str, tuple[Any, type[Exception], str]] = {
    "no mask": ({"responses": IDS}, LayoutError, "a dict without tensors `responses` and `attention_mask`"),
    "no batch": (None, LayoutError, "a NoneType without tensors"),
    "lists": ({"responses": IDS.tolist(), "attention_mask": SEEN}, LayoutError, "without tensors"),
    "one row": ({"responses": IDS[0], "attention_mask": SEEN[0]}, LayoutError, r"expected ids \[B, R\]"),
    "a mask of another row": (
        {"responses": IDS, "attention_mask": SEEN[:1]},
        LayoutError,
        r"`attention_mask` \[1, 7\]",
    ),
    "a mask that is shorter": ({"responses": IDS, "attention_mask": SEEN[:, :2]}, LayoutError, r"\[2, 2\]: expected"),
    "no ids": ({"responses": IDS + 0.5, "attention_mask": SEEN}, LayoutError, "of torch.float32"),
    "no tokens": ({"responses": IDS[:, :0], "attention_mask": SEEN}, EmptyBatchError, "nothing to distil"),
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_batches_that_are_not_verls(small: Any, name: str) -> None:
    batch, kind, message = BAD_BATCHES[name]
    with pytest.raises(kind, match=message):
        teacher_tensors(batch, [[BOOK]] * 2, ["a", None], prompts=HintedPrompts(small))


@pytest.mark.parametrize("hint", [float("nan"), 3, b"Mind the limit.", ["Mind the limit."]])
def test_a_hint_that_is_no_text(small: Any, hint: Any) -> None:
    """Missing values of tables are no hints, and bytes would be written as Python shows them."""
    with pytest.raises(HintError, match=rf"row 1: its hint is {type(hint).__name__}, not text: use None for no hint"):
        HintedPrompts(small).encode([[BOOK], [BOOK]], ["a", hint])


def test_arguments_of_other_kinds(small: Any) -> None:
    with pytest.raises(LayoutError, match="hints must be a list, one for each row, got str"):
        HintedPrompts(small).encode([[BOOK]], "a")
    with pytest.raises(LayoutError, match="prompts must be a list, one for each row, got NoneType"):
        HintedPrompts(small).encode(None, ["a"])
    with pytest.raises(OptionError, match=r"pass a chatspan.HintedPrompts"):
        teacher_tensors({"responses": IDS, "attention_mask": SEEN}, [[BOOK]] * 2, ["a"] * 2, prompts=small)
    with pytest.raises(LayoutError, match="NoneType raw_prompts for a batch of 2 responses"):
        teacher_tensors({"responses": IDS, "attention_mask": SEEN}, None, ["a"] * 2, prompts=HintedPrompts(small))
    for kwargs, message in (
        ({"add_generation_prompt": False}, "must not contain add_generation_prompt"),
        ({"messages": [], "continue_final_message": True}, "must not contain continue_final_message, messages"),
        ([("tools", [])], "pass a dict"),
    ):
        with pytest.raises(OptionError, match=f"chat_template_kwargs.*{message}"):
            HintedPrompts(small, chat_template_kwargs=kwargs)


def test_prompts_of_the_batch_are_those_of_the_messages(small: Any) -> None:
    """A teacher that does not know the tools of the rollout, or sees what was cut for the student, would be another."""
    kwargs = {"tools": [schema()]}
    one = small.apply_chat_template([BOOK], add_generation_prompt=True, **kwargs)["input_ids"]
    width = len(one) + 2
    batch = {
        "prompts": torch.tensor([[0, 0, *one]] * 2),
        "responses": IDS,
        "attention_mask": torch.tensor([[0, 0, *[1] * (len(one) + 3)]] * 2),
    }
    given = ([[BOOK]] * 2, ["a", None])
    found = teacher_tensors(batch, *given, prompts=HintedPrompts(small, chat_template_kwargs=kwargs))
    assert found["teacher_input_ids"][1, -width - 1 :].tolist() == [*one, *IDS[1].tolist()]
    with pytest.raises(
        LayoutError, match=r"row 0: the trainer's prompt of \d+ .*chat_template_kwargs, tools among them"
    ):
        teacher_tensors(batch, *given, prompts=HintedPrompts(small))
    batch["attention_mask"][1, 2] = 0
    with pytest.raises(
        TruncationError, match=rf"row 1: its prompt of {len(one)} tokens was cut to {len(one) - 1}, but"
    ):
        teacher_tensors(batch, *given, prompts=HintedPrompts(small, chat_template_kwargs=kwargs))
    batch["prompts"] = batch["prompts"][:, :-1]
    with pytest.raises(LayoutError, match=rf"`prompts` \[2, {width - 1}\], and \[2, {width}\] before the responses"):
        teacher_tensors(batch, *given, prompts=HintedPrompts(small, chat_template_kwargs=kwargs))
