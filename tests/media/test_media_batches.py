"""``ChatCollator(processor)``: one call of the processor for a batch, its tensors, and what is trained in words."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip(
    "torchvision", reason="transformers' image processors need torchvision: pip install chatspan[media]"
)
pytest.importorskip("PIL", reason="images need pillow: pip install chatspan[media]")

import torch
from chats import chats, said
from chatspan import ChatCollator, ChatEncoder, ExpansionError, LayoutError, RowError, TokenizerError, TruncationError
from processors import DOZEN, Spec, image, medium, own_call, processor_of
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

ROWS = [
    {"messages": [said("user", medium("image", 3), "What is it?"), said("assistant", "A cat.")]},
    {
        "messages": [
            said("user", medium("image", 0), "And ", medium("image", 3), "these?"),
            said("assistant", "Two cats, I think."),
        ]
    },
]


@pytest.fixture(scope="module")
def qwen() -> Any:
    return processor_of("Qwen2_5_VL")


def trained(processor: Any, batch: Any) -> list[str]:
    return [processor.tokenizer.decode(row[row != -100]) for row in batch["labels"]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_batch_is_the_processors_own_with_labels(qwen: Any, side: Any) -> None:
    batch = ChatCollator(qwen, padding_side=side)(ROWS)
    qwen.tokenizer.padding_side = side
    own = own_call(qwen, [row["messages"] for row in ROWS], options={"padding": True})
    qwen.tokenizer.padding_side = "right"
    assert set(batch) == {*own, "labels"}
    for name, value in own.items():
        assert torch.equal(batch[name], value), name
    assert trained(qwen, batch) == ["A cat.<|im_end|>", "Two cats, I think.<|im_end|>"]


def encodes(processor: Any, messages: Any) -> bool:
    try:
        ChatEncoder(processor).encode(messages)
    except ExpansionError:
        return False
    return True


def takes_chats_without_media(processor: Any, messages: Any) -> bool:
    """Whether it takes them beside others, which some versions do not, or leave them out."""
    both = [messages, [said("user", "Hello")]]
    try:
        return len(own_call(processor, both, options={"padding": True})["input_ids"]) == 2
    except ValueError:
        return False


@pytest.mark.parametrize("spec", DOZEN, ids=str)
def test_batches_of_real_processors(spec: Spec) -> None:
    """What is tied to columns stands where the row's own stand; all else is the processor's for the batch."""
    processor = processor_of(spec.name)
    named = {name: messages for name, messages in chats(spec.media).items() if encodes(processor, messages)}
    if "one" not in named:
        pytest.skip("the processor takes none of the chats here")
    rows = [{"messages": messages} for name, messages in named.items() if name != "adjacent"]
    if not takes_chats_without_media(processor, named["one"]):
        with pytest.raises(LayoutError, match="the processor takes these rows one by one"):
            ChatCollator(processor)(rows)
        rows = [row for row in rows if row["messages"] is not named["none"]]
    for side in ("right", "left"):
        batch = ChatCollator(processor, padding_side=side)(rows)
        for at, row in enumerate(rows):
            encoding = ChatEncoder(processor).encode(row["messages"])
            seen = batch["attention_mask"][at].bool()
            assert batch["input_ids"][at][seen].tolist() == encoding.input_ids.tolist()
            for name, value in encoding.model_inputs.items():
                if name.endswith("token_type_ids"):
                    assert torch.equal(batch[name][at][seen], value[0]), name


def test_images_of_a_column_as_trl_has_them(qwen: Any) -> None:
    cat = image(64, 64)
    plain = {"messages": [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A cat."}]}
    parts = {"messages": [said("user", {"type": "image"}, "What is it?"), said("assistant", "A cat.")]}
    marks = {
        "messages": [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "A cat."}]
    }
    wanted = ChatCollator(qwen)(ROWS[:1])
    for row in (plain, parts, marks):
        batch = ChatCollator(qwen)([{**row, "images": [cat]}])
        assert {name: value.tolist() for name, value in batch.items()} == {
            name: value.tolist() for name, value in wanted.items()
        }
    with pytest.raises(RowError, match="row 0 of the batch: message 0 has an image without its data") as error:
        ChatCollator(qwen)([{**parts, "images": []}])
    assert error.value.message_index == 0
    with pytest.raises(RowError, match="it has 2 images, 1 more than parts of its messages"):
        ChatCollator(qwen)([{**parts, "images": [cat, cat]}])


def test_a_tokenizer_says_to_give_the_processor(qwen: Any) -> None:
    collate = ChatCollator(qwen.tokenizer, chat_template=qwen.chat_template)
    for row in (ROWS[0], {"messages": [{"role": "user", "content": "a"}], "images": [image(64, 64)]}):
        with pytest.raises(RowError, match=r"pass the model's processor \(AutoProcessor\) to"):
            collate([row])


def test_rows_that_are_left_out_take_their_images_with_them(qwen: Any) -> None:
    empty = {"messages": [said("user", medium("image", 0), "Nothing?"), said("assistant", "No.")], "loss_messages": []}
    batch = ChatCollator(qwen, empty_rows="drop")([empty, ROWS[0]])
    alone = ChatCollator(qwen)([ROWS[0]])
    assert torch.equal(batch["pixel_values"], alone["pixel_values"])
    assert trained(qwen, batch) == ["A cat.<|im_end|>"]


def test_sampled_ids_and_what_is_tied_to_tokens(qwen: Any) -> None:
    tokenizer = qwen.tokenizer
    letters = [i for letter in "A cat." for i in tokenizer(letter, add_special_tokens=False)["input_ids"]]
    sampled = [*letters, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    question, answer = ROWS[0]["messages"]
    batch = ChatCollator(qwen)([{"messages": [question, {**answer, "token_ids": sampled}]}, ROWS[1]])
    assert [label for label in batch["labels"][0].tolist() if label != -100] == sampled
    images = batch["input_ids"] == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    if "mm_token_type_ids" in batch:
        assert torch.equal(batch["mm_token_type_ids"].bool(), images)


def test_what_cannot_be(qwen: Any) -> None:
    with pytest.raises(
        LayoutError, match="packing=True with Qwen2_5_VLProcessor: its model derives the positions of media from rows"
    ):
        ChatCollator(qwen, packing=True)
    with pytest.raises(
        TruncationError, match="row 0 of the batch: max_length=5 cuts off part 0 of message 0, an image"
    ):
        ChatCollator(qwen, max_length=5, truncation="right")(ROWS)
    kept = qwen.tokenizer.pad_token
    qwen.tokenizer.pad_token = None
    with pytest.raises(TokenizerError, match="the processor's tokenizer has no pad token"):
        ChatCollator(qwen)
    qwen.tokenizer.pad_token = kept


def test_a_step_of_transformers_trainer(qwen: Any, tmp_path: Any) -> None:
    """A tiny Qwen2.5-VL: its own loss of the batch is that of the trained tokens alone."""
    try:
        from transformers import Trainer, TrainingArguments
    # Of what it imports, such as datasets, another version may be there than it takes.
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"transformers' Trainer cannot be imported: {error}")
    tokens = {name: qwen.tokenizer.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": len(qwen.tokenizer),
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
        },
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
        image_token_id=tokens["image"],
        video_token_id=tokens["video"],
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=2,
        remove_unused_columns=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        use_cpu=True,
        disable_tqdm=True,
    )
    collate = ChatCollator(qwen)
    trainer = Trainer(model=model, args=arguments, train_dataset=ROWS, data_collator=collate)
    batch = collate(ROWS)
    with torch.no_grad():
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    wanted = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(wanted.item(), abs=2e-4)
