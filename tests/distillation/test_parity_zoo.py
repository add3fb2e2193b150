"""Real traces, real tokenizers: position by position equal to what a slow reference says, or named.

Two references: prefix delta, for templates that are prefix-stable; and for all templates a word put at both ends of
each content, rendered by transformers, found, and taken out again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from batches import check
from cases import config
from chatspan import AmbiguousContentError, ChatspanError, ComposerDataCollator, PrefixUnstableError
from references import PlainView, content_mask, sentinel_spans
from zoo import ZOO_TOKENIZERS

# Gemma-3, DeepSeek-V3 and Mistral-Nemo refuse or move a system message before a turn.
PLACEMENT = {"qwen2_5": "before_turn", "qwen3": "before_turn", "llama3_2": "before_turn"}
PREFIX_STABLE = ("qwen2_5", "llama3_2", "gemma3", "deepseek_v3")
NOT_PREFIX_STABLE = ("qwen3", "mistral_nemo")

Say = Callable[[str], None]
Traces = list[dict[str, Any]]


def real_hint(error: str, meta: dict[str, str]) -> str:
    return f"The last call of {meta['tool']} failed ({error}): {meta['message']}\nDo not repeat it as it was."


def collator(tokenizer: Any, name: str) -> ComposerDataCollator:
    placement = PLACEMENT.get(name, "append_to_previous")
    return ComposerDataCollator(tokenizer=tokenizer, config=config(hint_generator=real_hint, hint_placement=placement))


@pytest.fixture
def some_traces(zoo_traces: Traces, pytestconfig: pytest.Config) -> Traces:
    """Prefix delta takes a second a trace: without `--all`, every tenth."""
    return zoo_traces[:: 1 if pytestconfig.getoption("--all") else 10]


@pytest.mark.parametrize("name", PREFIX_STABLE)
def test_parity_with_prefix_delta(name: str, zoo_tokenizer: Any, some_traces: Traces, say: Say) -> None:
    """Ids and all masks of both sides equal on each trace; a case that differs must be named here with its reason."""
    tokenizer = zoo_tokenizer(name)
    fast, slow = collator(tokenizer, name), collator(PlainView(tokenizer), name)
    compared: Counter[str] = Counter()
    for trace in some_traces:
        batch, reference = fast([trace]), slow([trace])
        assert set(batch) == set(reference)
        for key in batch:
            assert torch.equal(batch[key], reference[key]), (trace["trace_id"], key)
        compared["traces"] += 1
        compared["with an error site"] += "sdpo_loss_mask" in batch
        compared["tokens"] += int(batch["attention_mask"].sum())
    assert slow.routes.keys() == {"prefix_delta"}
    say(f"{name}: {dict(compared)} equal to prefix delta, 0 differences; chatspan's routes {dict(fast.routes)}")


@pytest.mark.parametrize("name", NOT_PREFIX_STABLE)
def test_templates_that_prefix_delta_cannot_tell(name: str, zoo_tokenizer: Any, some_traces: Traces, say: Say) -> None:
    slow = collator(PlainView(zoo_tokenizer(name)), name)
    for trace in some_traces:
        with pytest.raises(PrefixUnstableError):
            slow([trace])
    say(f"{name}: prefix delta compared 0 of {len(some_traces)} traces: not prefix-stable on any")


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
def test_parity_with_sentinel_words(
    name: str, zoo_tokenizer: Any, zoo_traces: Traces, pytestconfig: pytest.Config, say: Say
) -> None:
    """Response mask of the student, and the loss mask by the same reference; without `--all`, on every third trace."""
    tokenizer = zoo_tokenizer(name)
    collate = collator(tokenizer, name)
    compared: Counter[str] = Counter()
    for trace in zoo_traces[:: 1 if pytestconfig.getoption("--all") else 3]:
        batch = collate([trace])
        check(batch)
        messages = [{"role": turn["role"], "content": turn["content"]} for turn in trace["turns"]]
        text, spans = sentinel_spans(tokenizer, messages)
        assert text == tokenizer.apply_chat_template(messages, tokenize=False)
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        seen = batch["attention_mask"][0] == 1
        assert batch["input_ids"][0][seen].tolist() == tokenizer.apply_chat_template(messages, return_dict=False)
        of_role = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        of_sites = [i for i, turn in enumerate(trace["turns"]) if turn.get("tool_error")]
        for key, indices in (("response_mask", of_role), ("sdpo_loss_mask", of_sites)):
            if key in batch:
                mask = content_mask(text, offsets, [span for i in indices for span in spans[i]])
                assert batch[key][0][seen].tolist() == [int(m) for m in mask], (trace["trace_id"], key)
                compared[key] += 1
    say(f"{name}: {dict(compared)} rows equal to sentinel words, 0 differences; routes {dict(collate.routes)}")


@pytest.mark.parametrize("name", ["gemma3", "deepseek_v3", "mistral_nemo"])
def test_the_default_placement_is_refused_with_the_option(name: str, zoo_tokenizer: Any, zoo_traces: Traces) -> None:
    collate = ComposerDataCollator(tokenizer=zoo_tokenizer(name), config=config(hint_generator=real_hint))
    trace = next(t for t in zoo_traces if any(turn.get("tool_error") for turn in t["turns"]))
    with pytest.raises(ChatspanError, match='hint_placement="append_to_previous"') as error:
        collate([trace])
    assert error.value.trace_id == trace["trace_id"]
    assert error.value.turn_index is not None


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
def test_batches_are_the_rows_one_by_one(name: str, zoo_tokenizer: Any, zoo_traces: Traces) -> None:
    collate = collator(zoo_tokenizer(name), name)
    rows = zoo_traces[:8]
    batch = collate(rows)
    check(batch)
    for i, trace in enumerate(rows):
        for key, tensor in collate([trace]).items():
            if key not in ("row_index", "dropped_rows"):
                of_row = batch[key][i] if tensor.dim() == 1 else batch[key][i, : tensor.shape[1]]
                assert torch.equal(of_row, tensor[0]), key


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
def test_contents_equal_to_scaffold_words(name: str, zoo_tokenizer: Any) -> None:
    """Prefix delta cannot tell the answer "assistant" or "model" from the role; the template's scaffold can."""
    tokenizer = zoo_tokenizer(name)
    word = "model" if name == "gemma3" else "assistant"
    turns = [{"role": role, "content": word} for role in ("user", "assistant", "user", "assistant")]
    batch = collator(tokenizer, name)([{"trace_id": "words", "turns": turns}])
    ids = batch["input_ids"][0][batch["response_mask"][0] == 1]
    assert tokenizer.decode(ids).split(word) == ["", "", ""]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    if name in PREFIX_STABLE and f"{word}\n{word}" in text:
        with pytest.raises(AmbiguousContentError):
            collator(PlainView(tokenizer), name)([{"trace_id": "words", "turns": turns}])
