"""A tokenized conversation, and whose each of its tokens is."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from chatspan._core import Offsets, Segments, token_mask, token_mask_of_kinds, token_spans
from chatspan.attribute.attributed import AttributedRender
from chatspan.attribute.explain import stretches
from chatspan.attribute.media import IDS, NO_INPUTS, MediaPlace, Medium, ModelInputs, media_of, without_media
from chatspan.attribute.prompts import OffPrompt
from chatspan.attribute.ranges import merged
from chatspan.attribute.segments import Segment
from chatspan.attribute.selection import require_index, require_role, selected_messages
from chatspan.attribute.turns import EndOfTurn
from chatspan.attribute.unrendered import unrendered_texts
from chatspan.errors import OptionError, quoted
from chatspan.kinds import Kind
from chatspan.options import one_of, require_key_parts, require_switch, require_weight
from chatspan.render.origins import Path, Run
from chatspan.render.rendered import CharRange, Render
from chatspan.shown.tokens import ShownTokens
from chatspan.tokenize.tokens import GivenTokens

What = Literal["turn", "content", "generation"]
Straddle = Literal["first", "touch", "inside", "error"]


@dataclass(frozen=True)
class Span:
    """Rendered characters that come from one field.

    Attributes:
        start_char, end_char: half-open, in ``Encoding.text``.
        start_token, end_token: the tokens that touch them, half-open.
        message_index: of the field's message; -1 for ``tools``, ``documents`` and keywords.
        path: the field: ``("content",)``, ``("content", 0, "text")``, ``("tools", 0, "function", "name")``.
        field_start_char: the character of the field that ``start_char`` is; -1 where the text is derived.
        verbatim: whether it is a copy, character for character.
    """

    start_char: int
    end_char: int
    start_token: int
    end_token: int
    message_index: int
    path: Path
    field_start_char: int
    verbatim: bool


@dataclass(frozen=True, eq=False, repr=False)
class Encoding(ShownTokens):
    """A tokenized conversation, and whose each of its ``T`` tokens is.

    ``encoding[3]`` and iteration give :class:`chatspan.Token`; a notebook shows the tokens by message and kind.

    Attributes:
        input_ids: int64 ``[T]``.
        table: the characters of ``text`` that each token stands for; :attr:`offsets` has them as an array.
        message_index: int32 ``[T]``, the message a token belongs to; -1: none.
        kind: uint8 ``[T]``, values of :class:`Kind`.
        straddling: int64 ``[K]``, the tokens that have characters of more than one message or kind; their message and
            kind are those of the first character.
        roles: the role of each message.
        backend: what made the ids: ``"native"``, ``"hf"``; ``"processor"``.
        truncated: how many tokens were cut off.
    """

    input_ids: NDArray[np.int64]
    table: Offsets
    message_index: NDArray[np.int32]
    kind: NDArray[np.uint8]
    straddling: NDArray[np.int64]
    roles: tuple[str, ...]
    backend: str = "hf"
    truncated: int = 0
    _attributed: AttributedRender = field(repr=False, default=None)  # type: ignore[assignment]
    _given: GivenTokens = field(repr=False, default_factory=dict)
    _media: Sequence[MediaPlace] = field(repr=False, default=())
    _model_inputs: ModelInputs = field(repr=False, default=NO_INPUTS)

    def __getstate__(self) -> dict[str, Any]:
        # What is found when it is asked for is found anew.
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def text(self) -> str:
        """The render, as ``apply_chat_template(tokenize=False)`` gives it, and of a processor with its placeholders
        expanded; whole also where tokens were cut.
        """
        return self._render.text

    @property
    def has_generation_tags(self) -> bool:
        """Whether the chat template has ``{% generation %}`` blocks, so that ``mask(what="generation")`` is known."""
        return self._attributed.has_generation_tags

    @property
    def _render(self) -> Render:
        return self._attributed.render

    @property
    def _segments(self) -> Segments:
        return self._attributed.segments

    @functools.cached_property
    def offsets(self) -> NDArray[np.int32]:
        """int32 ``[T, 2]``, the characters of ``text`` that each token stands for, half-open."""
        return self.table.to_array()

    @functools.cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The text cut by message and kind, without gaps."""
        return self._attributed.segment_list()

    @property
    def runs(self) -> Sequence[Run]:
        """What of the text comes from the input; see :mod:`chatspan.render.origins`."""
        return self._render.runs

    @functools.cached_property
    def spans(self) -> list[Span]:
        """Where each field stands, in the order of the text. A field may have several spans, or none.

        Only what has tokens is listed: spans are cut where ``max_length`` cut.
        """
        first, last = self._kept
        kept = [run for run in self._attributed.fields if run[0] < last and run[1] > first]
        ranges = [(max(start, first), min(end, last)) for start, end, *_ in kept]
        tokens = token_spans(self.table, ranges, straddle="touch").tolist()
        return [
            Span(start, end, start_token, end_token, index, path, at + start - run_start if at >= 0 else -1, at >= 0)
            for (run_start, _, index, path, at), (start, end), (start_token, end_token) in zip(
                kept, ranges, tokens, strict=True
            )
        ]

    @property
    def _kept(self) -> CharRange:
        """The characters that the tokens stand for."""
        if not self.truncated:
            return (0, len(self.text))
        return (int(self.offsets[:, 0].min()), int(self.offsets[:, 1].max())) if len(self) else (0, 0)

    @property
    def unrendered(self) -> list[tuple[int, Path]]:
        """The fields of which the template left out more than blanks: dropped reasoning, cut tool results.

        ``(message_index, path)``. Roles and the ``type`` of parts, which choose what is written, are not listed.
        """
        return list(self.unrendered_texts)

    @functools.cached_property
    def unrendered_texts(self) -> dict[tuple[int, Path], str]:
        """For each field of :attr:`unrendered` the characters that the template left out."""
        return unrendered_texts(self._render)

    @functools.cached_property
    def media(self) -> list[Medium]:
        """The images, videos and audio, in the order of the text; their tokens are of :attr:`Kind.MEDIA`."""
        return media_of(self._media, self.table)

    @property
    def model_inputs(self) -> Mapping[str, Any]:
        """What a model takes beside the ids, as the processor gave it: ``pixel_values``, ``image_grid_thw``,
        ``mm_token_type_ids`` …; empty of a tokenizer.
        """
        return {name: value for name, value in self._model_inputs.of_call.items() if name not in IDS}

    @property
    def field_control_tokens(self) -> list[tuple[int, int, int]]:
        """Control tokens that have characters of fields: ``(start_char, end_char, message_index)``."""
        return self._attributed.field_control_tokens

    @property
    def off_prompt(self) -> Mapping[int, OffPrompt]:
        """The assistants' turns that no inference prompt leads to, by message, and why.

        The row does not begin there with ``apply_chat_template(messages[:k], add_generation_prompt=True)`` and the
        row's own keywords: the template writes the recorded turn behind another opening, or what was shown before in
        another way. Renders the prompt of each turn when it is first asked for.

        Raises:
            OptionError: of an encoding that was pickled, if it was not asked for before.
        """
        return self._attributed.off_prompt

    @functools.cached_property
    def border_tokens(self) -> NDArray[np.int64]:
        """int64 ``[K]``, the tokens that have characters of a prompt and of the turn behind it.

        Inference never sees these: it tokenizes the prompt alone. ``ChatEncoder(boundaries="as_prompted")`` does, too.
        """
        regions = self._attributed.regions.values()
        starts = [region.header_end_char for region in regions if region.header_end_char is not None]
        at = np.array(sorted(starts), dtype=np.int64)
        token = np.searchsorted(self.offsets[:, 0], at) - 1
        found = token >= 0
        found[found] = self.offsets[token[found], 1] > at[found]
        return np.unique(token[found])

    def turn_ranges(self, message_index: int, *, end_of_turn: EndOfTurn = "token") -> list[CharRange]:
        """The characters of an assistant's turn: one half-open range, or several where results interrupt it.

        Raises:
            OptionError: it is no assistant's message.
            TurnBoundaryError: its start or its end cannot be told; with ``message_index``.
        """
        is_index = isinstance(message_index, (int, np.integer)) and 0 <= message_index < len(self.roles)
        if not is_index or self.roles[message_index] != "assistant":
            raise OptionError(f"message {quoted(message_index)} is not an assistant's; roles: {', '.join(self.roles)}")
        return self._attributed.turn(int(message_index), end_of_turn)

    def end_of_turn(self, message_index: int) -> CharRange | None:
        """The characters that end a message's turn, without blanks behind them; ``None`` where nothing does."""
        region = self._attributed.regions.get(message_index)
        end = None if region is None else region.end_of_turn
        # A turn may end where results begin, without a token for it.
        return end if end is not None and end[0] < end[1] else None

    def mask(
        self,
        roles: Collection[str] | None = ("assistant",),
        what: What | Collection[Kind] = "turn",
        *,
        messages: Collection[int] | None = None,
        end_of_turn: EndOfTurn = "token",
        straddle: Straddle = "first",
        include_media: bool = False,
    ) -> NDArray[np.bool_]:
        """Which tokens are whose.

        Args:
            roles: of messages of this role or these roles; ``None``: of all, and of what belongs to no message. A
                usual role, or one that the chat template asks for, may be missing here; another may not.
            what: ``"turn"``, what an assistant has to produce itself: all behind its prompt, reasoning and calls
                included, to the end of turn; ``"content"``; ``"generation"``, what the template's
                ``{% generation %}`` blocks wrote, whoever's; or a set of kinds. Results of tools are in none of these
                but ``Kind.TOOL_RESULT``, and in ``"content"`` of messages that are no assistant's.
            messages: of these indices only; of none, where it is empty. With ``roles=None``, -1 is what belongs to no
                message.
            end_of_turn: of a turn: ``"token"``, with the text that ends it, without blanks behind that; ``"all"``,
                with the blanks; ``"none"``; ``"next_header"``, with the control token that opens what follows, for
                templates whose messages have no end of their own.
            straddle: what becomes of a token with characters on both sides of an edge: ``"first"``, its first
                character decides; ``"touch"``, in; ``"inside"``, out; ``"error"``.
            include_media: whether the tokens of images, videos and audio of these messages are in it, too.

        Returns:
            bool ``[T]``.

        Raises:
            OptionError: a role that nothing here knows, a message that is not there; with the roles that are.
            TurnBoundaryError: a turn's header or end cannot be told; with ``message_index``.
            StraddleError: with ``straddle="error"``.
        """
        require_switch("include_media", include_media)
        wanted, chosen = selected_messages(roles, messages, self.roles, self._roles_of_template)
        what = what if isinstance(what, str) else _kinds_of(what)
        if isinstance(what, str) and what == "turn" and wanted != frozenset({"assistant"}):
            raise OptionError('a turn is what an assistant produces: use roles=("assistant",), or what="content"')
        if what not in ("turn", "generation") and isinstance(straddle, str) and straddle == "first":
            mask = self._mask_of_kinds(_kinds_of(what), chosen)
            if what == "content":
                mask |= self._mask_of_kinds({Kind.TOOL_RESULT}, self._of_others(chosen))
        else:
            mask = self._mask_of(self._ranges(chosen, what, end_of_turn), straddle)
        return mask | self._mask_of_kinds({Kind.MEDIA}, chosen) if include_media and self._media else mask

    def _roles_of_template(self) -> Collection[str]:
        return self._attributed.roles_of_template

    def _of_others(self, messages: Sequence[int]) -> list[int]:
        """Those that are no assistant's, whose content may be results."""
        return [index for index in messages if index >= 0 and self.roles[index] != "assistant"]

    def _mask_of_kinds(self, kinds: Collection[Kind], messages: Sequence[int]) -> NDArray[np.bool_]:
        """By what each token is, which its first character says; without tokens that stand for no characters."""
        return token_mask_of_kinds(self.table, self.message_index, self.kind, messages, [int(kind) for kind in kinds])

    def labels(
        self,
        roles: Collection[str] | None = ("assistant",),
        what: What | Collection[Kind] = "turn",
        *,
        messages: Collection[int] | None = None,
        end_of_turn: EndOfTurn = "token",
        straddle: Straddle = "first",
        include_media: bool = False,
    ) -> NDArray[np.int64]:
        """int64 ``[T]``: the ids where :meth:`mask` is true, -100 elsewhere; unshifted, as HF models expect."""
        options = {"end_of_turn": end_of_turn, "straddle": straddle, "include_media": include_media}
        return np.where(self.mask(roles, what, messages=messages, **options), self.input_ids, -100)  # type: ignore[arg-type]

    def weights(self, weights: Mapping[Any, float] | Iterable[tuple[Any, float]]) -> NDArray[np.float32]:
        """float32 ``[T]``: 0, or the weight of the last key that fits a token.

        Args:
            weights: keys are a role (``"assistant"``), a :class:`Kind`, a message's index, a :class:`Span`, or a
                tuple of those, all of which must fit. An index and a kind of the same number are one key of a dict:
                give pairs where both occur.

        Raises:
            OptionError: a weight that is no number from 0 on, or a key that nothing here knows: a role as in
                :meth:`mask`, a message that is not there, a span past the text.
        """
        found = np.zeros(len(self), dtype=np.float32)
        for key, weight in _pairs(weights):
            weight = require_weight(weight, f"the weight of {quoted(key)}")
            fits = np.ones(len(self), dtype=bool)
            parts = require_key_parts(key, "a weight for", Span)
            for part in parts:
                fits &= self._fits(part, f"a weight for {quoted(key)}")
            kinds = {part for part in parts if isinstance(part, Kind)}
            if Kind.TOOL_RESULT not in kinds:
                fits &= ~self._results_of_assistants
            if Kind.MEDIA not in kinds:
                fits &= self.kind != Kind.MEDIA
            found[fits] = weight
        return found

    @functools.cached_property
    def _results_of_assistants(self) -> NDArray[np.bool_]:
        """bool ``[T]``: what a runtime wrote into assistants' messages, which only its kind selects."""
        assistants = [index for index, role in enumerate(self.roles) if role == "assistant"]
        return np.asarray((self.kind == Kind.TOOL_RESULT) & np.isin(self.message_index, assistants))

    def _fits(self, part: Any, what: str) -> NDArray[np.bool_]:
        """bool ``[T]``: the tokens that a part of a weight's key is of."""
        if isinstance(part, Kind):
            return np.asarray(self.kind == part)
        if isinstance(part, Span):
            if not 0 <= part.start_char <= part.end_char <= len(self.text) or part.message_index >= len(self.roles):
                raise OptionError(
                    f"{what}: the span is of another encoding; this one has {len(self.text)} characters and "
                    f"{len(self.roles)} messages"
                )
            return self._mask_of([(part.start_char, part.end_char)], "first")
        if isinstance(part, str):
            require_role(part, what, self.roles, self._roles_of_template)
            return np.isin(self.message_index, [i for i, role in enumerate(self.roles) if role == part])
        return np.asarray(self.message_index == require_index(part, what, self.roles))

    def _ranges(self, chosen: Sequence[int], what: What | Collection[Kind], end_of_turn: EndOfTurn) -> list[CharRange]:
        if what == "turn":
            return without_media(self._attributed.turns(chosen, end_of_turn), self._media)
        if what == "generation":
            if not self.has_generation_tags:
                raise OptionError('the chat template has no {% generation %} blocks: use what="turn" or "content"')
            written = merged(self._render.generation)
            own = [part for start, end in written for part in self._segments.without_results(start, end)]
            return without_media(own, self._media)
        edges, message_index, kind = self._segments.to_arrays()
        wanted = np.isin(kind, np.array(sorted(_kinds_of(what)), dtype=np.uint8)) & np.isin(message_index, chosen)
        if what == "content":
            wanted |= (kind == Kind.TOOL_RESULT) & np.isin(message_index, self._of_others(chosen))
        return list(zip(edges[:-1][wanted].tolist(), edges[1:][wanted].tolist(), strict=True))

    def _mask_of(self, ranges: Sequence[CharRange], straddle: Straddle) -> NDArray[np.bool_]:
        if not one_of(straddle, get_args(Straddle)):
            raise OptionError(f"straddle={quoted(straddle)}: use one of {', '.join(map(repr, get_args(Straddle)))}")
        return token_mask(self.table, list(ranges), straddle=straddle)

    def explain(self) -> str:
        """The tokens by message and kind, for a person to read."""
        lines = [f"tokenized by {self.backend!r}; rendered by {self._render.engine}"]
        lines += stretches(self.text, self.offsets, self.message_index, self.kind, self.roles)
        if self.unrendered:
            left_out = ", ".join(f"{index}: {'.'.join(map(str, path))}" for index, path in self.unrendered)
            lines.append(f"left out by the template: {left_out}")
        if len(self.straddling):
            lines.append(f"tokens across an edge: {', '.join(map(str, self.straddling.tolist()))}")
        return "\n".join(lines)


def _kinds_of(what: Any) -> Collection[Kind]:
    kinds = {Kind.CONTENT} if isinstance(what, str) and what == "content" else what
    if isinstance(kinds, str) or not isinstance(kinds, Collection) or not all(isinstance(kind, Kind) for kind in kinds):
        raise OptionError(f'what={quoted(what)}: use "turn", "content", "generation" or a set of Kinds')
    return frozenset(kinds)


def _pairs(weights: Any) -> list[tuple[Any, Any]]:
    if isinstance(weights, Mapping):
        return list(weights.items())
    pairs = None
    if isinstance(weights, Iterable) and not isinstance(weights, (str, bytes)):
        # No more than it says, where it says how many.
        pairs = list(islice(weights, len(weights) if isinstance(weights, Sized) else None))
    if pairs is None or not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise OptionError(f"weights {quoted(weights)}: pass a mapping, or pairs of a key and its weight")
    return [(key, weight) for key, weight in pairs]
