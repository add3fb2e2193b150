"""What inference would have shown before each turn, by transformers' renders alone; nothing of chatspan is in here.

    row    = apply_chat_template(messages)
    prompt = apply_chat_template(messages[:k], add_generation_prompt=True), with the same keywords

Where the row begins with the prompt of message ``k``, its turn starts at character ``len(prompt)``. This is the slow
twin of what chatspan finds from a few probes: each turn's own prompt is rendered.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2.meta import find_undeclared_variables
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import _compile_jinja_template
from turn_shapes import NEEDED, SHAPES, SWITCHES, TOGETHER, Messages, forms_of
from zoo import EXAMPLES, TEMPLATES, ZOO

SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in TEMPLATES}

# Control tokens as templates write them, found in their source.
_CONTROL = re.compile(
    r"<\|[^|<>\s'\"]{1,40}\|>|<｜[^｜<>]{1,40}｜>|\[/?[A-Z_]{3,24}\]|<\|[a-z_]+>|<[a-z_]+\|>|<\|\"\|>|<SPECIAL_\d+>"
    r"|</?(?:s|bos|eos|think|tool_call|tool_calls|tool_response|arg_key|arg_value|start_of_turn|end_of_turn"
    r"|start_of_image|seed:[a-z_:]+|begin|end|sep)>"
)
_MORE = ["<|eot_id|>", "<|end_of_text|>", "<eos>", "<bos>", "<s>", "</s>", "<｜end▁of▁sentence｜>", "<|return|>"]


@functools.cache
def _tokenizer() -> Any:
    """Qwen3's words, or the small tokenizer's, and the control tokens of all templates."""
    folder = ZOO / "tokenizers" / "qwen3"
    backend = Tokenizer.from_file(str((folder if folder.is_dir() else EXAMPLES / "tokenizer") / "tokenizer.json"))
    written = {token for source in SOURCES.values() for token in _CONTROL.findall(source)}
    backend.add_special_tokens(sorted({*written, *_MORE} - set(backend.get_vocab())))
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False)


def tokenizer_for(name: str) -> Any:
    """A tokenizer with the control tokens of a template, and its special tokens."""
    families = {
        "｜": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        "<start_of_turn>": ("<bos>", "<eos>"),
        "<|turn>": ("<bos>", "<eos>"),
        "[gMASK]": ("<|endoftext|>", "<|endoftext|>"),
        "<|START_OF_TURN_TOKEN|>": ("<bos>", "<eos>"),
        "<|im_start|>": ("<|endoftext|>", "<|im_end|>"),
        "<|eot_id|>": ("<s>", "<|eot_id|>"),
        "<|return|>": ("<|endoftext|>", "<|return|>"),
    }
    bos, eos = next((tokens for mark, tokens in families.items() if mark in SOURCES[name]), ("<s>", "</s>"))
    return _with_ends(bos, eos)


@functools.cache
def _with_ends(bos: str, eos: str) -> Any:
    # The words are those of all, which take a second to load.
    tokenizer = copy.copy(_tokenizer())
    tokenizer._special_tokens_map = {**tokenizer._special_tokens_map}
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = bos, eos, eos
    return tokenizer


@functools.cache
def switches(name: str) -> tuple[dict[str, Any], ...]:
    """The keywords that a template is rendered with: none, and each value of each of those that it reads."""
    environment = _compile_jinja_template(SOURCES[name]).environment
    read = find_undeclared_variables(environment.parse(SOURCES[name]))
    read_switches = [key for key in SWITCHES if key in read]
    return ({}, *({key: value} for key in read_switches for value in SWITCHES[key]), *TOGETHER.get(name, ()))


@dataclass(frozen=True)
class Turn:
    """An assistant's message of a row.

    Attributes:
        prompt: what inference would have shown before it; ``None`` where the template refuses.
        differs: the first character at which row and prompt differ; ``None`` where the row begins with the prompt.
    """

    message_index: int
    prompt: str | None
    differs: int | None

    @property
    def start(self) -> int | None:
        """The first character of the turn, where the row begins with the prompt."""
        return len(self.prompt) if self.prompt is not None and self.differs is None else None


class Row:
    """A conversation as transformers renders it, and the prompts of its turns.

    Args:
        prompts: those that are known of the same messages and keywords; takes the others.
    """

    def __init__(
        self,
        tokenizer: Any,
        source: str,
        messages: Messages,
        keywords: Mapping[str, Any],
        prompts: dict[int, str | None] | None = None,
    ) -> None:
        self.messages = messages
        self.keywords = dict(keywords)
        self._apply = functools.partial(
            tokenizer.apply_chat_template, chat_template=source, tokenize=False, **self.keywords
        )
        self.text: str = self._apply(messages)
        self.prompts = {} if prompts is None else prompts
        self.turns = [self._turn(index) for index, each in enumerate(messages) if each["role"] == "assistant"]

    def _turn(self, index: int) -> Turn:
        if index not in self.prompts:
            try:
                self.prompts[index] = self._apply(self.messages[:index], add_generation_prompt=True)
            # Templates raise whatever they like.
            except Exception:
                self.prompts[index] = None
        prompt = self.prompts[index]
        if prompt is None or self.text.startswith(prompt):
            return Turn(index, prompt, None)
        return Turn(index, prompt, _first_difference(prompt, self.text))

    @property
    def off_prompt(self) -> dict[int, tuple[int, str, str]]:
        """By message of each turn that no prompt leads to: the first difference, and what prompt and row have there."""
        found = {}
        for turn in self.turns:
            if turn.prompt is None:
                found[turn.message_index] = (0, "", self.text[:40])
            elif turn.differs is not None:
                at = turn.differs
                found[turn.message_index] = (at, turn.prompt[at : at + 40], self.text[at : at + 40])
        return found


def _first_difference(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def row_of(
    tokenizer: Any, source: str, messages: Messages, keywords: Mapping[str, Any], forms: Callable[..., Any] = forms_of
) -> Row | None:
    """A conversation in the first of its forms that the template takes."""
    for these, with_tools in forms(messages, keywords):
        try:
            return Row(tokenizer, source, these, with_tools)
        except Exception:
            continue
    return None


def rows_of(name: str, shape: str, number: int, *, cut: bool) -> list[Row]:
    """A conversation, and what of it ends with each of its turns before, so that each is also met as the last one.

    Args:
        number: of the template's ``switches``.
        cut: whether it is also cut.
    """
    messages, keywords = SHAPES[shape]
    tokenizer, source = tokenizer_for(name), SOURCES[name]
    whole = row_of(tokenizer, source, messages, {**NEEDED.get(name, {}), **keywords, **switches(name)[number]})
    if whole is None:
        return []
    rows = [whole]
    for turn in whole.turns[:-1] if cut else ():
        # A template may refuse what it takes as a beginning.
        with contextlib.suppress(Exception):
            first = whole.messages[: turn.message_index + 1]
            rows.append(Row(tokenizer, source, first, whole.keywords, whole.prompts))
    return rows
