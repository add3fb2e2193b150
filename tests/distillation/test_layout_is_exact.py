"""Why the layouts are right: a real model's logits on the batch are those on the plain conversations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from batches import check
from cases import CHATML, assistant, config, failed, system, trace, user
from chatspan import ComposerDataCollator, DistillationConfig, SelfDistillationCollator
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

TRACES = [
    trace(system("Be kind."), user("Go."), failed("the train is late."), user("On."), failed("It is there.")),
    trace(user("Hello?"), failed("Yes.")),
    trace(user("Hello?"), assistant("Yes.")),
]
EMPTY_HEADER = "{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}"
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2}
# Smaller than any row of the batch but the shortest ones.
WINDOW = 8
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM, {"sliding_window": WINDOW, "head_dim": 8}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": WINDOW, "head_dim": 8}),
}
FULL = [
    f"{kind}-{attention}-{spread}"
    for kind in ("qwen2", "llama")
    for attention in ("eager", "sdpa")
    for spread in (0.02, 0.2)
]
WINDOWED = [
    f"{kind}-{attention}-{spread}"
    for kind in ("gemma3", "mistral")
    for attention in ("eager", "sdpa")
    for spread in (0.02, 0.2)
]


@pytest.fixture(scope="module")
def model_of(small: Any) -> Callable[[str], Any]:
    def make(name: str) -> Any:
        kind, attention, spread = name.split("-")
        torch.manual_seed(0)
        model_config, model, options = KINDS[kind]
        options = {**SIZES, **options, "vocab_size": len(small), "initializer_range": float(spread)}
        return model(model_config(**options, attn_implementation=attention)).eval()

    return make


def collate(tokenizer: Any, rows: str, layout: str, template: str | None, **options: Any) -> tuple[Any, list[Any]]:
    """A batch, and for each of its rows the student's and the teacher's messages."""
    kwargs = {"chat_template_kwargs": {"chat_template": template or CHATML}}
    if rows == "traces":
        collator = ComposerDataCollator(tokenizer=tokenizer, config=config(layout=layout, **options))
        given = [{**row, **kwargs} for row in TRACES]
        conversations = []
        for row in TRACES:
            teacher = []
            for turn in row["turns"]:
                teacher += [system("Hint: it failed.")] if turn.get("tool_error") else []
                teacher.append(turn)
            conversations.append((row["turns"], teacher))
    else:
        first = TRACES[0]["turns"]
        # A solution in the prompt, and a message that only the teacher has; the student has some that it has not.
        teacher = [user("Go. The train is late."), first[2], user("Look."), *first[3:]]
        conversations = [(first, teacher), (first[1:], first)]
        given = [
            {"trace_id": "t", "messages": plain(student), "teacher_messages": plain(other), **kwargs}
            for student, other in conversations
        ]
        collator = SelfDistillationCollator(tokenizer, DistillationConfig(layout=layout, **options))
    batch = collator(given)
    check(batch, holes=layout == "aligned") if options.get("padding_side") != "left" else None
    return batch, conversations


def plain(messages: Any) -> list[dict[str, Any]]:
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def differences(
    model: Any, tokenizer: Any, rows: str, layout: str, template: str | None, **options: Any
) -> dict[str, float]:
    """For each side how far the logits, those that predict in-loss tokens among them, are from the plain ones."""
    batch, conversations = collate(tokenizer, rows, layout, template, **options)
    found = {}
    for which, (prefix, side) in enumerate((("", "student"), ("ctx_teacher_", "teacher"))):
        inputs = {key: batch[f"{prefix}{key}"] for key in ("input_ids", "attention_mask", "position_ids")}
        worst, compared = 0.0, 0
        with torch.no_grad():
            logits = model(**inputs).logits
            for row, messages in enumerate(conversations):
                # Rendered and tokenized by transformers, without the collator.
                ids = tokenizer.apply_chat_template(
                    plain(messages[which]), chat_template=template or CHATML, return_tensors="pt", return_dict=False
                )
                expected = model(input_ids=ids).logits[0]
                seen = inputs["attention_mask"][row] == 1
                assert inputs["input_ids"][row][seen].tolist() == ids[0].tolist()
                real = batch["response_idx_mask"][row]
                at = batch[f"{side}_logit_idx"][row][real]
                # Which of the visible tokens it is.
                nth = inputs["attention_mask"][row].cumsum(0)[at] - 1
                assert torch.equal(ids[0][nth + 1], batch[f"{prefix}input_ids"][row, at + 1])
                worst = max(worst, float((logits[row][seen] - expected).abs().max()))
                compared += int(real.sum())
        assert compared
        found[side] = worst
    return found


@pytest.mark.parametrize("template", [None, EMPTY_HEADER], ids=["chatml", "empty header"])
@pytest.mark.parametrize("layout", ["aligned", "indexed"])
@pytest.mark.parametrize("rows", ["traces", "rows"])
@pytest.mark.parametrize("name", FULL)
def test_with_full_attention_both_layouts_are_exact(
    model_of: Any, small: Any, name: str, rows: str, layout: str, template: str | None
) -> None:
    model = model_of(name)
    assert max(differences(model, small, rows, layout, template).values()) <= 1e-5


@pytest.mark.parametrize("layout", ["aligned", "indexed"])
@pytest.mark.parametrize("name", FULL[:1] + FULL[-1:])
def test_padded_on_the_left_they_are_exact_too(model_of: Any, small: Any, name: str, layout: str) -> None:
    model = model_of(name)
    options = {"padding_side": "left", "pad_to_multiple_of": 16}
    assert max(differences(model, small, "traces", layout, None, **options).values()) <= 1e-5


@pytest.mark.parametrize("rows", ["traces", "rows"])
@pytest.mark.parametrize("name", WINDOWED)
def test_with_a_sliding_window_indexed_is_exact(model_of: Any, small: Any, name: str, rows: str) -> None:
    model = model_of(name)
    assert max(differences(model, small, rows, "indexed", None).values()) <= 1e-5


@pytest.mark.parametrize("name", [name for name in WINDOWED if name.endswith("0.2")])
def test_with_a_sliding_window_holes_are_not(model_of: Any, small: Any, name: str) -> None:
    """Why a window does not go with holes: it is counted in columns. Else the tests above would show nothing."""
    assert differences(model_of(name), small, "traces", "aligned", None)["student"] > 1e-3


@pytest.mark.parametrize("name", FULL)
def test_without_the_mask_a_hole_is_read_as_text(model_of: Any, small: Any, name: str) -> None:
    model = model_of(name)
    batch, _ = collate(small, "traces", "aligned", None)
    seen = batch["attention_mask"][0] == 1
    with torch.no_grad():
        careless = model(input_ids=batch["input_ids"][:1]).logits[0]
        expected = model(input_ids=batch["input_ids"][0][seen][None]).logits[0]
    assert not torch.allclose(careless[seen], expected, atol=1e-3)
