"""TRL's real ``DistillationTrainer`` with a teacher that sees other ids: its step is the written-out one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import assistant, config, failed, system, trace, user
from chatspan import (
    ChatCollator,
    ComposerDataCollator,
    DistillationConfig,
    HintError,
    LayoutError,
    OptionError,
    SelfDistillationCollator,
)
from chatspan.loss import sdpo_loss
from chatspan.trl import DistillationMixin, distillation_inputs, sdpo_rows
from conversations import tool
from processes import in_processes
from transformers import AutoTokenizer
from trl_steps import (
    ONE_STEP,
    ROWS,
    both_logits,
    divergence,
    first_step,
    gathered,
    gradient_norm,
    models,
    rollout_row,
    twins,
)
from zoo import EXAMPLES

trl = pytest.importorskip("trl", reason="TRL is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class Trainer(DistillationMixin, trl.DistillationTrainer):  # type: ignore[misc]
    """Remembers what each loss was computed of, and what it was."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.losses: list[tuple[Any, Any, float]] = []

    def _compute_loss(self, unwrapped_student: Any, inputs: Any, num_items_in_batch: Any) -> Any:
        found = super()._compute_loss(unwrapped_student, inputs, num_items_in_batch)
        self.losses.append((inputs, num_items_in_batch, float(found[0].detach())))
        return found


@pytest.fixture
def make(small: Any, tmp_path: Any) -> Any:
    def trainer_of(
        student: Any, teacher: Any, rows: Any, options: Any = None, kind: Any = Trainer, **keywords: Any
    ) -> Any:
        arguments = trl.DistillationConfig(str(tmp_path), **{**ONE_STEP, "max_completion_length": 6, **(options or {})})
        return kind(student, teacher, arguments, rows, **{"processing_class": small, **keywords})

    return trainer_of


def collator(tokenizer: Any, **options: Any) -> SelfDistillationCollator:
    return SelfDistillationCollator(
        tokenizer, DistillationConfig(**{"layout": "indexed", "loss_on": "turn", **options})
    )


@pytest.mark.parametrize(("beta", "temperature"), [(0.0, 1.0), (0.5, 2.0), (1.0, 1.0)])
def test_a_step_of_recorded_rows_is_the_divergence_over_their_in_loss_tokens(
    small: Any, make: Any, beta: float, temperature: float
) -> None:
    """Loss and gradient, over two accumulated batches, against the written-out formula and ``sdpo_loss``."""
    collate = collator(small)
    student, teacher = models(small)
    own, other = twins(student, teacher)
    trainer = make(
        student, teacher, datasets.Dataset.from_list(ROWS), {"beta": beta, "temperature": temperature}, collator=collate
    )
    loss, norm = first_step(trainer)
    batch = collate(ROWS)
    logits = both_logits(own, other, batch, temperature)
    expected = divergence(*logits, beta).mean()
    assert loss == pytest.approx(float(expected.detach()), abs=1e-6)
    assert norm == pytest.approx(gradient_norm(expected, own), rel=1e-4)
    keys = ("input_ids", "attention_mask", "position_ids")
    whole = [
        model(**{key: batch[prefix + key] for key in keys}).logits
        for model, prefix in ((own, ""), (other, "ctx_teacher_"))
    ]
    assert loss == pytest.approx(float(sdpo_loss(*whole, batch, beta=beta, temperature=temperature)), abs=1e-6)
    # With the student's own ids, as TRL has it, it is another loss.
    same = gathered(other, batch, "", "student", temperature)
    assert abs(float(divergence(logits[0], same, beta).mean()) - loss) > 1e-4


def test_rollouts_are_trained_on_their_sampled_ids(small: Any, make: Any) -> None:
    row = rollout_row(small)
    collate = collator(small)
    inputs = distillation_inputs(collate, [row])
    seen = inputs["tool_mask"][0] == 1
    assert small.decode(inputs["completion_ids"][0][seen]) == "I call it.<|im_end|>It is full.<|im_end|>"
    assert "error: full" in small.decode(inputs["completion_ids"][0][inputs["completion_mask"][0] == 1])
    teacher_ids = inputs["teacher_input_ids"][0]
    assert torch.equal(teacher_ids[inputs["teacher_logit_idx"][0][seen] + 1], inputs["completion_ids"][0][seen])
    assert "<|im_start|>system\nMind the limit.<|im_end|>" in small.decode(teacher_ids)
    student, teacher = models(small)
    own, other = twins(student, teacher)
    loss, _ = first_step(make(student, teacher, [row] * 4, {"beta": 0.5}, collator=collate))
    assert loss == pytest.approx(float(divergence(*both_logits(own, other, collate([row])), 0.5).mean()), abs=1e-6)


def test_traces_with_hints_in_every_layout(small: Any) -> None:
    """The form of the collator's batch does not count."""
    rows = [
        trace(user("Go?"), failed("Try it."), user("ok"), failed("Again, then.")),
        trace(user("Go?"), assistant("No.")),
    ]
    plain = distillation_inputs(ComposerDataCollator(small, config(layout="indexed")), rows)
    for options in ({"layout": "aligned"}, {"layout": "indexed", "packing": True}, {"padding_side": "left"}):
        found = distillation_inputs(ComposerDataCollator(small, config(**options)), rows)
        assert all(torch.equal(found[key], plain[key]) for key in plain)
        assert set(found) == set(plain)


def test_no_loss_is_a_zero(small: Any, make: Any) -> None:
    """Of a whole step, and of evaluation."""
    student, teacher = models(small)
    trainer = make(student, teacher, [ROWS[1]] * 4, {"beta": 0.5}, collator=collator(small), eval_dataset=ROWS)
    assert first_step(trainer) == (0.0, 0.0)
    own, other = twins(student, teacher)
    found = trainer.evaluate()["eval_loss"]
    with torch.no_grad():
        expected = divergence(*both_logits(own, other, collator(small)(ROWS)), 0.5).mean()
    assert found == pytest.approx(float(expected.detach()), abs=1e-6)


TURNS = [system("Be kind."), user("Book it."), tool("error: full"), failed("It is full.", error="limit")]


def test_generated_responses_with_hints_in_their_prompts(small: Any, make: Any) -> None:
    """The trainer samples; the teacher sees the same ids behind its own prompt, which ends with a tool's result."""
    rows = [*sdpo_rows([trace(*TURNS)], config()), {"prompt": [user("2 + 2?")], "privileged_context": None}] * 2
    student, teacher = models(small)
    own, other = twins(student, teacher)
    trainer = make(student, teacher, datasets.Dataset.from_list(rows), {"beta": 0.5}, hint_placement="before_turn")
    first_step(trainer)
    assert len(trainer.losses) == 2
    for inputs, items, loss in trainer.losses:
        prompt, completion = inputs["prompt_ids"].shape[1], inputs["completion_ids"].shape[1]
        mask = inputs["completion_mask"] == 1
        for row, teacher_ids in enumerate(inputs["teacher_input_ids"]):
            shown = small.decode(inputs["prompt_ids"][row][inputs["prompt_mask"][row] == 1])
            visible = inputs["teacher_attention_mask"][row] == 1
            visible[-completion:] = False
            hint = "<|im_start|>system\nHint: limit.<|im_end|>\n" if "error: full" in shown else ""
            header = "<|im_start|>assistant\n"
            assert small.decode(teacher_ids[visible]) == f"{shown.removesuffix(header)}{hint}{header}"
            assert torch.equal(teacher_ids[-completion:], inputs["completion_ids"][row])
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        seen = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        with torch.no_grad():
            logits = own(input_ids=ids, attention_mask=seen).logits[:, prompt - 1 : -1]
            theirs = other(
                input_ids=inputs["teacher_input_ids"], attention_mask=inputs["teacher_attention_mask"]
            ).logits
        expected = divergence(logits[mask], theirs[:, -completion - 1 : -1][mask], 0.5).sum() / float(items)
        assert loss == pytest.approx(float(expected.detach()), abs=1e-6)


def rebook(train: str) -> str:
    """Books another train.

    Args:
        train: its number.
    """
    return f"error: {train} is full"


def test_tools_are_in_both_prompts(small_copy: Any, make: Any) -> None:
    """The trainer gives its own to the template, and so does the teacher's side; else its prompts would be refused."""
    # Of the templates whose calls TRL can read.
    small_copy.chat_template = pytest.importorskip("trl.chat_template_utils").qwen3_chat_template
    rows = [{"prompt": [user("Book it.")], "privileged_context": "Mind the limit."}] * 4
    given = {"tools": [rebook], "processing_class": small_copy}
    trainer = make(*models(small_copy), datasets.Dataset.from_list(rows), **given)
    first_step(trainer)
    inputs, _, _ = trainer.losses[0]
    for ids in (inputs["prompt_ids"][0], inputs["teacher_input_ids"][0]):
        assert '"name": "rebook"' in small_copy.decode(ids)
    assert "Mind the limit." in small_copy.decode(inputs["teacher_input_ids"][0])


def test_without_hints_it_is_trls_own_step(small: Any, make: Any) -> None:
    rows = datasets.Dataset.from_list([{"prompt": [user(f"{n}?")]} for n in range(4)])
    steps = [first_step(make(*models(small), rows, kind=kind)) for kind in (Trainer, trl.DistillationTrainer)]
    assert steps[0] == steps[1]


def weights_after_a_step(rank: int, world: int, folder: str) -> Any:
    """Of plain gradient descent on all rows, divided among processes and accumulated batches."""
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
    student, teacher = models(tokenizer)
    options = {"optim": "sgd", "learning_rate": 0.5, "max_grad_norm": 1e9, "beta": 0.5, "lr_scheduler_type": "constant"}
    divided = {"per_device_train_batch_size": 2 // world, "gradient_accumulation_steps": 2}
    arguments = trl.DistillationConfig(f"{folder}/{world}-{rank}", **{**ONE_STEP, **options, **divided})
    trainer = Trainer(student, teacher, arguments, ROWS, processing_class=tokenizer, collator=collator(tokenizer))
    trainer.train()
    return {name: each.detach().clone() for name, each in student.named_parameters()}


def test_two_processes_train_as_one(tmp_path: Any) -> None:
    expected = weights_after_a_step(0, 1, str(tmp_path))
    for found in in_processes(2, weights_after_a_step, str(tmp_path)):
        assert all(torch.allclose(found[name], each, atol=1e-6, rtol=0) for name, each in expected.items())


def test_the_student_may_be_its_own_teacher(small: Any, make: Any) -> None:
    student, _ = models(small)
    (own,) = twins(student)
    loss, norm = first_step(make(student, student, ROWS, {"beta": 0.0}, collator=collator(small)))
    expected = divergence(*both_logits(own, own, collator(small)(ROWS)), 0.0).mean()
    assert loss == pytest.approx(float(expected.detach()), abs=1e-6)
    assert norm == pytest.approx(gradient_norm(expected, own), rel=1e-4)


def test_what_is_refused(small: Any, make: Any) -> None:
    student, teacher = models(small)
    with pytest.raises(OptionError, match=r"ChatCollator has no teacher: use a SelfDistillationCollator"):
        make(student, teacher, ROWS, collator=ChatCollator(small))
    with pytest.raises(OptionError, match=r"hint_role and a collator, which has its own"):
        make(student, teacher, ROWS, collator=collator(small), hint_role="user")
    with pytest.raises(
        OptionError, match=r"DistillationMixin is not a trainer: write class Trainer\(DistillationMixin"
    ):
        DistillationMixin()
    with pytest.raises(OptionError, match=r"remove_unused_columns=True removes what the teacher sees"):
        make(student, teacher, datasets.Dataset.from_list(ROWS), {"remove_unused_columns": True})
    weighted = collator(small, loss_on={"assistant": 0.5})
    with pytest.raises(LayoutError, match=r"weights other than 1, which a mask cannot carry"):
        distillation_inputs(weighted, ROWS)
    with pytest.raises(OptionError, match=r'layout="placeholder" gives the student filler text'):
        distillation_inputs(ComposerDataCollator(small, config(layout="placeholder")), [trace(*TURNS)])
    trainer = make(student, teacher, [{"prompt": [user("1?")], "privileged_context": 3}] * 4)
    with pytest.raises(HintError, match=r"row 0: its privileged_context is int, not text"):
        trainer.train()


def fake(name: str, methods: Any) -> type:
    """A class of TRL's, as another version may have it."""
    return type(name, (), {**methods, "__module__": "trl.trainer.distillation_trainer"})


def test_other_versions_of_trl_are_refused_by_name() -> None:
    version = trl.__version__
    with pytest.raises(
        OptionError,
        match=rf"written for TRL 1\.16; in TRL {version}, DistillationTrainer\._prepare_inputs does not exist: pip",
    ):
        type("Old", (DistillationMixin, fake("DistillationTrainer", {})), {})
    methods = {name: getattr(trl.DistillationTrainer, name) for name in DistillationMixin._HOOKS}
    methods["_compute_loss"] = lambda self, model, inputs: None
    with pytest.raises(OptionError, match=r"_compute_loss has no unwrapped_student, num_items_in_batch, but model"):
        type("Newer", (DistillationMixin, fake("DistillationTrainer", methods)), {})
    with pytest.raises(OptionError, match=r"write class Swapped\(DistillationMixin, DistillationTrainer\)"):
        type("Swapped", (trl.DistillationTrainer, DistillationMixin), {})


@pytest.mark.parametrize("what", ["another mask", "another way to the teacher"])
def test_a_trl_that_would_train_something_else_is_noticed(small: Any, make: Any, monkeypatch: Any, what: str) -> None:
    own = trl.DistillationTrainer

    def compute(self: Any, student: Any, inputs: Any, items: Any) -> Any:
        if what == "another mask":
            return plain(self, student, {**inputs, "tool_mask": inputs["completion_mask"]}, items)
        return torch.zeros(()), torch.zeros(()), inputs["tool_mask"].sum()

    plain = own._compute_loss
    monkeypatch.setattr(own, "_compute_loss", compute)
    trainer = make(*models(small), [rollout_row(small)] * 4, collator=collator(small))
    with pytest.raises(OptionError, match=r"in TRL \S+, _compute_loss does not compare the \d+ in-loss tokens with"):
        trainer.train()


def test_images_are_refused(small: Any, make: Any, monkeypatch: Any) -> None:
    trainer = make(*models(small), datasets.Dataset.from_list([{"prompt": [user("1?")]}] * 4))
    generated = {"pixel_values": torch.ones(1)}
    monkeypatch.setattr(trl.DistillationTrainer, "_generate_and_score_completions", lambda self, inputs: generated)
    with pytest.raises(LayoutError, match=r"its prompts have pixel_values: a teacher that sees other ids"):
        trainer.train()
