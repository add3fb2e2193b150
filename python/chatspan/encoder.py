"""Conversations → encodings: rendered once, tokenized once, and every token's message and field known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from chatspan._core import Offsets
from chatspan.backends import DEFAULT_CACHE_BYTES, BackendName, Backends
from chatspan.config import BackendOption
from chatspan.draft import Draft
from chatspan.drafter import Drafter, SpecialTokens
from chatspan.drafts import Asked, drafts_of
from chatspan.encoding import Encoding
from chatspan.errors import OptionError, TokenizerError, TruncationError
from chatspan.native_template import native_template
from chatspan.pieces import encode_pieces
from chatspan.renderer import Messages
from chatspan.tokens import Tokens

if TYPE_CHECKING:
    from chatspan.map_fn import MapFn
    from chatspan.supervised import EmptyRows, SupervisedLossOn
    from chatspan.template_limits import TemplateLimits
    from chatspan.turns import EndOfTurn

Truncation = Literal["error", "left", "right"]


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
        template_limits: what one render of the chat template may take; a :class:`chatspan.TemplateLimits` for others
            than its own.

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
        template_limits: TemplateLimits | None = None,
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise TokenizerError(
                f"{type(tokenizer).__name__} gives no offsets: load the fast tokenizer "
                "(AutoTokenizer.from_pretrained(…), or PreTrainedTokenizerFast)"
            )
        self.tokenizer = tokenizer
        self.chat_template = chat_template
        self.template_limits = template_limits
        self._drafter = Drafter(tokenizer, chat_template, template_limits)
        self._backends = Backends(tokenizer, backend, cache_bytes)
        if backend == "native":
            self._backends.wait()

    @property
    def backend(self) -> BackendName:
        """``"native"`` or ``"hf"``, with the ``reason``; loads what is not loaded yet."""
        return self._backends.choice

    @property
    def has_generation_tags(self) -> bool:
        """Whether the chat template (of several, the one without tools) has ``{% generation %}`` blocks."""
        return self._drafter.renderer.template(None).has_generation_tags

    @property
    def renderer(self) -> BackendName:
        """What evaluates the chat template (of several, the one without tools): ``"native"``, or ``"jinja2"`` where it
        has a construct that the core lacks; with the ``reason``, and what single renders were left to Jinja2 for.
        """
        renderer = self._drafter.renderer
        lacking = native_template(renderer.source(None))
        reason = lacking if isinstance(lacking, str) else "the core knows every construct of the template"
        left = ", ".join(f"{count} for {what}" for what, count in sorted(renderer.left.items()))
        name = "jinja2" if isinstance(lacking, str) else "native"
        return BackendName(name, f"{reason}; left to Jinja2: {left}" if left and name == "native" else reason)

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
        """How many rows were rendered and tokenized which way, and how often texts were remembered.

        ``renders_native``, ``renders_jinja2``; ``rows_native``, ``rows_hf``, ``rows_fell_back`` (of those by
        transformers' tokenizer, the ones that the native one left to it); ``cache_hits``, ``cache_misses``,
        ``cache_entries``, ``cache_bytes``, of all encoders that share a native tokenizer.
        """
        renderer = self._drafter.renderer
        renders = {"renders_native": renderer.native_renders, "renders_jinja2": renderer.left.total()}
        return {**renders, **self._backends.stats()}

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
        """Encodes conversations: read one by one, then rendered and tokenized on all cores. See :meth:`encode`."""
        _check_options(max_length, truncation, special_tokens)
        keywords = {"tools": tools, "documents": documents, **render_kwargs}
        asked = [Asked(self._drafter, messages, keywords) for messages in conversations]
        drafts = drafts_of(asked, now=datetime.now(), special_tokens=special_tokens, token_ids_check=token_ids_check)
        return [truncated(encoding, max_length, truncation) for encoding in self._encode_drafts(list(drafts))]

    def _encode_drafts(self, drafts: Sequence[Draft]) -> list[Encoding]:
        """Encodes what is rendered already in one call of the tokenizer, which may use all cores."""
        whole = [draft for draft in drafts if not draft.pieces]
        texts = [draft.render.native or draft.render.text for draft in whole]
        tokens = iter(self._backends.encode_batch(texts, [draft.segments for draft in whole]))
        return [draft.encoding(self._encode_pieces(draft) if draft.pieces else next(tokens)) for draft in drafts]

    def _encode_pieces(self, draft: Draft) -> Tokens:
        return encode_pieces(self.tokenizer, self._backends.current(), draft.render.text, draft.pieces)

    def as_map_fn(
        self,
        *,
        loss_on: SupervisedLossOn = "turn",
        end_of_turn: EndOfTurn = "token",
        max_length: int | None = None,
        truncation: Truncation = "error",
        empty_rows: EmptyRows = "error",
        special_tokens: SpecialTokens = "as_rendered",
        column: str | None = None,
        columns: Sequence[str] = ("input_ids", "labels"),
    ) -> MapFn:
        """A function for ``Dataset.map(…, batched=True)`` of Hugging Face's ``datasets``, also of streaming data sets.

        A second run finds its results in the cache: what it is known by holds the tokenizer, the template, these
        options and the versions of chatspan and transformers, and does not change with use. Give ``with_indices=True``
        too, so that errors say which row of the data set it is.

        Args:
            loss_on, end_of_turn, max_length, truncation, special_tokens, column: see :class:`chatspan.ChatCollator`.
            empty_rows: what becomes of rows with nothing to train on: ``"error"``; ``"drop"``, which needs
                ``remove_columns=dataset.column_names``.
            columns: what to return of ``"input_ids"``, ``"labels"``, ``"attention_mask"`` (int64, of which ``datasets``
                makes smaller ones where it keeps them), ``"message_index"`` (int32) and ``"kind"`` (uint8). With
                weights also ``"loss_weight"`` (float32).

        Raises:
            OptionError: options that cannot be. The function raises as :class:`chatspan.ChatCollator`.

        Example:
            >>> from datasets import Dataset
            >>> from transformers import AutoTokenizer
            >>> import chatspan
            >>> encoder = chatspan.ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
            >>> rows = Dataset.from_list([{"messages": [{"role": "user", "content": "2 + 2?"},
            ...                                         {"role": "assistant", "content": "It is 4."}]}])
            >>> found = rows.map(encoder.as_map_fn(), batched=True, remove_columns=rows.column_names)
            >>> encoder.decode([label for label in found[0]["labels"] if label != -100])
            'It is 4.<|im_end|>'
        """
        from chatspan.map_fn import MapFn
        from chatspan.supervised import SupervisedOptions

        options = SupervisedOptions(
            loss_on=loss_on,
            end_of_turn=end_of_turn,
            max_length=max_length,
            truncation=truncation,
            empty_rows=empty_rows,
            special_tokens=special_tokens,
            column=column,
        )
        return MapFn(self, options, columns)

    def decode(self, ids: Any) -> str:
        """The text of ids, special tokens written out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _check_options(max_length: int | None, truncation: str, special_tokens: str) -> None:
    if max_length is not None and (not isinstance(max_length, int) or max_length < 1):
        raise OptionError(f"max_length={max_length!r}: say how many tokens, at least 1, or None")
    if truncation not in ("error", "left", "right"):
        raise OptionError(f'truncation={truncation!r}: say "error", "left" or "right"')
    if special_tokens not in ("as_rendered", "escape", "error"):
        raise OptionError(f'special_tokens={special_tokens!r}: say "as_rendered", "escape" or "error"')


def truncated(encoding: Encoding, max_length: int | None, truncation: Truncation) -> Encoding:
    """The encoding, cut where it is longer.

    Raises:
        TruncationError: it is longer, and ``truncation="error"``.
    """
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
        table=Offsets(encoding.offsets[kept], text_length=len(encoding.text)),
        message_index=encoding.message_index[kept],
        kind=encoding.kind[kept],
        straddling=straddling - kept.start,
        truncated=count - max_length,
    )
