"""A renderer for any chat template, for what takes those of the ``renderers`` package: prime-rl, verifiers and others.

``renderers.CustomRendererConfig(import_path="chatspan.renderers.ChatspanRenderer")`` chooses it. This module needs the
package, ``pip install "chatspan[renderers]"``; nothing else of chatspan does.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import threading
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from renderers import BaseRendererConfig, ParsedResponse, ParsedToolCall, RenderedTokens, ToolCallParseStatus
from renderers.base import extract_message_tool_names, introduces_user_query, reject_assistant_in_extension

from chatspan.attribute.turns import EndOfTurn
from chatspan.encoder import ChatEncoder
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, TurnBoundaryError
from chatspan.kinds import Kind
from chatspan.render.request import RenderRequest
from chatspan.rollout.answered import add_turn
from chatspan.rollout.histories import MAX_TOKENS, Histories
from chatspan.rollout.rollout import Rollout
from chatspan.rollout.stops import turn_end_ids
from chatspan.rows.dialects.openai import normalized
from chatspan.rows.options import RowOptions
from chatspan.rows.steps.fitted import fitted

Message = Mapping[str, Any]
logger = logging.getLogger("chatspan")

# Kinds of what a message says itself, whoever's it is.
_CONTENT = (Kind.CONTENT, Kind.TOOL_RESULT)


class ChatspanRendererConfig(BaseRendererConfig):  # type: ignore[misc]
    """What a :class:`ChatspanRenderer` is made with, beside the tokenizer.

    Fields that are none of these are keywords of the chat template, such as ``enable_thinking=False``.

    Attributes:
        thinking_retention: whether a bridge may keep what the template would drop or rewrite of earlier turns.
            ``None``: it may not, and there is a bridge wherever the template itself goes on; ``"all"``: it may;
            ``"tool_cycle"``: it may up to the next message of a user, which always ends a bridge.
        chat_template: in place of the tokenizer's own: a template, or several by their names.
        history_tokens: how many ids of prompts are remembered, to go on from them.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Literal["chatspan"] = "chatspan"
    chat_template: str | dict[str, str] | None = None
    history_tokens: int = MAX_TOKENS

    _internal_fields = frozenset({"chat_template", "history_tokens"})
    _allow_opaque_template_kwargs = True


class _Shown(NamedTuple):
    """What a prompt was rendered of."""

    messages: list[dict[str, Any]]
    tools: Sequence[Any] | None


# Programs hold several renderers of one model, and one turn of a rollout may come to another than the turn before.
_SHARED: weakref.WeakValueDictionary[str, Histories[Rollout | _Shown]] = weakref.WeakValueDictionary()


class ChatspanRenderer:
    """Renders with the tokenizer's own chat template, and knows whose each token is.

    It can do what the hand-written renderers of ``renderers`` do, for any template, see ``renderers.Renderer`` for each
    method. A bridge goes on from prompts that this renderer, or another one of the same tokenizer and configuration in
    the process, rendered or bridged itself: ids alone do not say which messages they are. For all others, and where the
    template itself does not go on with what was shown and sampled, it is ``None``, and the caller renders anew.

    Args:
        tokenizer: an HF fast tokenizer.
        config: see :class:`ChatspanRendererConfig`.

    Attributes:
        refused: why bridges were ``None``, and how often: ``"unknown_prompt"``, or the name of chatspan's error.

    Raises:
        TokenizerError: the tokenizer has no chat template, or returns no offsets.

    Example:
        >>> from renderers import CustomRendererConfig, create_renderer
        >>> from transformers import AutoTokenizer
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> config = CustomRendererConfig(import_path="chatspan.renderers.ChatspanRenderer")
        >>> renderer = create_renderer(tokenizer, config)
        >>> messages = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "It is 4."}]
        >>> rendered = renderer.render(messages)
        >>> tokenizer.decode([each for each, own in zip(rendered.token_ids, rendered.sampled_mask) if own])
        'It is 4.<|im_end|>'
        >>> tokenizer.convert_ids_to_tokens(renderer.get_stop_token_ids())
        ['<|im_end|>']
    """

    config_class = ChatspanRendererConfig

    def __init__(self, tokenizer: Any, config: ChatspanRendererConfig | None = None) -> None:
        self.config = config or ChatspanRendererConfig()
        self.refused: Counter[str] = Counter()
        self._encoder = ChatEncoder(tokenizer, chat_template=self.config.chat_template)
        self._keywords = dict(self.config.model_extra or {})
        self._stop_ids: list[int] | None = None
        # The methods are called from several threads.
        self._lock = threading.RLock()
        key = _key(tokenizer, self.config)
        self._histories = _SHARED.setdefault(key, Histories(self.config.history_tokens))

    @property
    def is_prefix_stable(self) -> bool:
        """``False``: a template promises nothing. Where it does go on, a bridge does, too."""
        return False

    def render(
        self, messages: Sequence[Message], *, tools: Sequence[Any] | None = None, add_generation_prompt: bool = False
    ) -> RenderedTokens:
        """The tokens of messages, as the chat template writes them.

        Calls' ``arguments`` may be JSON text or objects; the template gets what it takes.

        Raises:
            MessageError, TemplateError: see :meth:`chatspan.ChatEncoder.encode`.
        """
        with self._lock:
            given = self._read(messages, tools)
            encoding = self._encoder.encode(
                given, tools=tools, add_generation_prompt=add_generation_prompt, template_kwargs=self._keywords
            )
            if add_generation_prompt:
                self._histories.remember(encoding.input_ids, _Shown(given, tools))
            message_index, sampled, content = _owned(encoding)
        return _rendered(encoding.input_ids, message_index, sampled, content, messages)

    def render_ids(
        self, messages: Sequence[Message], *, tools: Sequence[Any] | None = None, add_generation_prompt: bool = False
    ) -> list[int]:
        """The ids of :meth:`render` alone."""
        ids: list[int] = self.render(messages, tools=tools, add_generation_prompt=add_generation_prompt).token_ids
        return ids

    def get_stop_token_ids(self) -> list[int]:
        """The ids that end a turn: the template's, the tokenizer's and those of the model's generation config."""
        with self._lock:
            if self._stop_ids is None:
                like = RenderRequest([], template_kwargs=self._keywords)
                self._stop_ids = turn_end_ids(self._encoder.pipeline, like)
            return list(self._stop_ids)

    def parse_response(
        self, token_ids: Sequence[int], *, tools: Sequence[Any] | None = None, prompt_ids: Sequence[int] | None = None
    ) -> ParsedResponse:
        """The message that a completion is; see :meth:`chatspan.ChatEncoder.parse_completion`.

        Args:
            prompt_ids: what it was sampled from. Of a prompt that is not known, and of none, it is read as one behind a
                user's message.
        """
        with self._lock:
            shown = self._shown(prompt_ids) if prompt_ids else None
            messages, known_tools = (None, None) if shown is None else shown
            parsed = self._encoder.parse_completion(
                messages, token_ids, known_tools if tools is None else tools, template_kwargs=self._keywords
            )
            text = self._encoder.decode(list(token_ids))
        return _response(parsed, text)

    def bridge_to_next_turn(
        self,
        previous_prompt_ids: Sequence[int],
        previous_completion_ids: Sequence[int],
        new_messages: Sequence[Message],
        *,
        tools: Sequence[Any] | None = None,
    ) -> RenderedTokens | None:
        """The next prompt: what was shown and sampled, and behind it what the template writes of the new messages.

        Returns:
            ``None`` where this is not known to be the template's way to go on; see :attr:`refused`.
        """
        if not previous_prompt_ids or not new_messages or reject_assistant_in_extension(list(new_messages)):
            return None
        retention = self.config.thinking_retention
        if retention == "tool_cycle" and introduces_user_query(list(new_messages)):
            return None
        with self._lock:
            rollout = self._rollout(previous_prompt_ids, tools)
            if rollout is None:
                self._refuse("unknown_prompt", "these ids were not rendered or bridged here, with these tools")
                return None
            try:
                new = self._read(new_messages, tools)
                prompt_ids = add_turn(rollout, previous_completion_ids, new)
            # The caller renders anew, which says what is wrong with messages.
            except ChatspanError as error:
                self._refuse(type(error).__name__, str(error))
                return None
            self._histories.remember(prompt_ids, rollout)
        shown, first_new = rollout.last_shown, len(rollout.messages) - len(new)
        prior = len(prompt_ids) - len(shown.ids)
        message_index = np.full(len(prompt_ids), -1, dtype=np.int64)
        message_index[prior:] = np.where(shown.message_index >= first_new, shown.message_index - first_new, -1)
        content = np.zeros(len(prompt_ids), dtype=bool)
        content[prior:] = np.isin(shown.kind, _CONTENT) & (message_index[prior:] >= 0)
        return _rendered(prompt_ids, message_index, np.zeros(len(prompt_ids), dtype=bool), content, new_messages)

    def _read(self, messages: Sequence[Message], tools: Sequence[Any] | None) -> list[dict[str, Any]]:
        """The messages in the forms that the template takes."""
        habits = self._encoder.habits(tools, self._keywords)
        return fitted(normalized(messages, []), RowOptions(), habits, [])

    def _shown(self, prompt_ids: Sequence[int]) -> _Shown | None:
        """The messages of a prompt, as far as they are known."""
        history = self._histories.find(prompt_ids)
        return _Shown(history.messages, history.tools) if isinstance(history, Rollout) else history

    def _rollout(self, prompt_ids: Sequence[int], tools: Sequence[Any] | None) -> Rollout | None:
        """A rollout that goes on from a prompt; ``None`` of one that is not known."""
        history = self._histories.find(prompt_ids)
        if history is None or not _same_tools(history.tools, tools):
            return None
        if isinstance(history, Rollout):
            rollout = copy.copy(history)
            rollout.encoder = self._encoder
            return rollout
        rollout = Rollout(
            self._encoder,
            history.messages,
            tools=history.tools,
            on_rewrite="error" if self.config.thinking_retention is None else "keep",
            template_kwargs=self._keywords,
        )
        # A template may write the time.
        return rollout if np.array_equal(rollout.prompt_ids, prompt_ids) else None

    def _refuse(self, reason: str, why: str) -> None:
        self.refused[reason] += 1
        logger.debug("no bridge to the next turn: %s", why)


def _key(tokenizer: Any, config: ChatspanRendererConfig) -> str:
    """What decides about prompts and what follows them."""
    parts = (
        tokenizer.backend_tokenizer.to_str(),
        repr(sorted(tokenizer.special_tokens_map.items())),
        json.dumps(tokenizer.chat_template, sort_keys=True),
        config.model_dump_json(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _same_tools(known: Sequence[Any] | None, given: Sequence[Any] | None) -> bool:
    return list(known or ()) == list(given or ())


def _owned(encoding: Encoding) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """For each token its message, whether the model samples it, and whether it is of what a message says.

    The last two are ``None`` where nothing tells where turns begin and end.
    """
    message_index = encoding.message_index.astype(np.int64)
    assistants = [index for index, role in enumerate(encoding.roles) if role == "assistant"]
    sampled = np.zeros(len(encoding), dtype=bool)
    for index in assistants:
        turn = _turn(encoding, index)
        if turn is None:
            return message_index, None, None
        sampled |= turn
        message_index[turn] = index
    content = np.where(np.isin(message_index, assistants), sampled, encoding.mask(None, "content"))
    return message_index, sampled, content


def _turn(encoding: Encoding, index: int) -> NDArray[np.bool_] | None:
    """The tokens that a model samples of a message; ``None`` where nothing tells."""
    # Where a turn has no end of its own, the token that opens what follows ends it, and the model samples that.
    ends: EndOfTurn
    for ends in ("token", "next_header"):
        try:
            return encoding.mask(messages=[index], end_of_turn=ends)
        except TurnBoundaryError:
            continue
    return None


def _rendered(
    ids: NDArray[np.int64],
    message_index: NDArray[np.int64],
    sampled: NDArray[np.bool_] | None,
    content: NDArray[np.bool_] | None,
    messages: Sequence[Message],
) -> RenderedTokens:
    return RenderedTokens(
        token_ids=ids.tolist(),
        message_indices=message_index.tolist(),
        sampled_mask=[] if sampled is None else sampled.tolist(),
        is_content=[] if content is None else content.tolist(),
        message_roles=[str(message.get("role") or "") for message in messages],
        message_tool_names=extract_message_tool_names(list(messages)),
    )


def _response(parsed: Any, text: str) -> ParsedResponse:
    """A parsed completion in the form of ``renderers``."""
    calls = []
    for call in parsed.tool_calls:
        function = call["function"]
        raw = json.dumps(function, ensure_ascii=False)
        calls.append(ParsedToolCall(raw, function["name"], function["arguments"], id=call.get("id")))
    for note in parsed.notes:
        if note.code == "malformed_call":
            raw = text[max(note.start_char, 0) :]
            calls.append(ParsedToolCall(raw, status=ToolCallParseStatus.MALFORMED_STRUCTURE))
    content = parsed.message.get("content")
    if isinstance(content, list):
        content = "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    is_open = any(note.code == "unclosed_reasoning" for note in parsed.notes)
    return ParsedResponse(
        content=content or "",
        reasoning_content=parsed.reasoning,
        tool_calls=calls,
        reasoning_complete=False if is_open else True if parsed.certain else None,
    )
