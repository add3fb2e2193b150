"""Completions parsed for one template: what was learned of it, and the readings that hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatspan.encode.pipeline import EncodingPipeline
from chatspan.encode.token_ids import without_token_ids
from chatspan.errors import TemplateError
from chatspan.render.habits import TemplateHabits
from chatspan.render.probes import USER, as_parts
from chatspan.render.request import Messages, RenderRequest, has_messages, listed, not_messages
from chatspan.rollout.parse.choose import Chooser
from chatspan.rollout.parse.completions import completion_text
from chatspan.rollout.parse.learn.forms import Forms, learn_forms
from chatspan.rollout.parse.learn.probes import Message, Prober, context_of, find_style, short_history
from chatspan.rollout.parse.parsed import ParsedCompletion
from chatspan.rollout.parse.values import ToolTypes
from chatspan.tokenize.control_tokens import control_tokens

# Prompts whose own forms are kept: sampling makes several completions of one.
_PROMPTS = 32


class CompletionParser:
    """Parses completions of a template, with some keywords.

    Args:
        like: a request with these keywords; its messages do not count, and of tools and documents only whether there
            are some.
    """

    def __init__(self, pipeline: EncodingPipeline, like: RenderRequest, habits: TemplateHabits) -> None:
        self._pipeline = pipeline
        self._like = like
        self._habits = habits
        template = pipeline.template(like.tools, like.chat_template)
        self._keys = template.keys
        self._tokens = control_tokens(pipeline.tokenizer, template.literal_text)
        self._literals = template.literal_text
        self._short: dict[str, Forms | None] = {}
        self._own: dict[str, Forms] = {}

    def learned(self) -> list[Forms]:
        """What was learned so far."""
        return [forms for forms in (*self._short.values(), *self._own.values()) if forms is not None]

    def parse(self, prompt: Messages | None, completion: Any, asked: RenderRequest) -> ParsedCompletion:
        """The message that a completion is.

        Args:
            prompt: the messages in front of it; ``None``: those of a user.
            completion: the sampled ids, or their text.
            asked: the prompt's own tools, documents and keywords.

        Raises:
            RolloutError: the completion is none: no ids of the vocabulary, and no text.
            MessageError, OptionError, TemplateError: the prompt cannot be rendered.
        """
        text = completion_text(self._pipeline.tokenizer, completion)
        history, prompt_text = self._prompt(prompt, asked)
        own = Prober(self._pipeline.renderer, asked, history, self._tokens, prompt_text)
        chooser = Chooser(self._pipeline, self._tokens, self._literals, own, ToolTypes(asked.tools))
        context = context_of(history)
        short = self._forms_behind(context)
        if short is not None and short.opening == own.opening:
            found, held = chooser.choose(text, short)
            if held:
                return found
        return chooser.choose(text, self._forms_of(own))[0]

    def _prompt(self, prompt: Messages | None, request: RenderRequest) -> tuple[Sequence[Any], str]:
        """The messages of a prompt, and their render."""
        if prompt is None:
            try:
                history: Sequence[Any] = [USER]
                return history, self._rendered(history, request)
            except TemplateError:
                history = as_parts([USER])
                return history, self._rendered(history, request)
        if not has_messages(prompt):
            raise not_messages(prompt)
        history, _ = without_token_ids(listed(prompt))
        return history, self._rendered(history, request)

    def _rendered(self, history: Sequence[Any], request: RenderRequest) -> str:
        asked = request._replace(messages=history, add_generation_prompt=True)
        return next(self._pipeline.renderer.render_batch([asked])).text

    def _forms_behind(self, context: str) -> Forms | None:
        """The forms of turns behind the shortest prompt that ends alike; ``None`` where there is none."""
        if context not in self._short:
            self._short[context] = self._learn_short(context)
        return self._short[context]

    def _learn_short(self, context: str) -> Forms | None:
        first = self._prober(short_history("user"))
        style = find_style(first, self._keys, self._habits)
        history = short_history(context, style)
        if history is None:
            return None
        prober = self._prober(history)
        if prober.prompt is None:
            return None
        return learn_forms(prober, find_style(prober, self._keys, self._habits))

    def _prober(self, history: Sequence[Message] | None) -> Prober:
        return Prober(self._pipeline.renderer, self._like, list(history or ()), self._tokens)

    def _forms_of(self, own: Prober) -> Forms:
        """The forms of turns behind this very prompt."""
        assert own.prompt is not None
        if own.prompt not in self._own:
            while len(self._own) >= _PROMPTS:
                del self._own[next(iter(self._own))]
            self._own[own.prompt] = learn_forms(own, find_style(own, self._keys, self._habits))
        return self._own[own.prompt]
