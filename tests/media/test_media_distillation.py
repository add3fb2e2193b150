"""Distillation with media: both sides' tensors, which are shared where they are equal; layouts by real models."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip(
    "torchvision", reason="transformers' image processors need torchvision: pip install chatspan[media]"
)
pytest.importorskip("PIL", reason="images need pillow: pip install chatspan[media]")

import numpy as np
import torch
import transformers
from chats import said
from chatspan import (
    ChatCollator,
    ChatEncoder,
    CollatorConfig,
    ComposerDataCollator,
    DistillationConfig,
    LayoutError,
    OptionError,
    SelfDistillationCollator,
    TruncationError,
    align,
    check_layout,
    shard_batch,
)
from chatspan.loss import model_inputs, sdpo_loss
from chatspan.nemo_rl import sdpo_batches
from processors import DOZEN, Spec, image, medium, processor_of
from tiny_models import tiny

ANSWER = said("assistant", "A cat.")
QUESTION = said("user", medium("image", 3), "What is it?")
HINTED = said("user", medium("image", 3), "What is it? It purrs.")
# The teacher may see more: here a second image.
MORE = said("user", medium("image", 3), "What is it? Compare:", medium("image", 0))
ROWS = [
    {"messages": [QUESTION, ANSWER], "teacher_messages": [MORE, ANSWER]},
    {"messages": [QUESTION, ANSWER], "teacher_messages": [HINTED, ANSWER]},
    {"messages": [QUESTION, ANSWER], "teacher_messages": None},
]
# A student without media, whose positions are those of text.
BLIND = [
    {
        "messages": [said("user", "Hi"), ANSWER],
        "teacher_messages": [said("user", "Hi. Look: ", medium("image", 3)), ANSWER],
    }
]
FAMILIES = {
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "qwen3_vl": "Qwen3VLProcessor",
    "gemma3": "Gemma3Processor",
    "llava": "LlavaProcessor",
}


@pytest.fixture(scope="module")
def qwen() -> Any:
    return processor_of("Qwen2_5_VLProcessor")


def text_of(processor: Any, ids: Any) -> str:
    """The ids in words, each image token as one letter."""
    found: str = processor.tokenizer.decode(ids)
    return found.replace("<|image_pad|>", "I")


def in_double(inputs: Any) -> dict[str, Any]:
    return {
        name: value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for name, value in inputs.items()
    }


def logits_of(model: Any, inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**in_double(inputs)).logits
    return found


def own_call(processor: Any, messages: Any) -> Any:
    return processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")


def seen_by(row: Any, side: str) -> Any:
    teacher = row["teacher_messages"]
    return row["messages"] if side == "student" or teacher is None else teacher


def test_equal_tensors_stand_in_the_batch_once(qwen: Any) -> None:
    batch = SelfDistillationCollator(qwen)(ROWS[1:])
    own = own_call(qwen, [QUESTION])
    assert torch.equal(batch["pixel_values"], own["pixel_values"].repeat(2, 1))
    assert "ctx_teacher_pixel_values" not in batch
    model = tiny("qwen2_5_vl", qwen)
    assert model_inputs(batch, model, "teacher")["pixel_values"] is batch["pixel_values"]
    for prefix in ("", "ctx_teacher_"):
        images = batch[f"{prefix}input_ids"] == qwen.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        # Transformers before 5 returns none.
        if "mm_token_type_ids" in own:
            assert torch.equal(batch[f"{prefix}mm_token_type_ids"].bool(), images)
    assert qwen.tokenizer.decode(batch["input_ids"][0, batch["student_response_idx"][0]]) == "A cat."


def test_a_teacher_with_more_has_tensors_of_its_own(qwen: Any) -> None:
    batch = SelfDistillationCollator(qwen)(ROWS)
    assert batch["image_grid_thw"].tolist() == [[1, 4, 4]] * 3
    # Those of each row, in the order of the rows; of one without a teacher the student's.
    assert batch["ctx_teacher_image_grid_thw"].tolist() == [[1, 4, 4], [1, 8, 10], [1, 4, 4], [1, 4, 4]]


def test_images_are_compared_by_content_and_made_into_tensors_once(qwen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    kind = type(qwen.image_processor)
    own = kind.__call__

    def counted(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        made.append(images)
        return own(self, images, *args, **kwargs)

    monkeypatch.setattr(kind, "__call__", counted)
    picture = image(64, 64)
    rows = [
        {
            "messages": [said("user", {"type": "image", "image": picture}, "What is it?"), ANSWER],
            "teacher_messages": [said("user", {"type": "image", "image": picture.copy()}, "What? It purrs."), ANSWER],
        }
    ]
    SelfDistillationCollator(qwen)(rows)
    assert len(made) == 1
    # Nothing stays from one batch to the next.
    SelfDistillationCollator(qwen)(rows)
    assert len(made) == 2


def test_an_image_that_was_replaced_is_another_one(qwen: Any) -> None:
    other = said("user", {"type": "image", "image": image(64, 64).rotate(90)}, "What is it? It purrs.")
    batch = SelfDistillationCollator(qwen)([{"messages": [QUESTION, ANSWER], "teacher_messages": [other, ANSWER]}])
    assert not torch.equal(batch["ctx_teacher_pixel_values"], batch["pixel_values"])
    assert "ctx_teacher_image_grid_thw" not in batch


def test_a_teacher_without_the_students_images_is_refused(qwen: Any) -> None:
    blind = {"messages": [QUESTION, ANSWER], "teacher_messages": [said("user", "What is it? It purrs."), ANSWER]}
    with pytest.raises(LayoutError, match="the student's rows have image_grid_thw, pixel_values, and none of the teac"):
        SelfDistillationCollator(qwen)([blind])


@pytest.mark.parametrize(("layout", "side"), [("aligned", "right"), ("aligned", "left"), ("indexed", "right")])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_plain_rows(family: str, layout: Any, side: Any) -> None:
    processor = processor_of(FAMILIES[family])
    model = tiny(family, processor).double().eval()
    for rows in (ROWS, BLIND):
        batch = SelfDistillationCollator(processor, DistillationConfig(layout=layout, padding_side=side))(rows)
        check_layout(model.config, layout, batch=batch)
        for whose, prefix in (("student", ""), ("teacher", "ctx_teacher_")):
            logits = logits_of(model, model_inputs(batch, model, whose))  # type: ignore[arg-type]
            for at, row in enumerate(rows):
                wanted = logits_of(model, own_call(processor, seen_by(row, whose)))[0]
                found = logits[at][batch[f"{prefix}attention_mask"][at].bool()]
                assert (found - wanted).abs().max() < 1e-12


def test_positions_of_text_are_silently_wrong_for_mrope(qwen: Any) -> None:
    """What the layouts leave ``position_ids`` out for, and ``check_layout`` refuses."""
    model = tiny("qwen2_5_vl", qwen).double().eval()
    batch = SelfDistillationCollator(qwen)(ROWS[1:2])
    assert "position_ids" not in batch
    wrong = {**batch, "position_ids": batch["attention_mask"].cumsum(1) - 1}
    difference = logits_of(model, model_inputs(wrong, model)) - logits_of(model, model_inputs(batch, model))
    assert difference.abs().max() > 1e-6
    with pytest.raises(LayoutError, match=r"qwen2_5_vl takes position_ids \[B, T\] for those of text"):
        check_layout(model.config, "aligned", batch=wrong)
    with pytest.raises(LayoutError, match="qwen2_5_vl derives the positions of media from rows"):
        check_layout(model.config, "indexed", packing=True)


@pytest.mark.parametrize("family", ["gemma3", "llava"])
def test_packed_rows_have_the_logits_of_plain_ones(family: str) -> None:
    processor = processor_of(FAMILIES[family])
    model = tiny(family, processor).double().eval()
    rows = [{"messages": [QUESTION, ANSWER]}, {"messages": [MORE, ANSWER]}, {"messages": [said("user", "Hi"), ANSWER]}]
    batch = ChatCollator(processor, packing=True, pad_sequences_to_multiple_of=8)(rows)
    logits = logits_of(model, {name: value for name, value in batch.items() if name != "labels"})[0]
    for row, start in zip(rows, batch["cu_seq_lens_q"].tolist(), strict=False):
        wanted = logits_of(model, own_call(processor, row["messages"]))[0]
        assert (logits[start : start + len(wanted)] - wanted).abs().max() < 1e-12
    pair = SelfDistillationCollator(processor, DistillationConfig(layout="indexed", packing=True))(ROWS[:2])
    teacher = logits_of(model, {**model_inputs(pair, model, "teacher"), "use_cache": False})[0]
    for row, start in zip(ROWS, pair["ctx_teacher_cu_seq_lens_q"].tolist()[:2], strict=False):
        wanted = logits_of(model, own_call(processor, row["teacher_messages"]))[0]
        assert (teacher[start : start + len(wanted)] - wanted).abs().max() < 1e-12


PACKS = {
    "Qwen2VL": "its model derives the positions of media from rows",
    "Qwen3VL": "its model derives the positions of media from rows",
    "Qwen2_5Omni": "its model derives the positions of media from rows",
    "LlavaOnevision": "its pixel_values of a batch",
    "Idefics3": "its pixel_values of a batch",
    "Mllama": "its (cross_attention_mask|pixel_values) of a batch",
}


@pytest.mark.parametrize("spec", DOZEN, ids=str)
def test_which_families_can_be_packed(spec: Spec) -> None:
    processor = processor_of(spec.name)
    reason = PACKS.get(spec.name.removesuffix("Processor"))
    if reason is None:
        try:
            ChatCollator(processor, packing=True)
        except LayoutError as error:
            # Emu3 writes a BOS for each image in transformers 5.11 and before.
            if "two small chats do not show" not in str(error):
                raise
            pytest.skip(str(error))
        return
    if int(transformers.__version__.split(".")[0]) < 5:
        pytest.skip("tensors of transformers before 5 have other forms")
    with pytest.raises(LayoutError, match=f"packing=True with {spec.name}: {reason}"):
        ChatCollator(processor, packing=True)
    with pytest.raises(LayoutError, match=reason):
        SelfDistillationCollator(processor, DistillationConfig(layout="indexed", packing=True))


LONG = [
    said("user", medium("image", 0), "First?"),
    said("assistant", "One."),
    said("user", medium("image", 3), "Then?"),
    said("assistant", "Two."),
]


def test_whole_messages_are_left_out_with_their_images(qwen: Any) -> None:
    teacher = [*LONG[:2], said("user", medium("image", 3), "Then? It purrs."), LONG[3]]
    row = {"messages": LONG, "teacher_messages": teacher, "loss_messages": [3]}
    batch = SelfDistillationCollator(qwen, DistillationConfig(layout="indexed", max_length=40))([row])
    assert int(batch["dropped_messages"][0]) == 1
    own = own_call(qwen, LONG[1:])
    assert batch["input_ids"].tolist() == own["input_ids"].tolist()
    for name in set(own) - {"input_ids", "attention_mask"}:
        assert torch.equal(batch[name], own[name])
    assert batch["ctx_teacher_input_ids"].tolist() == own_call(qwen, teacher[1:])["input_ids"].tolist()
    assert "ctx_teacher_pixel_values" not in batch


def test_a_cut_that_what_stays_depends_on_is_an_error() -> None:
    """Of one image LLaVA-OneVision makes tiles, of several none."""
    processor = processor_of("LlavaOnevisionProcessor")
    encoder = ChatEncoder(processor)
    whole = len(encoder.encode(LONG))
    if len(encoder.encode(LONG[2:])) + len(encoder.encode(LONG[:2])) == whole:
        pytest.skip("transformers makes the same of an image whatever stands beside it")
    row = {"messages": LONG, "teacher_messages": LONG, "loss_messages": [3]}
    with pytest.raises(TruncationError, match="the processor makes other tokens from the rest than before"):
        SelfDistillationCollator(processor, DistillationConfig(max_length=whole - 1))([row])


def test_rows_that_are_left_out_take_their_images_with_them(qwen: Any) -> None:
    answer = said("assistant", "A cat, " * 20)
    long = {"messages": [MORE, answer], "teacher_messages": [MORE, answer]}
    collate = SelfDistillationCollator(qwen, DistillationConfig(max_length=45, overflow="drop_row"))
    batch = collate([long, ROWS[1]])
    assert int(batch["dropped_rows"][0]) == 1
    assert torch.equal(batch["pixel_values"], own_call(qwen, [QUESTION])["pixel_values"])


def test_media_are_paired_by_their_part(qwen: Any) -> None:
    """Not by ids: a teacher's image of a part that the student lacks has the same ids, and is nobody's."""
    encoder = ChatEncoder(qwen)
    shown = said("assistant", "Look: ", medium("image", 3), " and ", medium("image", 2), ".")
    other = said("user", "Which? ", medium("image", 3))
    student = encoder.encode([said("user", "Which?"), shown])
    teacher = encoder.encode([other, shown])
    found = align(student, teacher, {1: 1}, wanted=student.mask(include_media=True))
    assert not len(found.dropped)
    pairs = dict(zip(found.student_tokens.tolist(), found.teacher_tokens.tolist(), strict=True))
    for mine, their in zip(student.media, teacher.media[1:], strict=True):
        at = range(mine.start_token, mine.end_token)
        assert [pairs[token] for token in at] == list(range(their.start_token, their.end_token))
    # An image that the student alone has is dropped, and no other one takes its place.
    swapped = encoder.encode([other, said("assistant", "Look: ", medium("image", 3), " and .")])
    rest = align(student, swapped, {1: 1}, wanted=student.mask(include_media=True), max_dropped=1.0)
    second = student.media[1]
    assert set(range(second.start_token, second.end_token)) <= set(rest.dropped.tolist())


def test_holes_never_stand_within_an_image(qwen: Any) -> None:
    rows = [
        {"messages": [said("user", medium("image", 0), "a"), ANSWER], "teacher_messages": [MORE, ANSWER]},
        {
            "messages": [said("user", medium("image", 3)), ANSWER],
            "teacher_messages": [said("user", medium("image", 0)), ANSWER],
        },
    ]
    batch = SelfDistillationCollator(qwen)(rows)
    for prefix in ("", "ctx_teacher_"):
        for ids in batch[f"{prefix}input_ids"].numpy():
            is_image = (ids == qwen.tokenizer.convert_tokens_to_ids("<|image_pad|>")).astype(int)
            edges = np.flatnonzero(np.diff(is_image, prepend=0, append=0))
            runs = sorted((edges[1::2] - edges[::2]).tolist())
            assert set(runs) <= {4, 20}


def test_hints_behind_an_image(qwen: Any) -> None:
    """A hint in a message that ends with an image is a text of its own behind it."""
    config = CollatorConfig(
        hint_generator=lambda error, meta: "Mind the cat.", hint_placement="append_to_previous", layout="indexed"
    )
    trace = {
        "trace_id": "t",
        "turns": [
            {"role": "user", "content": [{"type": "text", "text": "Look:"}, medium("image", 3)]},
            {"role": "assistant", "content": "A dog.", "tool_error": "wrong"},
        ],
    }
    batch = ComposerDataCollator(qwen, config)([trace])
    assert text_of(qwen, batch["input_ids"][0]) == (
        "<|im_start|>user\nLook:IIII<|im_end|>\n<|im_start|>assistant\nA dog.<|im_end|>\n"
    )
    assert text_of(qwen, batch["ctx_teacher_input_ids"][0]) == (
        "<|im_start|>user\nLook:IIII\n\nMind the cat.<|im_end|>\n<|im_start|>assistant\nA dog.<|im_end|>\n"
    )
    alone = {**trace, "turns": [{"role": "user", "content": [medium("image", 3)]}, trace["turns"][1]]}
    batch = ComposerDataCollator(qwen, config)([alone])
    assert "userIIII\n\nMind the cat." in text_of(qwen, batch["ctx_teacher_input_ids"][0]).replace("user\n", "user")


def test_images_of_columns_on_both_sides(qwen: Any) -> None:
    cat, other = image(64, 64), image(150, 100)
    answer = {"role": "assistant", "content": "A cat."}
    row = {
        "messages": [{"role": "user", "content": "What is it?"}, answer],
        "teacher_messages": [{"role": "user", "content": "What is it? It purrs."}, answer],
        "images": [cat],
    }
    batch = SelfDistillationCollator(qwen)([row])
    assert "ctx_teacher_pixel_values" not in batch
    assert "IIIIWhat is it? It purrs." in text_of(qwen, batch["ctx_teacher_input_ids"][0])
    more = SelfDistillationCollator(qwen)([{**row, "teacher_images": [cat, other]}])
    assert more["ctx_teacher_image_grid_thw"].tolist() == [[1, 4, 4], [1, 8, 10]]


def test_trainers_of_ids_alone_refuse_it(qwen: Any) -> None:
    collate = SelfDistillationCollator(qwen, DistillationConfig(layout="indexed"))
    with pytest.raises(OptionError, match="SelfDistillationCollator has a processor, but rows here are ids alone"):
        sdpo_batches(collate, ROWS[1:2])
    with pytest.raises(OptionError, match="the batch has 'pixel_values', tensors of media"):
        shard_batch(collate(ROWS[1:2]), 0, 1)


def test_a_loss_of_two_sides(qwen: Any) -> None:
    """The loss of the batch is that of the logits of plain rows at the in-loss tokens, written out."""
    model = tiny("qwen2_5_vl", qwen).double().eval()
    batch = SelfDistillationCollator(qwen)(ROWS[:2])
    student, teacher = (logits_of(model, model_inputs(batch, model, side)) for side in ("student", "teacher"))  # type: ignore[arg-type]
    found = sdpo_loss(student, teacher, batch, beta=0.0)
    losses = []
    for row in ROWS[:2]:
        sides = [own_call(qwen, seen_by(row, side)) for side in ("student", "teacher")]
        logits = [logits_of(model, each)[0].log_softmax(-1) for each in sides]
        answer = qwen.tokenizer("A cat.", add_special_tokens=False)["input_ids"]
        at = [each["input_ids"].shape[1] - 2 - len(answer) for each in sides]
        mine, theirs = (log[start - 1 : start - 1 + len(answer)] for log, start in zip(logits, at, strict=True))
        losses.append((theirs.exp() * (theirs - mine)).sum(-1))
    assert found.item() == pytest.approx(torch.cat(losses).mean().item(), rel=1e-9)
