"""The front door: conversations in, encodings out, every token's message and field known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from chatspan.attribute.turns import EndOfTurn
from chatspan.encode.escapes import SpecialTokens
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.encode.truncation import Truncation, check_options, truncated
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, OptionError, quoted
from chatspan.options import BackendOption, Boundaries, OffPromptPolicy, one_of
from chatspan.render.limits import TemplateLimits
from chatspan.render.request import Messages, RenderRequest, is_single, merged_keywords, require_conversations
from chatspan.rollout.parse.parsed import ParsedCompletion
from chatspan.rollout.parse.parsers import CompletionParsers
from chatspan.rollout.sampled import SampledEnd, sampled_rows
from chatspan.rollout.sampled_row import SampledRow
from chatspan.rollout.side_arrays import require_names
from chatspan.rows.habits import Habits
from chatspan.rows.options import RowKeywords, checked
from chatspan.shown.encoder import ShownEncoder
from chatspan.supervised.map_fn import MapFn
from chatspan.supervised.options import EmptyRows, SupervisedLossOn, SupervisedOptions, TrainOn
from chatspan.tokenize.backends import DEFAULT_CACHE_BYTES, BackendName

if TYPE_CHECKING:
    from typing_extensions import Unpack

Made = TypeVar("Made")


class ChatEncoder(ShownEncoder):
    """Encodes conversations for any chat template.

    Args:
        tokenizer: an HF fast tokenizer; or a processor (``AutoProcessor``), which takes messages with images, videos
            and audio, and whose ids are those of its own ``apply_chat_template``.
        chat_template: in place of its own: a template, or several by their names (``"default"``, ``"tool_use"``).
        backend: what tokenizes. ``"native"`` is a tokenizer in Rust, made of the given one as it is when it is
            first needed; ``"hf"``, the given one; ``"auto"``, the native one if it is known to come out the same and
            passes a test, and as soon as it is loaded. Ids and offsets are the same with each.
        cache_bytes: how much memory the native tokenizer may take to remember texts between control tokens, such as
            system messages and earlier turns.
        template_limits: what one render of the chat template may take; a :class:`chatspan.TemplateLimits` for others
            than its own.
        boundaries: ``"as_rendered"``: the text is tokenized whole, as ``apply_chat_template`` does. ``"as_prompted"``:
            each prompt, turn and what is between them apart, as inference meets them, so that no token has characters
            of both (see :attr:`chatspan.Encoding.border_tokens`).

    Raises:
        TokenizerError: the tokenizer has no chat template, or returns no offsets.
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
        boundaries: Boundaries = "as_rendered",
    ) -> None:
        self.chat_template, self.template_limits = chat_template, template_limits
        self._pipeline = EncodingPipeline(
            tokenizer,
            takes_processor=True,
            chat_template=chat_template,
            backend=backend,
            cache_bytes=cache_bytes,
            template_limits=template_limits,
            boundaries=boundaries,
        )
        self.tokenizer = self._pipeline.tokenizer
        self._parsers = CompletionParsers(self._pipeline)

    @property
    def processor(self) -> Any:
        """The processor, if one was given; else ``None``."""
        return self._pipeline.processor

    @property
    def backend(self) -> BackendName:
        """``"native"`` or ``"hf"``, with the ``reason``; loads what is not loaded yet."""
        return self._pipeline.backend

    @property
    def pipeline(self) -> EncodingPipeline:
        """What renders and tokenizes, without the options of :meth:`encode`; what reads rows shares it."""
        return self._pipeline

    @property
    def has_generation_tags(self) -> bool:
        """Whether the chat template (of several, the one without tools) has ``{% generation %}`` blocks."""
        return self._pipeline.template(None).has_generation_tags

    @property
    def renderer(self) -> BackendName:
        """What evaluates the chat template (of several, the one without tools): ``"native"``, or ``"jinja2"`` where it
        has a construct that the core lacks; with the ``reason``, and what single renders were left to Jinja2 for.
        """
        return BackendName(*self._pipeline.engine())

    def warm_up(self, *, background: bool = False) -> None:
        """Loads the native tokenizer now, as before worker processes are forked that would else load one each.

        It looks at the tokenizer anew, so that it also sees a word of the vocabulary become an added token, which
        encoders that are in use do not.

        Args:
            background: return at once, and load beside other work.
        """
        self._pipeline.warm_up(background=background)

    def stats(self) -> dict[str, int]:
        """How many rows were rendered and tokenized which way, and how often texts were remembered.

        ``renders_native``, ``renders_jinja2``; ``own_prompts``, the prompts that were rendered for rows of which
        nothing less tells where their turns start; ``rows_native``, ``rows_hf``, ``rows_fell_back`` (of those by
        transformers' tokenizer, the ones that the native one left to it); ``cache_hits``, ``cache_misses``,
        ``cache_entries``, ``cache_bytes``, of all encoders that share a native tokenizer.
        """
        return self._pipeline.stats()

    def encode(
        self,
        /,
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
        processor_kwargs: Mapping[str, Any] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> Encoding:
        """Encodes one conversation.

        Args:
            messages: as ``apply_chat_template`` takes them. An assistant's may have ``token_ids``, the ids that were
                sampled for its turn, stop token included: they stand in the encoding in place of the turn's text.
            tools, documents, add_generation_prompt, continue_final_message: as in ``apply_chat_template``.
            max_length: at most so many tokens.
            truncation: where more are cut off, ``"left"`` or ``"right"``; ``"error"`` cuts none.
            special_tokens: what becomes of control tokens that have a character of messages, tools or documents:
                ``"as_rendered"``, they are control tokens, as in transformers; ``"escape"``, they are plain text;
                ``"error"``. Keys count as values do, and what joins, a template or a normalizer makes. A role that the
                template names, or a usual one, may complete a control token; keywords are the template's own.
            token_ids_check: whether ``token_ids`` that do not decode to their turn are an error.
            processor_kwargs: keywords of the processor's own call, such as ``{"fps": 1}``.
            keywords, template_kwargs: for the template, side by side or in one mapping, which also takes names that are
                an option here, such as ``special_tokens``. One that the template does not read gives a warning.

        Raises:
            MessageError, TemplateError, RenderMismatchError: see :meth:`ChatRenderer.render`.
            TruncationError: more than ``max_length`` tokens.
            ControlTokenError: with ``special_tokens="error"``; with ``message_index`` and ``path``. With ``"escape"``
                where the tokenizer makes a control token of any plain text.
            RolloutError, TurnBoundaryError: ``token_ids`` that do not fit; with ``message_index``.
            ExpansionError: a processor raises, or nothing tells whose each of its tokens is.
        """
        check_options(max_length, truncation, special_tokens)
        own = merged_keywords(keywords, template_kwargs)
        request = RenderRequest(messages, tools, documents, add_generation_prompt, continue_final_message, own)
        renders = self._pipeline.render(
            [request],
            special_tokens=special_tokens,
            token_ids_check=token_ids_check,
            processor_kwargs=processor_kwargs,
        )
        return truncated(self._pipeline.encode_rendered(list(renders))[0], max_length, truncation)

    def encode_batch(
        self,
        /,
        conversations: Sequence[Messages],
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Mapping[str, str]] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        max_length: int | None = None,
        truncation: Truncation = "error",
        special_tokens: SpecialTokens = "as_rendered",
        token_ids_check: bool = True,
        processor_kwargs: Mapping[str, Any] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> list[Encoding]:
        """Encodes conversations: read one by one, then rendered and tokenized on all cores. See :meth:`encode`.

        Raises:
            ChatspanError: as there; with ``conversation_index``.
        """
        check_options(max_length, truncation, special_tokens)
        own = merged_keywords(keywords, template_kwargs)
        require_conversations(conversations)
        requests = []
        for messages in conversations:
            request = RenderRequest(messages, tools, documents, add_generation_prompt, continue_final_message, own)
            requests.append(request)
            if is_single(messages):
                # It is refused, and a range has any number of them.
                break
        renders = self._pipeline.render(
            requests,
            special_tokens=special_tokens,
            token_ids_check=token_ids_check,
            processor_kwargs=processor_kwargs,
        )
        encodings = self._pipeline.encode_rendered(list(_counted(renders)))
        return list(_counted(truncated(each, max_length, truncation) for each in encodings))

    def as_map_fn(
        self,
        *,
        loss_on: SupervisedLossOn = "turn",
        end_of_turn: EndOfTurn = "token",
        max_length: int | None = None,
        truncation: Truncation = "error",
        empty_rows: EmptyRows = "error",
        special_tokens: SpecialTokens = "as_rendered",
        columns: Sequence[str] = ("input_ids", "labels"),
        off_prompt: OffPromptPolicy = "keep",
        train_on: TrainOn = "all",
        loss_weight: bool = False,
        per_token: Sequence[str] = (),
        **row_options: Unpack[RowKeywords],
    ) -> MapFn:
        """A function for ``Dataset.map(…, batched=True)`` of Hugging Face's ``datasets``, also of streaming data sets.

        A second run finds its results in the cache: what it is known by holds the tokenizer, the template, these
        options and the versions of chatspan and transformers, and does not change with use. Give ``with_indices=True``
        too, so that errors say which row of the data set it is.

        Args:
            loss_on, end_of_turn, max_length, truncation, special_tokens, off_prompt, train_on, loss_weight, per_token,
            row_options: see :class:`chatspan.ChatCollator`. The names of ``per_token`` are columns too.
            empty_rows: what becomes of rows with nothing to train on: ``"error"``; ``"drop"``, which needs
                ``remove_columns=dataset.column_names``.
            columns: what to return of ``"input_ids"``, ``"labels"``, ``"attention_mask"`` (int64, of which ``datasets``
                makes smaller ones where it keeps them), ``"message_index"`` (int32) and ``"kind"`` (uint8). With
                weights or ``loss_weight=True`` also ``"loss_weight"`` (float32).

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
        options = SupervisedOptions(
            loss_on=loss_on,
            end_of_turn=end_of_turn,
            max_length=max_length,
            truncation=truncation,
            empty_rows=empty_rows,
            special_tokens=special_tokens,
            off_prompt=off_prompt,
            train_on=train_on,
            loss_weight=loss_weight,
            per_token=per_token,
            **checked(row_options, ChatEncoder.as_map_fn),
        )
        return MapFn(self._pipeline, options, columns)

    def sampled_rows(
        self,
        messages: Messages,
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Mapping[str, str]] | None = None,
        on_rewrite: Literal["split", "error"] = "split",
        end_of_turn: SampledEnd = "token",
        token_ids_check: bool = True,
        per_token: Sequence[str] = (),
        template_kwargs: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> list[SampledRow]:
        """A conversation as the model met it: each assistant's turn behind the prompt that was shown for it.

        Turns whose prompts go on from each other share a row. Where the template rewrites what was shown, as templates
        do that drop earlier reasoning, a new row begins, so that each turn is in one row, in its own words.

        Args:
            messages: as in :meth:`encode`, with ``token_ids`` or without.
            on_rewrite: ``"split"``; or ``"error"``, for data that has to fit in one row.
            end_of_turn: ``"token"``, the turn with the text that ends it; ``"next_header"``, with the control token
                that opens what follows, for templates whose messages have no end of their own; ``"none"``.
            per_token: keys of messages that have a value for each of their ``token_ids``, such as ``"logprobs"``: side
                arrays of the rows, and nothing that the template sees.
            tools, documents, token_ids_check, template_kwargs, keywords: as in :meth:`encode`.

        Raises:
            MessageError, TemplateError, TurnBoundaryError: see :meth:`encode`; no assistant's message.
            HistoryRewrittenError, OpeningRewrittenError, ReasoningDroppedError: with ``on_rewrite="error"``; with
                ``message_index``, ``kind`` and ``start_char``.
            RolloutError: ``token_ids`` that do not fit, or another number of values than of these.
        """
        if not one_of(on_rewrite, ("split", "error")):
            raise OptionError(f'on_rewrite={quoted(on_rewrite)}: use "split" or "error"')
        if not one_of(end_of_turn, get_args(SampledEnd)):
            raise OptionError(f'end_of_turn={quoted(end_of_turn)}: use "token", "next_header" or "none"')
        own = merged_keywords(keywords, template_kwargs)
        request = RenderRequest(messages, tools, documents, template_kwargs=own)
        return sampled_rows(
            self._pipeline,
            request,
            is_split=on_rewrite == "split",
            end_of_turn=end_of_turn,
            token_ids_check=token_ids_check,
            per_token=require_names(per_token),
        )

    def parse_completion(
        self,
        prompt: Messages | None,
        token_ids: Any,
        tools: Sequence[Any] | None = None,
        *,
        documents: Sequence[Mapping[str, str]] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> ParsedCompletion:
        """The message that a completion is: the chat template inverted.

        A message is found that the template writes as the completion: what stands around reasoning, contents and calls
        is learned once from renders of small messages, and what is read is rendered back. What a model wrote wrongly,
        such as a call whose JSON is none, stays content, with a note.

        Args:
            prompt: the messages in front of the completion; ``None``: one of a user.
            token_ids: the sampled ids, with their stop token or without; or the completion's text.
            tools, documents: those of the prompt. The schemas say the types of arguments that are written without.
            keywords, template_kwargs: as in :meth:`encode`.

        Raises:
            RolloutError: ids that are none of the tokenizer's; with ``token_index``.
            MessageError, OptionError, TemplateError: the prompt cannot be rendered. What a model wrote is no error.

        Example:
            >>> from transformers import AutoTokenizer
            >>> import chatspan
            >>> encoder = chatspan.ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
            >>> prompt = [{"role": "user", "content": "Move me to the 10:22."}]
            >>> call = '{"name": "rebook", "arguments": {"train": "IC 900"}}'
            >>> completion = f"I will.\\n<tool_call>\\n{call}\\n</tool_call><|im_end|>"
            >>> parsed = encoder.parse_completion(prompt, encoder.tokenizer(completion).input_ids)
            >>> parsed.message["content"], parsed.tool_calls[0]["function"], parsed.certain
            ('I will.', {'name': 'rebook', 'arguments': {'train': 'IC 900'}}, True)
        """
        own = merged_keywords(keywords, template_kwargs)
        return self._parsers.parse(prompt, token_ids, tools=tools, documents=documents, template_kwargs=own)

    def habits(self, tools: Sequence[Any] | None, template_kwargs: Mapping[str, Any]) -> Habits:
        """What the template of a conversation with these tools and keywords takes: what a reader of rows asks."""
        return self._pipeline.habits(tools, template_kwargs)

    def decode(self, ids: Any) -> str:
        """The text of ids, special tokens written out."""
        return self._pipeline.decode(ids)


def _counted(made: Iterator[Made]) -> Iterator[Made]:
    """What is made of conversations, in order; an error says of which one it is."""
    for index in count():
        try:
            each = next(made)
        except StopIteration:
            return
        except ChatspanError as error:
            raise error.at(conversation_index=index) from error.__cause__
        yield each
