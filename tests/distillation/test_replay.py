"""The DPO replay channel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from batches import text_of
from cases import CHATML, assistant, config, failed, trace, user
from chatspan import ComposerDataCollator, ContentNotFoundError, TraceError

PAIR = {"prompt": [user("Is it so?")], "chosen": "It is not so.", "rejected": "Yes."}


def collate(tokenizer: Any, *traces: Any, **options: Any) -> dict[str, torch.Tensor]:
    return ComposerDataCollator(tokenizer=tokenizer, config=config(enable_replay_dpo=True, **options))(list(traces))


def test_the_answer_and_its_end_of_turn_are_the_response(small: Any) -> None:
    other = {**PAIR, "prompt": [user("Go."), assistant("Where?"), user("On.")], "chosen": "a\n"}
    batch = collate(small, trace(user("Go.")), trace(user("Go."), failed("Yes."), dpo_pairs=[PAIR, other]))
    for name, answers in (("chosen", ["It is not so.", "a\n"]), ("rejected", ["Yes.", "Yes."])):
        ids, seen, mask = (batch[f"dpo_{name}_{key}"] for key in ("input_ids", "attention_mask", "response_mask"))
        assert ids.shape == seen.shape == mask.shape
        assert ids.dtype == seen.dtype == mask.dtype == torch.int64
        assert [text_of(small, ids[i], mask[i]) for i in (0, 1)] == [f"{answer}<|im_end|>" for answer in answers]
        assert text_of(small, ids[0], seen[0]).startswith(
            "<|im_start|>user\nIs it so?<|im_end|>\n<|im_start|>assistant"
        )
        assert (ids[seen == 0] == small.pad_token_id).all()
    assert batch["dpo_pair_trace"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("end", "in_mask"),
    [
        ("<|im_end|>\\n", "Yes.<|im_end|>"),
        ("\\n\\n", "Yes.\n\n"),
        ("", "Yes."),
        ("\\n<e>\\n</s>\\n", "Yes.\n<e>\n</s>"),
    ],
)
def test_the_end_of_turn_is_the_templates_own_text_without_blanks_behind_it(small: Any, end: str, in_mask: str) -> None:
    template = CHATML.replace("<|im_end|>\\n", end)
    batch = collate(small, trace(user("Go."), dpo_pairs=[PAIR], chat_template_kwargs={"chat_template": template}))
    assert text_of(small, batch["dpo_rejected_input_ids"][0], batch["dpo_rejected_response_mask"][0]) == in_mask


def test_no_keys_without_pairs_or_without_the_option(small: Any) -> None:
    assert not [key for key in collate(small, trace(user("Go.")), trace(user("Go."), dpo_pairs=[])) if "dpo" in key]
    batch = ComposerDataCollator(tokenizer=small, config=config())([trace(user("Go."), dpo_pairs=[PAIR])])
    assert not [key for key in batch if "dpo" in key]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("no", r"^trace 't': 'dpo_pairs' must be a list, got str"),
        ([PAIR, "no"], r"^trace 't dpo_pairs\[1\]': expected a dict with 'prompt', 'chosen' and 'rejected'"),
        ([{**PAIR, "chosen": " "}], r"^trace 't dpo_pairs\[0\]': 'chosen' must be a string that is not blank"),
        ([{**PAIR, "rejected": None}], r"'rejected' must be a string that is not blank, got None"),
        ([{**PAIR, "prompt": "Go."}], r"'prompt' must be a list with at least one message"),
        ([{**PAIR, "prompt": [user(3)]}], r"^trace 't dpo_pairs\[0\]', turn 0: 'content' is int 3"),
    ],
)
def test_bad_pairs(small: Any, pairs: Any, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        collate(small, trace(user("Go."), dpo_pairs=pairs))


def test_an_answer_that_the_template_leaves_out_is_an_error(small: Any) -> None:
    template = "{% for m in messages %}{{ m.content if m.role == 'user' }}{% endfor %}"
    with pytest.raises(
        ContentNotFoundError, match=r"^trace 't dpo_pairs\[0\] chosen', turn 1: .*leaves the answer out"
    ):
        collate(small, trace(user("Go."), dpo_pairs=[PAIR], chat_template_kwargs={"chat_template": template}))
