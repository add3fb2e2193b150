"""The parsers of a pipeline: one for each template and its keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.attribute.conventions import keywords_key
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.render.preparation import require_tools
from chatspan.render.probes import SCHEMA
from chatspan.render.request import Messages, RenderRequest, require_flags
from chatspan.rollout.parse.learn.forms import Forms
from chatspan.rollout.parse.parsed import ParsedCompletion
from chatspan.rollout.parse.parser import CompletionParser

# Keywords may be as many as rows are: those met first go.
_PARSERS = 64
_DOCUMENT = {"title": "Zd", "text": "Ze"}


class CompletionParsers:
    """Parses completions with the template of a pipeline; what is learned of it is learned once."""

    def __init__(self, pipeline: EncodingPipeline) -> None:
        self._pipeline = pipeline
        self._parsers: dict[Any, CompletionParser] = {}

    def __getstate__(self) -> dict[str, Any]:
        # What was found out about templates is found out anew.
        return {**self.__dict__, "_parsers": {}}

    def learned(self) -> list[Forms]:
        """All that was learned so far."""
        return [forms for parser in self._parsers.values() for forms in parser.learned()]

    def parse(
        self,
        prompt: Messages | None,
        completion: Any,
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Mapping[str, str]] | None = None,
        template_kwargs: Mapping[str, Any],
    ) -> ParsedCompletion:
        """The message that a completion is; see :meth:`chatspan.ChatEncoder.parse_completion`."""
        require_tools(tools)
        keywords = dict(template_kwargs)
        source = self._pipeline.renderer.source(tools, keywords.pop("chat_template", None))
        asked = RenderRequest((), tools, documents, False, False, keywords, source)
        require_flags(asked)
        key = (source, keywords_key(source, asked))
        if key not in self._parsers:
            while len(self._parsers) >= _PARSERS:
                del self._parsers[next(iter(self._parsers))]
            # What is learned holds for all of them.
            like = asked._replace(tools=[SCHEMA] if tools else tools, documents=[_DOCUMENT] if documents else documents)
            self._parsers[key] = CompletionParser(self._pipeline, like, self._pipeline.habits(tools, template_kwargs))
        return self._parsers[key].parse(prompt, completion, asked)
