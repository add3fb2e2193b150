"""Chats with media of real processors: ids are the processor's own, whose each text and medium is is told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip(
    "torchvision", reason="transformers' image processors need torchvision: pip install chatspan[media]"
)
pytest.importorskip("PIL", reason="images need pillow: pip install chatspan[media]")

from chats import chats
from chatspan import ChatEncoder, ExpansionError, Kind
from processors import DOZEN, SPECS, Spec, built_or_skipped, own_call


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "spec" in metafunc.fixturenames:
        metafunc.parametrize("spec", SPECS if metafunc.config.getoption("--all") else DOZEN, ids=str)


@pytest.fixture
def processor(spec: Spec) -> Any:
    return built_or_skipped(spec)


def words(texts: str) -> list[str]:
    """What is marked, and all else but blanks: a token may have a blank of what stands beside it."""
    return re.sub(r"\s+", "", texts).split()


def test_ids_texts_and_media(spec: Spec, processor: Any, say: Callable[[str], None]) -> None:
    encoder = ChatEncoder(processor, backend="hf")
    came: Counter[str] = Counter()
    why = ""
    for name, messages in chats(spec.media).items():
        try:
            own = own_call(processor, messages)
        # transformers' processor takes no such chat.
        except Exception as error:
            came["not taken by the processor"] += 1
            why = why or f"{type(error).__name__}: {' '.join(str(error).split()):.100}"
            continue
        try:
            encoding = encoder.encode(messages)
        except ExpansionError as error:
            came[f"refused, {name}: {str(error)[:60]}"] += 1
            continue
        assert encoding.input_ids.tolist() == own["input_ids"][0].tolist(), name
        assert set(encoding.model_inputs) == set(own) - {"input_ids", "attention_mask"}
        _check_texts(encoder, encoding, messages)
        _check_media(encoding, messages)
        _check_mask(encoder, encoding, messages)
        came["exact"] += 1
    if set(came) == {"not taken by the processor"}:
        pytest.skip(f"{spec}: transformers' own takes none of the chats here: {why}")
    assert came["exact"] or any(key.startswith("refused") for key in came)
    say(f"{spec}: chats with media {dict(came)}")


def test_offsets_are_the_same_by_either_backend(spec: Spec, processor: Any) -> None:
    """The native tokenizer tells them where its ids are the processor's."""
    native, hf = (ChatEncoder(processor, backend=each) for each in ("native", "hf"))
    for name, messages in chats(spec.media).items():
        try:
            one, other = native.encode(messages), hf.encode(messages)
        # Of the processor, or of chatspan.
        except ExpansionError:
            continue
        assert one.input_ids.tolist() == other.input_ids.tolist(), name
        assert one.offsets.tolist() == other.offsets.tolist(), name


def _check_texts(encoder: ChatEncoder, encoding: Any, messages: list[Any]) -> None:
    """The words of each message stand in its content's tokens, and in no other message's."""
    for index, message in enumerate(messages):
        content = message["content"]
        wanted = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        mask = encoding.mask(roles=None, what={Kind.CONTENT}, messages=[index], straddle="touch")
        mask &= encoding.kind != Kind.MEDIA
        assert words(encoder.decode(encoding.input_ids[mask])) == words(wanted), index
    kept = encoder.decode(encoding.input_ids[encoding.kind == Kind.MEDIA])
    assert "Zq" not in kept


def _check_media(encoding: Any, messages: list[Any]) -> None:
    """Each part has its tokens, and there are no others."""
    wanted = [
        (index, ("content", at), part["type"])
        for index, message in enumerate(messages)
        if not isinstance(message["content"], str)
        for at, part in enumerate(message["content"])
        if part["type"] != "text"
    ]
    assert [(each.message_index, each.path, each.modality) for each in encoding.media] == wanted
    of_media = np.zeros(len(encoding), dtype=bool)
    for each in encoding.media:
        assert each.end_token > each.start_token
        of_media[each.start_token : each.end_token] = True
    assert (of_media == (encoding.kind == Kind.MEDIA)).all()


def _check_mask(encoder: ChatEncoder, encoding: Any, messages: list[Any]) -> None:
    """What is trained is what assistants say, without media."""
    trained = encoder.decode(encoding.input_ids[encoding.mask()])
    said = "".join(
        (
            message["content"]
            if isinstance(message["content"], str)
            else "".join(part.get("text", "") for part in message["content"])
        )
        + "<|im_end|>"
        for message in messages
        if message["role"] == "assistant"
    )
    assert words(trained) == words(said)
    with_media = encoding.mask(include_media=True)
    own = (encoding.kind == Kind.MEDIA) & np.isin(
        encoding.message_index, [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    )
    assert (with_media == (encoding.mask() | own)).all()
