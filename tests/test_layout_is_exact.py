"""Why the layouts are right: a real model's logits on the batch are those on the plain rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import config, failed, system, trace, user
from chatspan import ComposerDataCollator
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

TRACES = [
    trace(system("Be kind."), user("Go."), failed("the train is late."), user("On."), failed("It is there.")),
    trace(user("Hello?"), failed("Yes.")),
]
EMPTY_HEADER = "{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}"


@pytest.fixture(scope="module", params=["qwen2-eager", "qwen2-sdpa", "llama-eager", "llama-sdpa"])
def model(request: pytest.FixtureRequest, small: Any) -> Any:
    torch.manual_seed(0)
    family, attention = request.param.split("-")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    kinds: dict[str, Any] = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}
    model_config, kind = kinds[family]
    settings = model_config(vocab_size=len(small), num_key_value_heads=2, attn_implementation=attention, **sizes)
    return kind(settings).eval()


@pytest.mark.parametrize("template", [None, EMPTY_HEADER], ids=["chatml", "empty header"])
@pytest.mark.parametrize("prefix", ["", "ctx_teacher_"], ids=["student", "teacher"])
def test_logits_are_those_of_the_plain_row(model: Any, small: Any, prefix: str, template: str | None) -> None:
    kwargs = {} if template is None else {"chat_template_kwargs": {"chat_template": template}}
    batch = ComposerDataCollator(tokenizer=small, config=config())([{**row, **kwargs} for row in TRACES])
    side = {key: batch[f"{prefix}{key}"] for key in ("input_ids", "attention_mask", "position_ids")}
    with torch.no_grad():
        logits = model(**side).logits
        careless = model(input_ids=side["input_ids"]).logits
    for row in range(len(TRACES)):
        seen = side["attention_mask"][row] == 1
        with torch.no_grad():
            plain = model(input_ids=side["input_ids"][row][seen][None]).logits[0]
        assert torch.allclose(logits[row][seen], plain, atol=1e-5)
        # Each in-loss token is predicted from the column in front of it, which is the plain row's token in front.
        in_loss = batch["sdpo_loss_mask"][row] == 1
        predicted = logits[row, :-1][in_loss[1:]]
        assert torch.allclose(predicted, plain[:-1][in_loss[seen][1:]], atol=1e-5)
        if not seen.all() and prefix == "" and bool((seen.int().diff() == 1).any()):
            assert not torch.allclose(careless[row][seen], plain, atol=1e-3), "without the mask a hole is read as text"
