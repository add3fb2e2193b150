"""What the losses cannot do is refused by name: infinite divergences, transforms, teachers that change in between."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from chatspan import LossError, OptionError
from chatspan.loss import divergence, linear_sdpo_loss, sdpo_loss
from loss_cases import Case, make_case, value_and_grad
from torch import Tensor, func, nn

Loss = Callable[..., Tensor]


def from_hidden(student: Tensor, teacher: Tensor, batch: Any, **options: Any) -> Tensor:
    """With heads that change nothing: hidden states are logits."""
    head = torch.eye(student.shape[-1], dtype=student.dtype)
    return linear_sdpo_loss(student, teacher, batch, Plain(head), Plain(head), chunk_size=2, **options)


class Plain(nn.Module):
    """Not a product: 0 times -inf is no number."""

    def __init__(self, _: Tensor) -> None:
        super().__init__()

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * 1


LOSSES: dict[str, Loss] = {"from logits": sdpo_loss, "from hidden states": from_hidden}


@pytest.fixture(params=LOSSES, ids=str)
def loss(request: pytest.FixtureRequest) -> Loss:
    return LOSSES[request.param]


@pytest.mark.parametrize("reduction", ["token_mean", "sum", "none"])
@pytest.mark.parametrize(
    ("beta", "masked", "sides"), [(1, "teacher", ("student", "teacher")), (0, "student", ("teacher", "student"))]
)
def test_an_infinite_divergence_is_told_with_its_place(
    loss: Loss, beta: float, masked: str, sides: tuple[str, str], reduction: str
) -> None:
    """KL(p || q) is infinite where q is 0 and p is not, whatever the token's weight."""
    case = make_case()
    at = case.batch[f"{masked}_logit_idx"][0, 3]
    getattr(case, masked)[0, at, 5] = -torch.inf
    message = f"^row 0, in-loss token 3: the {sides[0]} can produce .* that the {sides[1]} cannot"
    for weight in (1, 0):
        case.batch["sdpo_loss_weight"][:] = weight
        with pytest.raises(LossError, match=message):
            loss(case.leaf(), case.teacher, case.batch, beta=beta, reduction=reduction)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_stays_finite_is_exact(loss: Loss, dtype: torch.dtype) -> None:
    """Mixtures, clipped entries, entries that the one side cannot produce either, and the other order."""
    case = make_case(dtype=torch.float64)
    case.teacher[..., 5] = -torch.inf
    t, s = case.teacher.softmax(-1), case.student.softmax(-1)
    rows = torch.arange(3).unsqueeze(1)
    t, s = t[rows, case.batch["teacher_logit_idx"]], s[rows, case.batch["student_logit_idx"]]
    real, m = case.batch["response_idx_mask"], (s + t) / 2
    zero = torch.zeros(())
    exact: dict[tuple[float, float | None], Tensor] = {
        (0.0, None): torch.where(t > 0, t * (t / s).log(), zero),
        (0.5, None): (torch.where(t > 0, t * (t / m).log(), zero) + s * (s / m).log()) / 2,
        (1.0, 0.3): (s * (s / t).log()).clamp(max=0.3),
    }
    del case.batch["sdpo_loss_weight"]
    given = Case(case.student.to(dtype), case.teacher.to(dtype), case.batch)
    for (beta, clip), terms in exact.items():
        value, grad = value_and_grad(loss, given, beta=beta, token_clip=clip, reduction="sum")
        torch.testing.assert_close(value.double(), terms.sum(-1)[real].sum() * 1.0, rtol=1e-5, atol=1e-6)
        assert grad.isfinite().all()
    given.student[..., 5] = -torch.inf
    for beta in (0, 1):
        value, grad = value_and_grad(loss, given, beta=beta)
        assert value.isfinite()
        assert grad.isfinite().all()


def test_a_temperature_that_makes_logits_infinite() -> None:
    case = make_case()
    for temperature in (5e-324, 1e-30):
        with pytest.raises(OptionError, match=r"temperature=.*: logits divided by it are infinite; pass 1e-20 or more"):
            sdpo_loss(case.student, case.teacher, case.batch, temperature=temperature)
    single = Case(case.student.float(), case.teacher.float(), case.batch)
    for given in (case, single):
        # Each side is sure of one entry: half of log 2 from each side where they are other ones.
        rows = torch.arange(3).unsqueeze(1)
        sides = ((given.student, "student"), (given.teacher, "teacher"))
        best = [logits.argmax(-1)[rows, case.batch[f"{side}_logit_idx"]] for logits, side in sides]
        found = sdpo_loss(given.student, given.teacher, case.batch, temperature=1e-20, reduction="none")
        weights = case.batch["sdpo_loss_weight"].gather(1, case.batch["student_response_idx"])
        expected = (best[0] != best[1]) * math.log(2) * weights * case.batch["response_idx_mask"]
        torch.testing.assert_close(found, expected.to(found.dtype))


@pytest.mark.parametrize(
    "transform",
    [
        lambda call, student: func.grad(call)(student),
        lambda call, student: func.vmap(call)(student[None]),
        lambda call, student: func.jacrev(call)(student),
        lambda call, student: func.jvp(call, (student,), (student,)),
        lambda call, student: func.vjp(call, student),
    ],
    ids=["grad", "vmap", "jacrev", "jvp", "vjp"],
)
def test_transforms_of_torch_func(loss: Loss, transform: Callable[..., Any]) -> None:
    case = make_case()
    with pytest.raises(LossError, match=r"sdpo_loss is called inside of torch\.func .* use loss\.backward\(\)"):
        transform(lambda student: loss(student, case.teacher, case.batch), case.student)


def test_forward_derivatives(loss: Loss) -> None:
    case = make_case()
    with torch.autograd.forward_ad.dual_level():
        student = torch.autograd.forward_ad.make_dual(case.student, case.student)
        with pytest.raises(LossError, match=r"forward_ad.* use loss\.backward\(\)"):
            loss(student, case.teacher, case.batch)
    assert loss(case.student, case.teacher, case.batch) > 0


def test_other_weights_by_functional_call(loss: Loss) -> None:
    """What the error says to use."""
    case, model = make_case(), nn.Linear(11, 11).double()
    weights = {name: value.detach().requires_grad_() for name, value in nn.Linear(11, 11).double().named_parameters()}
    student = func.functional_call(model, weights, (case.student,))
    loss(student, case.teacher, case.batch).backward()
    assert all(value.grad is not None for value in weights.values())
    assert all(value.grad is None for value in model.parameters())


@pytest.mark.parametrize("name", LOSSES)
def test_one_graph_is_refused_by_name(name: str) -> None:
    if "reason" not in torch.compiler.disable.__code__.co_varnames:
        pytest.skip("this torch gives no reasons")
    case, loss = make_case(), LOSSES[name]
    step = torch.compile(lambda student: loss(student, case.teacher, case.batch), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match=r"sdpo_loss works between two graphs: use torch\.compile without fullgraph"):
        step(case.student)
    # As it says: the model in one graph, the loss on its output.
    double = torch.compile(lambda student: student * 2, fullgraph=True, backend="eager")
    torch.testing.assert_close(
        loss(double(case.student), case.teacher, case.batch), loss(case.student * 2, case.teacher, case.batch)
    )


CHANGES: dict[str, Callable[[Tensor], object]] = {
    "zero": lambda logits: logits.zero_(),
    "one entry": lambda logits: logits[0].add_(1e-3),
    "negated": lambda logits: logits.neg_(),
    "neighbours": lambda logits: logits.copy_(logits.flip(-1)),
    "columns": lambda logits: logits.copy_(logits.roll(1, 1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_teacher_of_inference_mode_that_changes_in_place(
    dtype: torch.dtype, change: Callable[[Tensor], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divergence, "tokens_at_once", lambda *_: 2)
    case = make_case(vocabulary=12)
    with torch.inference_mode():
        teacher = case.teacher.to(dtype, copy=True)
    student = case.student.to(dtype).requires_grad_()
    loss = sdpo_loss(student, teacher, case.batch)
    loss.backward(retain_graph=True)
    with torch.inference_mode():
        change(teacher)
    with pytest.raises(LossError, match="the teacher's logits were changed in place after the loss was computed"):
        loss.backward()


def test_a_teacher_of_inference_mode_may_change_outside_of_the_loss() -> None:
    """Other columns are nobody's, and what has no backward pass cannot go wrong."""
    case = make_case()
    with torch.inference_mode():
        teacher = case.teacher.clone()
    student = case.leaf()
    loss = sdpo_loss(student, teacher, case.batch)
    used = case.batch["teacher_logit_idx"][case.batch["response_idx_mask"]].unique()
    unused = [column for column in range(teacher.shape[1]) if column not in used]
    with torch.inference_mode():
        teacher[:, unused] += 1
    loss.backward()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, value_and_grad(sdpo_loss, case)[1] / 0.5, check_dtype=False)


def test_from_hidden_states_a_teacher_may_change_after_the_loss() -> None:
    """Gradients are made in the forward pass; with ``reduction="none"`` a copy of the hidden states is kept."""
    case, head = make_case(), torch.randn(9, 11, dtype=torch.float64)
    for reduction in ("sum", "none"):
        grads = []
        for changed in (False, True):
            with torch.inference_mode():
                teacher = case.teacher.clone()
            student = case.leaf()
            loss = linear_sdpo_loss(student, teacher, case.batch, head, head, reduction=reduction)
            if changed:
                with torch.inference_mode():
                    teacher.zero_()
            loss.sum().backward()
            grads.append(student.grad)
        torch.testing.assert_close(*grads)
