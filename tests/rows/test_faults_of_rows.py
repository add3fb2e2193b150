"""Rows as people have them, a test for each fault: what is trained of them, as text, or what they are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chatspan as cs
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from cases import CHATML
from chatspan.audit.rows import RowAuditor
from chatspan.audit.settings import AuditSettings
from chatspan.rows.row import RawRow
from commands import chatspan
from encoded_files import write_rows
from transformers import AutoTokenizer
from zoo import EXAMPLES, ZOO

USER = {"role": "user", "content": "Where?"}
FLAGS = ("weight", "train", "training", "loss", "loss_mask")
CALLED = {"type": "function", "id": "abcdefghi", "function": {"name": "find", "arguments": '{"city": "Bern"}'}}
RESULT = {"role": "tool", "name": "find", "tool_call_id": "abcdefghi", "content": "found"}


def said(content: Any, **keys: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **keys}


CALLING = [USER, said("", tool_calls=[CALLED]), RESULT, said("There.")]


def text_of(tokenizer: Any, labels: Any) -> str:
    return str(tokenizer.decode([int(label) for label in labels if label != -100]))


def trained(tokenizer: Any, row: Any, **options: Any) -> str:
    return text_of(tokenizer, cs.ChatCollator(tokenizer, **options)([row])["labels"][0])


def encoded(folder: Path, rows: list[Any], *options: str) -> list[dict[str, Any]]:
    """What the command ``chatspan encode`` writes of rows in JSON lines."""
    file = write_rows(folder / "rows.jsonl", rows)
    done = chatspan("encode", str(file), "-t", str(EXAMPLES / "tokenizer"), "-o", str(folder / "out"), *options)
    assert done.returncode == 0, done.stderr
    return [row for part in sorted((folder / "out").rglob("*.parquet")) for row in pq.read_table(part).to_pylist()]


def audited(tokenizer: Any, row: Any) -> list[str]:
    """The words of the problems that an audit finds."""
    totals = RowAuditor(cs.ChatEncoder(tokenizer), AuditSettings()).audit([RawRow(0, "row 0", row)])
    return [f"{group.category}: {group.words}" for group in totals.groups if group.severity == "problem"]


@pytest.mark.parametrize("name", ["qwen2_5", "llama3_2", "mistral_nemo"])
def test_b1_arguments_as_text_are_trained_as_the_object(zoo_tokenizer: Callable[[str], Any], name: str) -> None:
    tokenizer = zoo_tokenizer(name)
    row = {"messages": CALLING}
    found = trained(tokenizer, row)
    assert '{"city": "Bern"}' in found
    assert "\\" not in found
    as_object = {**CALLED, "function": {"name": "find", "arguments": {"city": "Bern"}}}
    assert found == trained(tokenizer, {"messages": [USER, said("", tool_calls=[as_object]), *CALLING[2:]]})
    assert '\\"city\\"' in trained(tokenizer, row, tool_arguments="as_given")


def test_b1_a_template_that_concatenates_keeps_the_text(zoo_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = zoo_tokenizer("llama3_2")
    template = (ZOO / "templates" / "meetkai-functionary-medium-v3.2.jinja").read_text(encoding="utf-8")
    found = trained(tokenizer, {"messages": CALLING}, chat_template=template)
    assert '{"city": "Bern"}' in found
    assert "'city'" not in found


def test_b2_a_null_content_beside_calls(zoo_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = zoo_tokenizer("qwen3")
    row = {"messages": [USER, said(None, tool_calls=[CALLED]), *CALLING[2:]]}
    found = trained(tokenizer, row)
    assert '"arguments": {"city": "Bern"}' in found
    assert "None" not in found
    assert found == trained(tokenizer, row, null_content="empty")


def test_b3_the_command_trains_the_same_of_json_lines_and_parquet(small: Any, tmp_path: Path) -> None:
    other = {**CALLED, "function": {"name": "book", "arguments": '{"seat": 3}'}}
    rows = [{"messages": CALLING}, {"messages": [USER, said("", tool_calls=[other])]}]
    parsed = json.loads(json.dumps(rows).replace('"{\\"city\\": \\"Bern\\"}"', '{"city": "Bern"}'))
    parsed[1]["messages"][1]["tool_calls"][0]["function"]["arguments"] = {"seat": 3}
    of_lines = encoded(tmp_path, rows)
    (tmp_path / "parquet").mkdir()
    file = tmp_path / "parquet" / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(parsed), file)
    out = tmp_path / "parquet" / "out"
    assert chatspan("encode", str(file), "-t", str(EXAMPLES / "tokenizer"), "-o", str(out)).returncode == 0
    of_parquet = pq.read_table(next(out.rglob("*.parquet"))).to_pylist()
    for row, line, table in zip(rows, of_lines, of_parquet, strict=True):
        assert text_of(small, line["labels"]) == text_of(small, table["labels"]) == trained(small, row)
    assert '{"seat": 3}' in text_of(small, of_parquet[1]["labels"])


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize(("value", "weight"), [(0, 0), (1, 1), (False, 0), (True, 1), (0.5, 0.5)])
def test_b4_flags_of_every_library(small: Any, tmp_path: Path, flag: str, value: Any, weight: float) -> None:
    row = {"messages": [USER, said("Berlin.", **{flag: value}), USER, said("Bern.")]}
    expected = "Bern.<|im_end|>" if weight == 0 else "Berlin.<|im_end|>Bern.<|im_end|>"
    if weight == 0.5:
        with pytest.raises(cs.RowError, match=r"message 1 has the weight 0.5, but labels carry only 0 and 1"):
            trained(small, row)
    else:
        assert trained(small, row) == expected
        assert text_of(small, encoded(tmp_path, [row])[0]["labels"]) == expected
    assert trained(small, row, loss_weight=True) == expected
    batch = cs.ChatCollator(small, loss_weight=True)([row])
    columns = cs.ChatEncoder(small).as_map_fn(loss_weight=True)({"messages": [row["messages"]]})
    (tmp_path / "weighted").mkdir()
    of_file = encoded(tmp_path / "weighted", [row], "--loss-weight")[0]
    for ids, weights in (
        (batch["input_ids"][0].tolist(), batch["loss_weight"][0].tolist()),
        (columns["input_ids"][0].tolist(), columns["loss_weight"][0].tolist()),
        (of_file["input_ids"], of_file["loss_weight"]),
    ):
        texts = {each: small.decode([i for i, w in zip(ids, weights, strict=True) if w == each]) for each in (0.5, 1)}
        assert texts[1] == ("Berlin.<|im_end|>Bern.<|im_end|>" if weight == 1 else "Bern.<|im_end|>")
        assert texts[0.5] == ("Berlin.<|im_end|>" if weight == 0.5 else "")


@pytest.mark.parametrize(("value", "texts"), [(0, {1.0: "Bern."}), (0.5, {0.5: "Berlin.", 1.0: "Bern."})])
def test_b4_flags_weigh_the_loss_of_distillation(small: Any, value: float, texts: dict[float, str]) -> None:
    student = [{"role": "user", "content": "A?"}, said("Berlin.", weight=value), {"role": "user", "content": "B?"}]
    student.append(said("Bern."))
    row = {"messages": student, "teacher_messages": [{"role": "system", "content": "Mind it."}, *student]}
    marked = [{**turn, "tool_error": "e"} if turn["role"] == "assistant" else turn for turn in student]
    config = cs.CollatorConfig(hint_generator=lambda error, meta: "Mind it.")
    for batch in (
        cs.SelfDistillationCollator(small)([row]),
        cs.ComposerDataCollator(small, config)([{"turns": marked}]),
    ):
        ids, weights = batch["input_ids"][0], batch["sdpo_loss_weight"][0]
        found = {float(each): small.decode(ids[weights == each]) for each in torch.unique(weights) if each > 0}
        assert found == texts


def test_b4_flags_that_disagree_and_flags_of_others(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        cs.RowError, match=r"row 0 of the batch: message 1 has flags that disagree, weight: 0 and train"
    ):
        trained(small, {"messages": [USER, said("Bern.", weight=0, train=True)]})
    with pytest.raises(
        cs.RowError, match=r"message 1 has 'weight': 'yes'; expected true, false, or a number from 0 on"
    ):
        trained(small, {"messages": [USER, said("Bern.", weight="yes")]})
    with pytest.raises(cs.RowError, match=r"message 1 has 'weight': 1e\+300; expected"):
        trained(small, {"messages": [USER, said("Bern.", weight=1e300)]}, loss_weight=True)
    assert trained(small, {"messages": [{**USER, "train": True}, said("Bern.")]}) == "Bern.<|im_end|>"
    assert "a user message is flagged to be trained, which takes effect only if its role is selected" in caplog.text


def test_train_on_messages_and_roles(small: Any) -> None:
    messages = [USER, said("Berlin."), {**USER, "content": "Now?"}, said("Bern.")]
    row = {"messages": messages}
    assert trained(small, row, train_on="all") == "Berlin.<|im_end|>Bern.<|im_end|>"
    assert trained(small, row, train_on="last") == "Bern.<|im_end|>"
    both = ["user", "assistant"]
    assert trained(small, row, train_on=both) == "Where?<|im_end|>Berlin.<|im_end|>Now?<|im_end|>Bern.<|im_end|>"
    assert trained(small, row, train_on=["user"], loss_on="content") == "Where?Now?"
    assert trained(small, row, train_on="last", loss_on={("assistant", cs.Kind.CONTENT): 1.0}) == "Bern."
    assert (
        trained(small, {"messages": [*messages[:3], said("Bern.", train=False)]}, train_on="all") == "Berlin.<|im_end|>"
    )


@pytest.mark.parametrize("call", ["function_call", "tool_call"])
@pytest.mark.parametrize("result", ["observation", "function_response", "tool"])
def test_b5_calls_and_results_of_sharegpt(small: Any, call: str, result: str) -> None:
    turns = [("human", "Where?"), (call, '{"name": "find", "arguments": {"city": "Bern"}}'), (result, "found")]
    row = {"conversations": [{"from": name, "value": text} for name, text in [*turns, ("gpt", "There.")]]}
    messages = cs.read_row(row).messages
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    found = trained(small, row)
    assert '"arguments": {"city": "Bern"}' in found
    assert "found" not in found


def test_b6_system_texts_outside_of_the_messages(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    encoder = cs.ChatEncoder(small)
    for row in (
        {"system": "Be brief.", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]},
        {"system": [{"type": "text", "text": "Be brief."}], "messages": [USER, said([{"type": "text", "text": "Yo"}])]},
    ):
        chat = cs.read_row(row, encoder=encoder)
        assert encoder.encode(chat.messages).text.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    trained(small, {"system_prompt": "Be brief.", "messages": [USER, said("Yo")]})
    assert "the column 'system_prompt' is not read: it looks like 'system'" in caplog.text


def test_b7_arrays_of_pandas_at_any_depth(small: Any, tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object", "required": ["city"]}}}]
    row = {"messages": CALLING, "tools": tools}
    pd.DataFrame([row]).to_parquet(tmp_path / "rows.parquet")
    read = pd.read_parquet(tmp_path / "rows.parquet").iloc[0]
    assert type(read["tools"][0]["function"]["parameters"]["required"]).__name__ == "ndarray"
    assert trained(small, read.to_dict()) == trained(small, read) == trained(small, row)


def test_b8_empty_legacy_and_unknown_spellings(small: Any) -> None:
    assert trained(small, {"messages": [USER, said("Bern.", tool_calls=[])]}) == "Bern.<|im_end|>"
    legacy = said(None, function_call={"name": "find", "arguments": '{"city": "Bern"}'})
    assert '"arguments": {"city": "Bern"}' in trained(small, {"messages": [USER, legacy]})
    detailed = {"messages": [USER, said("Bern.", reasoning_details=[{"text": "I know."}])]}
    assert any("reasoning_details" in words for words in audited(small, detailed))


def test_b9_text_parts_for_a_template_that_takes_texts(zoo_tokenizer: Callable[[str], Any]) -> None:
    parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "you"}]
    tokenizer = zoo_tokenizer("llama3_2")
    row = {"messages": [USER, said(parts)]}
    assert trained(tokenizer, row) == "Hello\nyou<|eot_id|>"
    assert "[{'type': 'text'" in trained(tokenizer, row, text_parts="as_given")
    assert trained(zoo_tokenizer("qwen2_5"), row) == "Hello\nyou<|im_end|>"
    thinking = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hello"}]
    assert trained(tokenizer, {"messages": [USER, said(thinking)]}) == "Hello<|eot_id|>"


def test_b10_roles_that_only_this_template_knows(small: Any) -> None:
    turns = [{"role": "root", "content": "R."}, USER, {"role": "environment", "content": "E."}]
    trace = {"turns": [*turns, said("There.", tool_error="e")]}
    config = cs.CollatorConfig(hint_generator=lambda error, meta: "Mind it.")
    batch = cs.ComposerDataCollator(small, config)([trace])
    assert "<|im_start|>environment\nE.<|im_end|>" in small.decode(batch["input_ids"][0])
    picky = "{% for m in messages if m.role in ('user', 'assistant') %}{{ m.content }}{% endfor %}"
    with pytest.raises(cs.RowError, match=r"unknown role 'root' of message 0, which the chat template does not write"):
        trained(small, {"messages": [*turns, said("There.")]}, chat_template=picky)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"messages": [USER, said("A cat.")], "images": ["cat.png"]}, "it has 1 image"),
        (
            {"messages": [{**USER, "content": [{"type": "image"}]}, said("A cat.")]},
            "part 0 of message 0's content is an",
        ),
        ({"messages": [{**USER, "content": "<image>What?"}, said("A cat.")], "images": [b"x"]}, "is an image"),
    ],
)
def test_b11_images_need_the_processor(small: Any, row: Any, told: str) -> None:
    with pytest.raises(cs.RowError, match=rf"^row 0 of the batch: .*{told}.*pass the model's processor"):
        trained(small, row)
    assert trained(small, {"messages": [USER, said("None.")], "images": [], "image": float("nan")}) == "None.<|im_end|>"


def test_b12_selections_that_match_nothing_are_told(small: Any) -> None:
    encoding = cs.ChatEncoder(small).encode([USER, said("Bern.")])
    for select in (
        lambda: encoding.mask(messages=[99]),
        lambda: encoding.mask(("asistant",)),
        lambda: encoding.weights({"asistant": 1}),
        lambda: cs.ChatCollator(small, train_on=["asistant"]),
    ):
        with pytest.raises(cs.ChatspanError, match=r"99|assistant"):
            select()
    chat = cs.read_row({"messages": [USER, said("Bern."), {"role": "asistant", "content": "Oh."}]})
    assert [note.message for note in chat.notes] == ["the role 'asistant' is unusual: did you mean 'assistant'?"]


def test_b13_a_row_without_a_teacher_says_so(small: Any) -> None:
    collate = cs.SelfDistillationCollator(small)
    messages = [USER, said("Bern.")]
    with pytest.raises(cs.TraceError, match=r"row 0.*it has no 'teacher_messages'; did you mean 'teacher_mesages'"):
        collate([{"messages": messages, "teacher_mesages": messages}])
    with pytest.raises(cs.TraceError, match=r"it has no 'teacher_messages'; its columns: 'messages'"):
        collate([{"messages": messages}])
    assert "sdpo_loss_mask" not in collate([{"messages": messages, "teacher_messages": None}])


def test_b14_neighbours_whose_keywords_are_equal_in_python_alone(tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ level | tojson }} {{ tools | tojson if tools }} " + CHATML, encoding="utf-8")
    levels: list[Any] = [1, 1.0, True, 1, {"a": 1, "b": 2}, {"b": 2, "a": 1}]
    rows = [{"messages": [USER, said("Yes.")], "chat_template_kwargs": {"level": level}} for level in levels]
    found = encoded(tmp_path, rows, "--template", str(template))
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
    texts = [tokenizer.decode(row["input_ids"]) for row in found]
    assert [text.partition(" None")[0].partition("  <")[0] for text in texts] == [json.dumps(level) for level in levels]


def test_b15_instructions_texts_and_preferences(small: Any) -> None:
    assert trained(small, {"instruction": "Translate.", "input": "Hallo", "output": "Hello"}) == "Hello<|im_end|>"
    assert trained(small, {"prompt": "2 + 2?", "completion": "4"}) == "4<|im_end|>"
    with pytest.raises(cs.RowError, match=r"are a preference pair.*'dpo_pairs'"):
        trained(small, {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"})


def test_prompts_and_completions_in_other_dialects(small: Any) -> None:
    blocks = [{"type": "text", "text": "I look."}, {"type": "tool_use", "id": "1", "name": "find", "input": {"n": 1}}]
    found = trained(small, {"prompt": [USER], "completion": [said(blocks)]})
    assert found.startswith("I look.")
    assert '"arguments": {"n": 1}' in found
    row = {"prompt": [{"from": "human", "value": "Where?"}], "completion": [{"from": "gpt", "value": "Bern."}]}
    assert trained(small, row) == "Bern.<|im_end|>"
