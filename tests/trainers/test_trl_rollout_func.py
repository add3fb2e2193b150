"""Rollouts of many turns in TRL's real ``GRPOTrainer``: what it trains, by its text."""

from __future__ import annotations

from typing import Any

import chatspan
import pytest
import torch
from cases import TEMPLATES, assistant, user
from chatspan import ChatEncoder, Rollout
from chatspan.rollout.servers import Completion
from chatspan.trl import rollout_columns, rollout_func
from conversations import call, calls, schema, tool
from training import QUIET, model_of

CALL = '<tool_call>\n{"name": "rebook", "arguments": {"train": "IC 900"}}\n</tool_call><|im_end|>'
CALLING = calls(call("rebook", {"train": "IC 900"}), content="")
RESULT = "\n<|im_start|>tool\nbooked<|im_end|>\n<|im_start|>assistant\n"
QUESTIONS = [[user("Move me to the IC 900.")], [user("Is it late?")]]


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def logprobs_of(model: Any, prompt: list[int], sampled: list[int]) -> list[float]:
    """What the model gives to ids behind a prompt."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *sampled]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[range(len(sampled)), sampled].tolist()


class Script:
    """Samples what a script says: a call first, and an answer once there is a result; the log-probs are the model's."""

    def __init__(self, tokenizer: Any, *, answers: tuple[str, ...] = ("Done.", "It is not late.")) -> None:
        self.tokenizer = tokenizer
        self.answers = answers
        self.prompts: list[list[list[int]]] = []

    def __call__(self, prompts: list[list[int]], trainer: Any) -> list[Completion]:
        self.prompts.append(prompts)
        found = []
        for prompt in prompts:
            text = self.tokenizer.decode(prompt)
            if "IC 900" in text and "booked" not in text:
                sampled, message = ids_of(self.tokenizer, CALL), CALLING
            else:
                answer = self.answers["late" in text]
                sampled, message = ids_of(self.tokenizer, f"{answer}<|im_end|>"), assistant(answer)
            logprobs = logprobs_of(trainer.model, prompt, sampled)
            found.append(Completion(sampled, logprobs, "stop", message))
        return found


def answer_calls(messages: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    return [tool("booked")] if messages[-1].get("tool_calls") else None


class Trainer:
    """What of a trainer a ``rollout_func`` reads."""

    chat_template = None
    max_completion_length = 256

    def __init__(self, tokenizer: Any, **kwargs: Any) -> None:
        self.processing_class = tokenizer
        self.chat_template_kwargs = kwargs
        self.model = model_of(tokenizer)


@pytest.fixture
def grpo_trainer(small: Any, tmp_path: Any) -> Any:
    """Makes a real trainer of a tiny random model."""
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")

    def make(func: Any, reward: Any, **options: Any) -> Any:
        arguments = {
            **QUIET,
            "output_dir": str(tmp_path / "out"),
            "num_generations": 2,
            "max_steps": 2,
            "max_completion_length": 64,
            "beta": 0.0,
            **options,
        }
        return trl.GRPOTrainer(
            model=model_of(small),
            args=trl.GRPOConfig(**arguments),
            processing_class=small,
            train_dataset=datasets.Dataset.from_list([{"prompt": prompt} for prompt in QUESTIONS * 4]),
            reward_funcs=[reward],
            rollout_func=func,
        )

    return make


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_a_step_trains_what_was_sampled_and_nothing_else(small: Any, grpo_trainer: Any) -> None:
    seen: list[Any] = []
    batches: list[Any] = []

    def reward(prompts: Any, completions: Any, conversations: Any, **_: Any) -> list[float]:
        seen.extend(conversations)
        return [float(index % 2) for index in range(len(prompts))]

    script = Script(small)
    trainer = grpo_trainer(rollout_func(script, answer_calls, tools=[schema()]), reward)
    score = trainer._generate_and_score_completions

    def recorded(inputs: Any) -> Any:
        batches.append(score(inputs))
        return batches[-1]

    trainer._generate_and_score_completions = recorded
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    assert any(not torch.equal(before[name], weight) for name, weight in trainer.model.named_parameters())
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 2
    assert all(0 < entry["grad_norm"] < 1e4 for entry in logs)
    # All start together, and those that called go on together.
    assert [len(prompts) for prompts in script.prompts[:2]] == [4, 2]
    batch = batches[0]
    own = batch["completion_mask"] * batch["tool_mask"] == 1
    rows = [
        (small.decode(row[mask == 1]), small.decode(row[kept]))
        for row, mask, kept in zip(batch["completion_ids"], batch["completion_mask"], own, strict=True)
    ]
    assert set(rows) == {
        (f"{CALL}{RESULT}Done.<|im_end|>", f"{CALL}Done.<|im_end|>"),
        ("It is not late.<|im_end|>", "It is not late.<|im_end|>"),
    }
    assert {messages[-1]["content"] for messages in seen} == {"Done.", "It is not late."}
    assert [message["role"] for message in max(seen, key=len)] == ["user", "assistant", "tool", "assistant"]


def test_the_columns_are_rows_as_sampled(small: Any) -> None:
    trainer = Trainer(small)
    found = rollout_func(Script(small), answer_calls)(QUESTIONS, trainer)
    for prompt_ids, completion_ids, mask, logprobs in zip(
        *(found[name] for name in ("prompt_ids", "completion_ids", "env_mask", "logprobs")), strict=True
    ):
        assert len(completion_ids) == len(mask) == len(logprobs)
        of_model = logprobs_of(trainer.model, prompt_ids, completion_ids)
        for own, given, expected in zip(mask, logprobs, of_model, strict=True):
            assert given == (pytest.approx(expected, abs=1e-4) if own else 0.0)
    shown = [small.decode(ids) for ids in found["prompt_ids"]]
    assert shown[1] == "<|im_start|>user\nIs it late?<|im_end|>\n<|im_start|>assistant\n"


def test_a_rollout_ends_where_the_environment_the_turns_or_the_room_do(small: Any) -> None:
    trainer = Trainer(small)
    endless = [user("And now?")]

    def texts(**options: Any) -> str:
        found = rollout_func(Script(small), lambda messages: endless, **options)([QUESTIONS[1]], trainer)
        [ids], [mask] = found["completion_ids"], found["env_mask"]
        assert sum(mask) > 0
        return str(small.decode(ids))

    turn = "It is not late.<|im_end|>"
    asked = "\n<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n"
    assert texts(max_turns=2) == f"{turn}{asked}{turn}"
    room = len(ids_of(small, turn)) + len(ids_of(small, asked)) + len(ids_of(small, "It is"))
    assert texts(max_turns=9, max_completion_length=room) == f"{turn}{asked}It is"
    once = rollout_func(Script(small), lambda messages: None)([QUESTIONS[1]], trainer)
    assert small.decode(once["completion_ids"][0]) == turn


def test_what_the_template_drops_is_refused_or_stays(small: Any) -> None:
    template = TEMPLATES["drops reasoning"]
    script = Script(small, answers=("Done.", "<think>Hm.</think>No."))
    make = {"encoder": ChatEncoder(small, chat_template=template), "max_turns": 2}
    with pytest.raises(chatspan.HistoryRewrittenError, match=r"message 1 \(assistant\): .*drops the reasoning of earl"):
        rollout_func(script, lambda messages: [user("So?")], **make)([QUESTIONS[1]], Trainer(small))
    found = rollout_func(script, lambda messages: [user("So?")], on_rewrite="keep", **make)(
        [QUESTIONS[1]], Trainer(small)
    )
    assert small.decode(found["completion_ids"][0]).count("<think>Hm.</think>No.<|im_end|>") == 2


def test_what_cannot_be_is_an_error_with_its_rollout(small: Any) -> None:
    trainer = Trainer(small)
    with pytest.raises(chatspan.MessageError, match="prompt 0 is a text: pass the trainer conversational prompts"):
        rollout_func(Script(small), answer_calls)(["Hi"], trainer)
    with pytest.raises(chatspan.RolloutError, match="sample returned 0 completions for 1 prompts"):
        rollout_func(lambda prompts, trainer: [], answer_calls)([QUESTIONS[0]], trainer)
    wrong = [Completion(ids_of(small, "4<|im_end|>"), message=assistant("4")), Completion([], message=assistant(""))]
    with pytest.raises(chatspan.RolloutError, match="token_ids must be the ids of the turn") as raised:
        rollout_func(lambda prompts, trainer: wrong, answer_calls)(QUESTIONS, trainer)
    assert raised.value.row_index == 1
    for options, match in (
        ({"max_turns": 0}, "max_turns=0"),
        ({"max_completion_length": 0.5}, "max_completion_length=0.5"),
        ({"on_rewrite": "split"}, "TRL takes one row of each rollout"),
    ):
        with pytest.raises(chatspan.OptionError, match=match):
            rollout_func(Script(small), answer_calls, **options)
    encoder = ChatEncoder(small)
    begun, answered = Rollout(encoder, [user("Hi")]), Rollout(encoder, [user("Hi")])
    answered.add_completion(ids_of(small, "4<|im_end|>"), message=assistant("4"))
    with pytest.raises(chatspan.RolloutError, match="rollout 1 has 0 rows, but TRL takes one of each"):
        rollout_columns([answered, begun])
    begun.add_completion(ids_of(small, "4<|im_end|>"), message=assistant("4"), logprobs=[-1.0, -1.0])
    with pytest.raises(chatspan.RolloutError, match="rollout 0 has no logprobs, but others have"):
        rollout_columns([answered, begun])
    assert rollout_columns([answered, answered.rows()[0]])["logprobs"] is None
