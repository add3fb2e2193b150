"""Conversation → render, by the tokenizer's own chat template, with origins.

Two engines evaluate templates: the core (``native/``), and traced Jinja2 (``jinja/``), its slow twin and the way for
what it lacks. Which one is decided here, and nothing else knows both.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateSyntaxError

from chatspan._core import NativeRender, TurnScaffold
from chatspan.errors import OptionError, RenderMismatchError, TemplateError, TokenizerError, one_line, quoted
from chatspan.render.jinja.engine import TracedMessages, render_traced, traced_variables
from chatspan.render.jinja.template import ChatTemplate, TemplateRaisedError, compiled
from chatspan.render.limits import TemplateLimits, require_limits
from chatspan.render.native.program import Unsupported
from chatspan.render.native.render import render_of
from chatspan.render.native.template import NativeOutcome, NativeTemplate, RenderJob, render_jobs
from chatspan.render.own_text import cut_at, mismatch
from chatspan.render.preparation import preparation, tool_schemas
from chatspan.render.rendered import Render
from chatspan.render.request import Messages, RenderRequest, has_messages, own_copy, request_of, require_flags

# What a call gives beside the template's keywords.
_OWN_OPTIONS = frozenset({"tools", "documents", "add_generation_prompt", "continue_final_message"})
# With these transformers' own render fails.
_TAKEN = frozenset({"conversations", "messages", "self"})
_MOST_VERIFIED = 256


class UnknownKeywordWarning(UserWarning):
    """A keyword that the chat template does not read."""


@functools.lru_cache(maxsize=256)
def native_template(source: str) -> NativeTemplate | str:
    """The template of a source, made ready for the core once per process; or what of it the core lacks."""
    try:
        return NativeTemplate(compiled(source).tree)
    except Unsupported as lacking:
        return str(lacking)


class ChatRenderer:
    """Renders conversations as ``tokenizer.apply_chat_template(tokenize=False)`` does, with origins.

    Args:
        tokenizer: an HF tokenizer.
        chat_template: in place of the tokenizer's own: a template, or several by their names, of which ``"tool_use"``
            is taken where tools are given and ``"default"`` else.
        template_limits: what a render may take in the core.

    Raises:
        TokenizerError: it has no ``apply_chat_template``.
    """

    def __init__(
        self,
        tokenizer: Any,
        chat_template: str | Mapping[str, str] | None = None,
        template_limits: TemplateLimits | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._chat_template = chat_template
        self._limits = require_limits(template_limits)
        self._verified: set[str] = set()
        self._warned: set[str] = set()
        self.native_renders = 0
        self.left: Counter[str] = Counter()
        for name in ("apply_chat_template", "get_chat_template"):
            if not callable(getattr(tokenizer, name, None)):
                raise TokenizerError(
                    f"{type(tokenizer).__name__} has no {name}: use AutoTokenizer.from_pretrained(name)"
                )
        self._options = frozenset(inspect.signature(tokenizer.apply_chat_template).parameters)

    def source(self, tools: Sequence[Any] | None, chat_template: str | None = None) -> str:
        """The template that a conversation with these tools is rendered with.

        Args:
            chat_template: in place of the renderer's own.

        Raises:
            TokenizerError: there is none.
        """
        given = self._chat_template if chat_template is None else chat_template
        if given is not None and not isinstance(given, (str, Mapping)):
            raise OptionError(f"chat_template={quoted(given)}: pass a template, or several by their names")
        if isinstance(given, Mapping):
            name = "tool_use" if tools is not None and "tool_use" in given else "default"
            if name not in given:
                names = ", ".join(sorted(map(repr, given))) or "none"
                raise TokenizerError(f"chat_template has no {name!r}; the names that it has: {names}")
            if not isinstance(given[name], str):
                raise OptionError(
                    f"chat_template[{name!r}] is {type(given[name]).__name__}: pass the template, which is text"
                )
            return given[name]
        try:
            source = self._tokenizer.get_chat_template(given, tools)
        except ValueError as error:
            raise TokenizerError(
                f"the tokenizer has no chat template: set tokenizer.chat_template, or pass chat_template ({error})"
            ) from error
        return str(source)

    def template(self, tools: Sequence[Any] | None, chat_template: str | None = None) -> ChatTemplate:
        """The compiled template; see :meth:`source`.

        Raises:
            TokenizerError: there is none.
            TemplateError: it cannot be compiled.
        """
        try:
            return compiled(self.source(tools, chat_template))
        except TemplateSyntaxError as error:
            raise TemplateError(
                f"the chat template cannot be compiled, line {error.lineno}: {error.message}; fix it, or pass another"
            ) from None

    def engine(self) -> tuple[str, str]:
        """What evaluates the template (of several, the one without tools): ``"native"``, ``"jinja2"``; and why."""
        lacking = native_template(self.source(None))
        if isinstance(lacking, str):
            return "jinja2", lacking
        reason = "the core knows every construct of the template"
        left = ", ".join(f"{count} for {what}" for what, count in sorted(self.left.items()))
        return "native", f"{reason}; left to Jinja2: {left}" if left else reason

    def render(self, messages: Messages, /, **keywords: Any) -> Render:
        """Renders one conversation. The first render with each template is compared with the tokenizer's own.

        Args:
            messages, keywords: as :func:`request_of` takes them.

        Raises:
            MessageError, OptionError: the messages, or the tools, are of a wrong form.
            TokenizerError: there is no chat template.
            TemplateError: the template raised; with its line and the message that was being rendered.
            RenderMismatchError: the tokenizer's own render is another one.
        """
        return next(self.render_batch([request_of(messages, **keywords)]))

    def render_batch(
        self,
        requests: Sequence[RenderRequest],
        *,
        now: datetime | None = None,
        scaffold_of: Callable[[RenderRequest, str], TurnScaffold | None] = lambda request, source: None,
    ) -> Iterator[Render]:
        """Renders conversations, in order: read one by one, then rendered by the core side by side.

        What is wrong with a conversation is raised when its render is taken; see :meth:`render`. No message may change
        before.

        Args:
            now: what ``strftime_now`` takes for now; the time of the call if not given.
            scaffold_of: for a request and the source of its template what that writes around assistants' messages,
                where it is known: renders are then cut by message and kind in the same go.
        """
        now = now or datetime.now()
        read = [self._read(request, scaffold_of) for request in requests]
        rendered = iter(render_jobs([job for _, job in read if isinstance(job, RenderJob)], now))
        traced: TracedMessages = {}
        for request, job in read:
            outcome = next(rendered) if isinstance(job, RenderJob) else job
            yield self._render(request, outcome, now, traced)

    def try_render(self, requests: Sequence[RenderRequest], now: datetime) -> list[Render | None]:
        """Renders that are to find something out: none where the template refuses; nothing is compared or counted.

        Args:
            now: what ``strftime_now`` takes for now.
        """
        read = [self._read(request, lambda request, source: None) for request in requests]
        rendered = iter(render_jobs([job for _, job in read if isinstance(job, RenderJob)], now))
        found: list[Render | None] = []
        for request, job in read:
            outcome = next(rendered) if isinstance(job, RenderJob) else job
            if isinstance(outcome, NativeRender):
                found.append(render_of(outcome, _roles(outcome)))
            elif outcome is None or isinstance(outcome, Unsupported):
                found.append(self._try_jinja(request, now))
            else:
                found.append(None)
        return found

    def _try_jinja(self, request: RenderRequest, now: datetime) -> Render | None:
        template = self.template(request.tools, request.chat_template)
        try:
            return render_traced(template, request, self._tokenizer.special_tokens_map, now, {})
        # What templates raise has no common base.
        except Exception:
            return None

    def _read(
        self, request: RenderRequest, scaffold_of: Callable[[RenderRequest, str], TurnScaffold | None]
    ) -> tuple[RenderRequest, RenderJob | Unsupported | None]:
        """The request, and what the core is to render of it; nothing where it cannot be read: its render says why."""
        try:
            source = self.source(request.tools, request.chat_template)
            if source not in self._verified or request.continue_final_message:
                # The tokenizer's own render reads it, too, and may not find it changed.
                own = (own_copy(each) for each in (request.messages, request.tools, request.documents))
                request = request._replace(**dict(zip(("messages", "tools", "documents"), own, strict=True)))
            return request, self._job(request, source, scaffold_of(request, source))
        except Exception:
            return request, None

    def _job(
        self, request: RenderRequest, source: str, scaffold: TurnScaffold | None = None
    ) -> RenderJob | Unsupported:
        require_flags(request)
        native = native_template(source)
        if not isinstance(native, NativeTemplate):
            return Unsupported(native)
        variables = {"tools": tool_schemas(request.tools), "documents": request.documents}
        tokens = dict(self._tokenizer.special_tokens_map)
        for name, value in request.template_kwargs.items():
            # Special tokens given by hand are the template's own text all the same.
            (tokens if name.endswith("_token") else variables)[name] = value
        try:
            _require_dicts(request.messages)
            given = native.read(request.messages, variables, tokens, preparation())
        except Unsupported as lacking:
            return lacking
        except RecursionError:
            # Traced Jinja2 says of what.
            return Unsupported("values nested too deeply")
        return RenderJob(native, given, request.add_generation_prompt, scaffold, self._limits)

    def _render(
        self, request: RenderRequest, outcome: NativeOutcome | None, now: datetime, traced: TracedMessages
    ) -> Render:
        require_flags(request)
        if request.add_generation_prompt and request.continue_final_message:
            raise OptionError(
                "use add_generation_prompt or continue_final_message, not both: one begins a message, one continues it"
            )
        template = self.template(request.tools, request.chat_template)
        self._check_keywords(template, request.template_kwargs)
        if outcome is None:
            job = self._job(request, template.source)
            outcome = job if isinstance(job, Unsupported) else render_jobs([job], now)[0]
        render = self._taken(outcome)
        if render is None:
            try:
                render = render_traced(template, request, self._tokenizer.special_tokens_map, now, traced)
            except TemplateRaisedError as raised:
                raise self._template_error(request, template, raised)  # noqa: B904 - it has its cause
        if request.continue_final_message:
            return cut_at(render, self._continued_text(request, template))
        if template.source not in self._verified:
            self._verify(request, template, render, now)
            # Rows may have templates of their own, each another one.
            if len(self._verified) >= _MOST_VERIFIED:
                self._verified.clear()
            self._verified.add(template.source)
        return render

    def _taken(self, outcome: NativeOutcome) -> Render | None:
        """The core's render; nothing where it leaves this one to traced Jinja2."""
        if isinstance(outcome, TemplateError):
            raise outcome
        if isinstance(outcome, Exception):
            # Traced Jinja2 raises it with its line and its message.
            self.left[str(outcome) if isinstance(outcome, Unsupported) else "it raises"] += 1
            return None
        self.native_renders += 1
        return render_of(outcome, _roles(outcome))

    def _own_text(self, request: RenderRequest, template: ChatTemplate) -> str:
        """The tokenizer's own render."""
        text = self._tokenizer.apply_chat_template(
            list(request.messages),
            tokenize=False,
            tools=request.tools,
            documents=request.documents,
            chat_template=template.source,
            add_generation_prompt=request.add_generation_prompt,
            continue_final_message=request.continue_final_message,
            **request.template_kwargs,
        )
        return str(text)

    def _continued_text(self, request: RenderRequest, template: ChatTemplate) -> str:
        try:
            return self._own_text(request, template)
        except Exception as error:  # transformers', or what an object of a caller's own raises
            raise OptionError(
                f"continue_final_message={quoted(request.continue_final_message)}: {one_line(error)}; end with "
                "a message that has the field to continue"
            ) from None

    def _verify(self, request: RenderRequest, template: ChatTemplate, render: Render, now: datetime) -> None:
        try:
            own = self._own_text(request, template)
        except Exception as error:
            raise RenderMismatchError(
                f"the tokenizer's own apply_chat_template raises {type(error).__name__}: {one_line(error)}; here the "
                f"render is {render.text!r:.60}"
            ) from error
        if own == render.text:
            return
        # The clock may have gone on between the two.
        variables = traced_variables(request, self._tokenizer.special_tokens_map, {})
        if render.text != template.render(variables, now).text:
            raise mismatch(render.text, own)
        again = template.render(variables, datetime.now()).text
        own = self._own_text(request, template)
        if own != again:
            raise mismatch(again, own)

    def _template_error(
        self, request: RenderRequest, template: ChatTemplate, raised: TemplateRaisedError
    ) -> TemplateError | RenderMismatchError:
        # transformers' own exception says it without the types that stand for strings here.
        own: Exception | None = None
        try:
            self._own_text(request, template)
        except Exception as error:
            own = error
        which = ""
        messages = request.messages
        index = raised.message_index if 0 <= raised.message_index < len(messages) else None
        if index is not None:
            which = f" at message {index} (role {quoted(_field(messages[index], 'role'))})"
        line = "" if raised.line is None else f", line {raised.line} of the template"
        shown = own or raised.error
        what = f"the chat template raised{which}{line}: {type(shown).__name__}: {shown}"
        if own is None:
            what += "; the tokenizer's own apply_chat_template does not raise"
        elif index is not None and preparation().drops_none and _field(messages[index], "content", "") is None:
            # Templates that ask for it find none, as in transformers; those of before it was dropped printed "None".
            what += '; its content is None, which transformers removes: use "" for no content'
        found = (RenderMismatchError if own is None else TemplateError)(what, message_index=index)
        found.__cause__ = shown
        return found

    def _check_keywords(self, template: ChatTemplate, template_kwargs: Mapping[str, Any]) -> None:
        if not template_kwargs:
            return
        for name, value in template_kwargs.items():
            if name.endswith("_token"):
                _require_ends(name, value)
            if name in _OWN_OPTIONS:
                raise OptionError(f"{name!r} is an option of the call, not a keyword of the template: pass {name}=…")
            if name in _TAKEN:
                raise OptionError(f"{name!r} cannot be a template keyword: transformers or Jinja2 uses it; rename it")
            if name in self._options:
                raise OptionError(
                    f"{name!r} is an option of apply_chat_template that the encoder does not take; "
                    "rendering and tokenizing have options of their own here"
                )
            if name not in template.variables and name not in self._warned and not name.endswith("_token"):
                self._warned.add(name)
                known = ", ".join(template.keywords) or "none"
                warnings.warn(
                    f"the chat template does not read {name!r}; the keywords that it reads: {known}",
                    UnknownKeywordWarning,
                    stacklevel=4,
                )


def _field(message: Any, name: str, default: Any = None) -> Any:
    """A field of a message, which transformers also takes as an object."""
    return message.get(name, default) if isinstance(message, Mapping) else getattr(message, name, default)


def _require_dicts(messages: Messages) -> None:
    if not has_messages(messages):
        raise Unsupported("messages of a wrong form")
    for message in messages:
        if type(message) is not dict and not isinstance(message, Mapping):
            raise Unsupported("messages of a wrong form")


def _require_ends(name: str, value: Any) -> None:
    """A special token that is given by hand is not looked at before transformers does."""
    try:
        own_copy(value)
    except RecursionError:
        raise OptionError(f"{name} has values nested too deeply, or a value that holds itself: pass text") from None


def _roles(native: NativeRender) -> tuple[str, ...]:
    """The role of each message that was read, ``""`` where it has none."""
    roles = native.input.roles()
    if roles is None:
        # One is no text.
        roles = tuple(str(message.get("role", "")) for message in native.input.to_python()["messages"])
    return roles
