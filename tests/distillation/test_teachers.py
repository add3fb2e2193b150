"""Teachers that are servers: what they answer for a batch's prompts gives the loss of the teacher's own logits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import assistant, config, failed, trace, user
from chatspan import ComposerDataCollator, LossError
from chatspan.distillation.teachers import TeacherPrompt, teacher_prompts, top_k_of
from chatspan.loss import sdpo_loss, topk_sdpo_loss
from scoring import Scorer
from transformers import Qwen2Config, Qwen2ForCausalLM

WORDS = ("Which train?", "Go on, then.", "é 🚆", "To Köln " * 9)
TRACES = [trace(user(word), failed(f"Try {word}"), user("ok"), assistant("Done."), trace_id=word) for word in WORDS]
TRACES.append(trace(user("Hi"), failed("No"), user("so"), failed("Then 4"), user("ok"), assistant("."), trace_id="two"))
BATCHES: dict[str, dict[str, Any]] = {
    "aligned": {"layout": "aligned"},
    "indexed": {"layout": "indexed"},
    "indexed, left": {"layout": "indexed", "padding_side": "left"},
    "aligned, left, to 8": {"layout": "aligned", "padding_side": "left", "pad_to_multiple_of": 8},
    "packed": {"layout": "indexed", "packing": True},
}
KEYS = ("input_ids", "attention_mask", "position_ids")


def random_model(vocabulary: int, seed: int) -> Any:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    options = {**sizes, "num_key_value_heads": 1, "vocab_size": vocabulary, "initializer_range": 0.4}
    return Qwen2ForCausalLM(Qwen2Config(**options)).eval().double()


def logits(model: Any, batch: Any, prefix: str) -> torch.Tensor:
    given = {key: batch[f"{prefix}{key}"] for key in KEYS if f"{prefix}{key}" in batch}
    found: torch.Tensor = model(**given, use_cache=False).logits
    return found


def trl(scorer: Scorer, prompts: list[TeacherPrompt]) -> Any:
    """By TRL's own client, whose server is the scorer."""
    client_of = pytest.importorskip("trl.generation.vllm_client", reason="TRL is not installed").VLLMClient
    client = client_of.__new__(client_of)
    client.model, client.base_url = "teacher", "http://teacher"
    client._post = lambda url, json: scorer.vllm(json["prompt"])
    return client.get_sequence_logprobs(
        sequences=[prompt.input_ids for prompt in prompts],
        prompt_lengths=[prompt.first for prompt in prompts],
        top_logprobs=scorer.k,
    )


FORMS: dict[str, Callable[[Scorer, list[TeacherPrompt]], Any]] = {
    "vLLM": lambda scorer, prompts: scorer.vllm([prompt.input_ids for prompt in prompts]),
    "vLLM, one by one": lambda scorer, prompts: [scorer.vllm([prompt.input_ids]) for prompt in prompts],
    "RequestOutput": lambda scorer, prompts: scorer.request_outputs([prompt.input_ids for prompt in prompts]),
    "SGLang": lambda scorer, prompts: scorer.sglang([prompt.input_ids for prompt in prompts]),
    "TRL": trl,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("of_batch", BATCHES)
def test_the_whole_vocabulary_from_a_server_is_the_teachers_logits(small: Any, of_batch: str, form: str) -> None:
    """Each row of the top-k is of the right token: with another one, the loss would be another."""
    vocabulary = len(small)
    student, teacher = random_model(vocabulary, 0), random_model(vocabulary, 1)
    batch = ComposerDataCollator(tokenizer=small, config=config(**BATCHES[of_batch]))(TRACES[2:])
    prompts = teacher_prompts(batch)
    top_k = top_k_of(FORMS[form](Scorer(teacher, vocabulary), prompts), batch, prompts=prompts)
    assert top_k.ids.shape == (*batch["response_idx_mask"].shape, vocabulary)
    with torch.no_grad():
        of_student = logits(student, batch, "")
        exact = sdpo_loss(of_student, logits(teacher, batch, "ctx_teacher_"), batch, reduction="none")
        loss, mass = topk_sdpo_loss(of_student, top_k.logprobs, top_k.ids, batch, reduction="none")
    assert exact.sum() > 0.1
    torch.testing.assert_close(loss, exact, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mass, batch["response_idx_mask"].double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_likeliest_and_the_token_itself(small: Any, form: str) -> None:
    teacher = random_model(len(small), 1)
    batch = ComposerDataCollator(tokenizer=small, config=config(layout="indexed"))(TRACES)
    top_k = top_k_of(FORMS[form](Scorer(teacher, 4), teacher_prompts(batch)), batch)
    at = logits(teacher, batch, "ctx_teacher_").log_softmax(-1)
    assert top_k.ids.shape[-1] == 5
    for row, entry in batch["response_idx_mask"].nonzero().tolist():
        own = int(batch["ctx_teacher_input_ids"][row, batch["teacher_response_idx"][row, entry]])
        log_probs = at[row, batch["teacher_logit_idx"][row, entry]]
        wanted = {*log_probs.topk(4).indices.tolist(), own}
        ids = [each for each in top_k.ids[row, entry].tolist() if each >= 0]
        assert (len(ids), set(ids)) == (len(wanted), wanted)
        found = top_k.logprobs[row, entry, : len(ids)]
        torch.testing.assert_close(found, log_probs[ids].float())
        assert (found.diff() <= 0).all()
    assert (top_k.ids[~batch["response_idx_mask"]] == -1).all()


@pytest.mark.parametrize("of_batch", BATCHES)
def test_prompts_are_what_the_teacher_reads(small: Any, of_batch: str) -> None:
    """From the text of each to the end of its last recovery; packed as alone."""
    batch = ComposerDataCollator(tokenizer=small, config=config(**BATCHES[of_batch]))(TRACES)
    alone = ComposerDataCollator(tokenizer=small, config=config(layout="indexed"))
    prompts = teacher_prompts(batch)
    assert len(prompts) == len(TRACES)
    for prompt, one in zip(prompts, TRACES, strict=True):
        [expected] = teacher_prompts(alone([one]))
        assert (prompt.input_ids, prompt.positions) == (expected.input_ids, expected.positions)
        in_loss = [prompt.input_ids[position] for position in prompt.positions]
        contents = [turn["content"] for turn in one["turns"] if turn.get("tool_error")]
        assert small.decode(in_loss) == "".join(contents)
        assert prompt.positions[-1] == len(prompt.input_ids) - 1
        mask = batch["response_idx_mask"][prompt.row]
        assert mask[prompt.entries].all()


def test_rows_without_an_in_loss_token_are_not_scored(small: Any) -> None:
    plain = trace(user("Hi"), assistant("Ho"), trace_id="plain")
    collate = ComposerDataCollator(tokenizer=small, config=config(layout="indexed"))
    batch = collate([TRACES[0], plain, TRACES[1]])
    prompts = teacher_prompts(batch)
    assert [prompt.row for prompt in prompts] == [0, 2]
    teacher = random_model(len(small), 1)
    top_k = top_k_of(FORMS["vLLM"](Scorer(teacher, 4), prompts), batch)
    assert (top_k.ids[1] == -1).all()
    assert topk_sdpo_loss(logits(teacher, batch, ""), *top_k, batch).loss > 0


class Answered:
    """A batch of two rows and what vLLM and SGLang answered for it."""

    def __init__(self, small: Any) -> None:
        collate = ComposerDataCollator(tokenizer=small, config=config(layout="indexed"))
        self.batch = collate(TRACES[:2])
        self.prompts = teacher_prompts(self.batch)
        scorer = Scorer(random_model(len(small), 1), 3)
        self.scorer = scorer
        self.ids = [prompt.input_ids for prompt in self.prompts]


@pytest.fixture(scope="module")
def answered(small: Any) -> Answered:
    return Answered(small)


def let(*path: Any, to: Any) -> Callable[[Any], Any]:
    def change(response: Any) -> Any:
        at = response
        for part in path[:-1]:
            at = at[part]
        if to is None:
            del at[path[-1]]
        else:
            at[path[-1]] = to(at[path[-1]])
        return response

    return change


CHOICE = ("choices", 1)
META = (1, "meta_info")


@pytest.mark.parametrize(
    ("form", "change", "message"),
    [
        (
            "vllm",
            let("choices", to=lambda found: found[:1]),
            "1 prompts were scored, and there are 2: pass the resp",
        ),
        (
            "vllm",
            let("choices", to=lambda found: found[::-1]),
            r"row 0, position \d+ of the prompt: response.choices\[0\]",
        ),
        (
            "vllm",
            let(*CHOICE, "prompt_token_ids", 4, to=lambda each: each + 1),
            r"row 1, position 4 of the prompt: response.choices\[1\] scored the id \d+, and the batch has \d+: send",
        ),
        (
            "vllm",
            let(*CHOICE, "prompt_token_ids", to=None),
            r"choices\[1\].prompt_token_ids is missing: .*return_token_ids",
        ),
        (
            "vllm",
            let(*CHOICE, "prompt_logprobs", to=None),
            r"choices\[1\].prompt_logprobs is missing: ask for it with prom",
        ),
        (
            "vllm",
            let(*CHOICE, "prompt_logprobs", to=lambda rows: rows[1:]),
            r"has \d+ values for \d+ tokens: take all of",
        ),
        # One off: the entries of the next token.
        (
            "vllm",
            let(*CHOICE, "prompt_logprobs", to=lambda rows: [*rows[1:], rows[-1]]),
            r"choices\[1\].prompt_logprobs\[\d+\] is without the id \d+ of its own token: it belongs to another token",
        ),
        ("vllm", let(*CHOICE, "prompt_logprobs", -1, to=lambda row: {"a": 1}), "has 'a' where a token id is expected"),
        (
            "vllm",
            let(*CHOICE, "prompt_logprobs", -1, to=lambda row: [1]),
            r"is \[1\]: expected the ids and their log-probs",
        ),
        (
            "vllm",
            let(*CHOICE, "prompt_logprobs", -1, to=lambda row: {**row, "1": {"logprob": "x"}}),
            r"prompt_logprobs\[\d+\] has the log-prob 'x': expected a number",
        ),
        (
            "vllm",
            let(*CHOICE, "prompt_logprobs", -1, to=lambda row: {**row, "1": {"logprob": float("nan")}}),
            "has the log-prob nan: expected a number",
        ),
        ("vllm", let("choices", to=lambda found: []), r"response.choices is \[\]: expected one choice for each prompt"),
        ("vllm", lambda found: {"error": {"message": "too long"}}, "response is an error of the server: .*too long"),
        ("vllm", lambda found: "no", "response is 'no': expected the parsed JSON response of vLLM or SGLang"),
        ("vllm", lambda found: [found["choices"][0], 3], r"responses\[1\] is 3: expected the parsed JSON response"),
        (
            "sglang",
            let(*META, "input_token_logprobs", 5, 1, to=lambda each: each + 1),
            r"row 1, position 5 of the prompt: responses\[1\] scored the id",
        ),
        (
            "sglang",
            let(*META, "input_top_logprobs", to=None),
            r"meta_info.input_top_logprobs is missing: .*return_logprob",
        ),
        (
            "sglang",
            let(*META, "input_top_logprobs", to=lambda rows: rows[1:]),
            r"input_top_logprobs has \d+ values for",
        ),
        (
            "sglang",
            let(*META, "input_top_logprobs", -1, to=lambda row: [[1]]),
            r"has \[1\]: expected \[log-prob, id, text",
        ),
        (
            "sglang",
            let(*META, "input_top_logprobs", -1, to=lambda row: 3),
            r"input_top_logprobs\[\d+\] is 3: expected a l",
        ),
    ],
)
def test_answers_that_are_not_those_of_the_batch(
    answered: Answered, form: str, change: Callable[[Any], Any], message: str
) -> None:
    response = getattr(answered.scorer, form)(answered.ids)
    top_k_of(copy.deepcopy(response), answered.batch)
    with pytest.raises(LossError, match=message):
        top_k_of(change(response), answered.batch)


def test_a_prompt_of_which_sglang_scored_the_end_alone(answered: Answered) -> None:
    response = answered.scorer.sglang(answered.ids, start=2)
    with pytest.raises(
        LossError, match=r"has \d+ of the prompt's \d+ tokens, and those before them .*logprob_start_len=0"
    ):
        top_k_of(response, answered.batch)


def test_trls_answer_for_other_prompts(answered: Answered) -> None:
    """Too few tokens, and other ids."""
    good = trl(answered.scorer, answered.prompts)
    top_k_of(good, answered.batch)
    short = {key: [rows[2:] for rows in value] for key, value in good.items()}
    with pytest.raises(
        LossError, match=r"row 0, position \d+ of the prompt: response\[0\] begins at position \d+, after an"
    ):
        top_k_of(short, answered.batch)
    with pytest.raises(LossError, match=r"row 0, position \d+ of the prompt: response\[0\] scored the id"):
        top_k_of({key: value[::-1] for key, value in good.items()}, answered.batch)
    with pytest.raises(LossError, match=r"response.logprobs has 1 values for 2 tokens"):
        top_k_of({**good, "logprobs": good["logprobs"][:1]}, answered.batch)


@pytest.mark.parametrize("prompts", ["x", [3], {"prompts": []}, [[1, 2]]], ids=str)
def test_what_are_no_prompts(answered: Answered, prompts: Any) -> None:
    with pytest.raises(LossError, match=r"prompts has .*: pass the list that teacher_prompts\(batch\) returned"):
        top_k_of(answered.scorer.vllm(answered.ids), answered.batch, prompts=prompts)


def test_a_whole_row_may_be_scored(answered: Answered) -> None:
    """What stands behind the last in-loss token changes nothing."""
    longer = answered.scorer.vllm([[*ids, 3, 4] for ids in answered.ids])
    torch.testing.assert_close(
        top_k_of(longer, answered.batch), top_k_of(answered.scorer.vllm(answered.ids), answered.batch)
    )


def test_what_has_no_probability_is_no_entry(answered: Answered) -> None:
    response = answered.scorer.vllm(answered.ids)
    for row in response["choices"][0]["prompt_logprobs"][1:]:
        row["7"] = {"logprob": -9999.0, "rank": 99}
    top_k = top_k_of(response, answered.batch)
    assert not (top_k.logprobs[0] < -1000)[top_k.logprobs[0].isfinite()].any()


def put(key: str, change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], None]:
    return lambda batch: batch.update({key: change(batch[key])})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda batch: batch.pop("ctx_teacher_input_ids"),
            "the batch has no 'ctx_teacher_input_ids': pass the batch of",
        ),
        (
            put("teacher_logit_idx", lambda index: index + 1),
            "row 0, in-loss token 0: teacher_response_idx is .*not the",
        ),
        (put("teacher_response_idx", lambda index: index + 999), "row 0, in-loss token 0: teacher_response_idx is"),
        (put("teacher_logit_idx", lambda index: index.float()), r"'teacher_logit_idx'\] is float32 .*: expected int64"),
        (put("response_idx_mask", lambda mask: mask.long()), "expected ids .* and bool"),
        (put("ctx_teacher_attention_mask", lambda mask: mask[:, 1:]), r"'ctx_teacher_attention_mask'\] is \[2, "),
        (put("ctx_teacher_attention_mask", lambda mask: mask * 0), "row 0, in-loss token 0"),
        (put("ctx_teacher_input_ids", lambda ids: ids.tolist()), "is list, not a tensor of numbers"),
    ],
)
def test_batches_that_cannot_be(answered: Answered, change: Callable[[dict[str, Any]], None], message: str) -> None:
    batch = dict(answered.batch)
    change(batch)
    with pytest.raises(LossError, match=message):
        teacher_prompts(batch)
    with pytest.raises(LossError, match="batch is list"):
        teacher_prompts([batch])  # type: ignore[arg-type]
