"""The loss from hidden states is the loss from all logits: value, gradients, and a fraction of the memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from chatspan import LossError, OptionError
from chatspan.loss import Head, linear_sdpo_loss, sdpo_loss
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import BETAS, SUPPORTS, Batch, allocated_on_cpu, make_case
from torch import Tensor, nn

WIDTH, VOCABULARY = 6, 11
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.7},
    {"token_clip": 0.05},
    {"is_clip": 1.5},
    {"reduction": "row_mean"},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"num_items_in_batch": 7},
)
HEADS: tuple[dict[str, Any], ...] = (
    {},
    {"logit_softcap": 2.0},
    {"logit_scale": 0.25},
    {"logit_softcap": 1.5, "logit_scale": 3.0},
    {"vocabulary": VOCABULARY - 2},
)


class Sides:
    """Hidden states and heads of both sides, in float64, the student's with gradients."""

    def __init__(self, seed: int = 0, *, bias: bool = True) -> None:
        case = make_case(seed)
        random = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random, dtype=torch.float64)

        self.batch: Batch = case.batch
        self.student = normal(*case.student.shape[:2], WIDTH).requires_grad_()
        self.teacher = normal(*case.teacher.shape[:2], WIDTH + 1)
        self.weight = normal(VOCABULARY, WIDTH).requires_grad_()
        self.bias = normal(VOCABULARY).requires_grad_() if bias else None
        self.teacher_weight = normal(VOCABULARY, WIDTH + 1)

    @property
    def trained(self) -> list[Tensor]:
        return [each for each in (self.student, self.weight, self.bias) if each is not None]

    def heads(self, **head: Any) -> tuple[Head, Head]:
        return Head(self.weight, self.bias, **head), Head(self.teacher_weight, **head)


def logits_of(hidden: Tensor, weight: Tensor, bias: Tensor | None, **head: Any) -> Tensor:
    """All logits, as a model's forward makes them."""
    logits = hidden @ weight.T if bias is None else hidden @ weight.T + bias
    logits = logits[..., : head.get("vocabulary")] * head.get("logit_scale", 1.0)
    cap = head.get("logit_softcap")
    return logits if cap is None else cap * torch.tanh(logits / cap)


def with_gradients(loss: Tensor, by: list[Tensor]) -> list[Tensor]:
    """The value, and the gradients of a sum with uneven weights, which ``reduction="none"`` makes a difference to."""
    uneven = torch.linspace(0.5, 2, loss.numel(), dtype=loss.dtype).view_as(loss)
    return [loss.detach(), *torch.autograd.grad((loss * uneven).sum(), by)]


def assert_equal_to_all_logits(sides: Sides, head: dict[str, Any], chunk_size: int | None, **options: Any) -> None:
    student, teacher = sides.heads(**head)
    # Ids of a padded vocabulary are those of the part that counts.
    batch = {
        key: value.clamp(max=VOCABULARY - 3) if "input_ids" in key else value for key, value in sides.batch.items()
    }
    found = linear_sdpo_loss(sides.student, sides.teacher, batch, student, teacher, chunk_size=chunk_size, **options)
    whole = sdpo_loss(
        logits_of(sides.student, sides.weight, sides.bias, **head),
        logits_of(sides.teacher, sides.teacher_weight, None, **head),
        batch,
        **options,
    )
    for mine, theirs in zip(with_gradients(found, sides.trained), with_gradients(whole, sides.trained), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("support", SUPPORTS, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_value_and_gradients_are_those_of_all_logits(
    beta: float, support: dict[str, Any], options: dict[str, Any]
) -> None:
    for head, chunk_size in itertools.product(HEADS, (1, 3, None)):
        assert_equal_to_all_logits(Sides(), head, chunk_size, beta=beta, **support, **options)


@given(st.integers(0, 2**20), st.sampled_from(HEADS), st.sampled_from(OPTIONS), st.booleans(), st.integers(1, 20))
def test_random_cases(seed: int, head: dict[str, Any], options: dict[str, Any], bias: bool, chunk_size: int) -> None:
    assert_equal_to_all_logits(Sides(seed, bias=bias), head, chunk_size, **options)


@pytest.mark.parametrize("beta", BETAS)
def test_numerical_derivatives(beta: float) -> None:
    sides = Sides(bias=False)

    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        heads = Head(weight, logit_softcap=2.0), sides.teacher_weight
        return linear_sdpo_loss(hidden, sides.teacher, sides.batch, *heads, beta=beta, chunk_size=2)

    assert torch.autograd.gradcheck(loss, (sides.student, sides.weight))


class WithLora(nn.Module):
    """A head whose weight is frozen, with a low-rank addition that is trained."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.base = nn.Parameter(weight.detach(), requires_grad=False)
        self.down = nn.Linear(WIDTH, 2, bias=False, dtype=torch.float64)
        self.up = nn.Linear(2, VOCABULARY, bias=False, dtype=torch.float64)

    def forward(self, hidden: Tensor) -> Tensor:
        found: Tensor = hidden @ self.base.T + self.up(self.down(hidden))
        return found


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_head_with_lora_on_it(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    sides = Sides(bias=False)
    lora = WithLora(sides.weight)
    trained = [sides.student, lora.down.weight, lora.up.weight]
    for cap in (None, 2.0):
        heads = Head(lora, logit_softcap=cap), sides.teacher_weight
        found = linear_sdpo_loss(sides.student, sides.teacher, sides.batch, *heads, chunk_size=2, **options)
        logits = lora(sides.student)
        capped = logits if cap is None else cap * torch.tanh(logits / cap)
        whole = sdpo_loss(capped, sides.teacher @ sides.teacher_weight.T, sides.batch, **options)
        for mine, theirs in zip(with_gradients(found, trained), with_gradients(whole, trained), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_tied_embeddings_get_both_gradients() -> None:
    sides = Sides(bias=False)
    ids = sides.batch["input_ids"]
    embedding = sides.weight
    found = linear_sdpo_loss(embedding[ids], sides.teacher, sides.batch, embedding, sides.teacher_weight)
    whole = sdpo_loss(embedding[ids] @ embedding.T, sides.teacher @ sides.teacher_weight.T, sides.batch)
    torch.testing.assert_close(with_gradients(found, [embedding]), with_gradients(whole, [embedding]))


def test_a_module_is_called_where_it_does_more_than_a_product() -> None:
    sides = Sides(bias=False)
    linear = nn.Linear(WIDTH, VOCABULARY, bias=False, dtype=torch.float64)
    plain = linear_sdpo_loss(sides.student, sides.teacher, sides.batch, linear, sides.teacher_weight)
    weight = linear_sdpo_loss(sides.student, sides.teacher, sides.batch, linear.weight, sides.teacher_weight)
    torch.testing.assert_close(plain, weight)
    linear.register_forward_hook(lambda module, inputs, output: output * 2)
    hooked = linear_sdpo_loss(sides.student, sides.teacher, sides.batch, linear, sides.teacher_weight)
    doubled = linear_sdpo_loss(sides.student, sides.teacher, sides.batch, linear.weight * 2, sides.teacher_weight)
    torch.testing.assert_close(hooked, doubled)


def test_nothing_in_the_loss_gives_a_zero_that_can_be_trained_on() -> None:
    sides = Sides()
    sides.batch["response_idx_mask"][:] = False
    for options in OPTIONS:
        if "is_clip" in options:
            continue
        found = linear_sdpo_loss(sides.student, sides.teacher, sides.batch, *sides.heads(), **options)
        value, *gradients = with_gradients(found, sides.trained)
        assert not value.any()
        assert not any(gradient.any() for gradient in gradients)


def test_the_teacher_may_be_made_in_inference_mode_and_gets_no_gradient() -> None:
    sides = Sides()
    with torch.inference_mode():
        teacher = sides.teacher * 1
    for reduction in ("none", "token_mean"):
        student, head = sides.heads()
        found = linear_sdpo_loss(sides.student, teacher, sides.batch, student, head, reduction=reduction)  # type: ignore[arg-type]
        assert all(gradient.any() for gradient in with_gradients(found, sides.trained)[1:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_computed_in_float32_whatever_the_hidden_states_are(dtype: torch.dtype) -> None:
    sides = Sides(bias=False)
    exact = linear_sdpo_loss(sides.student, sides.teacher, sides.batch, *sides.heads())
    student = sides.student.detach().to(dtype).requires_grad_()
    weight = sides.weight.detach().to(dtype).requires_grad_()
    found = linear_sdpo_loss(student, sides.teacher.to(dtype), sides.batch, weight, sides.teacher_weight.to(dtype))
    found.backward()
    assert found.dtype is torch.float32
    assert (student.grad.dtype, weight.grad.dtype) == (dtype, dtype)  # type: ignore[union-attr]
    torch.testing.assert_close(found.double(), exact, rtol=0.1, atol=0.02)


def test_memory_is_that_of_the_in_loss_tokens() -> None:
    """No tensor of all tokens and all entries: R H, some chunks, and the gradients of what is trained."""
    torch.manual_seed(0)
    tokens, in_loss, width, vocabulary, chunk = 1024, 48, 64, 4096, 8
    columns = torch.arange(in_loss)[None] * 20
    mask = torch.ones_like(columns, dtype=torch.bool)
    batch = {"student_logit_idx": columns, "teacher_logit_idx": columns, "response_idx_mask": mask}
    student = torch.randn(1, tokens, width, requires_grad=True)
    teacher = torch.randn(1, tokens, width)
    weight = torch.randn(vocabulary, width, requires_grad=True)

    def step() -> None:
        linear_sdpo_loss(student, teacher, batch, weight, weight.detach(), chunk_size=chunk).backward()

    step()
    student.grad = weight.grad = None
    most, _ = allocated_on_cpu(step)
    chunks, head = chunk * vocabulary * 4, vocabulary * width * 4
    hidden = tokens * width * 4
    # The gradient of all hidden states is the backbone's, not the loss's.
    assert most < 6 * in_loss * width * 4 + 6 * chunks + 2 * head + 2 * hidden, most
    assert most < tokens * vocabulary * 4 / 4


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"student_head": 3}, LossError, "student_head is int: pass a Head"),
        ({"student_head": torch.zeros(11, 4)}, LossError, r"student_head does not take student_hidden \[3, 9, 6\]"),
        ({"teacher_head": torch.zeros(12, 7)}, LossError, "student's head has 11 entries and the teacher's 12"),
        ({"student_hidden": torch.zeros(3, 9)}, LossError, "student_hidden are torch.float32"),
        ({"chunk_size": 0}, OptionError, "chunk_size=0"),
        ({"logit_softcap": -1.0}, OptionError, "logit_softcap=-1.0"),
        ({"logit_scale": 0}, OptionError, "logit_scale=0"),
        ({"top_k": 12}, OptionError, "top_k=12, but the vocabulary has 11"),
        ({"beta": 2}, OptionError, "beta=2"),
    ],
)
def test_what_does_not_fit(change: dict[str, Any], error: type[Exception], words: str) -> None:
    sides = Sides()
    given: dict[str, Any] = {
        "student_hidden": sides.student,
        "teacher_hidden": sides.teacher,
        "batch": sides.batch,
        "student_head": sides.weight,
        "teacher_head": sides.teacher_weight,
    }
    with pytest.raises(error, match=words):
        linear_sdpo_loss(**{**given, **change})


def test_gathered_logits_and_hidden_states_are_those_of_the_in_loss_tokens() -> None:
    sides = Sides()
    rows = torch.arange(len(sides.student)).unsqueeze(1)

    def student() -> Tensor:
        return sides.student[rows, sides.batch["student_logit_idx"]]

    teacher = sides.teacher[rows, sides.batch["teacher_logit_idx"]]
    calls: list[Callable[[], Tensor]] = [
        lambda: linear_sdpo_loss(sides.student, sides.teacher, sides.batch, *sides.heads()),
        lambda: linear_sdpo_loss(student(), teacher, sides.batch, *sides.heads(), gathered=True),
        lambda: sdpo_loss(
            logits_of(student(), sides.weight, sides.bias),
            logits_of(teacher, sides.teacher_weight, None),
            sides.batch,
            gathered=True,
        ),
    ]
    first, *others = (with_gradients(call(), sides.trained) for call in calls)
    for other in others:
        torch.testing.assert_close(other, first)
    with pytest.raises(LossError, match=r"student_logits have 9 columns, but batch\['student_logit_idx'\] has 5"):
        sdpo_loss(torch.zeros(3, 9, 4), torch.zeros(3, 5, 4), sides.batch, gathered=True)
    with pytest.raises(LossError, match=r"\[3, 9, 5, 4\]: this version of transformers takes no indices"):
        sdpo_loss(torch.zeros(3, 9, 5, 4), torch.zeros(3, 5, 4), sides.batch, gathered=True)
