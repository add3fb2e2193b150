"""Other libraries' tokenizers, each made of a ``tokenizer.json`` and called the fastest way it has to ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Call = Callable[[str], Any]
Ids = NDArray[np.int64]


class LeftOut(Exception):
    """A library cannot be measured; with the reason."""


class Peer(NamedTuple):
    """A library.

    Attributes:
        package: what to install and to import.
        load: from a ``tokenizer.json`` to what encodes a text.
    """

    package: str
    load: Callable[[Any, Path], Call]


def call_of(name: str, tokenizer_json: Path) -> Call:
    """What encodes a text by the library of that name. Added tokens in the text become their own ids, none is added.

    Raises:
        LeftOut: it is not installed, or does not take this tokenizer.
    """
    peer = PEERS[name]
    try:
        module = import_module(peer.package)
    except ImportError as error:
        hint = f"not installed: pip install {peer.package}"
        # A package that is there and lacks one that it needs.
        raise LeftOut(hint if getattr(error, "name", None) == peer.package else f"import fails: {error}") from error
    try:
        call = peer.load(module, tokenizer_json)
        call("A word.")
    except LeftOut:
        raise
    # Some raise what is no Exception, such as a panic of Rust.
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise LeftOut(f"does not take this tokenizer: {type(error).__name__}: {_line(error)}") from error
    return call


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:159]}…"


def _fastokens(fastokens: Any, path: Path) -> Call:
    encode = fastokens.Tokenizer.from_file(str(path)).encode_batch_flat
    return lambda text: np.frombuffer(encode([text])[0], np.uint32)


def _gigatoken(gigatoken: Any, path: Path) -> Call:
    encode: Call = gigatoken.Tokenizer(str(path)).encode
    return encode


def _kitoken(kitoken: Any, path: Path) -> Call:
    encode = kitoken.Kitoken.from_tokenizers_file(str(path)).encode
    return lambda text: encode(text, True)


def _tokie(tokie: Any, path: Path) -> Call:
    encode = tokie.Tokenizer.from_json(str(path)).encode
    return lambda text: encode(text, add_special_tokens=False).ids


def _tokenizers(tokenizers: Any, path: Path) -> Call:
    # The one that makes no offsets is there for batches alone.
    encode = tokenizers.Tokenizer.from_file(str(path)).encode_batch_fast
    return lambda text: encode([text], add_special_tokens=False)[0].ids


def _tiktoken(tiktoken: Any, path: Path) -> Call:
    given = json.loads(path.read_text(encoding="utf-8"))
    added = {each["content"]: each["id"] for each in given["added_tokens"]}
    encode = tiktoken.Encoding(
        path.parent.name,
        pat_str=_pattern(given),
        mergeable_ranks=_ranks(given["model"], added),
        special_tokens=added,
    ).encode_to_numpy
    return lambda text: encode(text, allowed_special="all")


def _pattern(given: Mapping[str, Any]) -> str:
    """The one pattern that words are cut with.

    Raises:
        LeftOut: there are several, or none.
    """
    steps = given["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    patterns = [step["pattern"].get("Regex") for step in steps if step.get("type") == "Split"]
    if len(patterns) > 1:
        raise LeftOut(f"takes one pattern to cut words with, this tokenizer has {len(patterns)}")
    if steps[-1].get("type") != "ByteLevel" or patterns == [None]:
        raise LeftOut("takes byte-level BPE alone")
    if not patterns:
        # GPT-2's, which is ByteLevel's own.
        return r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    return str(patterns[0])


def _ranks(model: Mapping[str, Any], added: Mapping[str, int]) -> dict[bytes, int]:
    """The vocabulary as bytes. The ids of byte-level BPE are in the order of its merges."""
    letters = _bytes_of_letters()
    return {
        bytes(letters[letter] for letter in token): index
        for token, index in model["vocab"].items()
        if token not in added
    }


def _bytes_of_letters() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, the others for letters from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}


PEERS = {
    "fastokens": Peer("fastokens", _fastokens),
    "gigatoken": Peer("gigatoken", _gigatoken),
    "tiktoken": Peer("tiktoken", _tiktoken),
    "tokie": Peer("tokie", _tokie),
    "kitoken": Peer("kitoken", _kitoken),
    "tokenizers": Peer("tokenizers", _tokenizers),
}
