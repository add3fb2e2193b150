"""The reference: template and tokenize every prefix of the messages, take the differences of lengths.

Slow (quadratic), short, pure Python, and right where it answers. It is what the tests and benches compare with, and
the route of tokenizers that give no offsets.

It needs of a tokenizer only ``tokenizer(text)["input_ids"]`` and
``tokenizer.apply_chat_template(messages, tokenize=True, **kwargs)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chatspan.distillation.chats.encoded_chat import EncodedChat, TokenRange
from chatspan.distillation.chats.template_errors import require_chat_template, template_error
from chatspan.distillation.examples.conversation import Conversation
from chatspan.errors import (
    AmbiguousContentError,
    ChatspanError,
    ContentNotFoundError,
    PrefixUnstableError,
    TokenizerError,
)
from chatspan.rows.messages import Message, content_texts


def encode_chat(tokenizer: Any, conversation: Conversation) -> EncodedChat:
    """Ids of a conversation and the tokens of its assistants' contents.

    Raises:
        PrefixUnstableError: the ids of ``messages[:k]`` are no prefix of the ids of all; with ``message_index``.
        AmbiguousContentError, ContentNotFoundError: a content's ids are not exactly once in its message's.
        TemplateError: the template raised, on all messages or on a prefix of them.

    Example:
        >>> from chatspan.distillation.chats.prefix_delta import encode_chat
        >>> from chatspan.distillation.examples.conversation import Conversation
        >>> class Letters:
        ...     def __call__(self, text):
        ...         return {"input_ids": [ord(letter) for letter in text]}
        ...     def apply_chat_template(self, messages, tokenize=True, **kwargs):
        ...         return self("".join(f"<{m['content']}>" for m in messages))["input_ids"]
        >>> messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]
        >>> encode_chat(Letters(), Conversation("t", messages, range(2))).content_tokens
        [[], [(5, 8)]]
    """
    require_chat_template(tokenizer, conversation)
    _require_no_ids(conversation)
    ids, ends = _message_ends(tokenizer, conversation)
    content_tokens: list[list[TokenRange]] = []
    for index, message in enumerate(conversation.messages):
        start, end = (ends[index - 1] if index else 0), ends[index]
        content_tokens.append([])
        for text in content_texts(message.get("content")) if message["role"] == "assistant" else []:
            if text.strip():
                try:
                    first, last = find_content(tokenizer, ids[start:end], text)
                except ChatspanError as error:
                    raise error.at(**conversation.place(index)) from None
                content_tokens[-1].append((start + first, start + last))
    return EncodedChat(
        input_ids=np.array(ids, dtype=np.int64),
        content_tokens=content_tokens,
        end_of_turn=_end_of_turn(tokenizer, ids, content_tokens[-1]),
        # Prefixes that hold are in the order of the messages.
        content_order=[i for i in range(len(ends)) if ends[i] > (ends[i - 1] if i else 0)],
        route="prefix_delta",
    )


def _require_no_ids(conversation: Conversation) -> None:
    for index, message in enumerate(conversation.messages):
        if message.get("token_ids") is not None:
            raise TokenizerError(
                "it has token_ids, which can replace a turn's text only with an HF fast "
                "tokenizer: load one, or leave them out",
                **conversation.place(index),
            )


def _message_ends(tokenizer: Any, conversation: Conversation) -> tuple[list[int], list[int]]:
    """All ids, and for each message the number of ids of the conversation up to it."""
    count = len(conversation.messages)
    prefixes = [_chat_ids(tokenizer, conversation, k) for k in range(1, count + 1)]
    ids, before = prefixes[-1], 0
    for index, prefix in enumerate(prefixes):
        if ids[: len(prefix)] != prefix or len(prefix) < before:
            raise PrefixUnstableError(
                f"the chat template is not prefix-stable: the ids of messages[:{index + 1}] do not begin the ids of "
                f"all {count} messages, so differences of lengths are meaningless",
                **conversation.place(index),
            )
        before = len(prefix)
    return ids, [len(prefix) for prefix in prefixes]


def find_content(tokenizer: Any, message_ids: list[int], text: str) -> TokenRange:
    """The place of a content among its message's ids, whole or trimmed, which must be only one."""
    if message_ids == text_ids(tokenizer, text):
        return (0, len(message_ids))
    variants = dict.fromkeys((text, text.strip(), text.lstrip(), text.rstrip()))
    places = sorted(
        {place for variant in variants for place in _occurrences(message_ids, text_ids(tokenizer, variant))}
    )
    if not places:
        raise ContentNotFoundError(f"the ids of the content {text!r:.60} are not among those of its message")
    if len(places) > 1:
        raise AmbiguousContentError(
            f"the content {text!r:.60} may be at the tokens {', '.join(map(str, places[:4]))} of its message"
        )
    first, last = places[0]
    doubt = _doubt(tokenizer, message_ids, message_ids[first:last], text)
    if doubt:
        raise AmbiguousContentError(f"the ids of the content {text!r:.60} are once in its message, but {doubt}")
    return places[0]


def _doubt(tokenizer: Any, message_ids: list[int], found: list[int], text: str) -> str | None:
    """Why ids that occur once may still not be the content's; nothing where the tokenizer cannot decode.

    Tokens at a content's edge may join the template's, so that its own ids are not there.
    """
    if not callable(getattr(tokenizer, "decode", None)):
        return None
    message, core = tokenizer.decode(message_ids), text.strip()
    if sum(message.startswith(core, start) for start in range(len(message))) > 1:
        return "its text is there more than once, so they may be the scaffold's"
    lead, trail = text[: text.index(core)], text[text.index(core) + len(core) :]
    before, _, after = message.partition(core)
    matched = tokenizer.decode(found)
    lead_left_out = lead and before.endswith(lead[-1]) and not matched.startswith(lead)
    trail_left_out = trail and after.startswith(trail[0]) and not matched.endswith(trail)
    return "whitespace beside them may belong to the content" if lead_left_out or trail_left_out else None


def _occurrences(ids: list[int], part: list[int]) -> list[TokenRange]:
    starts = range(len(ids) - len(part) + 1) if part else ()
    return [(start, start + len(part)) for start in starts if ids[start : start + len(part)] == part]


def _end_of_turn(tokenizer: Any, ids: list[int], last_content: Sequence[TokenRange]) -> TokenRange:
    """What follows the last message's content, without blanks at the end where the tokenizer can decode."""
    if not last_content:
        return (len(ids), len(ids))
    start, end = last_content[-1][1], len(ids)
    while callable(getattr(tokenizer, "decode", None)) and end > start and not tokenizer.decode([ids[end - 1]]).strip():
        end -= 1
    return (start, end if end > start else len(ids))


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text by itself, without the special tokens that a tokenizer may add around it."""
    parameters = inspect.signature(tokenizer.__call__).parameters.values()
    knows = any(p.name == "add_special_tokens" or p.kind is p.VAR_KEYWORD for p in parameters)
    return _as_list(tokenizer(text, add_special_tokens=False) if knows else tokenizer(text))


def _chat_ids(tokenizer: Any, conversation: Conversation, count: int) -> list[int]:
    def apply(messages: list[Message]) -> list[int]:
        # transformers 5 gives a BatchEncoding unless told not to.
        kwargs = {"tokenize": True, "return_dict": False, **conversation.template_kwargs}
        return _as_list(tokenizer.apply_chat_template(messages, **kwargs))

    try:
        return apply(list(conversation.messages[:count]))
    except Exception as error:
        raise template_error(conversation, error, apply) from error


def _as_list(ids: Any) -> list[int]:
    """Ids as a plain list, from a mapping with ``input_ids``, a list, an array, or a batch of one."""
    if isinstance(ids, Mapping) or hasattr(ids, "input_ids"):
        ids = ids["input_ids"]
    ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    if len(ids) == 1 and isinstance(ids[0], (list, tuple)):
        ids = list(ids[0])
    return [int(i) for i in ids]
