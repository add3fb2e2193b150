"""TRL's real ``ServerDistillationTrainer``, whose server is asked for the teacher's own ids."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cases import config, failed, system, trace, user
from chatspan import DistillationConfig, LossError, OptionError, SelfDistillationCollator
from chatspan.distillation.teachers import teacher_prompts
from chatspan.loss import topk_sdpo_loss
from chatspan.trl import DistillationMixin, ServerDistillationMixin, sdpo_rows
from conversations import tool
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

pytest.importorskip("datasets", reason="datasets is not installed")
served = pytest.importorskip("trl.experimental.server_distillation", reason="TRL is not installed")
clients = pytest.importorskip("trl.generation.vllm_client")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


class Trainer(ServerDistillationMixin, served.ServerDistillationTrainer):  # type: ignore[misc]
    pass


class Client(clients.VLLMClient):  # type: ignore[misc]
    """TRL's client, whose server is a model in this process that answers as vLLM does."""

    teacher: Any = None

    def __init__(self, **_: Any) -> None:
        self.base_url, self.model = "http://teacher", "teacher"
        self.asked: list[list[int]] = []
        self.wrong = False

    def _post(self, url: str, json: Any) -> Any:
        assert url == "http://teacher/v1/completions"
        self.asked += json["prompt"]
        return {"choices": [{"prompt_logprobs": self._scored(ids, **json)} for ids in json["prompt"]]}

    def _scored(self, ids: list[int], prompt_logprobs: int, temperature: float, **_: Any) -> list[Any]:
        with torch.no_grad():
            all_of_it = (self.teacher(torch.tensor([ids])).logits[0] / temperature).log_softmax(-1)
        rows: list[Any] = [None]
        for log_probs, own in zip(all_of_it, ids[1:], strict=False):
            order = log_probs.argsort(descending=True).tolist()
            kept = dict.fromkeys([*order[:prompt_logprobs], own])
            rows.append({str(i): {"logprob": float(log_probs[i]), "rank": order.index(i) + 1} for i in kept})
        return rows

    def get_sequence_logprobs(self, **asked: Any) -> Any:
        found = super().get_sequence_logprobs(**asked)
        if self.wrong:
            found["actual_token_ids"][0] = [[1] for _ in found["actual_token_ids"][0]]
        return found


@pytest.fixture
def make(small: Any, tmp_path: Any, monkeypatch: Any) -> Any:
    monkeypatch.setattr(clients, "VLLMClient", Client)

    def trainer_of(student: Any, teacher: Any, rows: Any, options: Any, **keywords: Any) -> Any:
        monkeypatch.setattr(Client, "teacher", teacher)
        once = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "max_completion_length": 6}
        arguments = served.ServerDistillationConfig(
            str(tmp_path), teacher_model_server_url="http://teacher", **{**ONE_STEP, **once, **options}
        )
        return Trainer(student, arguments, rows, processing_class=small, **keywords)

    return trainer_of


def collator(tokenizer: Any) -> SelfDistillationCollator:
    return SelfDistillationCollator(tokenizer, DistillationConfig(layout="indexed", loss_on="turn"))


@pytest.mark.parametrize("add_tail", [True, False])
def test_a_step_is_the_top_k_loss_at_the_teachers_own_positions(small: Any, make: Any, add_tail: bool) -> None:
    """Of recorded rows and a rollout, with results of tools and a second hint between their in-loss tokens."""
    rows = [*ROWS[:3], rollout_row(small)]
    student, teacher = models(small)
    (own,) = twins(student)
    collate = collator(small)
    options = {"beta": 0.0, "loss_top_k": 8, "loss_add_tail": add_tail, "temperature": 2.0}
    trainer = make(student, teacher, rows, options, collator=collate)
    loss, norm = first_step(trainer)
    batch = collate(rows)
    prompts = [prompt.input_ids for prompt in teacher_prompts(batch)]
    assert sorted(trainer.teacher_client.asked) == sorted(prompts)
    mask = batch["response_idx_mask"]
    with torch.no_grad():
        found = gathered(teacher, batch, "ctx_teacher_", "teacher", 2.0).log_softmax(-1).topk(8)
    values, ids = torch.full((*mask.shape, 8), -torch.inf), torch.full((*mask.shape, 8), -1)
    values[mask], ids[mask] = found.values, found.indices
    keys = ("input_ids", "attention_mask", "position_ids")
    logits = own(**{key: batch[key] for key in keys}).logits
    expected, _ = topk_sdpo_loss(logits, values, ids, batch, beta=0.0, temperature=2.0, add_tail=add_tail)
    assert loss == pytest.approx(float(expected.detach()), abs=1e-6)
    assert norm == pytest.approx(gradient_norm(expected, own), rel=1e-4)


def test_the_reverse_divergence_on_sampled_tokens(small: Any, make: Any) -> None:
    """β = 1 knows of each distribution the sampled token and the rest."""
    student, teacher = models(small)
    (own,) = twins(student)
    loss, _ = first_step(make(student, teacher, ROWS, {"beta": 1.0}, collator=collator(small)))
    batch = collator(small)(ROWS)
    rows, entries = batch["response_idx_mask"].nonzero(as_tuple=True)
    ids = batch["input_ids"][rows, batch["student_response_idx"][rows, entries]].unsqueeze(-1)
    with torch.no_grad():
        sides = [logits.double().softmax(-1).gather(-1, ids) for logits in both_logits(own, teacher, batch)]
    two = [torch.cat([one, 1 - one], dim=-1).log() for one in sides]
    assert loss == pytest.approx(float(divergence(two[0], two[1], 1.0).mean()), abs=1e-6)


def test_generated_responses_with_hints(small: Any, make: Any) -> None:
    turns = [system("Be kind."), user("Book it."), tool("error: full"), failed("It is full.", error="limit")]
    rows = [*sdpo_rows([trace(*turns)], config()), {"prompt": [user("2 + 2?")], "privileged_context": " "}] * 2
    trainer = make(*models(small), rows, {"beta": 0.0, "loss_top_k": 4})
    loss, norm = first_step(trainer)
    assert loss > 0
    assert norm > 0
    texts = [small.decode(ids) for ids in trainer.teacher_client.asked]
    assert sum("error: full\n\nHint: limit.<|im_end|>" in text for text in texts) == 2
    assert len(texts) == 4


def test_a_step_without_a_loss_asks_nobody(small: Any, make: Any) -> None:
    trainer = make(*models(small), [ROWS[1]] * 4, {"beta": 0.0, "loss_top_k": 4}, collator=collator(small))
    assert first_step(trainer) == (0.0, 0.0)
    assert trainer.teacher_client.asked == []


def test_what_is_refused(small: Any, make: Any) -> None:
    trainer = make(*models(small), ROWS, {"beta": 0.0, "loss_top_k": 4}, collator=collator(small))
    trainer.teacher_client.wrong = True
    with pytest.raises(LossError, match=r"row \d: the teacher's server scored \d+ tokens from \d+ on, which are not"):
        trainer.train()
    with pytest.raises(
        OptionError, match=r"ServerDistillationTrainer has a mixin of its own: write class Wrong\(Server"
    ):
        type("Wrong", (DistillationMixin, served.ServerDistillationTrainer), {})
