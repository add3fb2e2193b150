"""The experiment: its task, what counts as success, its intervals; and the smallest one, through every arm."""

from __future__ import annotations

import math
import random
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from chatspan import ChatCollator, ChatEncoder
from zoo import REPO

sys.path.insert(0, str(REPO))
from experiments import start
from experiments.__main__ import PAGE, main, options_of, published
from experiments.arms import ARMS, sdpo
from experiments.arms.grpo import advantages_of, policy_loss, with_advantage
from experiments.evaluate import success
from experiments.intervals import interval, paired, t_quantile
from experiments.model import make_model
from experiments.report import markdown, section_of, tables, taught, write_taught
from experiments.results import Result, append, read, read_table, save_table
from experiments.run import run
from experiments.sampling import Completion, complete, rollouts, sample
from experiments.settings import PLANNED_SEEDS, PLANNED_THETA, TEST_SEEDS, TUNING_SEEDS, Settings
from experiments.task import ACTIONS, THINGS, Combination, World, write_hint

SMALLEST = Settings(
    things=4, actions=4, recordings=8, hidden_size=16, layers=1, first_steps=2, steps=2, rows=4, group=2, asked=1
)
SEED = 77


@pytest.fixture(scope="module")
def world() -> World:
    return World(Settings(), SEED)


@pytest.fixture(scope="module")
def encoder(small: Any) -> ChatEncoder:
    return ChatEncoder(small)


def questions(conversations: Sequence[Sequence[Any]]) -> set[str]:
    return {messages[0]["content"] for messages in conversations}


def test_held_out_combinations_are_in_no_training(world: World) -> None:
    settings, draw = Settings(), random.Random(0)
    held_out = {combination.question for combination in world.held_out}
    recorded = questions([recording.messages for recording in world.recordings(5000, draw)])
    first = questions(world.first_conversations(5000, draw))
    assert recorded == first == {combination.question for combination in world.seen}
    assert not held_out & recorded
    assert len(held_out) + len(recorded) == settings.things * settings.actions
    for combinations in (world.seen, world.held_out):
        assert {combination.thing for combination in combinations} == set(range(settings.things))
        assert {combination.action for combination in combinations} == set(range(settings.actions))


def test_recordings_repeat_errors_and_hints_are_right(world: World) -> None:
    recordings = world.recordings(4000, random.Random(0))
    assert all(recording.wrong != recording.answer == world.answer(recording.combination) for recording in recordings)
    failed = [recording for recording in recordings if not recording.succeeds]
    assert all(recording.recovery == recording.wrong for recording in failed)
    assert len(failed) / len(recordings) == pytest.approx(Settings().repeats, abs=0.03)
    assert write_hint("an error", {"answer": "B3-F9"}) == "Say B3-F9"


def test_a_code_is_several_tokens_and_all_questions_are_alike(small: Any, world: World) -> None:
    assert (len(set(THINGS)), len(set(ACTIONS))) == (Settings().things, Settings().actions)
    for combination in [*world.seen, *world.held_out]:
        assert len(small(combination.question)["input_ids"]) == 2
        assert len(small(world.answer(combination))["input_ids"]) == 5


def test_success_is_of_what_is_decoded(encoder: ChatEncoder, world: World) -> None:
    """By a stand-in for a model, which reads the question in its prompt."""

    def part(say: Any) -> float:
        def completer(prompts: Sequence[Any]) -> list[Completion]:
            return [completion(say(right_of(encoder.decode(prompt), world))) for prompt in prompts]

        return success(completer, encoder, world, world.held_out, Settings(), SEED)

    def completion(text: str, reason: str = "stop") -> Completion:
        ids = encoder.tokenizer(text)["input_ids"]
        return Completion([*ids, encoder.tokenizer.eos_token_id], [0.0] * (len(ids) + 1), reason)

    assert part(lambda code: code) == 1
    assert part(lambda code: code[:-1] + str((int(code[-1]) + 1) % 10)) == 0, "the last of five tokens is wrong"
    assert part(lambda code: "Z" + code[1:]) == 0
    assert part(lambda code: code + " ") == part(lambda code: "") == 0
    # Text that is right, but goes on.
    endless = lambda prompts: [completion(right_of(encoder.decode(prompt), world), "length") for prompt in prompts]  # noqa: E731
    assert success(endless, encoder, world, world.held_out, Settings(), SEED) == 0


def right_of(prompt: str, world: World) -> str:
    thing, action = prompt.removeprefix("<|im_start|>user\n").split("<|im_end|>")[0].split()
    return world.answer(Combination(THINGS.index(thing), ACTIONS.index(action)))


def test_intervals_are_those_of_the_formula() -> None:
    # Of a printed table of Student's t, 0.975 on one side.
    table = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262, 19: 2.093, 30: 2.042}
    assert {degrees: round(t_quantile(degrees), 3) for degrees in table} == table
    sft, other = {0: 0.5, 1: 0.25, 2: 0.75}, {0: 0.75, 1: 0.25, 2: 0.5, 9: 1.0}
    found = paired(other, sft)
    # The differences are 1/4, 0, -1/4: mean 0, s = 1/4, half the interval 4.303 / 4 / sqrt(3).
    assert found.mean == 0
    assert found.high == pytest.approx(4.3027 * 0.25 / math.sqrt(3), rel=1e-4)
    assert (found.low, found.above, found.below) == (-found.high, 1, 1)
    assert math.isnan(interval([0.5]).low)


def test_grpo_is_the_formula(small: Any, encoder: ChatEncoder) -> None:
    """By one row at a time, token by token, without a collator."""
    assert advantages_of([1, 0, 0, 0, 1, 1], 2) == pytest.approx([0.7071 * 0.9999, -0.7070, 0, 0, 0, 0], abs=2e-4)
    world = World(SMALLEST, SEED)
    model = make_model(len(small), SMALLEST, SEED).eval()
    prompts = [recording.prompt for recording in world.recordings(3, random.Random(0))]
    torch.manual_seed(0)
    rows = [
        with_advantage(row, value) for row, value in zip(sample(model, encoder, prompts), (1.0, -2.0, 0.5), strict=True)
    ]
    collate = ChatCollator(small, per_token=("logprobs", "advantages"))
    # The policy has moved by so much that some ratios are clipped.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    found, values = policy_loss(model, collate(rows)), []
    for row, advantage in zip(rows, (1.0, -2.0, 0.5), strict=True):
        ids = torch.as_tensor(row.input_ids)
        logprobs = model(ids[None]).logits[0].log_softmax(-1)
        for at in row.sampled.nonzero()[0]:
            ratio = math.exp(logprobs[at - 1, ids[at]].item() - row.per_token["logprobs"][at])
            values.append(min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage))
    assert found.item() == pytest.approx(-sum(values) / len(values), rel=1e-4)


def test_sampled_logprobs_are_the_models(small: Any, encoder: ChatEncoder) -> None:
    model = make_model(len(small), SMALLEST, SEED).eval()
    prompts = [[{"role": "user", "content": text}] for text in ("seat", "train seat date", "a")]
    for greedy in (True, False):
        torch.manual_seed(0)
        asked = [rollout.prompt_ids for rollout in rollouts(encoder, prompts)]
        for prompt, completion in zip(asked, complete(model, asked, small.eos_token_id, greedy=greedy), strict=True):
            ids = torch.tensor([*prompt, *completion.ids])
            logprobs = model(ids[None]).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            own = logprobs.gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
            assert own.tolist() == pytest.approx(completion.logprobs, abs=1e-4)
            assert not greedy or logprobs.argmax(-1).tolist() == completion.ids


def test_every_arm_runs_and_a_run_goes_on(tmp_path: Path) -> None:
    names = [arm.name for arm in ARMS]
    results = run(SMALLEST, [0, 1], names, tmp_path, processes=0)
    assert sorted((result.seed, result.arm) for result in results) == sorted(
        (s, name) for s in (0, 1) for name in names
    )
    assert all(0 <= result.held_out <= 1 and result.fingerprint == SMALLEST.fingerprint for result in results)
    assert {result.steps for result in results} == {0, 2}
    lines = (tmp_path / "results.jsonl").read_text()
    # As if it had been killed in the middle of its last line.
    (tmp_path / "results.jsonl").write_text(lines[:-20])
    told: list[str] = []
    again = run(SMALLEST, [0, 1], names, tmp_path, processes=0, told=told.append)
    assert len(told) == 1
    assert [outcome(result) for result in again] == [outcome(result) for result in results]


@pytest.mark.parametrize(
    ("name", "seeds", "settings", "options"),
    [
        ("", TEST_SEEDS, Settings(), []),
        ("-planned", PLANNED_SEEDS, replace(Settings(), rope_theta=PLANNED_THETA), ["--planned"]),
    ],
)
def test_the_page_has_the_published_results(
    name: str, seeds: Sequence[int], settings: Settings, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of these settings, with every seed of every arm."""
    results = read_table(published(name))
    assert {result.fingerprint for result in results} == {settings.fingerprint}
    arms = [arm.name for arm in ARMS]
    assert [(result.seed, result.arm) for result in results] == [(seed, arm) for seed in seeds for arm in arms]
    assert section_of(PAGE, name).endswith(f"\n\n{markdown(results)}\n")
    assert main(["--published", *options]) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    for row in [row for rows in tables(results) for row in rows[1:]]:
        assert " ".join(row).split() in printed


def test_the_page_tells_the_seeds_apart_whose_teacher_follows_its_hints(tmp_path: Path) -> None:
    results = [result for name in ("-planned", "") for result in read_table(published(name))]
    followed = {result.seed for result in results if result.arm == "teacher" and result.held_out >= 0.98}
    assert {result.seed for result in taught(results)} == followed
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write_taught(page, results)
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_no_seed_is_of_two_kinds() -> None:
    assert len({*TUNING_SEEDS, *PLANNED_SEEDS, *TEST_SEEDS}) == 3 + 10 + 10


def test_the_commands_of_the_page_are_understood() -> None:
    given = re.findall(r'^make experiment ARGS="(.*?)"', PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(given) > 3
    for arguments in given:
        options_of(shlex.split(arguments))


def outcome(result: Result) -> Any:
    return (result.seed, result.arm, result.held_out, result.seen, result.curve)


def test_arms_are_cut_and_seeds_are_not(tmp_path: Path) -> None:
    told: list[str] = []
    results = run(SMALLEST, [0, 1], ["none", "sft"], tmp_path, processes=0, minutes=0, told=told.append)
    assert results == []
    assert "none is left out, and what is after it" in told[-1]


def test_arms_differ_in_what_they_say_they_do(
    small: Any, encoder: ChatEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which tokens, which hints and whose turns reach the loss, as text."""
    world = World(SMALLEST, SEED)
    recordings = start.recordings_of(world, SMALLEST, SEED)
    begun = start.Start(SMALLEST, SEED, world, recordings, make_model(len(small), SMALLEST, SEED).eval(), encoder)
    seen: list[Any] = []

    def loss(student: Any, teacher: Any, batch: Any) -> Any:
        seen.append(batch)
        return student.sum() * 0

    monkeypatch.setattr(sdpo, "sdpo_loss", loss)

    def first_row(arm: Any) -> tuple[str, str]:
        seen.clear()
        arm(begun)
        batch = seen[0]
        rows = torch.arange(len(batch["input_ids"]))[:, None]
        weighed = batch["sdpo_loss_weight"][rows, batch["student_response_idx"]] > 0
        texts = [
            small.decode(row[mask])
            for row, mask in zip(
                batch["input_ids"][rows, batch["student_response_idx"]],
                weighed & batch["response_idx_mask"],
                strict=True,
            )
        ]
        hints = [small.decode(row).split("Say ")[1][:5] for row in batch["ctx_teacher_input_ids"]]
        return texts, hints

    order = begun.order(range(len(recordings)))
    rows = [recordings[next(order)] for _ in range(SMALLEST.rows)]
    recoveries, answers = [row.recovery for row in rows], [row.answer for row in rows]
    assert first_row(sdpo.off_policy) == ([f"{text}<|im_end|>" for text in recoveries], answers)
    assert first_row(sdpo.shifted_mask) == ([f"{text[1:]}<|im_end|>\n" for text in recoveries], answers)
    texts, hints = first_row(sdpo.shuffled_hints)
    assert (texts, hints != answers) == ([f"{text}<|im_end|>" for text in recoveries], True)
    texts, hints = first_row(sdpo.on_policy)
    torch.manual_seed(SEED)
    assert hints == answers
    assert texts != recoveries


def test_results_are_kept_as_they_are(tmp_path: Path) -> None:
    result = Result(3, "sft", 0.25, 0.5, 100, 9.5, "abc", curve=((0, 0.0), (100, 0.25)))
    append(tmp_path / "lines", result)
    append(tmp_path / "lines", Result(4, "sft", 0.25, 0.5, 100, 9.5, "other settings"))
    assert read(tmp_path / "lines", "abc") == [result]
    save_table(tmp_path / "table.csv", [result])
    [again] = read_table(tmp_path / "table.csv")
    assert (again.seed, again.arm, again.held_out, again.seen, again.seconds) == (3, "sft", 0.25, 0.5, 9.5)
