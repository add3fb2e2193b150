"""The reading of a completion that holds: candidates rendered back, the best taken, the others listed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from chatspan.encode.pipeline import EncodingPipeline
from chatspan.render.preparation import REASONING_KEYS
from chatspan.rollout.parse.accept import Held, held
from chatspan.rollout.parse.given import parsed_by_tokenizer
from chatspan.rollout.parse.learn.forms import CONTENT, REASONING, Forms
from chatspan.rollout.parse.learn.probes import Prober, Style
from chatspan.rollout.parse.parsed import Message, ParsedCompletion, ParseNote
from chatspan.rollout.parse.read import Reading, TurnReader, fields_of
from chatspan.rollout.parse.read_calls import CallReader, ReadCall
from chatspan.rollout.parse.reordered import reordered_call
from chatspan.rollout.parse.values import ToolTypes

# So many readings are rendered at most, and so many others told.
_RENDERS, _OTHERS, _READINGS = 12, 4, 200
_OPEN_TAG = re.compile(r"<([A-Za-z_:]+)>|\[([A-Z_]+)\]")


@dataclass(frozen=True)
class Candidate:
    """A reading, and one message that it may be.

    Attributes:
        shift: how many characters of the prompt's end it reads as its own.
        second: whether it is looked at only if no other holds.
    """

    reading: Reading
    message: Message
    calls: tuple[Message, ...]
    shift: int = 0
    second: bool = False

    @property
    def key(self) -> str:
        """Equal for equal messages."""
        return json.dumps(self.message, sort_keys=True)


class Chooser:
    """Chooses among the readings of completions of one prompt.

    Args:
        prober: of the prompt's own messages.
    """

    def __init__(
        self,
        pipeline: EncodingPipeline,
        tokens: Sequence[str],
        literals: str,
        prober: Prober,
        types: ToolTypes,
    ) -> None:
        self._tokenizer = pipeline.tokenizer
        self._tokens = tokens
        self._literals = literals
        self._prober = prober
        self._types = types

    def choose(self, text: str, forms: Forms) -> tuple[ParsedCompletion, bool]:
        """The completion read in these forms, and whether a reading renders back."""
        prompt = self._prober.prompt
        assert prompt is not None
        given = parsed_by_tokenizer(self._tokenizer, text, prompt, self._prober.tools, forms.style)
        if given is not None and (found := self._given(text, given)) is not None:
            return found, True
        reader = TurnReader(forms, self._call_reader(forms), self._stops(forms))
        holding, complete = self._holding(text, forms, reader)
        if holding:
            return self._result(text, forms, holding, complete), True
        return self._unsure(text, forms, reader, given), False

    def _call_reader(self, forms: Forms) -> CallReader | None:
        return None if forms.calls is None else CallReader(forms.calls, self._types)

    def _stops(self, forms: Forms) -> list[str]:
        """The tokens that may end a turn without the template: those that it does not write inside of one."""
        inside = "\0".join([self._prober.opening, *(mark.text for form in forms.turns for mark in form.marks)])
        if forms.calls is not None:
            inside += "\0" + "\0".join(forms.calls.texts)
        return [token for token in self._tokens if token.strip() and token not in inside]

    def _candidates(self, text: str, forms: Forms, reader: TurnReader, *, loose: bool, above: int) -> list[Candidate]:
        """The messages that a completion may be, the most structured first; see :meth:`TurnReader.readings`."""
        found: list[Candidate] = []
        for dropped in dict.fromkeys(form.dropped for form in forms.turns):
            readings = reader.readings(dropped + text, loose=loose, dropped=dropped, above=above)
            for reading in islice(readings, _READINGS):
                if reading.stop_char >= len(dropped):
                    found += _messages(reading, forms.style, len(dropped))
        return sorted(found, key=lambda each: _order(each, len(text)))

    def _holding(self, text: str, forms: Forms, reader: TurnReader) -> tuple[list[tuple[Candidate, Held]], bool]:
        """The candidates that render back, and how, the best first; and whether all were looked at."""
        found: list[tuple[Candidate, Held]] = []
        seen: set[str] = set()
        for loose in (False, True):
            above = found[0][0].reading.form.rank if found else -1
            for each in self._candidates(text, forms, reader, loose=loose, above=above):
                if each.key in seen or any(not _rivals(known, each, text) for known, _ in found):
                    continue
                if len(seen) >= _RENDERS:
                    return found, False
                seen.add(each.key)
                body = text[: each.reading.stop_char - each.shift]
                how = held(each.reading, body, self._prober.row(each.message), self._prompt, reader)
                if how:
                    found.append((each, how))
            # One that is more structured, though spelled otherwise, has more of the completion's own meaning.
            found.sort(key=lambda each: _order(each[0], len(text)))
            found = found[:1] + [each for each in found[1:] if _rivals(found[0][0], each[0], text)]
        return found, True

    @property
    def _prompt(self) -> str:
        assert self._prober.prompt is not None
        return self._prober.prompt

    def _result(
        self, text: str, forms: Forms, holding: Sequence[tuple[Candidate, Held]], complete: bool
    ) -> ParsedCompletion:
        """What is made of the candidates that hold.

        Args:
            complete: whether no other can hold.
        """
        (best, how), *more = holding
        others = [each.message for each, _ in more][:_OTHERS]
        notes = list(_notes_of_call(text, forms, best))
        if how == "spelling":
            notes.append(ParseNote("spelling", "the template writes this with other whitespace or JSON formatting"))
        if how == "open" and best.reading.form.shape == (True, False, False):
            notes.append(ParseNote("unclosed_reasoning", "the completion ends within its reasoning"))
        if best.shift:
            notes.append(ParseNote("prompt_in_message", "the message begins with what the prompt already wrote"))
        if others or not complete:
            notes.append(ParseNote("ambiguous", "the template also writes other messages as this completion"))
        return self._parsed(text, best, certain=complete and not others, notes=notes, others=others)

    def _parsed(
        self, text: str, best: Candidate, *, certain: bool, notes: Sequence[ParseNote], others: Sequence[Message] = ()
    ) -> ParsedCompletion:
        reasoning, _ = fields_of(best.reading)
        return ParsedCompletion(
            message=best.message,
            reasoning=reasoning or None,
            tool_calls=list(best.calls),
            rest=text[best.reading.stop_char - best.shift :],
            certain=certain,
            ended=best.reading.ended,
            notes=tuple(notes),
            others=tuple(others),
        )

    def _given(self, text: str, message: Message) -> ParsedCompletion | None:
        """What the tokenizer's own parser reads, if it renders back."""
        rendered = self._prober.row(message)
        if rendered is None or not rendered.startswith(self._prompt):
            return None
        turn = rendered[len(self._prompt) :]
        bare = turn.rstrip()
        if not (turn.startswith(text) or text.startswith(bare)):
            return None
        ended = text.startswith(bare)
        stop = min(len(text), len(turn)) if turn.startswith(text) or text.startswith(turn) else len(bare)
        return _of_message(message, text[stop:] if ended else "", certain=True, ended=ended)

    def _unsure(self, text: str, forms: Forms, reader: TurnReader, given: Message | None) -> ParsedCompletion:
        """What no message renders back to: the likeliest reading."""
        if given is not None:
            note = ParseNote("not_rendered_back", "as the tokenizer's response_template reads it")
            return _of_message(given, "", certain=False, ended=False, notes=(note,))
        other = reordered_call(text, forms, self._stops(forms))
        for note, candidates in (
            (_REORDERED, iter(()) if other is None else _messages(other, forms.style, 0)),
            (_DROPPED, self._without_reasoning(text, forms, reader)),
            (_OFF_PROMPT, self._off_prompt(text, forms, reader)),
        ):
            for each in candidates:
                if self._prober.row(each.message) is not None:
                    return self._parsed(text, each, certain=False, notes=[note, *_notes_of_call(text, forms, each)])
        stop = next((stop for stop in self._stops(forms) if text.endswith(stop)), "")
        message = forms.style.message(text[: len(text) - len(stop)])
        return _of_message(message, stop, certain=False, ended=bool(stop), notes=(_NOT_BACK,))

    def _off_prompt(self, text: str, forms: Forms, reader: TurnReader) -> Iterator[Candidate]:
        """Readings in forms whose rows do not begin with the prompt, as if it were theirs."""
        for loose in (False, True):
            for reading in islice(reader.readings(text, loose=loose, dropped=None), _RENDERS):
                yield from _messages(reading, forms.style, 0)

    def _without_reasoning(self, text: str, forms: Forms, reader: TurnReader) -> Iterator[Candidate]:
        """Readings with reasoning that the template does not write again, or not before what follows."""
        marks = forms.reasoning_marks or self._tags(forms)
        if marks is None:
            return
        opening, close = marks
        at = text.find(close)
        front = text[:at].lstrip()
        if at < 0 or not (front.startswith(opening) or self._prompt.rstrip().endswith(opening)):
            return
        reasoning, behind = front.removeprefix(opening).strip(), at + len(close)
        for each in self._after_reasoning(text[behind:], opening + close, forms, reader):
            message = {**each.message, forms.style.reasoning_key or REASONING_KEYS[0]: reasoning}
            read = replace(each.reading, texts={**each.reading.texts, REASONING: reasoning})
            yield Candidate(read, message, each.calls, each.shift - behind)

    def _tags(self, forms: Forms) -> tuple[str, str] | None:
        """The tags that the prompt or the template opens for reasoning, which it never writes itself."""
        opening = self._prober.opening + "".join(form.marks[0].text for form in forms.turns if form.marks)
        for tag in _OPEN_TAG.finditer(opening):
            close = f"</{tag.group(1)}>" if tag.group(1) else f"[/{tag.group(2)}]"
            if close in self._literals:
                return tag.group(), close
        return None

    def _after_reasoning(self, rest: str, pair: str, forms: Forms, reader: TurnReader) -> Iterator[Candidate]:
        """What stands behind reasoning, read without it; as a content where it has no form."""
        for dropped, front in ((None, ""), ("", pair), ("", "")):
            for loose in (False, True):
                for reading in islice(reader.readings(front + rest, loose=loose, dropped=dropped), _RENDERS):
                    starts = [start for start, _ in reading.slots(0)]
                    if not reading.form.shape[0] and min([reading.stop_char, *starts]) >= len(front):
                        yield from _messages(reading, forms.style, len(front))
        stop = next((stop for stop in self._stops(forms) if rest.endswith(stop)), "")
        form = next((form for form in forms.turns if form.shape == (False, True, False)), None)
        if form is not None:
            end = len(rest) - len(stop)
            read = Reading(form, {CONTENT: rest[:end]}, (), ((0, end),), (), end, bool(stop), True)
            yield from _messages(read, forms.style, 0)


_REORDERED = ParseNote("off_prompt", "the template writes the words of this call in another order")
_NOT_BACK = ParseNote("not_rendered_back", "the template writes no message as this completion")
_OFF_PROMPT = ParseNote("off_prompt", "the template writes this message, but not after this prompt")
_DROPPED = ParseNote("off_prompt", "the template does not write this reasoning before what follows it")


def _messages(reading: Reading, style: Style, shift: int) -> Iterator[Candidate]:
    """The messages that a reading may be: with the likeliest arguments, and with the others."""
    reasoning, content = fields_of(reading)
    reasonings = [reasoning] if reasoning is None or reasoning.strip() else [None, reasoning]
    several = any(len(values) > 1 for call in reading.calls for values in call.arguments.values())
    for which in (0, -1) if several else (0,):
        calls = [_call(call, which) for call in reading.calls]
        shown = tuple(style._replace(argument_objects=True).call(*call) for call in calls)
        sent = [
            (name, call.text if call.text is not None and not style.argument_objects else arguments, call_id)
            for (name, arguments, call_id), call in zip(calls, reading.calls, strict=True)
        ]
        said = content if content is not None or calls else ""
        for each in reasonings:
            message = style.message(said, each, sent)
            # Reasoning of blanks is none, if the template agrees.
            yield Candidate(reading, message, shown, shift, second=each is not None and not each.strip())


def _call(call: ReadCall, which: int) -> tuple[str, dict[str, Any], str | None]:
    return call.name, {key: values[which] for key, values in call.arguments.items()}, call.call_id


def _order(each: Candidate, length: int) -> tuple[int, int, int]:
    """Sorts the most structured candidate first: with most calls, and most of the text explained by the template."""
    return -len(each.calls), each.reading.unexplained(length, each.shift), -each.reading.form.rank


def _rivals(chosen: Candidate, each: Candidate, text: str) -> bool:
    """Whether a candidate says something else than one that holds, and does not only take less apart."""
    if each.second or each.reading.is_coarser_than(chosen.reading, text, each.shift, chosen.shift):
        return False
    return not _same_but_blanks(chosen, each)


def _same_but_blanks(one: Candidate, other: Candidate) -> bool:
    texts = [[(text or "").strip() for text in fields_of(each.reading)] for each in (one, other)]
    return texts[0] == texts[1] and json.dumps(one.calls, sort_keys=True) == json.dumps(other.calls, sort_keys=True)


def _notes_of_call(text: str, forms: Forms, best: Candidate) -> Iterator[ParseNote]:
    """A note if the message has the sign of a call in its text."""
    sign = forms.call_sign
    if best.calls or not sign:
        return
    at = text.find(sign)
    if at >= 0:
        yield ParseNote("malformed_call", f"{sign!r} begins a call, but what follows is not one; it stays content", at)


def _of_message(
    message: Message, rest: str, *, certain: bool, ended: bool, notes: tuple[ParseNote, ...] = ()
) -> ParsedCompletion:
    calls = []
    for call in message.get("tool_calls", ()):
        function = call["function"]
        arguments = function["arguments"]
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
        calls.append({**call, "function": {**function, "arguments": parsed}})
    reasoning = next((message[key] for key in message if key not in ("role", "content", "tool_calls")), None)
    return ParsedCompletion(message, reasoning, calls, rest, certain, ended, notes)
