"""The fast route: rendered once with provenance, tokenized once. For every HF fast tokenizer with a chat template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from chatspan._core import Offsets, token_spans
from chatspan.attribute.attributed import AttributedRender
from chatspan.distillation.chats.encoded_chat import EncodedChat, TokenRange
from chatspan.distillation.chats.template_errors import require_chat_template, template_error
from chatspan.distillation.config import DistillationConfig
from chatspan.distillation.examples.conversation import Conversation
from chatspan.encode.pipeline import EncodingPipeline, Rendered, encoding_of
from chatspan.encode.processed import inputs_without
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, StraddleError, TemplateError
from chatspan.media.processors import is_processor, template_of
from chatspan.render.origins import root_key, root_of
from chatspan.render.rendered import CharRange, Render
from chatspan.render.request import RenderRequest, request_of
from chatspan.tokenize.tokens import Tokens


def is_fast(tokenizer: Any) -> bool:
    """Whether a tokenizer gives offsets, as HF's fast ones do; or a processor's does."""
    if is_processor(tokenizer):
        return is_fast(tokenizer.tokenizer)
    return bool(getattr(tokenizer, "is_fast", False)) and callable(getattr(tokenizer, "apply_chat_template", None))


class ProvenanceRoute:
    """Encodes conversations, each with its own template."""

    def __init__(self, tokenizer: Any, config: DistillationConfig) -> None:
        # What has the chat template.
        has_own = is_processor(tokenizer) and template_of(tokenizer) is not None
        self._tokenizer = tokenizer if has_own or not is_processor(tokenizer) else tokenizer.tokenizer
        self._pipeline = EncodingPipeline(
            tokenizer,
            backend=config.backend,
            require_template=False,
            boundaries=config.boundaries,
            takes_processor=True,
        )
        self._straddle = config.straddle

    @property
    def pipeline(self) -> EncodingPipeline:
        """What renders and tokenizes."""
        return self._pipeline

    def warm_up(self) -> None:
        """Loads the native tokenizer now; see :meth:`chatspan.ChatEncoder.warm_up`."""
        self._pipeline.warm_up()

    def encode_chats(self, conversations: Sequence[Conversation]) -> list[EncodedChat]:
        """Encodes conversations in one call of the tokenizer.

        Raises:
            TemplateError, HintPlacementError, TokenizerError, TextError, StraddleError: with the place.
        """
        renders = {
            is_checked: self._pipeline.render(
                [self._request(each) for each in conversations if each.is_checked == is_checked],
                cut=False,
                token_ids_check=is_checked,
            )
            for is_checked in (True, False)
        }
        rendered = [self._rendered(conversation, renders[conversation.is_checked]) for conversation in conversations]
        if self._pipeline.processor is not None:
            return self._processed(conversations, rendered)
        tokens = self._pipeline.tokenize(rendered)
        return [
            self._chat(conversation, each.attributed, found)
            for conversation, each, found in zip(conversations, rendered, tokens, strict=True)
        ]

    def _processed(self, conversations: Sequence[Conversation], rendered: Sequence[Rendered]) -> list[EncodedChat]:
        """By a processor, which is called once for all."""
        try:
            encodings = self._pipeline.encode_rendered(rendered, together=True)
        # Which of them it is shows one by one.
        except Exception:
            encodings = []
            for conversation, each in zip(conversations, rendered, strict=True):
                with self._placed(conversation):
                    encodings += self._pipeline.encode_rendered([each])
        found = []
        for conversation, each, encoding in zip(conversations, rendered, encodings, strict=True):
            assert each.processor_row is not None
            tokens = Tokens(encoding.input_ids, encoding.table, encoding.backend, given=encoding._given)
            chat = self._chat(conversation, encoding._attributed, tokens)
            without = partial(inputs_without, self._pipeline.processor, each.attributed, each.processor_row)
            found.append(replace(chat, make_encoding=partial(_same, encoding), inputs_without=without))
        return found

    def _request(self, conversation: Conversation) -> RenderRequest:
        require_chat_template(self._tokenizer, conversation)
        keywords = dict(conversation.template_kwargs)
        source = keywords.pop("chat_template", None)
        return request_of(list(conversation.messages), **keywords)._replace(chat_template=source)

    def _rendered(self, conversation: Conversation, renders: Iterator[Rendered]) -> Rendered:
        with self._placed(conversation):
            return next(renders)

    @contextmanager
    def _placed(self, conversation: Conversation) -> Iterator[None]:
        """Errors say which conversation it is, and which message."""

        def apply(messages: Any) -> str:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, **conversation.template_kwargs))

        try:
            yield
        except TemplateError as error:
            cause = error.__cause__
            raise template_error(conversation, cause if isinstance(cause, Exception) else error, apply) from error
        except ChatspanError as error:
            raise error.at(**conversation.place(error.message_index)) from None

    def _chat(self, conversation: Conversation, attributed: AttributedRender, found: Tokens) -> EncodedChat:
        table, text = found.table, attributed.render.text
        contents = _content_ranges(attributed.render)
        of_assistants = [
            (index, span)
            for index, span in contents
            if conversation.messages[index]["role"] == "assistant" and index not in attributed.respelled
        ]
        chars = [span for _, span in of_assistants]
        try:
            tokens = self._tokens(table, text, chars)
        except StraddleError as error:
            owner = next(index for index, (start_char, _) in of_assistants if start_char == error.start_char)
            raise error.at(**conversation.place(owner)) from None
        content_tokens: list[list[TokenRange]] = [[] for _ in conversation.messages]
        for (index, (start_char, end_char)), (start, end) in zip(of_assistants, tokens, strict=True):
            if start >= end:
                raise StraddleError(
                    f"no token is inside the content {text[start_char:end_char]!r:.60}, so nothing of it would "
                    'be trained; use straddle="touch" to include the tokens that it shares with the scaffold',
                    **conversation.place(index),
                )
            content_tokens[index].append((start, end))
        for index in attributed.respelled:
            # Which of the sampled tokens are the content is not known.
            content_tokens[index].append(found.given[index])
        return EncodedChat(
            input_ids=found.input_ids,
            content_tokens=content_tokens,
            end_of_turn=_end_of_turn(conversation, table, text, contents),
            content_order=[index for index, _ in contents],
            route="provenance",
            make_encoding=partial(encoding_of, attributed, found),
            sampled=found.given,
            respelled=attributed.respelled,
        )

    def _tokens(self, table: Offsets, text: str, chars: Sequence[CharRange]) -> list[TokenRange]:
        """The tokens of each range of characters."""

        def project(ranges: Sequence[CharRange], policy: Literal["touch", "inside", "error"]) -> list[TokenRange]:
            spans = np.array(ranges, dtype=np.int64).reshape(-1, 2)
            return [(start, end) for start, end in token_spans(table, spans, straddle=policy).tolist()]

        if self._straddle != "blanks":
            return project(chars, self._straddle)
        # In are the tokens that touch the content and are inside of it and the blanks around it.
        touched = project(chars, "touch")
        inside = project([_with_blanks_around(text, span) for span in chars], "inside")
        both = zip(touched, inside, strict=True)
        return [(max(t_start, i_start), min(t_end, i_end)) for (t_start, t_end), (i_start, i_end) in both]


def _same(encoding: Encoding) -> Encoding:
    return encoding


def _content_ranges(render: Render) -> list[tuple[int, CharRange]]:
    """The characters of each content in the order of the render, parts that adjoin made one, without blank ones."""
    native = render.native
    ranges: list[tuple[int, CharRange]] = []
    for index, start, end in _content_runs(render) if native is None else native.contents():
        if ranges and ranges[-1][0] == index and ranges[-1][1][1] == start:
            ranges[-1] = (index, (ranges[-1][1][0], end))
        else:
            ranges.append((index, (start, end)))
    return [(index, (start, end)) for index, (start, end) in ranges if render.text[start:end].strip()]


def _content_runs(render: Render) -> list[tuple[int, int, int]]:
    """The runs of messages' contents, without what a runtime wrote into an assistant's: message, start, end."""
    return [
        (origin._message_index, start, end)
        for start, end, origin, _ in render.runs
        if root_key(origin) == "content" and origin._message_index >= 0 and not _is_result(render, origin)
    ]


def _is_result(render: Render, origin: Any) -> bool:
    role = render.messages[origin._message_index].get("role")
    return role == "assistant" and root_of(origin, "assistant") == "result"


def _with_blanks_around(text: str, span: CharRange) -> CharRange:
    start, end = span
    while start > 0 and text[start - 1].isspace():
        start -= 1
    while end < len(text) and text[end].isspace():
        end += 1
    return (start, end)


def _end_of_turn(
    conversation: Conversation, table: Offsets, text: str, contents: Sequence[tuple[int, CharRange]]
) -> TokenRange:
    """The tokens behind the last content, to the last one that is not blank (all, if all are)."""
    count = len(table)
    if not contents or contents[-1][0] != len(conversation.messages) - 1:
        return (count, count)
    start_char = contents[-1][1][1]
    tail = text[start_char:]
    end_char = start_char + len(tail.rstrip() or tail)
    start, end = token_spans(table, [(start_char, end_char)])[0].tolist()
    return (start, end)
