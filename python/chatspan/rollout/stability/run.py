"""All events of a template, with its keywords as they are given and with each switch that it reads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import permutations
from typing import TYPE_CHECKING, Any, NamedTuple

from chatspan.encode.pipeline import EncodingPipeline
from chatspan.errors import OptionError, TemplateError
from chatspan.render.jinja.switches import ANY_TEXT
from chatspan.render.probes import SCHEMA, USER
from chatspan.render.renderer import UnknownKeywordWarning
from chatspan.render.request import RenderRequest, merged_keywords
from chatspan.rollout.chats import require_encoder
from chatspan.rollout.stability.outcome import Outcome, of_change, outcome
from chatspan.rollout.stability.probes import OF_CHANGES, PROBES, Probe, Tags, forms
from chatspan.rollout.stability.report import StabilityEvent, StabilityReport
from chatspan.rows.same_text import text_key

if TYPE_CHECKING:
    from chatspan.encoder import ChatEncoder


def stability(
    encoder: ChatEncoder,
    *,
    tools: Sequence[Any] | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> StabilityReport:
    """What a template does with what was shown and sampled, when something happens in a rollout.

    Small conversations cross the same bridge as those of a :class:`chatspan.Rollout`: a user's turn, with reasoning
    before it and without, results of tools, a system message in the middle; with each switch that the template reads,
    and with such that change from one turn to the next.

    Args:
        encoder: the tokenizer and the chat template.
        tools: for all prompts; without them, a made-up one where the model calls it.
        keywords, template_kwargs: the template's, as in :meth:`chatspan.ChatEncoder.encode`, for all prompts.

    Raises:
        OptionError, TokenizerError, RenderMismatchError: see :meth:`chatspan.ChatEncoder.encode`.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> encoder = chatspan.ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> chatspan.stability(encoder).verdicts["user turn"]
        'stable'
    """
    require_encoder(encoder)
    walk = _Walk(encoder.pipeline, tools, merged_keywords(keywords, template_kwargs))
    own = _Setting({}, walk.events({}))
    with warnings.catch_warnings():
        # Of several templates of a tokenizer one may read a keyword, and another not.
        warnings.simplefilter("ignore", UnknownKeywordWarning)
        return _with_switches(walk, own)


def _with_switches(walk: _Walk, own: _Setting) -> StabilityReport:
    """All events: as they are, with each value of each switch, with switches that change."""
    events, changes = own.listed, list[StabilityEvent]()
    switches: dict[str, tuple[Any, ...]] = {}
    for name, values in walk.switches():
        settings = [own]
        for setting in walk.settings(name, values):
            if setting.tells(own) and not any(setting.writes_as(other) for other in settings):
                settings.append(setting)
        for before, after in permutations(settings, 2) if settings[1:] else ():
            changes += walk.changes(before.keywords, after.keywords)
        events += [event for setting in settings[1:] for event in setting.listed]
        switches |= {name: tuple(setting.keywords[name] for setting in settings[1:])} if settings[1:] else {}
    return StabilityReport((*events, *changes), walk.keywords, switches)


class _Found(NamedTuple):
    """An event, and the texts that tell of it."""

    event: StabilityEvent
    texts: tuple[str, ...]


class _Setting(NamedTuple):
    """What becomes of each event with some keywords."""

    keywords: Mapping[str, Any]
    events: Mapping[str, _Found]

    @property
    def listed(self) -> list[StabilityEvent]:
        return [found.event for found in self.events.values()]

    def writes_as(self, other: _Setting) -> bool:
        """Whether the template writes the same with both."""
        return {name: found.texts for name, found in self.events.items()} == {
            name: found.texts for name, found in other.events.items()
        }

    def tells(self, own: _Setting) -> bool:
        """Whether the template takes the value: it does not refuse all for it, and writes a text where it stands."""
        if ANY_TEXT in self.keywords.values():
            return any(ANY_TEXT in text for found in self.events.values() for text in found.texts)
        return any(event.verdict != "refused" for event in self.listed) or all(
            event.verdict == "refused" for event in own.listed
        )


class _Walk:
    """Renders the probes of a template.

    Args:
        keywords: the template's, of all prompts.
    """

    def __init__(self, pipeline: EncodingPipeline, tools: Sequence[Any] | None, keywords: Mapping[str, Any]) -> None:
        self.keywords = keywords
        self._pipeline = pipeline
        self._tools = tools
        self._tags = self._found_tags()
        # By event, the form that the template takes.
        self._forms: dict[str, tuple[Probe, Sequence[Any] | None]] = {}

    def events(self, keywords: Mapping[str, Any]) -> dict[str, _Found]:
        """Each event with these keywords."""
        return self._events(PROBES, keywords, keywords)

    def changes(self, keywords: Mapping[str, Any], next_keywords: Mapping[str, Any]) -> list[StabilityEvent]:
        """The events between a prompt with some keywords and one with others."""
        return [found.event for found in self._events(OF_CHANGES, keywords, next_keywords).values()]

    def settings(self, name: str, values: Sequence[Any]) -> Iterator[_Setting]:
        """Each event with each value of a keyword; none of a keyword that cannot be given."""
        for value in values:
            with suppress(OptionError):
                yield _Setting({name: value}, self.events({name: value}))

    def switches(self) -> list[tuple[str, Sequence[Any]]]:
        """The keywords that the template reads, each with values of it."""
        templates = [self._pipeline.template(tools) for tools in (self._tools, self._tools or [SCHEMA])]
        return sorted({name: values for each in templates for name, values in each.switches.items()}.items())

    def _events(
        self, probes: Sequence[Probe], keywords: Mapping[str, Any], next_keywords: Mapping[str, Any]
    ) -> dict[str, _Found]:
        found = {}
        for probe in probes:
            event = self._event(probe, keywords, next_keywords)
            if event is not None:
                found[probe.event] = event
        return found

    def _event(self, probe: Probe, keywords: Mapping[str, Any], next_keywords: Mapping[str, Any]) -> _Found | None:
        """An event in the form that the template takes; ``None`` where it cannot happen."""
        best: tuple[Outcome, Probe, Sequence[Any] | None] | None = None
        for formed, tools in self._ways(probe):
            if formed.in_parts and best is not None and best[0].verdict != "refused":
                break
            before = RenderRequest([*formed.history, formed.turn], tools, template_kwargs={**self.keywords, **keywords})
            after = before._replace(
                messages=[*before.messages, *formed.new], template_kwargs={**self.keywords, **next_keywords}
            )
            found = outcome(self._pipeline, formed, before, after, self._tags)
            if found is None:
                return None
            if best is None or found.doubts < best[0].doubts:
                best = (found, formed, tools)
            if best[0].doubts == 0:
                break
        assert best is not None
        found, formed, tools = best
        if text_key(keywords) != text_key(next_keywords):
            found = of_change(found)
        self._forms.setdefault(probe.event, (formed, tools))
        event = StabilityEvent(
            probe.event,
            *found[:7],
            keywords=keywords,
            next_keywords=next_keywords,
            messages=(*formed.history, formed.turn),
            new_messages=tuple(formed.new),
            tools=tools,
        )
        return _Found(event, found.texts)

    def _ways(self, probe: Probe) -> Iterator[tuple[Probe, Sequence[Any] | None]]:
        """The forms of a probe, each with the tools of its prompts; the one that was taken before comes first."""
        known = self._forms.get(probe.event)
        if known is not None:
            yield known
        for formed in forms(probe, self._tags):
            yield formed, self._tools or ([SCHEMA] if probe.calls else None)
        if not (probe.calls or self._tools):
            # Templates that take no conversation without them.
            for formed in forms(probe, self._tags):
                yield formed, [SCHEMA]

    def _found_tags(self) -> Tags:
        """What stands around reasoning, where the template says it of a field."""
        request = RenderRequest([USER], self._tools, template_kwargs=self.keywords)
        try:
            [rendered] = self._pipeline.render([request])
        except TemplateError:
            return Tags()
        markers = rendered.attributed.conventions.markers
        return Tags(markers.open_tag, markers.close_tag) if markers.open_tag and markers.close_tag else Tags()
