"""The teacher's context in TRL's real ``SDPOTrainer``, beside TRL's own builder, and what is refused."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cases import TEMPLATES, assistant, config, failed, system, trace, user
from chatspan import (
    ComposerDataCollator,
    EmptyBatchError,
    HintedPrompts,
    HintError,
    HintPlacementError,
    LayoutError,
    OptionError,
    TemplateError,
    TraceError,
    TruncationError,
)
from chatspan.trl import TeacherContextBuilder, sdpo_rows
from conversations import schema, tool
from training import QUIET, model_of

HEADER = "<|im_start|>assistant\n"
TURNS = [
    system("Be kind."),
    user("Book it."),
    tool("error: full"),
    failed("It is full.", error="limit"),
    user("Move it."),
    failed("Gone.", error="gone"),
]
PROMPT = TURNS[:3]


def feedback_only(feedback: str | None, solution: str | None) -> str:
    return feedback or ""


@pytest.fixture
def sdpo_trainer(small: Any, tmp_path: Any) -> Any:
    """Makes a real trainer of a tiny random model."""
    sdpo = pytest.importorskip("trl.experimental.sdpo", reason="TRL is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    model_of(small, initializer_range=0.3).save_pretrained(tmp_path / "model")

    def make(rows: Any, **options: Any) -> Any:
        arguments = {
            **QUIET,
            "output_dir": str(tmp_path / "out"),
            "num_generations": 2,
            "max_steps": 2,
            "max_prompt_length": None,
            "max_completion_length": 8,
            "include_environment_feedback": True,
            **options,
        }
        return sdpo.SDPOTrainer(
            model=str(tmp_path / "model"),
            args=sdpo.SDPOConfig(**arguments),
            processing_class=small,
            train_dataset=datasets.Dataset.from_list(rows),
            reward_funcs=[lambda prompts, completions, **_: [float(i % 2) for i in range(len(prompts))]],
        )

    return make


class Recorder:
    """Remembers each batch of a trainer."""

    def __init__(self, trainer: Any) -> None:
        self.batches: list[Any] = []
        prepare = trainer._prepare_training_batch

        def recorded(inputs: Any) -> Any:
            batch = prepare(inputs)
            self.batches.append((inputs, batch))
            return batch

        trainer._prepare_training_batch = recorded


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("mode", ["sampled_token", "full_logits"])
def test_training_with_hints_in_conversations_that_end_with_a_tool(small: Any, sdpo_trainer: Any, mode: str) -> None:
    """The loss is finite, the gradient is not zero, and both sides have the same response."""
    rows = sdpo_rows([trace(*TURNS)], config())
    trainer = sdpo_trainer(rows, distillation_mode=mode)
    trainer.teacher_context_builder = TeacherContextBuilder(trainer, hint=feedback_only, hint_placement="before_turn")
    recorder = Recorder(trainer)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 2
    assert all(torch.isfinite(torch.tensor(entry["loss"])) for entry in logs)
    assert all(0 < entry["grad_norm"] < 1e4 for entry in logs)
    assert logs[0]["self_distillation/reprompt_sample_fraction"] == 1.0
    assert logs[0]["self_distillation/feedback_used_fraction"] == 1.0
    inputs, batch = recorder.batches[0]
    width = batch["completion_ids"].shape[1]
    assert torch.equal(batch["teacher_input_ids"][:, -width:], batch["completion_ids"])
    assert torch.equal(batch["teacher_attention_mask"][:, -width:], batch["completion_mask"])
    assert batch["self_distillation_mask"].tolist() == [1.0] * 4
    for row, example in enumerate(inputs):
        student = small.decode(batch["prompt_ids"][row][batch["prompt_mask"][row] == 1])
        seen = batch["teacher_attention_mask"][row] == 1
        seen[-width:] = False
        teacher = small.decode(batch["teacher_input_ids"][row][seen])
        hint = f"<|im_start|>system\n{example['privileged_context']}<|im_end|>\n"
        assert student == small.apply_chat_template(example["prompt"], tokenize=False, add_generation_prompt=True)
        assert teacher == f"{student.removesuffix(HEADER)}{hint}{HEADER}"
        assert example["privileged_context"] in ("Hint: limit.", "Hint: gone.")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_trls_own_builder_refuses_these_prompts_and_cuts_others(small: Any, sdpo_trainer: Any) -> None:
    with pytest.raises(ValueError, match=r"Prompts ending with assistant prefills or tool turns are not supported"):
        sdpo_trainer(sdpo_rows([trace(*TURNS)], config())).train()
    # Cut on the left: the system message and the question are gone, and nothing says so.
    rows = [{"prompt": [system("Be kind."), user("Book it.")], "privileged_context": "Mind the limit."}] * 4
    trainer = sdpo_trainer(rows, max_reprompt_len=30)
    recorder = Recorder(trainer)
    trainer.train()
    assert "Be kind." not in small.decode(recorder.batches[0][1]["teacher_input_ids"][0])
    trainer = sdpo_trainer(rows, max_reprompt_len=30)
    trainer.teacher_context_builder = TeacherContextBuilder(trainer)
    with pytest.raises(
        TruncationError, match=r"row 0: the teacher's prompt of \d+ tokens is longer than max_reprompt_len=30"
    ):
        trainer.train()


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_prompt_that_the_trainer_cut(sdpo_trainer: Any) -> None:
    """512 tokens is what ``SDPOConfig`` cuts to, if it is not told otherwise."""
    rows = [{"prompt": [system("Be kind. " * 200), user("Book it.")], "privileged_context": "Mind the limit."}] * 4
    trainer = sdpo_trainer(rows, max_prompt_length=512)
    trainer.teacher_context_builder = TeacherContextBuilder(trainer)
    with pytest.raises(
        TruncationError, match=r"row 0: the trainer cut its prompt of \d+ tokens to max_prompt_length=512"
    ):
        trainer.train()
    trainer = sdpo_trainer(rows, max_prompt_length=512, max_steps=1)
    trainer.teacher_context_builder = TeacherContextBuilder(trainer, overflow="drop_row")
    trainer.train()
    (entry,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert entry["self_distillation/overflow_fraction"] == 1.0
    assert entry["loss"] == 0.0


class Accelerator:
    """One of several processes, whose others' tensors are known: ``gather`` gives those of all."""

    def __init__(self, everyone: Any, process_index: int) -> None:
        self.process_index = process_index
        self.device = torch.device("cpu")
        self._everyone = list(everyone)

    def pad_across_processes(self, tensor: Any, dim: int = 0, pad_index: int = 0) -> Any:
        of_all = self._of_all(tensor)
        width = max(each.shape[1] for each in of_all)
        padded = [torch.nn.functional.pad(each, (0, width - each.shape[1]), value=pad_index) for each in of_all]
        self._everyone.append(padded)
        return padded[self.process_index]

    def gather(self, tensor: Any) -> Any:
        return torch.cat(self._of_all(tensor))

    def _of_all(self, tensor: Any) -> Any:
        """What all processes have in this one's place."""
        return next((each for each in self._everyone if any(mine is tensor for mine in each)), [tensor])


def fake(tokenizer: Any, accelerator: Any = None, **args: Any) -> Any:
    """What the builders ask of a trainer."""
    config = pytest.importorskip("trl.experimental.sdpo", reason="TRL is not installed").SDPOConfig(
        output_dir="unused", use_cpu=True, bf16=False, **{"include_environment_feedback": True, **args}
    )
    return SimpleNamespace(
        args=config,
        processing_class=tokenizer,
        _tokenizer=tokenizer,
        chat_template_kwargs={},
        num_generations=2,
        num_generations_eval=2,
        model=SimpleNamespace(training=True),
        accelerator=accelerator or Accelerator([], 0),
        _tokenize_prompts_untruncated=lambda prompts: tokenizer.apply_chat_template(
            prompts, add_generation_prompt=True, return_dict=True
        )["input_ids"],
    )


def rollouts(tokenizer: Any, prompts: Any, completions: Any) -> Any:
    """As the trainer hands them over."""

    def padded(texts: Any, side: str) -> Any:
        ids = [tokenizer(text)["input_ids"] for text in texts]
        width = max(map(len, ids))
        rows = [(one, [tokenizer.pad_token_id] * (width - len(one))) for one in ids]
        both = [one + rest if side == "right" else rest + one for one, rest in rows]
        masks = [[1] * len(one) + [0] * len(rest) for one, rest in rows]
        masks = masks if side == "right" else [mask[::-1] for mask in masks]
        return torch.tensor(both), torch.tensor(masks)

    texts = [tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True) for p in prompts]
    prompt_ids, prompt_mask = padded(texts, "left")
    completion_ids, completion_mask = padded(completions, "right")
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "raw_completion_lengths": completion_mask.sum(dim=1),
    }


def teachers(tokenizer: Any, found: Any, width: int) -> list[str]:
    """The prompts of the teachers."""
    ids, masks = found["teacher_input_ids"][:, :-width], found["teacher_attention_mask"][:, :-width]
    return [tokenizer.decode(row[mask == 1]) for row, mask in zip(ids, masks, strict=True)]


ANSWERS = [
    "One.<|im_end|>",
    "<think>\nhm\n</think>\n\nTwo, it is.<|im_end|>",
    "Three.<|im_end|>",
    "Four, or five.<|im_end|>",
]
QUESTIONS = [[user("1?")], [user("1?")], [system("Be kind."), user("2?")], [system("Be kind."), user("2?")]]
FEEDBACKS = ["too short", None, " ", "too long"]
SETTINGS: dict[str, dict[str, Any]] = {
    "feedback and solutions": {},
    "feedback where there is no solution": {"environment_feedback_only_without_solution": True},
    "solutions of oneself": {"dont_reprompt_on_self_success": False},
    "feedback alone": {"use_successful_as_teacher": False},
    "solutions alone": {"include_environment_feedback": False},
    "without reasoning": {"remove_thinking_from_demonstration": True},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("rewards", [[0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0], [0.0] * 4])
def test_who_is_shown_what_is_as_trls_builder_has_it(small: Any, rewards: list[float], setting: str) -> None:
    own = pytest.importorskip("trl.experimental.sdpo.sdpo_trainer", reason="TRL is not installed")
    trainer = fake(small, **SETTINGS[setting])
    output, given = rollouts(small, QUESTIONS, ANSWERS), torch.tensor(rewards)
    theirs = own.SuccessfulRolloutTeacherContextBuilder(trainer)
    expected = theirs.build(output, QUESTIONS, given, FEEDBACKS)
    ours = TeacherContextBuilder(trainer)
    found = ours.build(output, QUESTIONS, given, FEEDBACKS)
    assert torch.equal(found["self_distillation_mask"], expected["self_distillation_mask"])
    assert found["self_distillation_mask"].dtype == torch.float32
    assert {key: ours.last_metrics[key] for key in theirs.last_metrics} == theirs.last_metrics
    width = output["completion_ids"].shape[1]
    pairs = zip(teachers(small, found, width), teachers(small, expected, width), strict=True)
    # But for blank lines.
    assert all(_words(mine) == _words(other) for mine, other in pairs)


def _words(text: str) -> list[str]:
    return text.replace("<|im_end|>", " <|im_end|>").split()


def test_one_of_two_processes(small: Any) -> None:
    """Each sees the successful rollouts of both, and builds for its own."""
    prompts, completions = [[user("1?")]] * 2, ["One.<|im_end|>", "Two.<|im_end|>"]
    outputs = [rollouts(small, prompts[:1], completions[i : i + 1]) for i in (0, 1)]
    rewards = [torch.tensor([1.0]), torch.tensor([0.0])]
    everyone = [[output[key] for output in outputs] for key in ("completion_ids", "raw_completion_lengths")]
    everyone.append(rewards)
    found = []
    for index in (0, 1):
        builder = TeacherContextBuilder(fake(small, Accelerator(everyone, index)))
        found.append(builder.build(outputs[index], prompts[:1], rewards[index], None))
        assert builder.last_metrics["self_distillation/success_group_fraction"] == 1.0
    assert [one["self_distillation_mask"].tolist() for one in found] == [[0.0], [1.0]]
    assert "Correct solution:\n\nOne." in teachers(small, found[1], outputs[1]["completion_ids"].shape[1])[0]


def build(tokenizer: Any, prompts: Any = (PROMPT,), feedbacks: Any = ("Mind the limit.",), **options: Any) -> Any:
    args = {key: options.pop(key) for key in ("include_environment_feedback", "max_reprompt_len") if key in options}
    trainer = fake(tokenizer, **args)
    # Half of the group: nothing succeeded.
    trainer.num_generations = 1
    builder = TeacherContextBuilder(trainer, **options)
    output = rollouts(tokenizer, prompts, ["It is full.<|im_end|>"] * len(prompts))
    found = builder.build(output, list(prompts), torch.zeros(len(prompts)), list(feedbacks))
    return teachers(tokenizer, found, output["completion_ids"].shape[1])


def test_where_the_hint_stands(small: Any) -> None:
    start = "<|im_start|>system\nBe kind."
    rest = "<|im_end|>\n<|im_start|>user\nBook it.<|im_end|>\n<|im_start|>tool\nerror: full"
    end = f"<|im_end|>\n{HEADER}"
    assert build(small, hint=feedback_only) == [f"{start}{rest}\n\nMind the limit.{end}"]
    own = "<|im_end|>\n<|im_start|>user\nMind the limit."
    assert build(small, hint=feedback_only, hint_placement="before_turn", hint_role="user") == [
        f"{start}{rest}{own}{end}"
    ]
    assert build(small, hint=feedback_only, hint_placement="first_system") == [f"{start}\n\nMind the limit.{rest}{end}"]
    assert build(small, feedbacks=[None], hint=feedback_only) == [f"{start}{rest}{end}"]
    assert build(small, hint=lambda feedback, solution: "") == [f"{start}{rest}{end}"]


def test_feedback_that_nobody_asked_for_is_said_once(small: Any, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "chatspan"):
        assert "Mind" not in build(small, include_environment_feedback=False)[0]
    assert "use SDPOConfig(include_environment_feedback=True) to show it" in caplog.text


def test_what_is_refused(small: Any, small_copy: Any) -> None:
    output = rollouts(small, [PROMPT, PROMPT], ["a", "b"])
    builder = TeacherContextBuilder(fake(small))
    with pytest.raises(LayoutError, match=r"row 1: its prompt is plain text \('Book it\.'…\): pass lists of messages"):
        builder.build(output, [PROMPT, "Book it."], torch.zeros(2), None)
    with pytest.raises(HintError, match=r"row 0: its privileged_context is dict, not text"):
        build(small, feedbacks=[{"tool_error": "limit"}])
    with pytest.raises(HintError, match="row 0: hint returned NoneType, not a string"):
        build(small, hint=lambda feedback, solution: None)
    with pytest.raises(HintError, match="row 0: hint raised KeyError: 'limit'"):
        build(small, hint=lambda feedback, solution: {}["limit"])
    with pytest.raises(LayoutError, match="1 feedbacks for 2 prompts: pass one for each, None for none"):
        builder.build(output, [PROMPT, PROMPT], torch.zeros(2), ["a"])
    with pytest.raises(EmptyBatchError, match="there is no prompt"):
        builder.build(output, [], torch.zeros(0), None)
    with pytest.raises(OptionError, match=r"trainer=NoneType has no processing_class, .*: use a trl.exp"):
        TeacherContextBuilder(None)
    with pytest.raises(OptionError, match="overflow='drop': use one of 'error', 'drop_row'"):
        build(small, overflow="drop")
    with pytest.raises(OptionError, match="hint_placement='behind'"):
        build(small, hint_placement="behind")
    with pytest.raises(TraceError, match="row 0: the prompt must be a list with at least one message"):
        HintedPrompts(small).encode([[]], ["a"])
    with pytest.raises(HintError, match=r'row 0, turn 2: hint_placement="append_to_previous" needs a message before'):
        HintedPrompts(small).encode([[user("Hi"), assistant("Hello!")]], ["a"])
    small_copy.chat_template = TEMPLATES["alternating"]
    with pytest.raises(HintPlacementError, match=r"row 0.*roles must alternate; without the hint it does not"):
        HintedPrompts(small_copy, hint_placement="before_turn", hint_role="user").encode([[user("Hi")]], ["a"])
    with pytest.raises(TemplateError, match=r"row 0.*roles must alternate"):
        HintedPrompts(small_copy).encode([[user("Hi"), user("Hi")]], ["a"])
    small_copy.chat_template = TEMPLATES["system first"]
    with pytest.raises(
        HintPlacementError, match=r'row 0: .* does not put the hint at the end of the prompt: .*"append_to'
    ):
        HintedPrompts(small_copy, hint_placement="before_turn").encode([[user("Hi"), user("Ho")]], ["a"])


def test_a_trainer_with_another_template(small: Any, small_copy: Any) -> None:
    small_copy.chat_template = TEMPLATES["trimming"]
    output = rollouts(small_copy, [PROMPT], ["It is full.<|im_end|>"])
    trainer = fake(small)
    trainer.num_generations = 1
    with pytest.raises(
        LayoutError, match=r"row 0: the trainer's prompt of \d+ tokens is not what the chat template makes"
    ):
        TeacherContextBuilder(trainer).build(output, [PROMPT], torch.zeros(1), ["Mind the limit."])


def test_rows_of_traces(small: Any) -> None:
    rows = sdpo_rows([trace(user("Hi"), assistant("Hello!")), trace(*TURNS)], config())
    assert [(row["trace_id"], row["turn_index"], row["privileged_context"]) for row in rows] == [
        ("t", 3, "Hint: limit."),
        ("t", 5, "Hint: gone."),
    ]
    assert [row["prompt"][-1]["content"] for row in rows] == ["error: full", "Move it."]
    # No row has a key of a trace's that a template would not know.
    assert "tool_error" not in json.dumps(rows)
    with pytest.raises(EmptyBatchError, match="none of 1 traces has an error site that gets a hint"):
        sdpo_rows([trace(user("Hi"), assistant("Hello!"))], config())
    with pytest.raises(LayoutError, match="trace 't', turn 0: nothing comes before it"):
        sdpo_rows([trace(failed("Hm."))], config())
    with pytest.raises(LayoutError, match=r"trace 't': its 'tools' is .* is None: TRL renders every row with the same"):
        sdpo_rows([trace(*TURNS, tools=[schema()])], config())
    for tools in ([schema()], (schema(),), np.array([schema()])):
        assert len(sdpo_rows([trace(*TURNS, tools=[schema()])], config(), chat_template_kwargs={"tools": tools})) == 2
    with pytest.raises(OptionError, match="chat_template_kwargs=3: pass the dict that SDPOConfig has"):
        sdpo_rows([trace(*TURNS)], config(), chat_template_kwargs=3)


def test_prompts_are_those_of_the_collator(small: Any) -> None:
    """The same hint in the same place: what the teacher of the recorded recovery sees."""
    placements: tuple[Any, ...] = ("before_turn", "append_to_previous", "first_system")
    for placement in placements:
        (row, *_) = sdpo_rows([trace(*TURNS)], config())
        [found] = HintedPrompts(small, hint_placement=placement).encode([row["prompt"]], [row["privileged_context"]])
        collate = ComposerDataCollator(small, config(hint_placement=placement, layout="indexed"))
        batch = collate([trace(*TURNS[:4])])
        first = int(batch["teacher_response_idx"][0, 0])
        assert batch["ctx_teacher_input_ids"][0, :first].tolist() == found.teacher_ids.tolist()
        assert batch["input_ids"][0, : int(batch["student_response_idx"][0, 0])].tolist() == found.student_ids.tolist()
