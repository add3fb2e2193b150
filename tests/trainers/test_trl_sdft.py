"""The teacher's context in TRL's real ``SDFTTrainer``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cases import config, failed, system, trace, user
from chatspan import EmptyBatchError, HintError, LayoutError, OptionError, TruncationError
from chatspan.trl import DemonstrationContextBuilder, sdpo_rows
from conversations import tool
from training import QUIET
from trl_steps import divergence, first_step, models, twins

TURNS = [system("Be kind."), user("Book it."), tool("error: full"), failed("It is full.", error="limit")]
HEADER = "<|im_start|>assistant\n"


@pytest.fixture
def sdft_trainer(small: Any, tmp_path: Any) -> Any:
    sdft = pytest.importorskip("trl.experimental.sdft", reason="TRL is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")

    def make(model: Any, rows: Any, **options: Any) -> Any:
        arguments = {
            **QUIET,
            "output_dir": str(tmp_path),
            "max_steps": 1,
            "per_device_train_batch_size": 2,
            "num_generations": 1,
            "max_prompt_length": None,
            "max_completion_length": 6,
            "teacher_model_kind": "live",
            "distillation_mode": "full_logits",
            "distillation_alpha": 0.5,
            **options,
        }
        return sdft.SDFTTrainer(
            model=model,
            args=sdft.SDFTConfig(**arguments),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=small,
        )

    return make


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("from_teacher", [False, True])
def test_a_step_is_the_divergence_to_the_teacher_that_sees_the_hint(
    small: Any, sdft_trainer: Any, from_teacher: bool
) -> None:
    student, _ = models(small)
    (own,) = twins(student)
    trainer = sdft_trainer(student, sdpo_rows([trace(*TURNS)], config()) * 2, generate_from_teacher=from_teacher)
    trainer.teacher_context_builder = DemonstrationContextBuilder(trainer, hint_placement="before_turn")
    batches, asked = [], []
    prepare, generate = trainer._prepare_training_batch, trainer._generate
    trainer._prepare_training_batch = lambda inputs: batches.append(prepare(inputs)) or batches[-1]
    trainer._generate = lambda ids: asked.extend(ids) or generate(ids)
    loss, norm = first_step(trainer)
    assert norm > 0
    [batch] = batches
    width = batch["completion_ids"].shape[1]
    shown = small.decode(batch["prompt_ids"][0])
    hinted = f"{shown.removesuffix(HEADER)}<|im_start|>system\nHint: limit.<|im_end|>\n{HEADER}"
    assert "error: full" in shown
    assert small.decode(batch["teacher_input_ids"][0, :-width]) == hinted
    assert torch.equal(batch["teacher_input_ids"][:, -width:], batch["completion_ids"])
    assert torch.equal(batch["teacher_attention_mask"][:, -width:], batch["completion_mask"])
    assert small.decode(asked[0]) == (hinted if from_teacher else shown)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    with torch.no_grad():
        sides = [
            own(input_ids=ids, attention_mask=seen).logits[:, -width - 1 : -1],
            own(input_ids=batch["teacher_input_ids"], attention_mask=batch["teacher_attention_mask"]).logits[
                :, -width - 1 : -1
            ],
        ]
    mask = batch["completion_mask"]
    of_rows = (divergence(sides[0], sides[1], 0.5) * mask).sum(-1) / mask.sum(-1)
    assert loss == pytest.approx(float(of_rows.mean()), abs=1e-6)


def test_a_served_teacher_is_asked_for_these_ids(small: Any) -> None:
    """``teacher_model_kind="live"`` with a server: TRL's own method reads what the builder made."""
    sdft = pytest.importorskip("trl.experimental.sdft", reason="TRL is not installed")
    completions = [small(f"{text}<|im_end|>")["input_ids"] for text in ("Yes.", "No, it is full.")]
    width = max(map(len, completions))
    ids = torch.tensor([each + [0] * (width - len(each)) for each in completions])
    mask = torch.tensor([[1] * len(each) + [0] * (width - len(each)) for each in completions])
    prompts = [TURNS[:3], [user("Book it.")]]
    found = builder(small).build(prompts, ["Mind the limit."] * 2, ids, mask)
    asked: dict[str, Any] = {}

    def answer(**given: Any) -> Any:
        asked.update(given)
        each = [[[float(n)] for n in range(len(own))] for own in completions]
        return {"actual_logprobs": each, "logprobs": each, "logprob_token_ids": each}

    trainer = SimpleNamespace(
        args=SimpleNamespace(distillation_mode="sampled_token"),
        teacher_client=SimpleNamespace(get_sequence_logprobs=answer),
        temperature=1.0,
    )
    scored = sdft.SDFTTrainer._get_teacher_token_logprobs_from_server(trainer, found, width)
    pairs = zip(asked["sequences"], asked["prompt_lengths"], strict=True)
    texts = [(small.decode(sequence[:length]), sequence[length:]) for sequence, length in pairs]
    assert [ids for _, ids in texts] == completions
    assert all(text.endswith(f"Mind the limit.<|im_end|>\n{HEADER}") for text, _ in texts)
    assert scored["actual_logprobs"][0, : len(completions[0])].tolist() == [
        float(n) for n in range(len(completions[0]))
    ]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_trls_own_builder_refuses_such_a_prompt(small: Any, sdft_trainer: Any) -> None:
    with pytest.raises(ValueError, match=r"Prompts ending with assistant prefills or tool turns are not supported"):
        sdft_trainer(models(small)[0], sdpo_rows([trace(*TURNS)], config()) * 2).train()


def builder(tokenizer: Any, **options: Any) -> DemonstrationContextBuilder:
    trainer = {"chat_template_kwargs": {}, "max_prompt_length": None, "teacher_context_builder": None, **options}
    return DemonstrationContextBuilder(SimpleNamespace(_tokenizer=tokenizer, **trainer))


def test_what_is_refused(small: Any) -> None:
    ids = torch.ones(1, 2, dtype=torch.int64)
    prompt = [user("Book it.")]
    with pytest.raises(OptionError, match=r"trainer=SimpleNamespace has no _tokenizer, .*: pass a trl\.experimental"):
        DemonstrationContextBuilder(SimpleNamespace())
    with pytest.raises(HintError, match=r"row 0: its privileged_context is NoneType, not text, and SDFT has no mask"):
        builder(small).build([prompt], [None], ids, ids)
    with pytest.raises(HintError, match=r"row 0: its privileged_context is blank"):
        builder(small).select_generation_prompts([prompt], [" "])
    with pytest.raises(LayoutError, match=r"row 0: its prompt is plain text \('Book it\.'…\)"):
        builder(small).build(["Book it."], ["Mind."], ids, ids)
    with pytest.raises(EmptyBatchError, match=r"there is no prompt"):
        builder(small).build([], [], ids, ids)
    with pytest.raises(TruncationError, match=r"row 0: its prompt of \d+ tokens, \d+ with the hint, would be cut to"):
        builder(small, max_prompt_length=12).build([prompt], ["Mind. " * 20], ids, ids)
    with pytest.raises(LayoutError, match=r"2 hints for 1 prompts"):
        builder(small).build([prompt], ["Mind.", "More."], ids, ids)
