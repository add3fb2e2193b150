"""How turns stand: what prompts them, what opens them, how they end, and whether inference prompts for them so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from chatspan.attribute.prompts import Cause
from chatspan.audit.checks.prompts import assistants, border_tokens, both_texts
from chatspan.audit.failures import unknown_turn
from chatspan.audit.settings import AuditSettings
from chatspan.encoding import Encoding
from chatspan.errors import TurnBoundaryError
from chatspan.kinds import Kind
from chatspan.render.rendered import CharRange
from chatspan.rows.conversations import Chat

# So many forms are kept apart: keywords and openings may hold texts of single rows.
FORMS_KEPT = 200
# What stands between the parts of a turn that results interrupt.
RESULT = "⟨result⟩"
_FURTHER = "(others)"
# Characters of each part of an example.
_LONGEST = {"prompt": 24, "opening": 80, "turn": 48, "stop": 40, "keyword": 40}


class TurnForm(NamedTuple):
    """What turns have in common.

    Attributes:
        after: the role of the message before; ``""`` of none.
        keywords: those of the row, as text: ``"tools, enable_thinking=False"``.
        opening: the scaffold between the message before and the turn; ``None`` if the start cannot be told.
        stop: what ends the turn; ``None`` where nothing does.
        off_prompt: why no inference prompt leads to it; ``None`` if one does.
        refused: why the turn cannot be told, with these settings.
    """

    after: str
    keywords: str
    opening: str | None
    stop: str | None
    off_prompt: Cause | None
    refused: str | None


class TurnExample(NamedTuple):
    """A turn of a form.

    Attributes:
        row, message_index: where it stands.
        prompt: the last characters before the opening.
        turn: its text, without what ends it.
        inference, written: what the prompt and the row have where they begin to differ; ``""`` where they do not.
    """

    row: str
    message_index: int
    prompt: str
    turn: str
    inference: str = ""
    written: str = ""


@dataclass
class TurnCount:
    """How often a form was met.

    Attributes:
        border: of these turns, how many begin inside of a token of their prompt.
    """

    example: TurnExample
    turns: int = 0
    border: int = 0


class TurnForms:
    """Turns by form. Those of a later part of a data set are added with :meth:`merge`."""

    def __init__(self) -> None:
        self._counts: dict[TurnForm, TurnCount] = {}

    def __iter__(self) -> Iterator[tuple[TurnForm, TurnCount]]:
        """Those with the same before them together, the most frequent first."""
        sizes: Counter[tuple[str, str]] = Counter()
        for form, count in self._counts.items():
            sizes[form[:2]] += count.turns
        return iter(sorted(self._counts.items(), key=lambda each: (-sizes[each[0][:2]], each[0][:2], -each[1].turns)))

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, form: TurnForm, example: TurnExample, turns: int, border: int) -> None:
        """Adds turns of one form."""
        if form not in self._counts and len(self._counts) >= FORMS_KEPT:
            form = form._replace(keywords=_FURTHER, opening=_FURTHER, stop=_FURTHER)
        count = self._counts.setdefault(form, TurnCount(example))
        count.turns += turns
        count.border += border

    def merge(self, later: TurnForms) -> None:
        """Adds turns of rows after these."""
        for form, count in later._counts.items():
            self.add(form, count.example, count.turns, count.border)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        off_prompt: Counter[str] = Counter()
        for form, count in self._counts.items():
            if form.off_prompt is not None:
                off_prompt[form.off_prompt] += count.turns
        turns = sum(count.turns for count in self._counts.values())
        return {
            "turns": turns,
            "on_prompt": turns - off_prompt.total(),
            "off_prompt": dict(off_prompt.most_common()),
            "border": sum(count.border for count in self._counts.values()),
            "refused": sum(count.turns for form, count in self._counts.items() if form.refused is not None),
            "forms": [
                {
                    **form._asdict(),
                    "turns": count.turns,
                    "border": count.border,
                    "example": count.example._asdict(),
                }
                for form, count in self
            ],
        }


def add_turns(forms: TurnForms, row: str, chat: Chat, encoding: Encoding, settings: AuditSettings) -> None:
    """Adds the turns of a row that may be in the loss."""
    border, keywords = border_tokens(encoding), keywords_text(chat.template_kwargs)
    for index in assistants(encoding):
        if chat.loss_messages is not None and index not in chat.loss_messages:
            continue
        after = encoding.roles[index - 1] if index else ""
        off = encoding.off_prompt.get(index)
        texts = ("", "") if off is None or off.cause == "no_prompt" else both_texts(encoding, off)
        ranges = _ranges(encoding, index)
        opened = _opened(encoding, index, ranges[0][0]) if ranges else None
        end = encoding.end_of_turn(index)
        form = TurnForm(
            after,
            keywords,
            None if opened is None else _elided(encoding.text[slice(*opened)], _LONGEST["opening"]),
            None if end is None else _elided(encoding.text[slice(*end)].strip(), _LONGEST["stop"]),
            None if off is None else off.cause,
            _refused(encoding, index, settings),
        )
        prompt = encoding.text[: opened[0]] if opened else ""
        turn = RESULT.join(encoding.text[start:end] for start, end in ranges)
        example = TurnExample(row, index, _tail(prompt, _LONGEST["prompt"]), _elided(turn, _LONGEST["turn"]), *texts)
        forms.add(form, example, 1, int(index in border))


def outcome_words(form: TurnForm, count: TurnCount) -> str:
    """What is to be said of turns of a form."""
    told = ["on their prompt" if form.off_prompt is None else f"off their prompt: {form.off_prompt}"]
    if count.border:
        told.append(f"{count.border:,} with a token across the border")
    if form.refused is not None:
        told.append(f"cannot be located: {form.refused}")
    return "; ".join(told)


def keywords_text(kwargs: Mapping[str, Any]) -> str:
    """The arguments of a template, in a few words.

    Example:
        >>> keywords_text({"tools": [{"name": "f"}], "enable_thinking": False})
        'tools, enable_thinking=False'
    """
    lists = [key for key, value in kwargs.items() if key in ("tools", "documents") and value]
    others = sorted(key for key in kwargs if key not in ("tools", "documents"))
    return ", ".join([*lists, *(f"{key}={_elided(repr(kwargs[key]), _LONGEST['keyword'])}" for key in others)])


def _refused(encoding: Encoding, index: int, settings: AuditSettings) -> str | None:
    """Why a turn cannot be told, if it is to be."""
    if settings.loss != "turn":
        return None
    try:
        encoding.turn_ranges(index, end_of_turn=settings.end_of_turn)
    except TurnBoundaryError as error:
        return unknown_turn(error).what
    return None


def _ranges(encoding: Encoding, index: int) -> list[CharRange]:
    """The characters of a turn before its end; none if its start cannot be told."""
    try:
        return encoding.turn_ranges(index, end_of_turn="none")
    except TurnBoundaryError:
        return []


def _opened(encoding: Encoding, index: int, turn_start_char: int) -> CharRange:
    """The scaffold in front of a turn, as far as it is the message's own."""
    start = end = turn_start_char
    for segment in reversed(encoding.segments):
        if segment.start_char >= end:
            continue
        if segment.message_index != index or segment.kind not in (Kind.SCAFFOLD, Kind.GENERATION_PROMPT):
            break
        start = segment.start_char
    return (start, end)


def _tail(text: str, longest: int) -> str:
    """The last characters, not from the middle of a tag on."""
    if len(text) <= longest:
        return text
    tail = text[-longest:]
    cut, _, rest = tail.partition(">")
    return "…" + (rest if rest and "<" not in cut and not cut.isspace() else tail)


def _elided(text: str, longest: int) -> str:
    """The text, if it is longer without its middle."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"
