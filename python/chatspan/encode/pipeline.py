"""Conversations → encodings: rendered once, attributed, tokenized once; in batches, on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import compress
from operator import index
from typing import Any, NamedTuple, get_args

from chatspan._core import TurnScaffold, attribute
from chatspan.attribute.attributed import AttributedRender
from chatspan.attribute.conventions import Conventions, keywords_key
from chatspan.encode.escapes import SpecialTokens, without_control_tokens_of_data
from chatspan.encode.processed import ProcessorRow, made_together, processed
from chatspan.encode.split import split_request
from chatspan.encode.token_ids import sampled_pieces
from chatspan.encoding import Encoding
from chatspan.errors import ChatspanError, MessageError, OptionError, TextError, TokenizerError, one_line, quoted
from chatspan.media.parts import MediaChat, media_chat, no_media, refuse_media
from chatspan.media.processors import checked_options, is_processor, require_processor, template_of
from chatspan.media.recording import Made, ProcessorInputs
from chatspan.options import LONGEST, BackendOption, Boundaries, one_of
from chatspan.render.habits import TemplateHabits
from chatspan.render.jinja.template import ChatTemplate
from chatspan.render.limits import TemplateLimits
from chatspan.render.preparation import require_tools
from chatspan.render.remembered import Remembered
from chatspan.render.rendered import Render
from chatspan.render.renderer import ChatRenderer
from chatspan.render.request import RenderRequest, merged_keywords, reason
from chatspan.rows.steps.plain import items_of
from chatspan.tokenize.backends import DEFAULT_CACHE_BYTES, BackendName, Backends
from chatspan.tokenize.loaded import require_loaded
from chatspan.tokenize.pieces import Piece, encode_pieces
from chatspan.tokenize.tokens import LabelledTokens, Tokens


class Rendered(NamedTuple):
    """A rendered conversation that is not tokenized yet.

    Attributes:
        attributed: the render, and whose each of its characters is.
        pieces: what of it is not to be tokenized as always.
        special_tokens: what becomes of control tokens with characters of the caller's data.
        processor_row: what is to be given to a processor, which tokenizes it.
    """

    attributed: AttributedRender
    pieces: Sequence[Piece] = ()
    special_tokens: SpecialTokens = "as_rendered"
    processor_row: ProcessorRow | None = None

    @property
    def render(self) -> Render:
        """The render."""
        return self.attributed.render


class EncodingPipeline:
    """Renders and tokenizes conversations for a tokenizer. For the arguments see :class:`chatspan.ChatEncoder`.

    Args:
        require_template: whether a tokenizer without a chat template is refused now, not when a conversation comes
            without one of its own.
        takes_processor: whether a processor may stand in place of the tokenizer.
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
        require_template: bool = True,
        takes_processor: bool = False,
    ) -> None:
        if not one_of(boundaries, get_args(Boundaries)):
            raise OptionError(f'boundaries={quoted(boundaries)}: use "as_rendered" or "as_prompted"')
        self.processor = tokenizer if takes_processor and is_processor(tokenizer) else None
        self._media: Callable[[Any], MediaChat | None] = refuse_media if takes_processor else no_media
        self.given_template = chat_template
        if self.processor is not None:
            self._media = media_chat
            require_processor(self.processor, boundaries)
            tokenizer = self.processor.tokenizer
            chat_template = template_of(self.processor) if chat_template is None else chat_template
        require_loaded(tokenizer)
        if not getattr(tokenizer, "is_fast", False):
            raise TokenizerError(
                f"{type(tokenizer).__name__} returns no offsets: load a fast one (AutoTokenizer.from_pretrained(…), "
                "mistral_format=False beside mistral-common), or make one of its file: see docs/tokenizing.md"
            )
        self.tokenizer = tokenizer
        self.chat_template = chat_template
        self.template_limits = template_limits
        self._renderer = ChatRenderer(tokenizer, chat_template, template_limits)
        if require_template:
            self._renderer.template(None)
        self._backends = Backends(tokenizer, backend, cache_bytes)
        self._boundaries = boundaries
        self._conventions: Remembered[Conventions] = Remembered()
        self._habits: Remembered[TemplateHabits] = Remembered()
        self._own_prompts = 0
        self._decoded: dict[int, str] = {}
        if backend == "native":
            self._backends.wait()

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that it was made with; what it does is decided by them alone."""
        tokenizer, backend, cache_bytes = self._backends.arguments
        return {
            "tokenizer": tokenizer if self.processor is None else self.processor,
            "chat_template": self.given_template,
            "backend": backend,
            "cache_bytes": cache_bytes,
            "template_limits": self.template_limits,
            "boundaries": self._boundaries,
            "takes_processor": self._media is not no_media,
        }

    @property
    def backend(self) -> BackendName:
        """``"native"`` or ``"hf"``, with the ``reason``; loads what is not loaded yet."""
        return self._backends.choice

    def summary(self) -> str:
        """The template and what tokenizes, in words; loads nothing."""
        try:
            template = f"template of {len(self._renderer.template(None).source):,} characters"
        # One of several that is not there, or that cannot be read.
        except ChatspanError:
            template = "no template"
        return f"{template}, {'processor' if self.processor is not None else self._backends.known}"

    def engine(self) -> tuple[str, str]:
        """What evaluates the chat template, and why; see :attr:`chatspan.ChatEncoder.renderer`."""
        return self._renderer.engine()

    def warm_up(self, *, background: bool = False) -> None:
        """Loads the native tokenizer; see :meth:`chatspan.ChatEncoder.warm_up`."""
        if not isinstance(background, bool):
            raise OptionError(f"background={quoted(background)}: expected True or False")
        if background:
            self._backends.start()
        else:
            self._backends.wait()

    def stats(self) -> dict[str, int]:
        """What was done which way; see :meth:`chatspan.ChatEncoder.stats`."""
        renders = {"renders_native": self._renderer.native_renders, "renders_jinja2": self._renderer.left.total()}
        return {**renders, "own_prompts": self._own_prompts, **self._backends.stats()}

    def decode(self, ids: Any) -> str:
        """The text of ids, special tokens written out."""
        is_array = hasattr(ids, "dtype")
        if not is_array and not isinstance(ids, (str, bytes, Mapping)) and hasattr(type(ids), "__getitem__"):
            # A list that lies about its length ends the process in a tokenizer that believes it.
            ids = _listed_ids(ids)
        try:
            return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        except TypeError:
            raise
        # What transformers raises has no common base.
        except Exception as error:
            raise OptionError(
                f"ids={quoted(ids)} cannot be decoded: {type(error).__name__}: {one_line(error)}"
            ) from error

    def decode_one(self, token_id: int) -> str:
        """The text of one id, as :meth:`decode` gives it; remembered."""
        found = self._decoded.get(token_id)
        if found is None:
            found = self._decoded[token_id] = self.decode([token_id])
        return found

    @property
    def renderer(self) -> ChatRenderer:
        """What renders, without what is known of headers and turns."""
        return self._renderer

    def template(self, tools: Sequence[Any] | None, chat_template: str | None = None) -> ChatTemplate:
        """The template that conversations with these tools are rendered with.

        Args:
            chat_template: in place of the pipeline's own.
        """
        return self._renderer.template(tools, chat_template)

    def habits(self, tools: Sequence[Any] | None, template_kwargs: Mapping[str, Any]) -> TemplateHabits:
        """What the template of a conversation with these tools and keywords does with the forms of messages."""
        require_tools(tools)
        keywords = dict(merged_keywords({}, template_kwargs))
        source = self._renderer.source(tools, keywords.pop("chat_template", None))
        like = RenderRequest((), tools, template_kwargs=keywords, chat_template=source)
        key = (source, keywords_key(source, like))
        return self._habits.find(key, lambda: TemplateHabits(self._renderer, like))

    def render(
        self,
        requests: Sequence[RenderRequest],
        *,
        now: datetime | None = None,
        cut: bool = True,
        special_tokens: SpecialTokens = "as_rendered",
        token_ids_check: bool = True,
        processor_kwargs: Mapping[str, Any] | None = None,
    ) -> Iterator[Rendered]:
        """Renders conversations, in order. What is wrong with one is raised when it is taken.

        Args:
            requests: whose messages may have ``token_ids``; see :meth:`chatspan.ChatEncoder.encode`.
            now: what templates take for now; the time of the call if not given.
            cut: whether renders are cut by message and kind in the same go.
            special_tokens, token_ids_check, processor_kwargs: see :meth:`chatspan.ChatEncoder.encode`.
        """
        now = now or datetime.now()
        options = checked_options(self.processor, processor_kwargs)
        split = [split_request(request, self._media) for request in requests]
        renders = self._renderer.render_batch(
            [request for request, _, _ in split],
            now=now,
            scaffold_of=self._known_scaffold if cut else lambda request, source: None,
        )
        for request, token_ids, chat in split:
            if isinstance(token_ids, MessageError):
                raise token_ids
            render = next(renders)
            _require_unicode(render)
            template = self._renderer.template(request.tools, request.chat_template)
            attributed = AttributedRender(
                render,
                partial(self._conventions_of, template, request),
                template.has_generation_tags,
                (self._renderer, request, now),
                self._count_prompts,
            )
            if chat is not None:
                own = request._replace(messages=())
                row = ProcessorRow(chat.messages, chat.parts, own, template.source, token_ids, token_ids_check, options)
                yield Rendered(attributed, (), special_tokens, row)
                continue
            pieces: list[Piece] = []
            if token_ids:
                pieces += sampled_pieces(self.tokenizer, attributed, token_ids, check=token_ids_check)
            yield Rendered(attributed, pieces, special_tokens)

    def try_render(self, requests: Sequence[RenderRequest], now: datetime) -> list[Render | None]:
        """Renders whose text and origins are all that is asked of them; none where the template refuses.

        Args:
            now: what templates take for now.
        """
        return self._renderer.try_render(requests, now)

    def encode_rendered(self, rendered: Sequence[Rendered], *, together: bool = False) -> list[Encoding]:
        """Encodes what is rendered in one call of the tokenizer, which may use all cores.

        Args:
            together: whether a processor is called once for all.

        Raises:
            ControlTokenError: a control token has characters of the caller's data, where that is to be an error.
            ExpansionError: nothing tells whose the tokens of a processor are.
        """
        if self.processor is not None:
            rows = [
                (each.attributed, each.processor_row, each.special_tokens)
                for each in rendered
                if each.processor_row is not None
            ]
            return processed(self.processor, self._backends.loaded(), rows, encoding_of, together=together)
        tokens = self.tokenize(rendered, with_segments=True)
        return [
            encoding_of(each.attributed, self._guarded(each, found))
            for each, found in zip(rendered, tokens, strict=True)
        ]

    def made_together(self, given: Sequence[ProcessorInputs]) -> Made:
        """What the processor makes in one call of what it is called with of several chats.

        Raises:
            ExpansionError: it raises, or the chats need other options than each other.
        """
        return made_together(self.processor, given, self._backends.loaded())

    def _guarded(self, rendered: Rendered, tokens: Tokens) -> Tokens:
        """The tokens; of those that are not to be as rendered, no control token has characters of the data."""
        if rendered.special_tokens == "as_rendered":
            return tokens
        return without_control_tokens_of_data(
            rendered.attributed,
            tokens,
            rendered.pieces,
            lambda pieces: self._tokens_of_pieces(rendered._replace(pieces=pieces)),
            error=rendered.special_tokens == "error",
        )

    def tokenize(self, rendered: Sequence[Rendered], *, with_segments: bool = False) -> list[Tokens]:
        """The tokens of renders, in one call of the tokenizer; with their segments perhaps also whose each is."""
        is_whole = [self._boundaries == "as_rendered" and not each.pieces for each in rendered]
        whole = list(compress(rendered, is_whole))
        segments = [each.attributed.segments for each in whole] if with_segments else None
        texts = [each.render.native or each.render.text for each in whole]
        found = iter(self._backends.encode_batch(texts, segments) if whole else [])
        return [
            next(found) if at_once else self._tokens_of_pieces(each)
            for each, at_once in zip(rendered, is_whole, strict=True)
        ]

    @property
    def is_plain(self) -> bool:
        """Whether texts are tokenized whole, and by no processor."""
        return self.processor is None and self._boundaries == "as_rendered"

    def label_batch(
        self, rendered: Sequence[Rendered], messages: Sequence[list[int]], *, whose: bool, **how: Any
    ) -> LabelledTokens | None:
        """Rows of renders by the core, with labels; see :meth:`chatspan.tokenize.backends.Backends.label_batch`."""
        renders = [each.render.native for each in rendered if each.render.native is not None]
        segments = [each.attributed.segments for each in rendered]
        return self._backends.label_batch(renders, segments, messages, with_whose=whose, **how)

    def tokenize_parts(self, text: str, pieces: Sequence[Piece], cuts: Sequence[int]) -> Tokens:
        """The tokens of a text that is cut at some characters, each part tokenized apart; see :func:`encode_pieces`."""
        return encode_pieces(self.tokenizer, self._backends.current(), text, pieces, cuts)

    def _tokens_of_pieces(self, rendered: Rendered) -> Tokens:
        cuts = borders(rendered.attributed) if self._boundaries == "as_prompted" else ()
        return encode_pieces(self.tokenizer, self._backends.current(), rendered.render.text, rendered.pieces, cuts)

    def _known_scaffold(self, request: RenderRequest, source: str) -> TurnScaffold | None:
        known = self._conventions.known((source, keywords_key(source, request)))
        return None if known is None else known.scaffold

    def _conventions_of(self, template: ChatTemplate, request: RenderRequest) -> Conventions:
        key = (template.source, keywords_key(template.source, request))
        return self._conventions.find(key, lambda: Conventions(self._renderer, self.tokenizer, template, request))

    def _count_prompts(self, count: int) -> None:
        self._own_prompts += count


def _listed_ids(ids: Any) -> list[int]:
    try:
        if len(ids) <= LONGEST:
            return [index(each) for each in items_of(ids)]
    except TypeError:
        raise
    # What a list of a caller's own class raises.
    except Exception as error:
        raise OptionError(f"ids {reason(error)}") from error
    raise OptionError(f"ids are {len(ids)}, more than any text has")


def borders(attributed: AttributedRender) -> list[int]:
    """Where assistants' turns start and end: what inference tokenizes apart."""
    found = set()
    for region in attributed.regions.values():
        if region.found is not None and region.header_end_char is not None and region.whole:
            found.add(region.header_end_char)
            found.add(region.end_char if region.end_of_turn is None else region.end_of_turn[1])
    return sorted(found)


def encoding_of(attributed: AttributedRender, tokens: Tokens) -> Encoding:
    """The tokens of a render, and whose they are."""
    message_index, kind, straddling = tokens.attribution or attribute(tokens.table, attributed.segments)
    return Encoding(
        input_ids=tokens.input_ids,
        table=tokens.table,
        message_index=message_index,
        kind=kind,
        straddling=straddling,
        roles=attributed.roles,
        backend=tokens.backend,
        _attributed=attributed,
        _given=tokens.given,
    )


def _require_unicode(render: Render) -> None:
    if render.native is not None or render.text.isascii():
        return
    try:
        render.text.encode()
    except UnicodeEncodeError as error:
        owner = next((owner for start, owner in reversed(render.owners) if start <= error.start), -1)
        which = f"message {owner}" if owner >= 0 else "the render"
        raise TextError(
            f"{which} has a lone surrogate (character {error.start} of the render): it is not valid Unicode text; "
            "repair or drop it",
            message_index=owner if owner >= 0 else None,
            start_char=error.start,
        ) from None
