"""The tensors in the real verl, where it is installed: ``make test-verl`` installs it in an environment of its own."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from chatspan.verl import sdpo_tensors
from test_verl import TWO_SITES, check_contract, composer, holes, sampled

protocol = pytest.importorskip("verl.protocol", reason="verl is not installed: make test-verl installs it")
loops = pytest.importorskip("verl.experimental.agent_loop.agent_loop")
algorithms = pytest.importorskip("verl.trainer.ppo.core_algos")
models = pytest.importorskip("verl.utils.model")


def padded_by_verl(tokenizer: Any, tensors: Any, row: int, widths: tuple[int, int]) -> Any:
    """What verl's agent loop makes of the same prompt and response."""

    async def nothing(*args: Any, **kwargs: Any) -> None:
        return None

    worker = SimpleNamespace(
        tokenizer=tokenizer,
        processor=None,
        rollout_config=SimpleNamespace(prompt_length=widths[0], response_length=widths[1]),
        _compute_score=nothing,
        _compute_teacher_logprobs=nothing,
        _get_mm_processor_kwargs=lambda audios: {},
    )
    for name in ("_pad_token_ids", "_compute_multi_modal_inputs", "_compute_position_ids"):
        setattr(worker, name, getattr(loops.AgentLoopWorker, name).__get__(worker))
    prompt = tensors["attention_mask"][row, : widths[0]] == 1
    response = tensors["attention_mask"][row, widths[0] :] == 1
    output = loops.AgentLoopOutput(
        prompt_ids=tensors["prompts"][row][prompt].tolist(),
        response_ids=tensors["responses"][row][response].tolist(),
        response_mask=tensors["response_mask"][row][response].tolist(),
        metrics=loops.AgentLoopMetrics(),
    )
    postprocess = loops.AgentLoopWorker._agent_loop_postprocess
    return asyncio.run(postprocess(worker, output, False, raw_prompt=[]))


@pytest.mark.parametrize("form", ["sites", "holes"])
def test_each_key_is_what_verls_agent_loop_makes(small: Any, form: str, say: Any) -> None:
    tensors = holes(small) if form == "holes" else sdpo_tensors(composer(small, loss_on="turn"), [TWO_SITES])
    widths = (tensors["prompts"].shape[1], tensors["responses"].shape[1])
    for row in range(len(tensors["prompts"])):
        theirs = padded_by_verl(small, tensors, row, widths)
        names = {"prompts": "prompt_ids", "responses": "response_ids"}
        for key in ("prompts", "responses", "response_mask", "input_ids", "attention_mask", "position_ids"):
            own = getattr(theirs, names.get(key, key))
            assert torch.equal(tensors[key][row], own[0]), key
            assert tensors[key].dtype == own.dtype, key
    say(f"verl {version('verl')}: each key of its agent loop's output is equal ({form})")


def test_a_data_proto_holds_them(small: Any) -> None:
    tensors = sdpo_tensors(composer(small, loss_on="turn"), [TWO_SITES])
    data = protocol.DataProto.from_dict(tensors=dict(tensors))
    assert len(data) == 2
    teacher = ("teacher_input_ids", "teacher_attention_mask", "teacher_position_ids", "self_distillation_mask")
    student = protocol.DataProto.from_dict(tensors={k: v for k, v in tensors.items() if k not in teacher})
    union = student.union(protocol.DataProto.from_dict(tensors={key: tensors[key] for key in teacher}))
    back = protocol.DataProto.concat(union.chunk(2))
    check_contract(small, back.batch.to_dict())
    for key in tensors:
        assert torch.equal(back.batch[key], data.batch[key])


def test_positions_and_the_mean_of_losses_are_verls(small: Any) -> None:
    tensors = holes(small)
    for prefix in ("", "teacher_"):
        expected = models.compute_position_id_with_mask(tensors[f"{prefix}attention_mask"])
        assert torch.equal(tensors[f"{prefix}position_ids"], expected)
    mask = tensors["response_mask"] * tensors["self_distillation_mask"].unsqueeze(1)
    losses = torch.rand(mask.shape)
    found = algorithms.agg_loss(losses, mask, "token-mean", batch_num_tokens=mask.sum(), dp_size=1)
    assert float(found) == pytest.approx(float(losses[tensors["response_mask"] == 1].mean()))


def test_the_teacher_of_sampled_responses_joins_the_batch(small: Any) -> None:
    batch, found = sampled(small)
    data = protocol.DataProto.from_dict(tensors=batch).union(protocol.DataProto.from_dict(tensors=found))
    assert len(data) == len(batch["responses"])
