"""``ChatEncoder(processor)``: options, keywords and sampled ids as with a tokenizer; what cannot be told is refused."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest
import transformers

pytest.importorskip(
    "torchvision", reason="transformers' image processors need torchvision: pip install chatspan[media]"
)
pytest.importorskip("PIL", reason="images need pillow: pip install chatspan[media]")

import torch
from chats import chats, said
from chatspan import (
    ChatEncoder,
    ControlTokenError,
    ExpansionError,
    Kind,
    MessageError,
    OptionError,
    TokenizerError,
    TruncationError,
)
from processors import PALIGEMMA, SPECS, TEMPLATE, Spec, built_or_skipped, image, medium, own_call, tokenizer_with

CHAT = [said("user", medium("image", 3), "What is it?"), said("assistant", "A cat.")]


def processor_of(name: str) -> Any:
    spec = next(each for each in SPECS if each.name.startswith(name))
    return built_or_skipped(spec)


@pytest.fixture(scope="module")
def qwen() -> Any:
    return processor_of("Qwen2VL")


def test_what_is_known_of_a_chat_with_an_image(qwen: Any) -> None:
    encoder = ChatEncoder(qwen)
    assert encoder.processor is qwen
    assert encoder.tokenizer is qwen.tokenizer
    encoding = encoder.encode(CHAT)
    [cat] = encoding.media
    pads = "<|image_pad|>" * (cat.end_token - cat.start_token)
    assert encoding.text == (
        f"<|im_start|>user\n{pads}What is it?<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n"
    )
    assert encoding.text[cat.start_char : cat.end_char] == pads
    assert (cat.message_index, cat.path, cat.modality) == (0, ("content", 0), "image")
    assert encoding.backend == "processor"
    assert [(span.path, encoding.text[span.start_char : span.end_char]) for span in encoding.spans] == [
        (("role",), "user"),
        (("content", 1, "text"), "What is it?"),
        (("role",), "assistant"),
        (("content", 0, "text"), "A cat."),
    ]
    assert encoding.unrendered == []
    assert encoding.off_prompt == {}
    # What has a value for each token is another one in older versions.
    of_tokens = {name for name in encoding.model_inputs if name.endswith("token_type_ids")}
    assert set(encoding.model_inputs) - of_tokens == {"pixel_values", "image_grid_thw"}
    if "mm_token_type_ids" in of_tokens:
        ids = encoding.model_inputs["mm_token_type_ids"][0].numpy()
        assert (ids.astype(bool) == (encoding.kind == Kind.MEDIA)).all()
    assert "media" in encoding.explain()


def test_no_mask_has_media_unless_it_is_asked_for(qwen: Any) -> None:
    encoder = ChatEncoder(qwen)
    messages = [said("user", "Draw a cat."), said("assistant", "Here: ", medium("image", 3), " it is.")]
    encoding = encoder.encode(messages)
    said_by_it = "Here:  it is.<|im_end|>"
    for mask in (
        encoding.mask(),
        encoding.mask(straddle="touch"),
        encoding.mask(what="generation"),
        encoding.weights({"assistant": 1.0}).astype(bool) & (encoding.kind != Kind.SCAFFOLD),
    ):
        assert encoder.decode(encoding.input_ids[mask]).strip() == said_by_it
    assert encoder.decode(encoding.input_ids[encoding.mask(what="content")]) == "Here:  it is."
    both = encoding.mask(include_media=True)
    assert (both & (encoding.kind == Kind.MEDIA)).sum() == (encoding.kind == Kind.MEDIA).sum() > 0
    labels = encoding.labels(include_media=True)
    assert (labels[both] == encoding.input_ids[both]).all()
    assert (encoding.weights({Kind.MEDIA: 2.0}) == 2 * (encoding.kind == Kind.MEDIA)).all()


def test_it_is_pickled_with_its_tensors(qwen: Any) -> None:
    encoding = ChatEncoder(qwen).encode(CHAT)
    again = pickle.loads(pickle.dumps(encoding))
    assert again.explain() == encoding.explain()
    assert again.media == encoding.media
    assert torch.equal(again.model_inputs["pixel_values"], encoding.model_inputs["pixel_values"])
    assert (again.mask() == encoding.mask()).all()


@pytest.mark.parametrize("options", [{"add_generation_prompt": True}, {"continue_final_message": True}], ids=str)
def test_the_options_of_apply_chat_template(qwen: Any, options: dict[str, Any]) -> None:
    own = own_call(qwen, CHAT, **options)
    encoding = ChatEncoder(qwen).encode(CHAT, **options)
    assert encoding.input_ids.tolist() == own["input_ids"][0].tolist()


def test_the_processors_own_keywords(qwen: Any) -> None:
    small = ChatEncoder(qwen).encode(CHAT, processor_kwargs={"images_kwargs": {"max_pixels": 28 * 28 * 4}})
    assert len(small) < len(ChatEncoder(qwen).encode([said("user", medium("image", 0), "What?"), CHAT[1]]))
    with pytest.raises(OptionError, match="processor_kwargs need a processor: pass the processor"):
        ChatEncoder(qwen.tokenizer, chat_template="{{ messages[0].content }}").encode(
            [{"role": "user", "content": "a"}], processor_kwargs={"fps": 1}
        )
    with pytest.raises(OptionError, match="processor_kwargs=3: expected a mapping"):
        ChatEncoder(qwen).encode(CHAT, processor_kwargs=3)  # type: ignore[arg-type]


def test_keywords_of_one_modality_are_those_of_each_call(qwen: Any) -> None:
    """Where a second call tells the places of the media, too; and the caller's stay as they are."""
    options = {"images_kwargs": {"max_pixels": 28 * 28 * 4}}
    messages = chats(("image",))["adjacent"]
    own = own_call(qwen, messages, options={"images_kwargs": dict(options["images_kwargs"])})
    for _ in range(2):
        encoding = ChatEncoder(qwen).encode(messages, processor_kwargs=options)
        assert encoding.input_ids.tolist() == own["input_ids"][0].tolist()
    assert options == {"images_kwargs": {"max_pixels": 28 * 28 * 4}}


@pytest.mark.parametrize("form", ["url", "path", "openai", "base64"])
def test_the_forms_in_which_transformers_takes_images(qwen: Any, form: str, tmp_path: Any) -> None:
    import base64

    path = tmp_path / "cat.png"
    image(64, 64).save(path)
    data = base64.b64encode(path.read_bytes()).decode()
    part = {
        "url": {"type": "image", "url": str(path)},
        "path": {"type": "image", "path": str(path)},
        "base64": {"type": "image", "base64": data},
        "openai": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
    }[form]
    wanted = ChatEncoder(qwen).encode(CHAT)
    found = ChatEncoder(qwen).encode([said("user", part, "What is it?"), CHAT[1]])
    assert found.input_ids.tolist() == wanted.input_ids.tolist()
    assert torch.equal(found.model_inputs["pixel_values"], wanted.model_inputs["pixel_values"])


def test_the_first_call_waits_for_the_native_tokenizer(qwen: Any) -> None:
    """A processor's call changes its tokenizer, at which older ones fail while a thread loads from them."""
    another = copy.copy(qwen)
    spec = next(each for each in SPECS if each.name.startswith("Qwen2VL"))
    another.tokenizer = tokenizer_with(spec, ["<|of this test alone|>"])
    encoder = ChatEncoder(another)
    assert encoder.encode(CHAT).text == ChatEncoder(qwen).encode(CHAT).text
    assert [thread.name for thread in threading.enumerate() if thread.name == "chatspan-load"] == []
    assert encoder.backend == "native"


def test_sampled_ids_stand_in_place_of_their_turn(qwen: Any) -> None:
    encoder = ChatEncoder(qwen)
    letters = [i for letter in "A cat." for i in encoder.tokenizer(letter, add_special_tokens=False)["input_ids"]]
    sampled = [*letters, encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")]
    encoding = encoder.encode([CHAT[0], {**CHAT[1], "token_ids": sampled}])
    assert encoding.input_ids[encoding.mask()].tolist() == sampled
    assert len(encoding.media) == 1


def test_control_tokens_of_the_text_are_escaped_or_refused(qwen: Any) -> None:
    encoder = ChatEncoder(qwen)
    messages = [said("user", medium("image", 3), "<|im_end|> What is it?"), CHAT[1]]
    with pytest.raises(ControlTokenError, match="its text holds the control token"):
        encoder.encode(messages, special_tokens="error")
    end = encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")
    as_rendered, escaped = (encoder.encode(messages, special_tokens=each) for each in ("as_rendered", "escape"))
    assert (as_rendered.input_ids == end).sum() == 3
    assert (escaped.input_ids == end).sum() == 2
    assert escaped.text == as_rendered.text
    assert encoder.decode(escaped.input_ids) == encoder.decode(as_rendered.input_ids)


def test_a_placeholder_that_a_user_typed_is_refused(qwen: Any) -> None:
    for words in ("<|image_pad|>", "see <|image_pad|>!"):
        with pytest.raises(
            ControlTokenError, match=r"message 0: its text holds the placeholder '<\|image_pad\|>'"
        ) as error:
            ChatEncoder(qwen).encode([said("user", medium("image", 3), words), CHAT[1]])
        assert error.value.message_index == 0
        assert error.value.path == ("content", 1, "text")


def test_parts_without_their_medium_are_refused(qwen: Any) -> None:
    with pytest.raises(MessageError, match="message 0: part 0 of its content is an image without its data") as error:
        ChatEncoder(qwen).encode([said("user", {"type": "image"}, "What is it?"), CHAT[1]])
    assert error.value.message_index == 0


def test_a_tokenizer_takes_no_media(qwen: Any) -> None:
    encoder = ChatEncoder(qwen.tokenizer, chat_template=qwen.chat_template)
    for part in (
        medium("image", 3),
        {"type": "image"},
        {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}},
    ):
        with pytest.raises(
            MessageError, match=r"part 0 of its content is an image, .* ChatEncoder\(processor\)"
        ) as error:
            encoder.encode([said("assistant", "A cat."), said("user", part)])
        assert error.value.message_index == 1


def test_a_template_without_placeholders_is_refused(qwen: Any) -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content[-1].text }}\n{% endfor %}"
    with pytest.raises(
        ExpansionError, match=r"the template writes 0 '<\|image_pad\|>', and there is 1 image in the mess"
    ):
        ChatEncoder(qwen, chat_template=template).encode(CHAT)


def test_what_a_processor_raises_says_so(qwen: Any) -> None:
    with pytest.raises(ExpansionError, match=r"the processor \(Qwen2VLProcessor\) raises \w+: .*look at the media"):
        ChatEncoder(qwen).encode([said("user", {"type": "image", "url": "/nowhere.png"}, "What?"), CHAT[1]])


def test_a_processor_that_is_not_called_is_refused(qwen: Any) -> None:
    class OfItsOwn(type(qwen)):  # type: ignore[misc]
        def apply_chat_template(self, *args: Any, **keywords: Any) -> Any:
            return {"input_ids": [[1]]}

    own = copy.copy(qwen)
    own.__class__ = OfItsOwn
    with pytest.raises(ExpansionError, match=r"OfItsOwn\.apply_chat_template does not call the processor with text"):
        ChatEncoder(own).encode(CHAT)


def test_a_processor_that_changes_the_text_is_refused() -> None:
    processor = built_or_skipped(PALIGEMMA)
    processor.image_processor.image_seq_length = 16
    processor.image_seq_length = 16
    with pytest.raises(ExpansionError, match="PaliGemmaProcessor changes the render outside of its placeholders"):
        ChatEncoder(processor).encode(CHAT)


def test_text_between_the_media_is_needed_where_nothing_else_tells() -> None:
    processor = processor_of("Idefics2")
    try:
        own_call(processor, CHAT)
    except AttributeError as error:
        pytest.skip(f"transformers' own takes no chat here: {error}")
    with pytest.raises(ExpansionError, match="it is unknown where the expansion of one placeholder ends"):
        ChatEncoder(processor).encode(chats(("image",))["adjacent"])


def test_length_and_cuts(qwen: Any) -> None:
    encoder = ChatEncoder(qwen)
    whole = encoder.encode(CHAT)
    cut = encoder.encode(CHAT, max_length=len(whole) - 3, truncation="right")
    assert cut.input_ids.tolist() == whole.input_ids[:-3].tolist()
    assert cut.media == whole.media
    for side in ("left", "right"):
        with pytest.raises(TruncationError, match=r"cuts off part 0 of message 0, an image of \d+ tokens"):
            encoder.encode(CHAT, max_length=5, truncation=side)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Qwen2VL", "Gemma3", "LlavaOnevision"])
def test_a_batch_is_its_rows(name: str) -> None:
    encoder = ChatEncoder(processor_of(name))
    rows = list(chats(("image",)).values())
    for one, row in zip(encoder.encode_batch(rows), rows, strict=True):
        alone = encoder.encode(row)
        assert one.input_ids.tolist() == alone.input_ids.tolist()
        assert one.explain() == alone.explain()


def test_what_takes_no_processor_says_what_to_give(qwen: Any) -> None:
    import chatspan

    with pytest.raises(TokenizerError, match=r"tokenizer is a processor \(Qwen2VLProcessor\): use processor.tokenizer"):
        chatspan.HintedPrompts(qwen)
    with pytest.raises(OptionError, match="a processor tokenizes its text whole"):
        ChatEncoder(qwen, boundaries="as_prompted")
    encoder = ChatEncoder(qwen)
    with pytest.raises(OptionError, match="a processor"):
        chatspan.Rollout(encoder, CHAT[:1])
    with pytest.raises(OptionError, match="a processor"):
        encoder.sampled_rows(CHAT)
    with pytest.raises(OptionError, match=r"use ChatCollator\(processor\) on the rows"):
        encoder.as_map_fn()


def test_the_callers_messages_and_processor_stay_as_they_are(qwen: Any) -> None:
    tokenizer, kind = qwen.tokenizer, type(qwen)
    messages = [said("user", medium("image", 3), "What is it?"), said("assistant", "A cat.")]
    before = [{**message, "content": list(message["content"])} for message in messages]
    ChatEncoder(qwen).encode(messages)
    assert qwen.tokenizer is tokenizer
    assert type(qwen) is kind
    assert [message["content"][0].keys() for message in messages] == [
        message["content"][0].keys() for message in before
    ]
    assert messages[0]["content"][0]["image"] is before[0]["content"][0]["image"]
    assert np.array_equal(np.asarray(messages[0]["content"][0]["image"]), np.asarray(image(64, 64)))


@pytest.mark.parametrize(
    ("name", "part", "said_of_it"),
    [
        (
            "FuyuProcessor",
            "FuyuImageProcessor",
            "names no placeholder of images|the template writes 0 '.SPEAKER.'",
        ),
        ("Kosmos2Processor", "CLIPImageProcessor", r"the processor \(Kosmos2Processor\) raises TypeError"),
        (
            "Kosmos2_5Processor",
            "Kosmos2_5ImageProcessor",
            "Kosmos2_5Processor changes the render outside of its",
        ),
    ],
)
def test_processors_that_write_a_text_of_their_own(name: str, part: str, said_of_it: str) -> None:
    tokenizer = tokenizer_with(Spec(name, ""), ["|SPEAKER|", "|NEWLINE|", "<grounding>"])
    try:
        processor = getattr(transformers, name)(getattr(transformers, part)(), tokenizer)
    # What a version of transformers lacks.
    except Exception as error:
        pytest.skip(f"{name} cannot be made here: {type(error).__name__}: {error}")
    media = {"image": "<image>"}
    processor.chat_template = TEMPLATE.replace("MEDIA", repr(media))
    with pytest.raises(ExpansionError, match=said_of_it):
        ChatEncoder(processor).encode([said("user", medium("image", 0), "What?"), said("assistant", "ok")])
