"""The loss from a teacher's top-k: against a slow twin, numerical derivatives, and the exact loss that it bounds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from chatspan import LossError, OptionError
from chatspan.loss import Head, divergence, sdpo_loss, topk_sdpo_loss
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import BETAS, Case, allocated_on_cpu, make_case, plain
from topk_cases import slow_loss, top_k_of
from torch import Tensor

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


@pytest.fixture(params=[1, 2, 10**6], ids="chunks of {}".format)
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small cases in one chunk would prove little."""
    monkeypatch.setattr(divergence, "tokens_at_once", lambda *_: request.param)


def with_gradients(loss: Tensor, *by: Tensor) -> list[Tensor]:
    """The value, and the gradients of a sum with uneven weights, which ``reduction="none"`` makes a difference to."""
    uneven = torch.linspace(0.5, 2, loss.numel(), dtype=loss.dtype).view_as(loss)
    return [loss.detach(), *torch.autograd.grad((loss * uneven).sum(), by)]


def without_some(log_probs: Tensor, ids: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Entries in any order, and of each token any number but one left out."""
    random = torch.Generator().manual_seed(seed)
    order = torch.rand(ids.shape, generator=random).argsort(-1)
    left_out = torch.rand(ids.shape, generator=random) < 0.4
    left_out[..., 0] = False
    log_probs, ids = log_probs.masked_fill(left_out, -math.inf), ids.masked_fill(left_out, -1)
    return log_probs.gather(-1, order), ids.gather(-1, order)


def assert_as_the_slow_twin(case: Case, log_probs: Tensor, ids: Tensor, **options: Any) -> None:
    student = case.leaf()
    found = topk_sdpo_loss(student, log_probs, ids, case.batch, **options).loss
    expected = slow_loss(student, log_probs, ids, case.batch, **options)
    torch.testing.assert_close(with_gradients(found, student), with_gradients(expected, student), rtol=1e-8, atol=1e-11)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("add_tail", [True, False])
@pytest.mark.parametrize("beta", BETAS)
def test_value_and_gradient_are_the_slow_twins(beta: float, add_tail: bool, options: dict[str, Any]) -> None:
    case = make_case()
    for k in (1, 4):
        assert_as_the_slow_twin(case, *top_k_of(case, k), beta=beta, add_tail=add_tail, **options)
        assert_as_the_slow_twin(case, *without_some(*top_k_of(case, k)), beta=beta, add_tail=add_tail, **options)


@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 3),
    tokens=st.integers(1, 5),
    vocabulary=st.integers(2, 20),
    k=st.integers(1, 20),
    beta=st.sampled_from(BETAS) | st.floats(0.01, 0.99),
    temperature=st.floats(0.3, 4),
    add_tail=st.booleans(),
    reduction=st.sampled_from(["token_mean", "row_mean", "sum", "none"]),
)
def test_random_shapes_and_options(seed: int, rows: int, tokens: int, vocabulary: int, k: int, **options: Any) -> None:
    case = make_case(seed, rows, tokens, vocabulary)
    top_k = top_k_of(case, min(k, vocabulary), options["temperature"])
    assert_as_the_slow_twin(case, *without_some(*top_k, seed), **options)


@pytest.mark.parametrize("add_tail", [True, False])
@pytest.mark.parametrize("beta", BETAS)
def test_numerical_derivatives(beta: float, add_tail: bool) -> None:
    case = make_case(2, rows=2, tokens=3, vocabulary=6)
    log_probs, ids = without_some(*top_k_of(case, 3))
    for reduction, clip in itertools.product(("token_mean", "none"), (None, 0.03)):
        options: dict[str, Any] = {"beta": beta, "reduction": reduction, "token_clip": clip, "add_tail": add_tail}

        def loss(student: Tensor, options: dict[str, Any] = options) -> Tensor:
            return topk_sdpo_loss(student, log_probs, ids, case.batch, **options).loss

        assert torch.autograd.gradcheck(loss, case.leaf(), fast_mode=False)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("add_tail", [True, False])
@pytest.mark.parametrize("beta", BETAS)
def test_exact_with_the_whole_vocabulary(beta: float, add_tail: bool, options: dict[str, Any]) -> None:
    case = make_case()
    log_probs, ids = top_k_of(case, VOCABULARY, options.get("temperature", 1.0))
    options = {**options, "beta": beta}
    student = case.leaf()
    found, mass = topk_sdpo_loss(student, log_probs, ids, case.batch, add_tail=add_tail, **options)
    exact = sdpo_loss(student, case.teacher, case.batch, **options)
    torch.testing.assert_close(with_gradients(found, student), with_gradients(exact, student), rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(mass, case.batch["response_idx_mask"].double())


@pytest.mark.parametrize("beta", BETAS)
def test_a_lower_bound_that_grows_with_k(beta: float) -> None:
    """By the data-processing inequality, at each token; nested, since the k likeliest are among the k + 1 likeliest."""
    for seed in range(20):
        case = plain(make_case(seed, vocabulary=24))
        # No entry is so unlikely that it is below the least tail, from which on nothing grows.
        case = Case(case.student / 2, case.teacher / 2, case.batch)
        options: dict[str, Any] = {"beta": beta, "reduction": "none"}
        bounds = [topk_sdpo_loss(case.student, *top_k_of(case, k), case.batch, **options).loss for k in range(1, 25)]
        exact = sdpo_loss(case.student, case.teacher, case.batch, **options)
        for less, more in itertools.pairwise([torch.zeros_like(exact), *bounds, exact]):
            assert (less <= more + 1e-12).all()
        assert (bounds[0] < exact - 1e-3)[case.batch["response_idx_mask"]].any()


def test_the_gradient_of_the_forward_kl_is_exact_inside_of_the_k() -> None:
    """s - t at an entry that is known; what is not known of the tail is how it is shared out."""
    case = plain(make_case(3))
    log_probs, ids = top_k_of(case, 4)
    student = case.leaf()
    of_top_k = torch.autograd.grad(topk_sdpo_loss(student, log_probs, ids, case.batch, beta=0).loss, student)[0]
    exact = torch.autograd.grad(sdpo_loss(student, case.teacher, case.batch, beta=0), student)[0]
    for row, entry in case.batch["response_idx_mask"].nonzero().tolist():
        at = row, int(case.batch["student_logit_idx"][row, entry]), ids[row, entry]
        torch.testing.assert_close(of_top_k[at], exact[at])


def test_the_mass_is_that_of_the_teacher() -> None:
    case = make_case(1)
    log_probs, ids = without_some(*top_k_of(case, 5))
    mass = topk_sdpo_loss(case.leaf(), log_probs, ids, case.batch).teacher_mass
    assert (mass.shape, mass.requires_grad) == (case.batch["response_idx_mask"].shape, False)
    rows = torch.arange(len(case.teacher)).unsqueeze(1)
    probabilities = case.teacher[rows, case.batch["teacher_logit_idx"]].softmax(-1)
    known = torch.where(ids >= 0, probabilities.gather(-1, ids.clamp(min=0)), 0).sum(-1)
    torch.testing.assert_close(mass, known)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("add_tail", [True, False])
def test_computed_in_float32_whatever_the_inputs_are(dtype: torch.dtype, add_tail: bool) -> None:
    case = make_case(5, vocabulary=97, dtype=torch.float32)
    log_probs, ids = top_k_of(case, 8)
    rounded, student = log_probs.to(dtype), case.student.to(dtype).requires_grad_()
    options: dict[str, Any] = {"add_tail": add_tail, "reduction": "none"}
    loss, mass = topk_sdpo_loss(student, rounded, ids.int(), case.batch, **options)
    value, grad = with_gradients(loss, student)
    assert (value.dtype, mass.dtype, grad.dtype) == (torch.float32, torch.float32, dtype)
    wide = student.detach().double().requires_grad_()
    exact = slow_loss(wide, rounded.double(), ids, case.batch, **options)
    exact_value, exact_grad = with_gradients(exact, wide)
    torch.testing.assert_close(value.double(), exact_value, rtol=1e-5, atol=1e-6)
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(grad.double(), exact_grad, rtol=max(step, 1e-4), atol=1e-7)


class Hidden:
    """A student as hidden states and a head, in float64, with gradients."""

    def __init__(self, seed: int = 0) -> None:
        self.case = make_case(seed)
        random = torch.Generator().manual_seed(seed)
        shapes = (*self.case.student.shape[:2], WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,)
        made = [torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_() for shape in shapes]
        self.states, self.weight, self.bias = made


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("add_tail", [True, False])
@pytest.mark.parametrize("beta", BETAS)
def test_from_hidden_states_and_head(beta: float, add_tail: bool, options: dict[str, Any]) -> None:
    side = Hidden()
    top_k, batch = without_some(*top_k_of(side.case, 4)), side.case.batch
    trained = side.states, side.weight, side.bias
    options = {**options, "beta": beta, "add_tail": add_tail}
    for cap, chunk_size in itertools.product((None, 2.0), (1, 3, None)):
        head = Head(side.weight, side.bias, logit_softcap=cap)
        found = topk_sdpo_loss(side.states, *top_k, batch, student_head=head, chunk_size=chunk_size, **options).loss
        logits = side.states @ side.weight.T + side.bias
        capped = logits if cap is None else cap * torch.tanh(logits / cap)
        expected = topk_sdpo_loss(capped, *top_k, batch, **options).loss
        for mine, theirs in zip(with_gradients(found, *trained), with_gradients(expected, *trained), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_a_head_that_is_a_module() -> None:
    side = Hidden()
    top_k = top_k_of(side.case, 4)
    head = torch.nn.Sequential(torch.nn.Linear(WIDTH, VOCABULARY, dtype=torch.float64))
    trained = side.states, *head.parameters()
    for reduction in ("token_mean", "none"):
        options: dict[str, Any] = {"reduction": reduction}
        found = topk_sdpo_loss(side.states, *top_k, side.case.batch, student_head=head, chunk_size=2, **options).loss
        expected = topk_sdpo_loss(head(side.states), *top_k, side.case.batch, **options).loss
        torch.testing.assert_close(with_gradients(found, *trained), with_gradients(expected, *trained))


def test_gathered_logits_and_hidden_states() -> None:
    side = Hidden()
    top_k, batch = top_k_of(side.case, 4), side.case.batch
    rows = torch.arange(len(side.states)).unsqueeze(1)
    trained = side.states, side.weight

    def gathered() -> Tensor:
        return side.states[rows, batch["student_logit_idx"]]

    calls: list[Callable[[], Tensor]] = [
        lambda: topk_sdpo_loss(side.states @ side.weight.T, *top_k, batch).loss,
        lambda: topk_sdpo_loss(gathered() @ side.weight.T, *top_k, batch, gathered=True).loss,
        lambda: topk_sdpo_loss(gathered(), *top_k, batch, gathered=True, student_head=side.weight).loss,
    ]
    first, *others = (with_gradients(call(), *trained) for call in calls)
    for other in others:
        torch.testing.assert_close(other, first)


def test_no_more_than_chunks_of_logits_are_alive() -> None:
    torch.manual_seed(0)
    tokens, in_loss, width, vocabulary, chunk = 1024, 48, 64, 4096, 8
    columns = torch.arange(in_loss)[None] * 20
    batch = {"student_logit_idx": columns, "response_idx_mask": torch.ones_like(columns, dtype=torch.bool)}
    student = torch.randn(1, tokens, width, requires_grad=True)
    weight = torch.randn(vocabulary, width, requires_grad=True)
    top_k = torch.randn(1, in_loss, vocabulary).log_softmax(-1).topk(20)

    def step() -> None:
        topk_sdpo_loss(student, *top_k, batch, student_head=weight, chunk_size=chunk).loss.backward()  # type: ignore[no-untyped-call]

    step()
    student.grad = weight.grad = None
    most, _ = allocated_on_cpu(step)
    chunks, head, hidden = chunk * vocabulary * 4, vocabulary * width * 4, tokens * width * 4
    assert most < 6 * in_loss * width * 4 + 5 * chunks + 2 * head + 2 * hidden, most
    assert most < tokens * vocabulary * 4 / 4


@pytest.mark.parametrize("reduction", ["token_mean", "row_mean", "sum", "none"])
def test_nothing_in_the_loss_gives_a_zero_that_can_be_trained_on(reduction: Any) -> None:
    side = Hidden()
    batch = {**side.case.batch, "response_idx_mask": torch.zeros_like(side.case.batch["response_idx_mask"])}
    top_k = torch.full((3, 5, 4), -math.inf), torch.full((3, 5, 4), -1)
    for head in (None, side.weight):
        student = side.states if head is not None else side.case.leaf()
        loss, mass = topk_sdpo_loss(student, *top_k, batch, student_head=head, reduction=reduction)
        value, grad = with_gradients(loss, student)
        assert not any(each.any() for each in (value, grad, mass))


def test_a_second_derivative_is_refused_and_a_compiled_function_is_not() -> None:
    case = make_case()
    top_k = top_k_of(case, 4)
    student = case.leaf()
    with pytest.raises(LossError, match="differentiable once"):
        torch.autograd.grad(topk_sdpo_loss(student, *top_k, case.batch).loss, student, create_graph=True)

    def step(student: Tensor) -> Tensor:
        loss, mass = topk_sdpo_loss(student.sin() * 3, *top_k, case.batch)
        return loss + mass.sum()

    compiled = torch.compile(step, backend="eager")
    torch.testing.assert_close(with_gradients(compiled(student), student), with_gradients(step(student), student))


def test_what_stands_where_there_is_nothing_does_not_matter() -> None:
    """As in the form of TRL's client: id 0 beside -inf; and anything where a batch is filled up."""
    case = make_case(1)
    log_probs, ids = without_some(*top_k_of(case, 5))
    expected = topk_sdpo_loss(case.student, log_probs, ids, case.batch)
    other = topk_sdpo_loss(case.student, log_probs, ids.masked_fill(ids < 0, 0), case.batch)
    torch.testing.assert_close(other, expected)
    unused = ~case.batch["response_idx_mask"]
    log_probs, ids = log_probs.clone(), ids.clone()
    log_probs[unused], ids[unused] = math.nan, 10**6
    torch.testing.assert_close(topk_sdpo_loss(case.student, log_probs, ids, case.batch), expected)


def put(which: str, value: float, *at: Any) -> Callable[[dict[str, Any]], None]:
    def change(given: dict[str, Any]) -> None:
        given[which][at] = value

    return change


def let(which: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    return lambda given: given.update({which: change(given[which])})


LOG_PROBS, IDS = "teacher_topk_logprobs", "teacher_topk_ids"
PLACE = "row 0, in-loss token 3: "


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put(LOG_PROBS, math.nan, 0, 3, 1),
            f"{PLACE}entry 1 of the teacher's top-k has id .* and log-prob nan: expected",
        ),
        (put(LOG_PROBS, 0.5, 0, 3, 2), f"{PLACE}entry 2 .* log-prob 0.5: pass log-probs, which are at most 0"),
        (put(LOG_PROBS, math.inf, 0, 3, 2), f"{PLACE}entry 2 .* log-prob inf: pass log-probs"),
        (put(IDS, -1, 0, 3, 0), f"{PLACE}entry 0 .* has id -1 and log-prob -.*: pass an id of 0 or more"),
        (put(IDS, 11, 0, 3, 3), f"{PLACE}entry 3 .* has id 11 .*: the student has 11 entries, ids 0 to 10"),
        (let(IDS, lambda ids: ids[..., :1].expand(ids.shape)), "row 0, in-loss token 0: entry 1 .* the same id"),
        (put(LOG_PROBS, math.log(0.6), 0, 3), f"{PLACE}the probabilities of the teacher's top-k sum to 2.4, which is"),
        (put(LOG_PROBS, -math.inf, 0, 3), f"{PLACE}the teacher's top-k has no entry: pass at least one for each"),
        (
            let(LOG_PROBS, lambda found: found[:, 1:]),
            r"teacher_topk_ids are torch.int64 \[3, 5, 4\], and .* \[3, 4, 4\]",
        ),
        (
            let(LOG_PROBS, lambda found: found[0]),
            r"teacher_topk_logprobs are torch.float64 \[5, 4\]: expected floats \[B",
        ),
        (let(LOG_PROBS, lambda found: found[..., :0]), "expected floats .*, at least one entry per token"),
        (let(LOG_PROBS, lambda found: found.long()), "teacher_topk_logprobs are torch.int64"),
        (let(LOG_PROBS, lambda found: found.numpy()), "teacher_topk_logprobs is ndarray, not a tensor of numbers"),
        (let(IDS, lambda ids: ids.float()), r"teacher_topk_ids are torch.float32 \[3, 5, 4\].*: expected int64"),
        (let(IDS, lambda ids: ids.tolist()), "teacher_topk_ids is list"),
        (let("student", lambda found: found[0]), r"student are torch.float64 \[9, 11\]: expected floats \[B, T, V\]"),
        (let("student", lambda found: {"logits": found}), "student is dict, the whole output of a model: pass its log"),
        (let("batch", lambda batch: {**batch, "student_logit_idx": None}), "'student_logit_idx'.* is NoneType"),
        (let("batch", lambda batch: [batch]), "batch is list: pass the dict that a distillation collator makes"),
        (
            lambda given: given.update(student_head=torch.zeros(11, 4)),
            r"student_head does not take student \[3, 9, 11\]",
        ),
        (lambda given: given.update(student_head="lm_head"), "student_head is str: pass a Head"),
    ],
)
def test_what_does_not_fit(change: Callable[[dict[str, Any]], None], message: str) -> None:
    case = make_case()
    log_probs, ids = top_k_of(case, 4)
    given = {"student": case.student, LOG_PROBS: log_probs, IDS: ids, "batch": case.batch}
    topk_sdpo_loss(**given)
    change(given)
    with pytest.raises(LossError, match=message):
        topk_sdpo_loss(**given)


def test_a_top_k_of_other_rows_or_tokens() -> None:
    case = make_case()
    log_probs, ids = top_k_of(case, 4)
    for cut in ((slice(1, None),), (slice(None), slice(1, None))):
        with pytest.raises(LossError, match=r"are \[.*, 4\], but batch\['student_logit_idx'\] is \[3, 5\]: pass K"):
            topk_sdpo_loss(case.student, log_probs[cut], ids[cut], case.batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"add_tail": 1}, "add_tail"),
        ({"beta": 2}, "beta=2"),
        ({"temperature": 0}, "temperature=0"),
        ({"chunk_size": 2}, "chunk_size=2 without student_head"),
        ({"chunk_size": 0, "student_head": torch.zeros(11, 11)}, "chunk_size=0"),
        ({"reduction": "mean"}, "reduction='mean'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    case = make_case()
    with pytest.raises(OptionError, match=message):
        topk_sdpo_loss(case.student, *top_k_of(case, 4), case.batch, **options)
