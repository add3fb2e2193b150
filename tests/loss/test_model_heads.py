"""Hidden states and the head of real models: their own logits come out, also where a wrapper shards the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from chatspan import LossError
from chatspan.loss import Head, hidden_states_and_head, linear_sdpo_loss, sdpo_loss
from processes import in_processes
from torch import nn
from wrapped_models import differences

SIZES: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"vocab_size": 37, "num_key_value_heads": 2}
IDS = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]])
# What each does to logits behind its head.
MODELS: dict[str, tuple[dict[str, Any], float, float | None]] = {
    "Qwen2": ({}, 1.0, None),
    "Llama": ({"tie_word_embeddings": True}, 1.0, None),
    "Gemma2": ({"head_dim": 8, "final_logit_softcapping": 2.0}, 1.0, 2.0),
    "Cohere": ({"logit_scale": 0.0625}, 0.0625, None),
    "Cohere2": ({"logit_scale": 0.3}, 0.3, None),
    "Granite": ({"logits_scaling": 8.7}, 1 / 8.7, None),
    "Phi": ({}, 1.0, None),
}


def made(name: str, **config: Any) -> Any:
    torch.manual_seed(0)
    config = {**SIZES, **MODELS[name][0], **config}
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**config))
    return model.double().eval()


@pytest.mark.parametrize("name", MODELS)
def test_the_head_makes_the_models_own_logits(name: str) -> None:
    model = made(name)
    wanted = model(input_ids=IDS).logits
    hidden, head = hidden_states_and_head(model, input_ids=IDS)
    found = torch.stack([head.logits(row) for row in hidden])
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    assert head.logit_scale == pytest.approx(MODELS[name][1], abs=1e-12)
    assert head.logit_softcap == MODELS[name][2]
    # Nothing is left behind.
    assert torch.equal(model(input_ids=IDS).logits, wanted)


@pytest.mark.parametrize("name", ["Qwen2", "Llama", "Gemma2"])
def test_gradients_of_the_whole_model_are_those_of_its_logits(name: str) -> None:
    """Also of embeddings that are the head's weight."""
    batch = {
        "student_logit_idx": torch.tensor([[1, 3], [0, 4]]),
        "teacher_logit_idx": torch.tensor([[2, 3], [1, 2]]),
        "response_idx_mask": torch.tensor([[True, True], [True, False]]),
    }
    teacher = made(name, num_hidden_layers=1)
    found = []
    for linear in (False, True):
        model = made(name)
        if linear:
            hidden, head = hidden_states_and_head(model, input_ids=IDS)
            with torch.no_grad():
                teacher_hidden, teacher_head = hidden_states_and_head(teacher, input_ids=IDS)
            loss = linear_sdpo_loss(hidden, teacher_hidden, batch, head, teacher_head)
        else:
            loss = sdpo_loss(model(input_ids=IDS).logits, teacher(input_ids=IDS).logits, batch)
        loss.backward()
        found.append((loss, [each.grad for each in model.parameters()]))
    (wanted, wanted_grads), (value, grads) = found
    assert value.item() == pytest.approx(wanted.item(), abs=1e-14)
    for mine, theirs in zip(grads, wanted_grads, strict=True):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-14)


class Adapted(nn.Module):
    """A head with LoRA on it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.down = base, nn.Linear(16, 2, bias=False).double()
        self.up = nn.Linear(2, 37, bias=False).double()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.base(hidden) + self.up(self.down(hidden))


def test_a_head_with_an_adapter_stays_a_module() -> None:
    model = made("Gemma2")
    model.set_output_embeddings(Adapted(model.lm_head))
    hidden, head = hidden_states_and_head(model, input_ids=IDS)
    assert isinstance(head.module, Adapted)
    assert torch.allclose(head.logits(hidden[0]), model(input_ids=IDS).logits[0], rtol=0, atol=1e-12)


def test_a_padded_head_is_cut() -> None:
    model = made("Qwen2")
    hidden, head = hidden_states_and_head(model, vocabulary=30, input_ids=IDS)
    assert torch.allclose(head.logits(hidden[0]), model(input_ids=IDS).logits[0, :, :30], rtol=0, atol=1e-12)


@pytest.mark.skipif(
    tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 22), reason="older ones take no columns"
)
def test_columns_are_gathered_before_the_head() -> None:
    model, columns = made("Qwen2"), torch.tensor([[1, 3], [0, 4]])
    hidden, head = hidden_states_and_head(model, input_ids=IDS, logits_to_keep=columns)
    wanted = model(input_ids=IDS, logits_to_keep=columns).logits
    assert hidden.shape == (2, 2, 16)
    assert torch.allclose(head.logits(hidden[1]), wanted[1], rtol=0, atol=1e-12)


class Bent(nn.Module):
    """A model that does something else to its logits."""

    def __init__(self, bend: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.embed, self.head, self.bend = nn.Embedding(37, 16), nn.Linear(16, 37), bend

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.bend(self.head(self.embed(input_ids)))}


def hide_some(logits: torch.Tensor) -> torch.Tensor:
    logits[:, :, 20] = -1e9
    return logits


@pytest.mark.parametrize(
    ("bend", "words"),
    [
        (lambda logits: logits + 1, r"1 → 2, .* which no scale and soft cap do"),
        (lambda logits: logits.abs(), "-1 → 1"),
        (lambda logits: logits.log_softmax(-1), "no scale and soft cap"),
        (lambda logits: logits[..., :3], r"logits are \[2, 6, 3\]"),
        (hide_some, "IndexError"),
    ],
)
def test_a_model_that_does_more_is_refused(bend: Callable[[torch.Tensor], torch.Tensor], words: str) -> None:
    with pytest.raises(LossError, match=words):
        hidden_states_and_head(Bent(bend), input_ids=IDS)


def test_what_is_no_model_with_a_head_is_refused() -> None:
    with pytest.raises(LossError, match="Linear, which has no head"):
        hidden_states_and_head(nn.Linear(2, 2), input_ids=IDS)
    with pytest.raises(LossError, match="labels are among the inputs"):
        hidden_states_and_head(made("Qwen2"), input_ids=IDS, labels=IDS)
    model = made("Qwen2")
    with pytest.raises((ValueError, TypeError)):
        hidden_states_and_head(model, tokens=IDS)
    assert "forward" not in vars(model.lm_head)


@pytest.mark.parametrize("wrapper", ["ddp", "ddp_unused", "fsdp2"])
def test_two_processes_are_one(wrapper: str) -> None:
    """Each has a row; what comes of the two is the gradient of a batch of both."""
    for found in in_processes(2, differences, wrapper):
        for name, (difference, largest) in found.items():
            # Gemma's norms are in single precision, whatever the model's.
            assert difference < 1e-6 * largest, name


def test_the_head_is_one_of_the_public_kind() -> None:
    _, head = hidden_states_and_head(made("Granite"), input_ids=IDS)
    assert isinstance(head, Head)
    assert head.parameters
