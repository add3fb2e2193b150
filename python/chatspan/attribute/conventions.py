"""What a tokenizer and a template agree on: found by probing when it is first needed, then used for every render."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chatspan._core import TurnScaffold
from chatspan.attribute.openings import FIRST, Context, Opening, probe_opening, shape_of, triggers_of
from chatspan.attribute.scaffold import Scaffold, probe_scaffold
from chatspan.options import ROLES
from chatspan.render.jinja.template import ChatTemplate, compiled
from chatspan.render.probes import SCHEMA
from chatspan.render.remembered import Remembered
from chatspan.render.renderer import ChatRenderer
from chatspan.render.request import RenderRequest
from chatspan.rows.same_text import text_key
from chatspan.tokenize.control_tokens import control_ids, control_tokens, structural_roles

# By template, special tokens and control tokens; with the keywords, too.
_SCAFFOLDS: Remembered[Scaffold] = Remembered()
_OPENINGS: Remembered[_Openings] = Remembered()


@dataclass
class _Openings:
    """The openings of a template with some keywords, as far as they were asked for."""

    by_context: dict[Context, Opening | None] = field(default_factory=dict)
    triggers: tuple[str, ...] | None = None


class Conventions:
    """What a tokenizer and a template agree on, for one set of keywords.

    Args:
        like: a request with these keywords; its messages do not count.

    Attributes:
        control_tokens: the tokens that have a meaning in a render.
        control_ids: their ids.
        structural_roles: the roles of messages that may complete a control token.
        scaffold: what the template writes around assistants' messages, as far as it is known.
    """

    def __init__(self, renderer: ChatRenderer, tokenizer: Any, template: ChatTemplate, like: RenderRequest) -> None:
        self._renderer = renderer
        self._template = template
        self._like = like._replace(
            messages=(),
            tools=[SCHEMA] if like.tools else None,
            template_kwargs=read_keywords(template, like),
            chat_template=template.source,
            continue_final_message=False,
        )
        self.control_tokens = control_tokens(tokenizer, template.literal_text)
        self.control_ids = control_ids(tokenizer, self.control_tokens)
        self.structural_roles = structural_roles(template.named_roles.union(ROLES), self.control_tokens)
        own = (template.source, repr(sorted(tokenizer.special_tokens_map.items())), self.control_tokens)
        self._markers = _SCAFFOLDS.find(
            own, lambda: probe_scaffold(renderer, template.source, self.control_tokens, datetime.now())
        )
        self._openings = _OPENINGS.find((own, keywords_key(template.source, like)), _Openings)
        self.scaffold = self.learn([FIRST], {})

    def learn(self, contexts: Iterable[Context], examples: Mapping[str, Any]) -> TurnScaffold:
        """The scaffold, with what opens a turn behind each of these contexts.

        Args:
            examples: messages by shape, see :func:`chatspan.attribute.openings.probe_opening`.
        """
        known, now = self._openings, datetime.now()
        for context in contexts:
            if context not in known.by_context:
                known.by_context[context] = probe_opening(self._renderer, self._like, context, examples, now)
        if known.triggers is None:
            known.triggers = triggers_of(self._renderer, self._like, self._template.tested_literals, now)
        markers = self._markers
        self.scaffold = TurnScaffold(
            # A turn that nothing stands before is read as one behind a user's message.
            sorted(known.by_context.items(), key=lambda item: item[0] != FIRST),
            sorted(markers.ends),
            markers.open_tag,
            markers.close_tag,
            list(self.control_tokens),
            sorted(markers.call_ends),
        )
        return self.scaffold

    def opening(self, context: Context) -> Opening | None:
        """What opens a turn behind this context, as far as it is known."""
        return self._openings.by_context.get(context)

    @property
    def markers(self) -> Scaffold:
        """What the template writes around the words of assistants' messages."""
        return self._markers

    @property
    def has_triggers(self) -> bool:
        """Whether texts of messages may change an opening."""
        return bool(self._openings.triggers)

    def is_triggered(self, messages: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a message has a text that changes an opening, so that only the row's own prompts can tell."""
        triggers = self._openings.triggers or ()
        return bool(triggers) and any(_holds(value, triggers) for message in messages for value in message.values())


def examples_of(messages: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """A message of each shape."""
    return {shape_of(message): message for message in messages}


def read_keywords(template: ChatTemplate, request: RenderRequest) -> dict[str, Any]:
    """The keywords of a request that the template reads."""
    return {name: value for name, value in request.template_kwargs.items() if name in template.variables}


def keywords_key(source: str, request: RenderRequest) -> tuple[Any, ...]:
    """What openings may depend on of a request's keywords."""
    given = (bool(request.tools), bool(request.documents))
    if not request.template_kwargs:
        return given
    read = read_keywords(compiled(source), request)
    return (*given, *((name, text_key(value)) for name, value in sorted(read.items())))


def _holds(value: Any, texts: Sequence[str]) -> bool:
    if isinstance(value, str):
        return any(text in value for text in texts)
    if isinstance(value, Mapping):
        return any(_holds(part, texts) for part in value.values())
    return isinstance(value, (list, tuple)) and any(_holds(part, texts) for part in value)
