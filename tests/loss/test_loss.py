"""The loss against a plain reference and numerical derivatives; reductions, dtypes, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from chatspan import LossError, OptionError
from chatspan.loss import Head, divergence
from chatspan.loss.sdpo import sdpo_loss
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import BETAS, SUPPORTS, Case, make_case, plain, reference_loss, value_and_grad

REDUCTIONS = ("token_mean", "row_mean", "sum", "none")


@pytest.fixture(params=[1, 2, 10**6], ids="chunks of {}".format)
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small cases in one chunk would prove little."""
    monkeypatch.setattr(divergence, "tokens_at_once", lambda *_: request.param)


def assert_as_the_reference(case: Case, **options: Any) -> None:
    actual, expected = (value_and_grad(loss, case, **options) for loss in (sdpo_loss, reference_loss))
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("temperature", [1, 0.7, 2.5])
@pytest.mark.parametrize("support", SUPPORTS, ids=str)
@pytest.mark.parametrize("beta", BETAS)
def test_value_and_gradient_are_the_references(beta: float, support: dict[str, Any], temperature: float) -> None:
    for token_clip, is_clip in itertools.product((None, 0.02), (None, 1.5)):
        clips = {"token_clip": token_clip, "is_clip": is_clip}
        assert_as_the_reference(make_case(), beta=beta, temperature=temperature, **support, **clips)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_every_reduction_with_and_without_weights(reduction: str) -> None:
    for case in (make_case(1), plain(make_case(1))):
        assert_as_the_reference(case, reduction=reduction, token_clip=0.05, is_clip=2.0)


@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 4),
    tokens=st.integers(1, 9),
    vocabulary=st.integers(2, 40),
    beta=st.sampled_from(BETAS) | st.floats(0.01, 0.99),
    temperature=st.floats(0.3, 4),
    k=st.none() | st.integers(1, 40),
    add_tail=st.booleans(),
    token_clip=st.none() | st.floats(1e-3, 1),
    reduction=st.sampled_from(REDUCTIONS),
)
def test_random_shapes_and_options(
    seed: int, rows: int, tokens: int, vocabulary: int, k: int | None, **options: Any
) -> None:
    top_k = None if k is None else min(k, vocabulary)
    assert_as_the_reference(make_case(seed, rows, tokens, vocabulary), top_k=top_k, **options)


@pytest.mark.parametrize("support", SUPPORTS, ids=str)
@pytest.mark.parametrize("beta", BETAS)
def test_numerical_derivatives(beta: float, support: dict[str, Any]) -> None:
    case = make_case(2, rows=2, tokens=3, vocabulary=6)
    for reduction, token_clip in itertools.product(("token_mean", "none"), (None, 0.03)):
        options: dict[str, Any] = {"beta": beta, "reduction": reduction, "token_clip": token_clip, **support}

        def loss(student: torch.Tensor, options: dict[str, Any] = options) -> torch.Tensor:
            return sdpo_loss(student, case.teacher, case.batch, **options)

        assert torch.autograd.gradcheck(loss, case.leaf(), fast_mode=False)


def test_a_second_derivative_is_refused() -> None:
    case = make_case()
    student = case.leaf()
    loss = sdpo_loss(student, case.teacher, case.batch)
    with pytest.raises(LossError, match="differentiable once: call backward without create_graph=True"):
        torch.autograd.grad(loss, student, create_graph=True)


def test_backward_can_run_twice_and_the_teacher_gets_no_gradient() -> None:
    case = make_case()
    student, teacher = case.leaf(), case.teacher.clone().requires_grad_()
    loss = sdpo_loss(student, teacher, case.batch)
    loss.backward(retain_graph=True)
    once = student.grad.clone()
    loss.backward()
    torch.testing.assert_close(student.grad, 2 * once)
    assert teacher.grad is None


def test_no_divergence_between_equal_sides() -> None:
    case = make_case(dtype=torch.float32)
    case.batch["teacher_logit_idx"] = case.batch["student_logit_idx"]
    del case.batch["ctx_teacher_input_ids"]
    for beta in BETAS:
        student = case.leaf()
        loss = sdpo_loss(student, case.student, case.batch, beta=beta)
        loss.backward()
        assert (abs(loss.item()), student.grad.abs().max().item()) == pytest.approx((0, 0), abs=1e-6)


@pytest.mark.parametrize("beta", BETAS)
def test_entries_that_neither_side_can_produce_are_nothing(beta: float) -> None:
    """As of a vocabulary that is filled up to a round number, with logits of -inf."""
    case = make_case()
    for logits in (case.student, case.teacher):
        logits[..., -3:] = -torch.inf
    cut = Case(case.student[..., :-3], case.teacher[..., :-3], case.batch)
    for k in (None, 4):
        expected, expected_grad = value_and_grad(reference_loss, cut, beta=beta, top_k=k)
        actual, grad = value_and_grad(sdpo_loss, case, beta=beta, top_k=k)
        torch.testing.assert_close((actual, grad[..., :-3]), (expected, expected_grad), rtol=1e-6, atol=1e-9)
        assert not grad[..., -3:].any()


def test_a_small_tail_is_not_lost_to_rounding() -> None:
    """In float32, 1 minus the sum of the k has an error of a tenth here."""
    case = make_case(rows=1, tokens=1, vocabulary=64)
    case.student[..., 2:] -= 18
    case.teacher[..., 2:] -= 12
    exact, exact_grad = value_and_grad(sdpo_loss, case, beta=0, top_k=2)
    single = Case(case.student.float(), case.teacher.float(), case.batch)
    actual, grad = value_and_grad(sdpo_loss, single, beta=0, top_k=2)
    torch.testing.assert_close((actual.double(), grad.double()), (exact, exact_grad), rtol=1e-4, atol=1e-8)


def test_packed_conversations_give_what_their_rows_give() -> None:
    """A packed row: both sides' rows end to end, indices shifted, ``seq_idx`` instead of B."""
    case = make_case(3, rows=4)
    packed: dict[str, torch.Tensor] = {}
    rows = torch.arange(4).unsqueeze(1)
    for side, logits in (("student", case.student), ("teacher", case.teacher)):
        for kind in ("logit", "response"):
            packed[f"{side}_{kind}_idx"] = case.batch[f"{side}_{kind}_idx"] + rows * logits.shape[1]
    packed["seq_idx"] = rows.expand(-1, case.student.shape[1]).int()
    packed = {**case.batch, **packed}
    mask = packed["response_idx_mask"]
    for key, value in packed.items():
        entries = value[mask] if value.shape == mask.shape else value.flatten()
        packed[key] = entries.unsqueeze(0)
    for reduction in ("token_mean", "row_mean", "sum"):
        options: dict[str, Any] = {"reduction": reduction, "is_clip": 1.5}
        student = case.leaf()
        apart = sdpo_loss(student, case.teacher, case.batch, **options)
        together = sdpo_loss(student.flatten(0, 1)[None], case.teacher.flatten(0, 1)[None], packed, **options)
        grads = (torch.autograd.grad(loss, student)[0] for loss in (apart, together))
        torch.testing.assert_close(together, apart)
        torch.testing.assert_close(*grads)


def test_rows_and_conversations_without_a_token_have_no_mean() -> None:
    case = plain(make_case(4))
    case.batch["response_idx_mask"][1] = False
    per_token = sdpo_loss(case.student, case.teacher, case.batch, reduction="none")
    means = [row[mask].mean() for row, mask in zip(per_token, case.batch["response_idx_mask"], strict=True)]
    loss = sdpo_loss(case.student, case.teacher, case.batch, reduction="row_mean")
    torch.testing.assert_close(loss, (means[0] + means[2]) / 2)
    assert not per_token[1].any()


@pytest.mark.parametrize("items", [7, 7.0, torch.tensor(7)])
def test_the_sum_over_the_items_of_all_accumulated_batches(items: Any) -> None:
    case = make_case()
    loss = sdpo_loss(case.student, case.teacher, case.batch, num_items_in_batch=items)
    torch.testing.assert_close(loss * 7, sdpo_loss(case.student, case.teacher, case.batch, reduction="sum"))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("entries", [0, 3])
def test_nothing_in_the_loss_gives_a_zero_that_can_be_trained_on(reduction: str, entries: int) -> None:
    case = make_case()
    keys = ("student_logit_idx", "teacher_logit_idx", "student_response_idx", "response_idx_mask", "old_log_probs")
    case.batch |= {key: torch.zeros_like(case.batch[key][:, :entries]) for key in keys}
    case.batch["teacher_response_idx"] = case.batch["student_response_idx"]
    value, grad = value_and_grad(sdpo_loss, case, reduction=reduction, is_clip=2.0)
    assert value.shape == ((3, entries) if reduction == "none" else ())
    assert not value.any()
    assert not grad.any()


def test_weights_of_zero_only_give_zero() -> None:
    case = make_case()
    case.batch["sdpo_loss_weight"] = torch.zeros_like(case.batch["sdpo_loss_weight"])
    for reduction in ("token_mean", "row_mean"):
        value, grad = value_and_grad(sdpo_loss, case, reduction=reduction)
        assert not value.any()
        assert not grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("support", SUPPORTS, ids=str)
def test_computed_in_float32_whatever_the_logits_are(dtype: torch.dtype, support: dict[str, Any]) -> None:
    case = make_case(5, vocabulary=97, dtype=torch.float32)
    case.student, case.teacher = case.student.to(dtype), case.teacher.to(dtype)
    value, grad = value_and_grad(sdpo_loss, case, temperature=1.3, **support)
    assert (value.dtype, grad.dtype) == (torch.float32, dtype)
    case.student, case.teacher = case.student.double(), case.teacher.double()
    # topk may choose any of equal logits, which differ in their teacher's: the reference has to choose the same.
    exact, exact_grad = value_and_grad(sdpo_loss, case, temperature=1.3, **support)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(grad.double(), exact_grad, rtol=max(step, 1e-4), atol=1e-7)


def test_a_scaled_loss_of_float16_does_not_underflow() -> None:
    case = make_case(dtype=torch.float32)
    student = case.student.half().requires_grad_()
    (sdpo_loss(student, case.teacher.half(), case.batch) * 1e-4 * 2**16).backward()
    expected = case.student.half().float().requires_grad_()
    (sdpo_loss(expected, case.teacher.half(), case.batch) * 1e-4).backward()
    torch.testing.assert_close(student.grad.float() / 2**16, expected.grad, rtol=1e-3, atol=1e-9)


def test_strides_inference_mode_and_autocast_do_not_matter() -> None:
    case = make_case(dtype=torch.float32)
    expected = value_and_grad(sdpo_loss, case)
    strided = Case(case.student.transpose(0, 1).contiguous().transpose(0, 1), case.teacher, case.batch)
    with torch.inference_mode():
        teacher = torch.cat([case.teacher, case.teacher], dim=1)[:, : case.teacher.shape[1]]
    with torch.autocast("cpu", torch.bfloat16):
        actual = value_and_grad(sdpo_loss, strided)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(value_and_grad(sdpo_loss, Case(case.student, teacher, case.batch)), expected)
    with torch.no_grad():
        assert not sdpo_loss(case.student, case.teacher, case.batch).requires_grad


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_inside_a_compiled_function(backend: str) -> None:
    case = make_case()
    options: dict[str, Any] = {"top_k": 4, "is_clip": 2.0, "reduction": "row_mean"}

    def step(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return 2 * sdpo_loss(student.sin() * 3, teacher.cos() * 3, case.batch, **options)

    results = []
    for call in (step, torch.compile(step, backend=backend)):
        student = case.leaf()
        loss = call(student, case.teacher)
        loss.backward()
        results.append((loss.detach(), student.grad))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 1.5}, r"beta=1\.5: expected a number from 0"),
        ({"beta": float("nan")}, "beta=nan"),
        ({"beta": "0.5"}, "beta='0.5'"),
        ({"temperature": 0}, "temperature=0: expected a positive number"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"top_k": 0}, "top_k=0: expected a whole number of at least 1"),
        ({"top_k": 2.0}, r"top_k=2\.0"),
        ({"top_k": 12}, "top_k=12, but the vocabulary has 11 entries"),
        ({"token_clip": 0}, "token_clip=0: expected a positive number, or None"),
        ({"is_clip": -1}, "is_clip=-1: expected a positive number, or None"),
        ({"reduction": "mean"}, "reduction='mean': use one of 'token_mean', 'row_mean', 'sum', 'none'"),
        ({"num_items_in_batch": 0}, "num_items_in_batch=0: expected a positive number"),
        ({"num_items_in_batch": 5, "reduction": "sum"}, "reduction='sum': only 'token_mean' divides by it"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    case = make_case()
    with pytest.raises(OptionError, match=message):
        sdpo_loss(case.student, case.teacher, case.batch, **options)


@pytest.mark.parametrize("name", ["temperature", "token_clip", "num_items_in_batch"])
def test_whole_numbers_of_more_than_64_bits_are_fractions(name: str) -> None:
    case = make_case()
    found, wanted = (sdpo_loss(case.student, case.teacher, case.batch, **{name: value}) for value in (10**19, 1e19))  # type: ignore[arg-type]
    assert found.item() == wanted.item()
    heads = [Head(torch.eye(3), logit_softcap=value, logit_scale=2.0) for value in (10**19, 1e19)]
    logits = [head.logits(torch.ones(2, 3)) for head in heads]
    assert torch.equal(*logits)


def put(key: str, row: int, column: int, value: float) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        case.batch[key][row, column] = value

    return change


def let(key: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Case], None]:
    return lambda case: case.batch.update({key: change(case.batch[key])})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda case: case.batch.pop("teacher_logit_idx"), "the batch has no 'teacher_logit_idx': the loss finds"),
        (lambda case: case.batch.pop("old_log_probs"), "the batch has no 'old_log_probs': is_clip needs it"),
        (put("student_logit_idx", 0, 3, 9), "row 0, in-loss token 3: student_logit_idx is 9, .* have 9 columns"),
        (put("teacher_logit_idx", 0, 1, -1), "row 0, in-loss token 1: teacher_logit_idx is -1, .* have 14 columns"),
        (put("student_response_idx", 0, 2, 99), "token 2: student_response_idx is 99, but input_ids has 9 columns"),
        (put("sdpo_loss_weight", 0, slice(None), -1), r"row 0, in-loss token 0: sdpo_loss_weight is -1\.0: expected"),
        (put("sdpo_loss_weight", 0, slice(None), float("nan")), "row 0, in-loss token 0: sdpo_loss_weight is nan"),
        (let("input_ids", lambda ids: ids + 1), "row 0, in-loss token 0: the student has token .* and the teacher"),
        (let("input_ids", lambda ids: ids + 99), "the student has token"),
        (let("response_idx_mask", lambda mask: mask.long()), r"'response_idx_mask'\] is torch.int64: expected bool"),
        (let("response_idx_mask", lambda mask: mask[:, 1:]), r"is \[3, 4\], but .*'student_logit_idx'\] is \[3, 5\]"),
        (let("student_logit_idx", lambda index: index[:2]), r"is \[2, 5\], but the logits have 3 rows"),
        (let("student_logit_idx", lambda index: index.float()), "is torch.float32: expected int64"),
        (let("sdpo_loss_weight", lambda weight: weight[0]), r"batch\['sdpo_loss_weight'\] is \[9\]: expected \[3, T\]"),
        (
            lambda case: setattr(case, "student", case.student[0]),
            r"student_logits are torch.float64 \[9, 11\]: expected",
        ),
        (lambda case: setattr(case, "teacher", case.teacher[..., 1:]), "has 11 entries and the teacher's 10: cut"),
        (lambda case: setattr(case, "teacher", case.teacher[1:]), "have 3 rows and teacher_logits 2"),
        (lambda case: setattr(case, "teacher", case.teacher.to("meta")), "on cpu and teacher_logits on meta: move"),
    ],
)
def test_batches_that_do_not_fit(change: Callable[[Case], None], message: str) -> None:
    case = make_case()
    change(case)
    with pytest.raises(LossError, match=message):
        sdpo_loss(case.student, case.teacher, case.batch, is_clip=2.0)


def test_a_place_that_is_there_twice_is_refused() -> None:
    case = make_case()
    columns = case.batch["student_logit_idx"]
    columns[0, 4] = columns[0, 2]
    with pytest.raises(LossError, match=f"row 0, in-loss token 4: student_logit_idx has column {columns[0, 2]} twice"):
        sdpo_loss(case.student, case.teacher, case.batch)


def test_ids_outside_of_the_vocabulary_and_conversations_outside_of_the_row() -> None:
    case = make_case()
    del case.batch["ctx_teacher_input_ids"]
    case.batch["seq_idx"] = torch.full_like(case.batch["input_ids"], 9)
    with pytest.raises(LossError, match="seq_idx is 9 in a row of 9 columns"):
        sdpo_loss(case.student, case.teacher, case.batch)
    case.batch["input_ids"] += 11
    del case.batch["seq_idx"]
    with pytest.raises(LossError, match=r"row 0, in-loss token 0: input_ids has token .* outside of the 11 logits"):
        sdpo_loss(case.student, case.teacher, case.batch, is_clip=2.0)
