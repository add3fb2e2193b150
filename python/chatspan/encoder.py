"""Conversations → encodings: rendered once, tokenized once, and every token's message and field known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from chatspan.backends import DEFAULT_CACHE_BYTES, BackendName, Backends
from chatspan.chat_template import Render
from chatspan.config import BackendOption
from chatspan.draft import Conventions, Draft
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, ControlTokenError, OptionError, TextError, TokenizerError, TruncationError
from chatspan.origins import field_runs
from chatspan.pieces import Piece, control_tokens, encode_pieces, find_control_tokens
from chatspan.probing import habits_of
from chatspan.renderer import ChatRenderer, Messages
from chatspan.rollouts import rollout_offsets
from chatspan.tokens import Tokens, tokens_of
from chatspan.turns import turn_range

Truncation = Literal["error", "left", "right"]
SpecialTokens = Literal["as_rendered", "escape", "error"]


class ChatEncoder:
    """Encodes conversations for any chat template.

    Args:
        tokenizer: an HF fast tokenizer.
        chat_template: in place of the tokenizer's own: a template, or several by their names (``"default"``,
            ``"tool_use"``).
        backend: what tokenizes. ``"native"`` is a tokenizer in Rust, made of the given one as it is when it is
            first needed; ``"hf"``, the given one; ``"auto"``, the native one if it is known to come out the same and
            passes a test, and as soon as it is loaded. Ids and offsets are the same with each.
        cache_bytes: how much memory the native tokenizer may take to remember texts between control tokens, such as
            system messages and earlier turns.

    Raises:
        TokenizerError: the tokenizer has no chat template, or gives no offsets.
        BackendError: with ``backend="native"``, if it cannot be native; with the reason.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> encoder = chatspan.ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> encoding = encoder.encode([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}])
        >>> [encoding.text[s.start_char:s.end_char] for s in encoding.spans if s.path == ("content",)]
        ['Hi', 'Hello!']
        >>> encoder.decode(encoding.input_ids[encoding.mask()])
        'Hello!<|im_end|>'
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        chat_template: str | Mapping[str, str] | None = None,
        backend: BackendOption = "auto",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise TokenizerError(
                f"{type(tokenizer).__name__} gives no offsets: load the fast tokenizer "
                "(AutoTokenizer.from_pretrained(…), or PreTrainedTokenizerFast)"
            )
        self.tokenizer = tokenizer
        self._renderer = ChatRenderer(tokenizer, chat_template)
        self._known: dict[str, Conventions] = {}
        self._backends = Backends(tokenizer, backend, cache_bytes)
        if backend == "native":
            self._backends.wait()

    def __getstate__(self) -> dict[str, Any]:
        # What was found out about templates is found out anew.
        return {**self.__dict__, "_known": {}}

    @property
    def backend(self) -> BackendName:
        """``"native"`` or ``"hf"``, with the ``reason``; loads what is not loaded yet."""
        return self._backends.choice

    def warm_up(self, *, background: bool = False) -> None:
        """Loads the native tokenizer now, as before worker processes are forked that would else load one each.

        It looks at the tokenizer anew, so that it also sees a word of the vocabulary become an added token, which
        encoders that are in use do not.

        Args:
            background: return at once, and load beside other work.
        """
        if background:
            self._backends.start()
        else:
            self._backends.wait()

    def stats(self) -> dict[str, int]:
        """How many rows were tokenized which way, and how often texts were remembered.

        ``rows_native``, ``rows_hf``, ``rows_fell_back`` (of those by transformers' tokenizer, the ones that the native
        one left to it); ``cache_hits``, ``cache_misses``, ``cache_entries``, ``cache_bytes``, of all encoders that
        share a native tokenizer.
        """
        return self._backends.stats()

    def encode(
        self,
        messages: Messages,
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Mapping[str, str]] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        max_length: int | None = None,
        truncation: Truncation = "error",
        special_tokens: SpecialTokens = "as_rendered",
        token_ids_check: bool = True,
        **template_kwargs: Any,
    ) -> Encoding:
        """Encodes one conversation.

        Args:
            messages: as ``apply_chat_template`` takes them. An assistant's may have ``token_ids``, the ids that were
                sampled for its turn, stop token included: they stand in the encoding in place of the turn's text.
            tools, documents, add_generation_prompt, continue_final_message: as in ``apply_chat_template``.
            max_length: at most so many tokens.
            truncation: where more are cut off, ``"left"`` or ``"right"``; ``"error"`` cuts none.
            special_tokens: what becomes of control tokens that stand in the text of fields: ``"as_rendered"``, they
                are control tokens, as in transformers; ``"escape"``, they are plain text, as with its
                ``sanitize_control_tokens``; ``"error"``.
            token_ids_check: whether ``token_ids`` that do not decode to their turn are an error.
            template_kwargs: for the template. One that it does not read gives a warning.

        Raises:
            MessageError, TemplateError, RenderMismatchError: see :meth:`ChatRenderer.render`.
            TruncationError: more than ``max_length`` tokens.
            ControlTokenError: with ``special_tokens="error"``; with ``message_index``.
            RolloutError, TurnBoundaryError: ``token_ids`` that do not fit; with ``message_index``.
        """
        return self.encode_batch(
            [messages],
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            max_length=max_length,
            truncation=truncation,
            special_tokens=special_tokens,
            token_ids_check=token_ids_check,
            **template_kwargs,
        )[0]

    def encode_batch(
        self,
        conversations: Sequence[Messages],
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Mapping[str, str]] | None = None,
        max_length: int | None = None,
        truncation: Truncation = "error",
        special_tokens: SpecialTokens = "as_rendered",
        token_ids_check: bool = True,
        **render_kwargs: Any,
    ) -> list[Encoding]:
        """Encodes conversations in one call of the tokenizer. See :meth:`encode`."""
        _check_options(max_length, truncation, special_tokens)
        now = datetime.now()
        drafts = [
            self.draft(
                messages,
                tools=tools,
                special_tokens=special_tokens,
                token_ids_check=token_ids_check,
                documents=documents,
                now=now,
                **render_kwargs,
            )
            for messages in conversations
        ]
        whole = [draft for draft in drafts if not draft.pieces]
        texts = [draft.render.text for draft in whole]
        tokens = iter(self._backends.encode_batch(texts, [draft.segments for draft in whole]))
        encodings = []
        for draft in drafts:
            found = self._encode_pieces(draft) if draft.pieces else next(tokens)
            encodings.append(_truncated(draft.encoding(found), max_length, truncation))
        return encodings

    def _encode_pieces(self, draft: Draft) -> Tokens:
        return encode_pieces(self.tokenizer, self._backends.current(), draft.render.text, draft.pieces)

    def decode(self, ids: Any) -> str:
        """The text of ids, special tokens written out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def draft(
        self,
        messages: Messages,
        *,
        tools: Sequence[Any] | None = None,
        special_tokens: SpecialTokens = "as_rendered",
        token_ids_check: bool = True,
        **render_kwargs: Any,
    ) -> Draft:
        """Renders a conversation: all but tokenizing, which may be done for many at once."""
        messages, token_ids = _without_token_ids(messages)
        render = self._renderer.render(messages, tools=tools, **render_kwargs)
        _require_unicode(render)
        template = self._renderer.template(tools)
        draft = Draft(render, lambda: self._conventions(tools), template.has_generation_tags)
        if token_ids:
            draft.pieces += self._rollouts(draft, token_ids, token_ids_check)
        if special_tokens != "as_rendered":
            draft.pieces += _escapes(draft, error=special_tokens == "error")
        return draft

    def _conventions(self, tools: Sequence[Any] | None) -> Conventions:
        template = self._renderer.template(tools)
        known = self._known.get(template.source)
        if known is None:
            controls = control_tokens(self.tokenizer, template.source)
            habits = habits_of(template, self.tokenizer.special_tokens_map, controls)
            known = Conventions(controls, habits.with_controls(controls))
            self._known[template.source] = known
        return known

    def _rollouts(self, draft: Draft, token_ids: Mapping[int, Sequence[int]], check: bool) -> list[Piece]:
        pieces = []
        shell = draft.encoding(tokens_of([], [], len(draft.render.text), "hf"))
        for index, ids in token_ids.items():
            try:
                if index not in shell._regions:
                    raise OptionError(f"message {index} has token_ids, but the template does not render it")
                start, end = turn_range(shell, index, "token")
                found = rollout_offsets(
                    self.tokenizer,
                    ids,
                    draft.render.text[start:end],
                    _untrimmed(draft.render, start, end),
                    check=check,
                )
            except ChatspanError as error:
                raise error.at(message_index=index) from None
            offsets = [(first + start, last + start) for first, last in found]
            pieces.append(Piece(start, end, ([int(i) for i in ids], offsets)))
        return pieces


def _escapes(draft: Draft, *, error: bool) -> list[Piece]:
    """The control tokens in the text of fields, as pieces of plain text."""
    taken = [(piece.start_char, piece.end_char) for piece in draft.pieces]
    pieces = []
    for start, end, message_index in _control_tokens_of_fields(draft.render, draft.conventions.control_tokens):
        if any(first < end and start < last for first, last in taken):
            continue
        if error:
            raise ControlTokenError(
                f"message {message_index}: its text holds the control token {draft.render.text[start:end]!r} "
                f'(character {start} of the render); special_tokens="escape" encodes it as plain text',
                message_index=message_index,
                start_char=start,
            )
        pieces.append(Piece(start, end))
    return pieces


def _require_unicode(render: Render) -> None:
    if render.text.isascii():
        return
    try:
        render.text.encode()
    except UnicodeEncodeError as error:
        owner = next((owner for start, owner in reversed(render.owners) if start <= error.start), -1)
        which = f"message {owner}" if owner >= 0 else "the render"
        raise TextError(
            f"{which} has a lone surrogate (character {error.start} of the render): it is no valid Unicode text; "
            "repair or drop it",
            message_index=owner if owner >= 0 else None,
            start_char=error.start,
        ) from None


def _check_options(max_length: int | None, truncation: str, special_tokens: str) -> None:
    if max_length is not None and (not isinstance(max_length, int) or max_length < 1):
        raise OptionError(f"max_length={max_length!r}: say how many tokens, at least 1, or None")
    if truncation not in ("error", "left", "right"):
        raise OptionError(f'truncation={truncation!r}: say "error", "left" or "right"')
    if special_tokens not in ("as_rendered", "escape", "error"):
        raise OptionError(f'special_tokens={special_tokens!r}: say "as_rendered", "escape" or "error"')


def _without_token_ids(messages: Messages) -> tuple[Messages, dict[int, Sequence[int]]]:
    """The messages as the template gets them, and the sampled ids of those that have some."""
    if not isinstance(messages, Sequence):
        return messages, {}
    token_ids = {
        index: message["token_ids"]
        for index, message in enumerate(messages)
        if isinstance(message, Mapping) and message.get("token_ids") is not None
    }
    if token_ids:
        messages = [
            {key: value for key, value in message.items() if key != "token_ids"} if index in token_ids else message
            for index, message in enumerate(messages)
        ]
    return messages, token_ids


def _control_tokens_of_fields(render: Render, controls: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """Control tokens that stand whole in the text of one field, and that field's message."""
    found = []
    fields: list[list[Any]] = []
    for start, end, origin, at in field_runs(render.runs):
        if not isinstance(origin, str):
            continue
        last = fields[-1] if fields else None
        if last is not None and last[1] == start and last[2] is origin and at >= 0 and last[3] == at:
            last[1], last[3] = end, at + end - start
        else:
            fields.append([start, end, origin, at + end - start if at >= 0 else -1])
    for start, end, origin, _ in fields:
        spans = find_control_tokens(render.text, [(start, end)], controls)
        found += [(first, last, origin._message_index) for first, last in spans]
    return found


def _untrimmed(render: Render, start: int, end: int) -> list[tuple[str, int, int]]:
    """A turn before the template trimmed its fields: pieces, and where they are in the turn."""
    pieces: list[tuple[str, int, int]] = []
    position = start
    for run_start, run_end, origin, at in field_runs(render.runs):
        if run_start < start or run_end > end or at < 0:
            continue
        pieces.append((render.text[position:run_start], position - start, run_start - start))
        whole, last = str.__str__(origin), at + run_end - run_start
        lead, trail = whole[:at], whole[last:]
        if not lead.strip():
            pieces.append((lead, run_start - start, run_start - start))
        pieces.append((render.text[run_start:run_end], run_start - start, run_end - start))
        if not trail.strip():
            pieces.append((trail, run_end - start, run_end - start))
        position = run_end
    pieces.append((render.text[position:end], position - start, end - start))
    return pieces


def _truncated(encoding: Encoding, max_length: int | None, truncation: Truncation) -> Encoding:
    count = len(encoding)
    if max_length is None or count <= max_length:
        return encoding
    if truncation == "error":
        raise TruncationError(
            f'{count} tokens are more than max_length={max_length}; truncation="left" or "right" cuts them'
        )
    kept = slice(count - max_length, count) if truncation == "left" else slice(0, max_length)
    straddling = encoding.straddling[(encoding.straddling >= kept.start) & (encoding.straddling < kept.stop)]
    return replace(
        encoding,
        input_ids=encoding.input_ids[kept],
        offsets=encoding.offsets[kept],
        message_index=encoding.message_index[kept],
        kind=encoding.kind[kept],
        straddling=straddling - kept.start,
        truncated=count - max_length,
    )
