"""Batches for TRL's GKD and GOLD: real training, what is trained, and what TRL's own collator trains beside it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
import torch
from batches import stretches
from cases import TEMPLATES, TRICKY_CONTENTS, assistant, system, user
from chatspan import ChatEncoder, EmptyRowError, Kind, LayoutError, OptionError, RowError
from chatspan.trl import GKDCollator, response_rows
from conversations import call, calls, schema, tool
from hypothesis import given
from hypothesis import strategies as st
from tables_of_trl import COMPARED, TURNS, as_cell
from training import QUIET, ROWS, UNPREPARED, losses_of, model_of
from zoo import EXAMPLES, REPO

datasets = pytest.importorskip("datasets", reason="datasets is not installed")
gkd = pytest.importorskip("trl.experimental.gkd", reason="TRL is not installed")
gold = pytest.importorskip("trl.experimental.gold", reason="TRL is not installed")
utils = pytest.importorskip("trl.experimental.utils", reason="TRL is not installed")

TRAINERS = {"GKD": (gkd.GKDTrainer, gkd.GKDConfig), "GOLD": (gold.GOLDTrainer, gold.GOLDConfig)}
DOCS = REPO / "docs" / "trl.md"


def trainer_of(kind: str, tokenizer: Any, folder: Any, collate: Any, rows: Any = ROWS, **options: Any) -> Any:
    make, configure = TRAINERS[kind]
    torch.manual_seed(0)
    teacher = model_of(tokenizer, initializer_range=0.3)
    arguments = {**QUIET, "output_dir": str(folder), "lmbda": 0.0, **UNPREPARED, **options}
    return make(
        model=model_of(tokenizer),
        teacher_model=teacher,
        args=configure(**arguments),
        processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list(rows),
        data_collator=collate,
    )


def trained(tokenizer: Any, batch: Any) -> list[str]:
    return [
        text
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True)
        for text in stretches(tokenizer, ids, (labels != -100).int())
    ]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", TRAINERS)
def test_the_trainers_train_what_the_mask_says_and_the_loss_falls(small: Any, tmp_path: Any, kind: str) -> None:
    encoder = ChatEncoder(small)
    encodings = [encoder.encode(row["messages"]) for row in ROWS]
    expected = sorted(small.decode(encoding.input_ids[encoding.mask()]) for encoding in encodings)
    trainer = trainer_of(kind, small, tmp_path, GKDCollator(small), max_steps=30)
    found = [text for batch in trainer.get_train_dataloader() for text in trained(small, batch)]
    assert sorted(set(found)) == expected
    losses = losses_of(trainer)
    assert len(losses) == 30
    assert all(0 < loss < 20 for loss in losses)
    assert losses[-1] < losses[0] / 2


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", TRAINERS)
def test_the_student_samples_from_the_prompts(small: Any, tmp_path: Any, kind: str) -> None:
    """With ``lmbda=1`` both sample the response: from exactly what the model is asked with."""
    limit = {"GKD": "max_new_tokens", "GOLD": "max_completion_length"}[kind]
    trainer = trainer_of(kind, small, tmp_path, GKDCollator(small), lmbda=1.0, max_steps=2, **{limit: 6})
    assert all(0 < loss < 20 for loss in losses_of(trainer))
    batch = GKDCollator(small)(ROWS[:2])
    for row, ids, mask in zip(ROWS[:2], batch["prompts"], batch["prompt_attention_mask"], strict=True):
        asked = small.apply_chat_template(row["messages"][:-1], add_generation_prompt=True)["input_ids"]
        assert ids[mask == 1].tolist() == asked
        assert mask[-1] == 1


def test_a_prompt_that_no_model_is_asked_with(small_copy: Any) -> None:
    """As of templates that open a generation prompt with <think>: the student would sample from another one."""
    small_copy.chat_template = small_copy.chat_template.replace(
        "'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>\\n'"
    )
    message = (
        r"row 0 of the batch: asked for this message, the chat template writes another prompt: from its character \d+ "
        r"on '<think>\\n', where the conversation has the response; use check_prompt=False to take it"
    )
    with pytest.raises(LayoutError, match=message) as caught:
        GKDCollator(small_copy)([ROWS[0]])
    assert (caught.value.row_index, caught.value.message_index) == (0, 1)
    batch = GKDCollator(small_copy, check_prompt=False)([ROWS[0]])
    assert small_copy.decode(batch["prompts"][0]).endswith("<|im_start|>assistant\n")
    asking = GKDCollator(small_copy, chat_template=TEMPLATES["alternating"])([ROWS[0]])
    assert trained(small_copy, asking) == ["In Bern.<|im_end|>"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_gold_aligns_two_tokenizers_by_the_bytes_of_the_response(small: Any, tmp_path: Any) -> None:
    options = {"use_uld_loss": True, "teacher_tokenizer_name_or_path": str(EXAMPLES / "tokenizer")}
    losses = losses_of(trainer_of("GOLD", small, tmp_path, GKDCollator(small), **options))
    assert all(0 < loss < 20 for loss in losses)
    assert losses[-1] < losses[0]
    # What would be misplaced: it takes as many tokens as are trained from the first one on.
    turns = [{"messages": TURNS}] * 4
    trainer = trainer_of("GOLD", small, tmp_path, GKDCollator(small, responses="all"), turns, **options)
    with pytest.raises(ValueError, match="missing 'original_prompt_text' or 'original_completion_text'"):
        trainer.train()


def test_what_a_batch_holds(small: Any) -> None:
    rows = [
        {"messages": [user("Hi"), assistant("Hello, 🚆 and é!")]},
        {"messages": [user("Bye, and " * 9), assistant("See.")]},
    ]
    batch = GKDCollator(small)(rows)
    assert {key: value.dtype for key, value in batch.items() if isinstance(value, torch.Tensor)} == dict.fromkeys(
        ("input_ids", "attention_mask", "labels", "prompts", "prompt_attention_mask", "byte_offsets"), torch.int64
    )
    count, width = batch["input_ids"].shape
    assert batch["attention_mask"].shape == batch["labels"].shape == (count, width)
    assert batch["byte_offsets"].shape == (count, width, 2)
    # Padded on the left, and ending with the response: nothing behind its end of turn.
    assert batch["attention_mask"][:, -1].tolist() == [1, 1]
    assert batch["attention_mask"][0, 0] == 0
    assert batch["original_completion_text"] == ["Hello, 🚆 and é!<|im_end|>", "See.<|im_end|>"]
    assert batch["original_prompt_text"][0] == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    for row in range(count):
        in_loss = batch["labels"][row] != -100
        prompt = batch["prompts"][row][batch["prompt_attention_mask"][row] == 1]
        seen = batch["attention_mask"][row] == 1
        assert torch.equal(batch["input_ids"][row][seen], torch.cat([prompt, batch["labels"][row][in_loss]]))
        text = batch["original_completion_text"][row].encode()
        offsets = batch["byte_offsets"][row][in_loss]
        assert [start for start, _ in offsets[1:].tolist()] == [end for _, end in offsets[:-1].tolist()]
        assert (offsets[0, 0], offsets[-1, 1]) == (0, len(text))
        pieces = [text[start:end] for start, end in offsets.tolist()]
        assert b"".join(pieces).decode() == batch["original_completion_text"][row]
        alone = [small.decode([token]).encode() for token in batch["labels"][row][in_loss].tolist()]
        assert all(piece == one or "�".encode() in one for piece, one in zip(pieces, alone, strict=True))
        assert not batch["byte_offsets"][row][~in_loss].any()


@pytest.mark.parametrize("name", TRICKY_CONTENTS)
def test_ids_prompts_and_bytes_are_trls_own_up_to_the_end_of_turn(small: Any, name: str) -> None:
    """Beside ``DataCollatorForChatML`` where its contract holds: a single answer."""
    row = {"messages": [user("Go on."), assistant(TRICKY_CONTENTS[name])]}
    ours = GKDCollator(small)([row])
    theirs = utils.DataCollatorForChatML(small, max_length=10_000)([row])
    count = ours["input_ids"].shape[1]
    # Theirs also trains the newline behind the end of turn.
    assert theirs["input_ids"].shape[1] == count + 1
    for key in ("input_ids", "attention_mask", "labels", "byte_offsets"):
        assert torch.equal(ours[key], theirs[key][:, :count]), key
    for key in ("prompts", "prompt_attention_mask"):
        assert torch.equal(ours[key], theirs[key]), key


def test_a_conversation_of_several_turns(small: Any) -> None:
    row = {"messages": TURNS, "trace_id": "t1"}
    with pytest.raises(LayoutError) as caught:
        GKDCollator(small)([ROWS[0], row])
    assert str(caught.value) == (
        "row 1 of the batch: the loss is on 2 messages (1, 3), but GKD and GOLD take one prompt and one "
        'response per row: split them with chatspan.trl.response_rows(rows), name one in the row\'s "loss_messages", '
        'or use responses="all" if nothing is sampled'
    )
    assert (caught.value.row_index, caught.value.message_index) == (1, 3)
    assert trained(small, GKDCollator(small)(response_rows([row]))) == ["Hello!<|im_end|>", "See you.<|im_end|>"]
    assert trained(small, GKDCollator(small)([{**row, "loss_messages": [1]}])) == ["Hello!<|im_end|>"]
    batch = GKDCollator(small, responses="all")([row])
    assert trained(small, batch) == ["Hello!<|im_end|>", "See you.<|im_end|>"]
    assert "byte_offsets" not in batch
    assert small.decode(batch["prompts"][0]).endswith("Bye<|im_end|>\n<|im_start|>assistant\n")
    # Which is where theirs trains only the last.
    theirs = utils.DataCollatorForChatML(small, max_length=10_000)([row])
    assert trained(small, theirs) == ["See you.<|im_end|>\n"]


def test_what_follows_a_response_is_left_out(small_copy: Any) -> None:
    """So that a template that drops earlier reasoning writes it, as the model did."""
    small_copy.chat_template = TEMPLATES["drops reasoning"]
    turns = [user("2 + 2?"), assistant("<think>\nadd\n</think>\n\n4."), user("3 + 3?"), assistant("6.")]
    assert trained(small_copy, GKDCollator(small_copy)(response_rows([{"messages": turns}]))) == [
        "<think>\nadd\n</think>\n\n4.<|im_end|>",
        "6.<|im_end|>",
    ]
    assert trained(small_copy, GKDCollator(small_copy, responses="all")([{"messages": turns}])) == [
        "\n\n4.<|im_end|>",
        "6.<|im_end|>",
    ]


def test_rows_in_every_form(small: Any) -> None:
    calling = [
        user("Move it."),
        calls(call("rebook", {"train": "2"}), content="I will."),
        tool("ok"),
        assistant("Done."),
    ]
    rows = response_rows(
        [
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]},
            {"prompt": [user("Hi"), assistant("Yes?"), user("Bye")], "completion": [assistant("See you.")]},
            {"messages": calling, "tools": [schema()]},
            {"messages": TURNS, "loss_messages": [3]},
        ]
    )
    assert trained(small, GKDCollator(small)(rows)) == [
        "Hello!<|im_end|>",
        "See you.<|im_end|>",
        'I will.\n<tool_call>\n{"name": "rebook", "arguments": {"train": "2"}}\n</tool_call><|im_end|>',
        "Done.<|im_end|>",
        "See you.<|im_end|>",
    ]
    assert [len(row["messages"]) for row in rows] == [2, 4, 2, 4, 4]
    assert rows[2]["tools"] == [schema()]
    batch = GKDCollator(small, column="chat")([{"chat": [user("Hi"), assistant("Hello!")]}])
    assert trained(small, batch) == ["Hello!<|im_end|>"]
    assert trained(small, GKDCollator(small, loss_on="content")([ROWS[0]])) == ["In Bern."]


def test_what_is_refused(small: Any) -> None:
    thinking = [user("2 + 2?"), assistant("<think>\nadd\n</think>\n\nIt is 4.")]
    kinds = {Kind.CONTENT, Kind.END_OF_TURN}
    calling = [user("Go."), calls(call("rebook", {}), content="I will.")]
    batch = GKDCollator(small, loss_on=kinds, responses="all")([{"messages": calling}])
    assert trained(small, batch) == ["I will.", "<|im_end|>"]
    with pytest.raises(
        LayoutError, match=r"row 0 of the batch: the loss is on 2 parts of the response with \d+ tokens"
    ):
        GKDCollator(small, loss_on=kinds)([{"messages": calling}])
    with pytest.raises(OptionError, match="GKD and GOLD have no weights"):
        GKDCollator(small, loss_on={"assistant": 0.5})
    with pytest.raises(OptionError, match="responses='both': use one of 'one', 'all'"):
        GKDCollator(small, responses="both")
    with pytest.raises(LayoutError, match="row 0 of the batch: the response alone is longer than max_length=5"):
        GKDCollator(small, max_length=5, truncation="left")([{"messages": thinking}])
    with pytest.raises(EmptyRowError, match="row 0 of the batch: it has no assistant message"):
        GKDCollator(small)([{"messages": [user("Hi")]}])
    with pytest.raises(RowError, match="row 1: it has no assistant message, so there is no response"):
        response_rows([ROWS[0], {"messages": [user("Hi")]}])
    with pytest.raises(RowError, match="row 0: it has no assistant message among those in the loss"):
        response_rows([{**ROWS[0], "loss_messages": [0]}])
    for rows in (None, ROWS[0], "rows"):
        with pytest.raises(RowError, match=f"expected rows, got {type(rows).__name__}: pass a list"):
            response_rows(rows)
    with pytest.raises(RowError, match="row 0 of the batch: it has no conversation"):
        GKDCollator(small)([{"text": "Hi"}])
    dropping = GKDCollator(small, empty_rows="drop")
    assert trained(small, dropping([{"messages": [user("Hi")]}, ROWS[0]])) == ["In Bern.<|im_end|>"]
    assert dropping.dropped_rows == 1
    assert not dropping.has_signal({"messages": [user("Hi")]})


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(lambda text: bool(text.strip()))


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3), st.booleans())
def test_random_conversations_are_as_encoded_one_by_one(turns: list[tuple[str, str]], with_system: bool) -> None:
    """The slow twin: the conversation up to each response, encoded, and cut behind its turn."""
    tokenizer = _tokenizer()
    messages = [system("Be kind.")] * with_system
    for question, answer in turns:
        messages += [user(question), assistant(answer)]
    encoder = ChatEncoder(tokenizer)
    batch = GKDCollator(tokenizer)(response_rows([{"messages": messages}]))
    for row, index in enumerate(i for i, m in enumerate(messages) if m["role"] == "assistant"):
        encoding = encoder.encode(messages[: index + 1])
        mask = encoding.mask(messages=[index])
        prompt = encoding.input_ids[: int(mask.argmax())].tolist()
        seen = batch["attention_mask"][row] == 1
        assert batch["input_ids"][row][seen].tolist() == prompt + encoding.input_ids[mask].tolist()
        assert batch["prompts"][row][batch["prompt_attention_mask"][row] == 1].tolist() == prompt
        assert batch["labels"][row][batch["labels"][row] != -100].tolist() == encoding.input_ids[mask].tolist()


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")


def table(tokenizer: Any) -> list[str]:
    theirs = utils.DataCollatorForChatML(tokenizer, max_length=10_000)
    lines = []
    for name, row in COMPARED.items():
        messages = row.get("messages") or [*row["prompt"], *row["completion"]]
        ours = as_cell(trained(tokenizer, GKDCollator(tokenizer)(response_rows([row]))))
        own = as_cell(trained(tokenizer, theirs([{"messages": messages}])))
        lines.append(f"| {name} | {ours} | {own} |")
    return lines


def test_the_table_of_what_trls_collator_trains_is_in_the_docs(small: Any, say: Any) -> None:
    installed = version("trl")
    if not installed.startswith("1.16."):
        pytest.skip(f"the docs tell of TRL 1.16, and {installed} is installed")
    lines, docs = table(small), DOCS.read_text(encoding="utf-8")
    say(f"TRL's DataCollatorForChatML beside GKDCollator: {len(lines)} of {len(lines)} rows differ (docs/trl.md)")
    assert [line for line in lines if line not in docs] == []


def test_rows_of_a_dialect_that_is_named(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    rows = {
        "alpaca": {"instruction": "Do", "input": "it", "output": "Done."},
        "sharegpt": {"conversations": [{"from": "human", "value": "Do\nit"}, {"from": "gpt", "value": "Done."}]},
        "messages": {"messages": [user("Do\nit"), assistant("Done."), user("Go."), assistant("", tool_calls=[call])]},
    }
    for name, row in rows.items():
        batch = GKDCollator(small, format=name)([{**row, "loss_messages": [1]}])  # type: ignore[arg-type]
        assert small.decode(batch["labels"][batch["labels"] != -100]) == "Done.<|im_end|>"
        assert small.decode(batch["prompts"][0]) == "<|im_start|>user\nDo\nit<|im_end|>\n<|im_start|>assistant\n"
    assert "arguments are JSON text and are read as an object" in caplog.text
