"""From a sampled turn to the next prompt: what the template writes behind it, proven by origins."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatspan._core import Offsets, attribute
from chatspan.attribute.attributed import AttributedRender, FieldRun
from chatspan.attribute.prompts import cause_of
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.errors import (
    StopTokenError,
    TurnBoundaryError,
    TurnMismatchError,
    UnrenderedMessageError,
    first_difference,
)
from chatspan.render.request import RenderRequest
from chatspan.rollout.proof.fit import Fit, Sampled, Written, exact_fit, fit_of_other_spelling, stop_join
from chatspan.rollout.proof.new_messages import require_rendered
from chatspan.rollout.rewrites import SHOWN, Cause, OnRewrite, Rewrite, described, rewrite_at, rewritten_error
from chatspan.rollout.sampled import drops_reasoning
from chatspan.tokenize.pieces import Piece

How = Literal["exact", "blanks", "json", "kept", "split"]


class Proof(NamedTuple):
    """Why a next prompt is the template's.

    Attributes:
        message_index: the turn behind which the prompt goes on.
        how: ``"exact"``: the template's render is what was shown and sampled, and goes on with the new messages;
            ``"blanks"``, ``"json"``: it writes the turn in another spelling, blanks at the edges of fields or JSON, and
            the prompt goes on behind the turn's end; ``"kept"``: it changes what was shown, and the sampled history
            stays; ``"split"``: it changes what was shown, and a new row begins.
        added_end: what of the suffix ends the turn, where the stop token was not sampled.
        rewrite: what the template changes, where it does.
    """

    message_index: int
    how: How
    added_end: str = ""
    rewrite: Rewrite | None = None


class Bridge(NamedTuple):
    """What stands behind a sampled turn, up to the next one.

    Attributes:
        ids: int64 ``[S]``, the tokens behind the turn; of the whole prompt where a new row begins.
        message_index: int32 ``[S]``, whose each is.
        kind: uint8 ``[S]``, values of :class:`chatspan.Kind`.
        attributed: the render of the next prompt.
    """

    ids: NDArray[np.int64]
    message_index: NDArray[np.int32]
    kind: NDArray[np.uint8]
    attributed: AttributedRender
    proof: Proof


class Shown(NamedTuple):
    """What a turn was sampled from: the template's render of the prompt, and the message that it is."""

    attributed: AttributedRender
    message_index: int

    @property
    def text(self) -> str:
        """The template's text of the prompt."""
        return self.attributed.render.text


def bridge(
    pipeline: EncodingPipeline, request: RenderRequest, shown: Shown, sampled: Sampled, on_rewrite: OnRewrite
) -> Bridge:
    """The way from a turn to the next prompt.

    Args:
        request: all messages, the turn's and the new ones, with a generation prompt.

    Raises:
        TemplateError, MessageError: the template refuses the new messages.
        RolloutError: see :mod:`chatspan.errors`; each with its message and its place.
    """
    now = datetime.now()
    [rendered] = pipeline.render([request], now=now)
    crossing = _Crossing(rendered.attributed, shown, sampled, request.messages)
    fit = crossing.fit() if crossing.is_extended else None
    rewrite = None
    if fit is None:
        rewrite = crossing.rewrite_of_turn(pipeline, request, now) if crossing.is_extended else crossing.rewrite()
    if rewrite is not None and on_rewrite == "error":
        raise rewritten_error(rewrite)
    if rewrite is not None and on_rewrite == "split":
        crossing.require_new(0)
        [encoding] = pipeline.encode_rendered([rendered])
        proof = Proof(shown.message_index, "split", rewrite=rewrite)
        return Bridge(encoding.input_ids, encoding.message_index, encoding.kind, rendered.attributed, proof)
    join = crossing.kept_join() if fit is None else fit.join_char
    crossing.require_new(join)
    # What is tokenized has a character in front, so that it is not taken for a text's beginning.
    tokens = pipeline.tokenize_parts(crossing.text, [Piece(0, join, ([], []))], ())
    table = Offsets(tokens.table.to_array().astype(np.int64) + crossing.base, text_length=rendered.render.length)
    message_index, kind, _ = attribute(table, rendered.attributed.segments)
    added_end = crossing.text[join : max(join, crossing.written.end[1])]
    proof = Proof(shown.message_index, "kept" if fit is None else fit.how, added_end, rewrite)
    return Bridge(tokens.input_ids, message_index, kind, rendered.attributed, proof)


def _behind(run: FieldRun, base: int) -> FieldRun:
    start, end, *rest = run
    return (start - base, end - base, *rest)  # type: ignore[return-value]


class _Crossing:
    """The render of the next prompt, beside what was shown and sampled.

    Attributes:
        is_extended: whether the render begins with what was shown.
        base: in front of this character of the render nothing is looked at: it was shown, and proven before.
        text: the render from there on. A turn costs its own text, not the history's; positions here are of it.
    """

    def __init__(
        self, attributed: AttributedRender, shown: Shown, sampled: Sampled, messages: Sequence[Mapping[str, Any]]
    ) -> None:
        self._attributed = attributed
        self._shown = shown
        self._sampled = sampled
        self._messages = messages
        self._message_index = shown.message_index
        self.is_extended = attributed.render.starts_with(shown.attributed.render)
        shown_chars = shown.attributed.render.length if self.is_extended else 0
        self.base = max(0, shown_chars - 1)
        self.text = attributed.render.text_from(self.base)
        self._begin = shown_chars - self.base
        self._fields = [_behind(run, self.base) for run in attributed.fields_behind(shown_chars)]

    @functools.cached_property
    def written(self) -> Written:
        """What the template writes of the turn."""
        start = self._begin if self.is_extended else self._own_start()
        owned = [(max(first, start), last) for first, last in self._own_fields() if last > start]
        region = self._attributed.region(self._message_index)
        end = None if region is None or region.end_of_turn is None else self._here(*region.end_of_turn)
        last = max((stop for _, stop in owned), default=start)
        if end is not None and end[0] >= last:
            return Written(self.text, start, end, end[0] < end[1], owned)
        # What the template writes behind the last field is the turn's, too, as the tags that close a call.
        region_end = last if region is None or not region.whole else max(last, region.end_char - self.base)
        last = max(last, len(self.text[:region_end].rstrip()))
        return Written(self.text, start, (last, last), False, owned)

    def _here(self, start_char: int, end_char: int) -> tuple[int, int]:
        """A range of the render, in the text."""
        return (start_char - self.base, end_char - self.base)

    def fit(self) -> Fit | None:
        """Where the turn stands; ``None`` where the template writes another.

        Raises:
            TurnMismatchError: the turn reaches into the next message.
        """
        fit = exact_fit(self._sampled.text, self.written) or fit_of_other_spelling(self._sampled, self.written)
        if fit is not None and fit.join_char > self._first_new_char():
            raise self._mismatch("it reaches into the next message")
        return fit

    def kept_join(self) -> int:
        """Where what follows the turn begins, though the template writes the turn otherwise."""
        join = stop_join(self._sampled, self.written)
        return self.written.end[1] if join is None else join

    def rewrite_of_turn(self, pipeline: EncodingPipeline, request: RenderRequest, now: datetime) -> Rewrite:
        """What the template changes of the turn, as it writes it where nothing follows.

        Raises:
            TurnMismatchError, StopTokenError: it never writes what was sampled.
        """
        alone = request._replace(messages=request.messages[: self._message_index + 1], add_generation_prompt=False)
        [render] = pipeline.render([alone], now=now)
        before = _Crossing(render.attributed, self._shown, self._sampled, alone.messages)
        fits_before = before.is_extended and before.fit() is not None
        without_stop = self._sampled._replace(
            text=self._sampled.text[: len(self._sampled.text) - len(self._sampled.stop)], stop=""
        )
        fits_but_stop = bool(self._sampled.stop) and fit_of_other_spelling(without_stop, self.written) is not None
        if not fits_before:
            raise self._other_stop() if fits_but_stop else self._mismatch()
        begin = self.written.start_char
        at = first_difference(self._sampled.text, self.text[begin:])
        if fits_but_stop:
            cause: Cause = "another_end"
        elif self._drops_reasoning() or drops_reasoning(render.attributed, self._attributed, self._message_index):
            cause = "reasoning_dropped"
        else:
            cause = "turn_rewritten"
        return self._rewrite(cause, self.base + begin + at, self._shown.text + self._sampled.text)

    def require_new(self, join: int) -> None:
        """The new messages stand behind the join, whole."""
        require_rendered(self._messages, self._message_index, self._fields, join)

    def _own_start(self) -> int:
        region = self._attributed.region(self._message_index)
        if region is None or region.header_end_char is None:
            raise TurnBoundaryError(
                f"{self._place}: the template changes what was shown before, so the turn cannot be located",
                message_index=self._message_index,
            )
        return region.header_end_char

    def _own_fields(self) -> list[tuple[int, int]]:
        """Where the turn's fields stand first; later messages may repeat them, as results repeat the name of a call."""
        owners = self._attributed.render.owners
        seen: set[tuple[Any, ...]] = set()
        found = []
        for start, end, index, path, field_start in self._fields:
            said = (path, field_start, end - start if field_start >= 0 else 0)
            if index != self._message_index or path == ("role",) or said in seen:
                continue
            seen.add(said)
            at = bisect_right(owners, start + self.base, key=itemgetter(0)) - 1
            if at < 0 or owners[at][1] in (self._message_index, -1):
                found.append((start, end))
        return found

    def _first_new_char(self) -> int:
        """Where the first field of a new message stands, behind what was shown."""
        begin = self._begin
        new = (start for start, _, index, _, _ in self._fields if index > self._message_index and start >= begin)
        return min(new, default=len(self.text))

    def _drops_reasoning(self) -> bool:
        """Whether the template writes the turn without the tags of its reasoning, be it empty."""
        close_tag = self._attributed.conventions.markers.close_tag
        if not close_tag or close_tag not in self._sampled.text:
            return False
        behind = self._sampled._replace(text=self._sampled.text.partition(close_tag)[2])
        return fit_of_other_spelling(behind, self.written) is not None

    def rewrite(self) -> Rewrite:
        """What the template changes of what was shown.

        Raises:
            UnrenderedMessageError: it writes a new message in front of that.
        """
        shown, new = self._shown, self._attributed
        at = first_difference(shown.text, self.text)
        moved = [run for run in self._fields if run[2] > self._message_index and run[0] <= at < run[1]]
        if moved:
            raise self._moved(moved[0][2], at)
        cause: Cause = "another_opening"
        if not self._is_opening(at):
            region = new.region(self._message_index)
            starts = (at, at) if region is None else (region.start_char, region.header_end_char or region.start_char)
            open_tag = new.conventions.markers.open_tag
            prompt = shown.attributed.render
            found = cause_of(prompt, None, new.render, at, starts, self._message_index, open_tag)
            cause = "history_rewritten" if found == "no_prompt" else found
        return self._rewrite(cause, at, shown.text)

    def _is_opening(self, at: int) -> bool:
        start = self._shown.attributed.render.prompt_start_char
        return 0 <= start <= at

    def _rewrite(self, cause: Cause, at: int, shown: str) -> Rewrite:
        return rewrite_at(cause, self._message_index, at, shown, self._attributed.render.text)

    def _moved(self, index: int, at: int) -> UnrenderedMessageError:
        error = UnrenderedMessageError(
            f"message {index} ({self._messages[index].get('role')}): the template writes it before what was already "
            "shown: pass it at the beginning of the rollout, or give it a role that the template writes in its place",
            message_index=index,
            start_char=at,
        )
        return described(error, "moved", self._shown.text[at : at + SHOWN], self.text[at : at + SHOWN])

    def _mismatch(self, why: str = "") -> TurnMismatchError:
        body = self.text[self.written.start_char :]
        at = first_difference(self._sampled.text, body)
        said, has = self._sampled.text[at : at + SHOWN], body[at : at + SHOWN]
        error = TurnMismatchError(
            f"{self._place} is not what was sampled{f': {why}' if why else ''}: from character {at} of the turn on "
            f"{said!r} was sampled, but the template writes {has!r} for the message; pass the message that was "
            "parsed from these tokens",
            message_index=self._message_index,
            start_char=self.base + self.written.start_char + at,
        )
        return described(error, "turn_mismatch", said, has)

    def _other_stop(self) -> StopTokenError:
        start, end = self.written.end
        has = self.text[start:end].strip() or self.text[end : end + SHOWN]
        error = StopTokenError(
            f"{self._place}: {self._sampled.stop!r} was sampled last, but the template continues with {has!r}: pass "
            "the token_ids without the stop token, and the template ends the turn itself",
            message_index=self._message_index,
            start_char=self.base + start,
        )
        return described(error, "stop_token", self._sampled.stop, has)

    @property
    def _place(self) -> str:
        return f"message {self._message_index} (assistant)"
