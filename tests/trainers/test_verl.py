"""The tensors for verl and lasgroup/SDPO, key by key, and the mistakes that are known to be made with them."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from batches import stretches, text_of
from cases import TEMPLATES, assistant, config, failed, system, trace, user
from chatspan import (
    ChatCollator,
    ComposerDataCollator,
    DistillationConfig,
    EmptyBatchError,
    HintedPrompts,
    Kind,
    LayoutError,
    OptionError,
    SelfDistillationCollator,
    TruncationError,
)
from chatspan.loss.sdpo import sdpo_loss
from chatspan.verl import sdpo_tensors, teacher_tensors
from conversations import tool
from training import model_of
from zoo import ZOO_TOKENIZERS

Tensors = dict[str, torch.Tensor]

BOOK, FULL, MAP = user("Book it."), tool("error: full"), user("Move it.")
TWO_SITES = trace(
    system("Be kind."),
    BOOK,
    FULL,
    failed("It is full.", error="limit"),
    MAP,
    tool("error: gone"),
    failed("It is gone, all of it.", error="gone"),
    user("Bye."),
    assistant("Bye!"),
    trace_id="t1",
)
NO_SITE = trace(user("Hi"), assistant("Hello!"))
HEADER = "<|im_start|>assistant\n"


def composer(tokenizer: Any, **options: Any) -> ComposerDataCollator:
    return ComposerDataCollator(tokenizer, config(**options))


def seen(tokenizer: Any, tensors: Tensors, prefix: str, row: int) -> str:
    """The text that a side sees."""
    return tokenizer.decode(tensors[f"{prefix}input_ids"][row][tensors[f"{prefix}attention_mask"][row] == 1])


# What each key is, by the contract. B rows, P, R, Pt columns.
SHAPES = {
    "prompts": "P",
    "responses": "R",
    "response_mask": "R",
    "input_ids": "P+R",
    "attention_mask": "P+R",
    "position_ids": "P+R",
    "teacher_input_ids": "Pt+R",
    "teacher_attention_mask": "Pt+R",
    "teacher_position_ids": "Pt+R",
    "self_distillation_mask": "",
    "row_index": "",
    "message_index": "",
    "dropped_tokens": "",
}


def check_contract(tokenizer: Any, tensors: Tensors, generation_prompt: str = HEADER) -> None:
    """What verl's and lasgroup/SDPO's code take for granted."""
    assert set(tensors) == set(SHAPES)
    rows, width = tensors["responses"].shape
    widths = {"P": tensors["prompts"].shape[1], "R": width, "Pt": tensors["teacher_input_ids"].shape[1] - width}
    for key, shape in SHAPES.items():
        assert tensors[key].dtype == (torch.float32 if key == "self_distillation_mask" else torch.int64), key
        columns = [sum(widths[part] for part in shape.split("+"))] if shape else []
        assert list(tensors[key].shape) == [rows, *columns], key
        assert tensors[key].is_contiguous(), key
    assert torch.equal(tensors["input_ids"][:, : -width or None], tensors["prompts"])
    response_seen = tensors["attention_mask"][:, -width:]
    for prefix in ("", "teacher_"):
        ids, mask, positions = (tensors[f"{prefix}{key}"] for key in ("input_ids", "attention_mask", "position_ids"))
        assert torch.equal(ids[:, -width:], tensors["responses"]), prefix
        # Padded on the left of the prompt and on the right of the response, and nowhere else.
        assert (mask[:, :-width].diff(dim=1) >= 0).all(), prefix
        assert (mask[:, -width - 1 : -width] == 1).all(), prefix
        assert (mask[:, -width:].diff(dim=1) <= 0).all(), prefix
        # Each token of the response is seen, in the loss or not.
        assert torch.equal(mask[:, -width:], response_seen), prefix
        assert torch.equal(positions, torch.clip(torch.cumsum(mask, dim=-1) - 1, min=0)), prefix
        for row in range(rows):
            prompt = tokenizer.decode(ids[row, :-width][mask[row, :-width] == 1])
            assert prompt.endswith(generation_prompt), (prefix, prompt[-40:])
        # What `logits[:, -R - 1 : -1]` predict, told by a model that knows the next token.
        oracle = ids.roll(-1, dims=1)[:, -width - 1 : -1]
        in_loss = tensors["response_mask"] == 1
        assert torch.equal(oracle[in_loss], tensors["responses"][in_loss]), prefix
    assert (tensors["response_mask"] <= response_seen).all()
    assert (tensors["response_mask"].sum(dim=1) > 0).all()


def test_one_row_a_site_and_what_each_side_sees(small: Any) -> None:
    tensors = sdpo_tensors(composer(small, loss_on="turn"), [NO_SITE, TWO_SITES])
    check_contract(small, tensors)
    assert tensors["row_index"].tolist() == [1, 1]
    assert tensors["message_index"].tolist() == [3, 6]
    assert tensors["self_distillation_mask"].tolist() == [1.0, 1.0]
    texts = [seen(small, tensors, "", row).replace("<|im_start|>", "<").replace("<|im_end|>\n", ">") for row in (0, 1)]
    first = "<system\nBe kind.><user\nBook it.><tool\nerror: full><assistant\nIt is full."
    assert texts[0] == f"{first}<|im_end|>"
    assert texts[1] == f"{first}><user\nMove it.><tool\nerror: gone><assistant\nIt is gone, all of it.<|im_end|>"
    assert seen(small, tensors, "teacher_", 0).endswith(
        "<|im_start|>tool\nerror: full<|im_end|>\n<|im_start|>system\nHint: limit.<|im_end|>\n"
        f"{HEADER}It is full.<|im_end|>"
    )
    hints = [re.findall(r"Hint: \w+", seen(small, tensors, "teacher_", row)) for row in (0, 1)]
    assert hints == [["Hint: limit"], ["Hint: limit", "Hint: gone"]]
    alone = sdpo_tensors(composer(small, loss_on="turn", hint_scope="per_site"), [TWO_SITES])
    hints = [re.findall(r"Hint: \w+", seen(small, alone, "teacher_", row)) for row in (0, 1)]
    assert hints == [["Hint: limit"], ["Hint: gone"]]


def test_the_prompt_is_what_a_model_is_asked_with(small: Any) -> None:
    tensors = sdpo_tensors(composer(small), [TWO_SITES])
    for row, index in enumerate((3, 6)):
        asked = small.apply_chat_template(
            [{key: turn[key] for key in ("role", "content")} for turn in TWO_SITES["turns"][:index]],
            add_generation_prompt=True,
        )["input_ids"]
        mask = tensors["attention_mask"][row, : tensors["prompts"].shape[1]] == 1
        assert tensors["prompts"][row][mask].tolist() == asked


def test_the_response_is_as_the_model_wrote_it(small_copy: Any) -> None:
    """The template drops the reasoning of a turn that others follow; in front of its own site it is the last."""
    small_copy.chat_template = TEMPLATES["drops reasoning"]
    turns = [BOOK, failed("<think>\nfull\n</think>\n\nIt is full.", error="limit"), MAP, assistant("Moved.")]
    tensors = sdpo_tensors(composer(small_copy), [trace(*turns)])
    assert stretches(small_copy, tensors["responses"][0], tensors["response_mask"][0]) == [
        "<think>\nfull\n</think>\n\nIt is full."
    ]


REASONED = trace(
    user("Book it, please, and do not ask me again."),
    failed("It is full.", error="limit", reasoning_content="Is it full?", tool_call={"name": "look", "arguments": {}}),
)
WITH_HOLES = {"loss_on": {Kind.REASONING, Kind.TOOL_CALL}, "hint_placement": "append_to_previous"}
REASONING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.reasoning_content %}{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}"
    "{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ '<tool_call>' + c.function.name + '</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def holes(tokenizer: Any) -> Tensors:
    """Two rows of different lengths, in whose responses some tokens are not in the loss."""
    kwargs = {"chat_template_kwargs": {"chat_template": REASONING}}
    short = trace(user("Go."), *REASONED["turns"][1:], **kwargs)
    return sdpo_tensors(composer(tokenizer, **WITH_HOLES), [{**REASONED, **kwargs}, short])


def test_a_hole_in_the_loss_is_seen_by_both_sides(small: Any) -> None:
    tensors = holes(small)
    check_contract(small, tensors)
    (mask, ids) = (tensors["response_mask"][0], tensors["responses"][0])
    assert stretches(small, ids, mask) == ["<think>\nIs it full?\n</think>\n\n", "<tool_call>look</tool_call>"]
    assert stretches(small, ids, 1 - mask)[0] == "It is full."
    for prefix in ("", "teacher_"):
        assert "Is it full?\n</think>\n\nIt is full.<tool_call>look" in seen(small, tensors, prefix, 0)


def _teacher_mask_of_the_response_mask(tensors: Tensors) -> None:
    width = tensors["responses"].shape[1]
    tensors["teacher_attention_mask"][:, -width:] = tensors["response_mask"]
    tensors["teacher_position_ids"] = torch.clip(torch.cumsum(tensors["teacher_attention_mask"], dim=-1) - 1, min=0)


def _generation_prompt_cut(tensors: Tensors) -> None:
    """Truncated on the right, as `truncation=True` does, to four tokens less."""
    width, cut = tensors["responses"].shape[1], 4
    for key in ("teacher_input_ids", "teacher_attention_mask", "teacher_position_ids"):
        prompt, response = tensors[key][:, :-width], tensors[key][:, -width:]
        tensors[key] = torch.cat([prompt[:, :-cut], response], dim=1)
    tensors["teacher_position_ids"] = torch.clip(torch.cumsum(tensors["teacher_attention_mask"], dim=-1) - 1, min=0)


def _scalar_prompt_length(tensors: Tensors) -> None:
    """Prompts padded on the right, and the response taken from behind the longest one in each row."""
    width = tensors["prompts"].shape[1]
    for key in ("prompts", "input_ids", "attention_mask", "position_ids"):
        for row in range(len(tensors[key])):
            count = int(tensors["attention_mask"][row, :width].sum()) if key != "attention_mask" else None
            count = int(tensors[key][row, :width].sum()) if count is None else count
            tensors[key][row, :width] = tensors[key][row, :width].roll(count - width)


def _right_padded_prompts_without_their_mask(tensors: Tensors) -> None:
    width = tensors["prompts"].shape[1]
    tensors["attention_mask"][:, :width] = 1


def _shifted_response_mask(tensors: Tensors) -> None:
    tensors["response_mask"] = tensors["response_mask"].roll(1, dims=1)
    tensors["responses"] = tensors["responses"].roll(1, dims=1)


def _a_response_of_each_side(tensors: Tensors) -> None:
    tensors["teacher_input_ids"][0, -tensors["responses"].shape[1]] += 1


def _masks_of_bools(tensors: Tensors) -> None:
    tensors["response_mask"] = tensors["response_mask"].bool()


GENERATION_PROMPTS = {
    "qwen2_5": HEADER,
    "qwen3": HEADER,
    "llama3_2": "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma3": "<end_of_turn>\n<start_of_turn>model\n",
    "deepseek_v3": "<｜Assistant｜>",
    "mistral_nemo": "[/INST]",
}
MISTAKES: dict[str, Callable[[Tensors], None]] = {
    "the teacher's mask is built from the response mask": _teacher_mask_of_the_response_mask,
    "the generation prompt is cut": _generation_prompt_cut,
    "one prompt length for all rows": _scalar_prompt_length,
    "padding is seen": _right_padded_prompts_without_their_mask,
    "the response is shifted": _shifted_response_mask,
    "the response differs": _a_response_of_each_side,
    "a mask of bools": _masks_of_bools,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_check_fails_on_each_known_mistake(small: Any, mistake: str) -> None:
    tensors = copy.deepcopy(holes(small))
    check_contract(small, tensors)
    MISTAKES[mistake](tensors)
    with pytest.raises(AssertionError):
        check_contract(small, tensors)


@pytest.mark.parametrize("loss_on", ["content", "turn"])
@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
def test_real_traces(name: str, loss_on: Any, zoo_tokenizer: Any, zoo_traces: Any, say: Any, request: Any) -> None:
    """Each recovery of each trace, against the collator's own batches."""
    tokenizer = zoo_tokenizer(name)
    traces = zoo_traces if request.config.getoption("--all") else zoo_traces[::2]
    alternating = name in ("gemma3", "mistral_nemo", "deepseek_v3")
    placement = "append_to_previous" if alternating else "before_turn"
    collator = composer(tokenizer, loss_on=loss_on, hint_placement=placement, hint_scope="per_site")
    if name == "mistral_nemo":
        # Whose template gives the system message only to a user's last message.
        with pytest.raises(LayoutError, match=r"turn \d+: asked for this message, the chat template writes another"):
            sdpo_tensors(collator, traces)
    tensors = sdpo_tensors(collator, traces, check_prompt=name != "mistral_nemo")
    # In front of a content Qwen3 writes that there was no reasoning.
    reasoning = "<think>\n\n</think>\n\n" if (name, loss_on) == ("qwen3", "content") else ""
    check_contract(tokenizer, tensors, GENERATION_PROMPTS[name] + reasoning)
    sites = [
        (row, index)
        for row, one in enumerate(traces)
        for index, turn in enumerate(one["turns"])
        if turn.get("tool_error") and turn["content"]
    ]
    assert list(zip(tensors["row_index"].tolist(), tensors["message_index"].tolist(), strict=True)) == sites
    for at, (row, index) in enumerate(sites):
        text = text_of(tokenizer, tensors["responses"][at], tensors["response_mask"][at])
        content = traces[row]["turns"][index]["content"].strip()
        assert text.strip() == content if loss_on == "content" else content in text
    say(f"verl tensors of {name}, loss_on={loss_on!r}: {len(sites)} responses, the contract holds")


def test_a_prompt_that_no_model_is_asked_with(small_copy: Any) -> None:
    small_copy.chat_template += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    rows = [trace(BOOK, failed("It is full.", error="limit"))]
    with pytest.raises(LayoutError) as caught:
        sdpo_tensors(composer(small_copy), rows)
    assert str(caught.value) == (
        "trace 't', turn 1: asked for this message, the chat template writes another prompt: from its character 58 on "
        "'<think>\\n', where the conversation has the response; use check_prompt=False to take it as it is there"
    )
    check_contract(small_copy, sdpo_tensors(composer(small_copy), rows, check_prompt=False))
    small_copy.chat_template = "{{ raise_exception('nobody asks') if add_generation_prompt }}" + TEMPLATES["trimming"]
    with pytest.raises(
        LayoutError, match=r"trace 't', turn 1: asked .* raises TemplateError: nobody asks; use check_prompt"
    ):
        sdpo_tensors(composer(small_copy), rows)


def test_the_loss_is_that_of_the_collators_batch(small: Any) -> None:
    """The slices that lasgroup/SDPO's actor takes are the tokens that `sdpo_loss` takes."""
    model = model_of(small, initializer_range=0.3).eval()
    per_site = [trace(*TWO_SITES["turns"][: index + 1], trace_id=str(index)) for index in (3, 6)]
    collator = composer(small, layout="indexed", loss_on="turn")
    # The second trace has the first one's site too: its loss is on the last turn only.
    per_site[1]["turns"][3] = assistant("It is full.")
    batch, tensors = collator(per_site), sdpo_tensors(collator, per_site)
    width = tensors["responses"].shape[1]

    def logits(prefix: str, source: Tensors) -> torch.Tensor:
        keys = ("input_ids", "attention_mask", "position_ids")
        inputs = {key: source[f"{prefix}{key}"] for key in keys}
        found: torch.Tensor = model(**inputs).logits
        return found

    with torch.no_grad():
        expected = sdpo_loss(logits("", batch), logits("ctx_teacher_", batch), batch, beta=1, reduction="sum")
        student, teacher = (logits(prefix, tensors)[:, -width - 1 : -1] for prefix in ("", "teacher_"))
        s, t = student.log_softmax(-1), teacher.log_softmax(-1)
        losses = (s.exp() * (s - t)).sum(-1) * tensors["response_mask"]
    assert float(losses.sum()) == pytest.approx(float(expected), rel=1e-4)
    assert float(expected) > 0.01


def test_pairs_of_conversations_and_rows_without_a_loss(small: Any) -> None:
    question, told, answer = user("2 + 2?"), user("2 + 2? (4.)"), assistant("It is 4.")
    collator = SelfDistillationCollator(small, DistillationConfig(loss_on="turn"))
    rows = [
        {
            "messages": [question, answer, MAP, assistant("Moved.")],
            "teacher_messages": [told, answer, MAP, assistant("Moved.")],
        },
        {"messages": [question, answer], "teacher_messages": None},
    ]
    tensors = sdpo_tensors(collator, rows)
    check_contract(small, tensors)
    assert [seen(small, tensors, "teacher_", row).count("(4.)") for row in (0, 1)] == [1, 1]
    assert tensors["message_index"].tolist() == [1, 3]
    with pytest.raises(EmptyBatchError, match="no message of 1 rows is in the loss"):
        sdpo_tensors(collator, rows[1:])


def test_widths_are_verls_and_nothing_is_cut_to_them(small: Any) -> None:
    collator = composer(small, loss_on="turn")
    plain = sdpo_tensors(collator, [TWO_SITES])
    counts = {"max_prompt_length": 90, "max_response_length": 40, "max_reprompt_len": 150}
    wide = sdpo_tensors(collator, [TWO_SITES], **counts)
    check_contract(small, wide)
    assert wide["input_ids"].shape == (2, 130)
    assert wide["teacher_input_ids"].shape == (2, 190)
    for prefix in ("", "teacher_"):
        for row in (0, 1):
            assert seen(small, wide, prefix, row) == seen(small, plain, prefix, row)
    for name in counts:
        with pytest.raises(TruncationError, match=rf"trace 't1', turn 3: \d+ tokens are more than {name}=3"):
            sdpo_tensors(collator, [TWO_SITES], **{name: 3})
    with pytest.raises(OptionError, match="max_prompt_length=0"):
        sdpo_tensors(collator, [TWO_SITES], max_prompt_length=0)
    # Whole messages are left out on both sides; the generation prompt stays.
    longest = plain["teacher_input_ids"].shape[1]
    cut = sdpo_tensors(composer(small, loss_on="turn", max_length=longest - 5), [TWO_SITES])
    check_contract(small, cut)
    assert cut["teacher_input_ids"].shape[1] < longest
    long = trace(BOOK, failed("It is full.", error="limit"), MAP, failed("It is gone. " * 40, error="gone"))
    left = sdpo_tensors(composer(small, max_length=60, overflow="drop_row", loss_on="turn"), [long])
    assert left["message_index"].tolist() == [1]
    with pytest.raises(EmptyBatchError, match="none of 2 responses is left"):
        sdpo_tensors(composer(small, max_length=9, overflow="drop_row"), [TWO_SITES])


def test_what_does_not_fit_is_refused_with_its_place(small: Any) -> None:
    with pytest.raises(LayoutError, match=r"trace 't1', turn 3: its tokens have weights other than 1"):
        sdpo_tensors(composer(small, loss_on={"assistant": 0.5}), [TWO_SITES])
    with pytest.raises(OptionError, match=r'layout="placeholder" gives the student filler text'):
        sdpo_tensors(composer(small, layout="placeholder"), [TWO_SITES])
    with pytest.raises(OptionError, match="ChatCollator has no teacher: use a SelfDistillationCollator"):
        sdpo_tensors(ChatCollator(small), [TWO_SITES])


def test_a_response_that_is_not_the_same_on_both_sides(small_copy: Any) -> None:
    """The teacher's template shouts a part between two that the loss is on."""
    small_copy.chat_template = (
        "{% for m in messages %}{{ m.role + ':' }}{% if m.reasoning_content %}{{ m.reasoning_content }}"
        "{% if 'Hint' in messages[0].content %}{{ ' (told) ' }}{% else %}{{ ' (not told) ' }}{% endif %}{% endif %}"
        "{{ m.content + '<|im_end|>' }}{% endfor %}"
    )
    turns = [user("Go on."), failed("It is full.", error="limit", reasoning_content="Hm.")]
    options: dict[str, Any] = {"hint_placement": "append_to_previous", "loss_on": {Kind.REASONING, Kind.CONTENT}}
    options["max_dropped"] = 1.0
    with pytest.raises(LayoutError, match=r"turn 1: the response is not the same \d+ tokens on both sides.*indexed"):
        sdpo_tensors(composer(small_copy, **options), [trace(*turns)])


SAMPLED = ("I look.<|im_end|>", "It is full.<|im_end|>")
# A tool's answer and what the model said to it: of one rollout.
RESULT = "\n<|im_start|>tool\n404<|im_end|>\n<|im_start|>assistant\nGone.<|im_end|>"


def sampled(tokenizer: Any) -> tuple[Tensors, Tensors]:
    """A batch of rollouts, and its teacher's tensors."""
    ids = [tokenizer(SAMPLED[0] + RESULT)["input_ids"], tokenizer(SAMPLED[1])["input_ids"]]
    width = max(map(len, ids))
    responses = torch.tensor([one + [tokenizer.pad_token_id] * (width - len(one)) for one in ids])
    real = torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in ids])
    batch = {"responses": responses, "attention_mask": torch.cat([torch.ones(2, 7, dtype=torch.int64), real], dim=1)}
    prompts = HintedPrompts(tokenizer, hint_placement="before_turn")
    return batch, teacher_tensors(batch, [[BOOK], [BOOK, FULL]], ["Mind the limit.", None], prompts=prompts)


def test_the_teacher_of_sampled_responses(small: Any) -> None:
    """A tool's result in a rollout is in no loss, and the teacher sees it."""
    batch, found = sampled(small)
    width = batch["responses"].shape[1]
    assert found["self_distillation_mask"].tolist() == [1.0, 0.0]
    assert seen(small, found, "teacher_", 0) == (
        "<|im_start|>user\nBook it.<|im_end|>\n<|im_start|>system\nMind the limit.<|im_end|>\n"
        f"{HEADER}{SAMPLED[0]}{RESULT}"
    )
    assert seen(small, found, "teacher_", 1) == (
        f"<|im_start|>user\nBook it.<|im_end|>\n<|im_start|>tool\nerror: full<|im_end|>\n{HEADER}{SAMPLED[1]}"
    )
    assert found["teacher_input_ids"][:, -width:].equal(batch["responses"])
    prompts = HintedPrompts(small)
    wide = teacher_tensors(batch, [[BOOK]] * 2, [" "] * 2, prompts=prompts, max_reprompt_len=80)
    assert wide["teacher_input_ids"].shape == (2, 80 + width)
    with pytest.raises(TruncationError, match=r"row 0: .* are more than max_reprompt_len=4"):
        teacher_tensors(batch, [[BOOK]] * 2, ["a", "b"], prompts=prompts, max_reprompt_len=4)
    with pytest.raises(LayoutError, match="1 raw_prompts for a batch of 2 responses"):
        teacher_tensors(batch, [[BOOK]], ["a"], prompts=prompts)
    with pytest.raises(LayoutError, match="1 hints for 2 prompts"):
        teacher_tensors(batch, [[BOOK], [BOOK]], ["a"], prompts=prompts)
