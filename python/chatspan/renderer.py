"""Conversation → render, by the tokenizer's own chat template, traced."""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from jinja2 import TemplateSyntaxError

from chatspan._core import Habits as CoreHabits
from chatspan.chat_template import ChatTemplate, Render, TemplateRaisedError, compiled
from chatspan.errors import MessageError, OptionError, RenderMismatchError, TemplateError, TokenizerError
from chatspan.native_template import Job, NativeTemplate, Outcome, native_template, render_jobs, render_of
from chatspan.origins import Root, cut_runs
from chatspan.preparation import REASONING_KEYS, Habits, habits, plain, tool_schemas
from chatspan.template_limits import TemplateLimits, require_limits
from chatspan.template_program import Unsupported
from chatspan.traced_data import TracedDict, trace

Messages = Sequence[Mapping[str, Any]]
# By the identity of a message, which is kept with it so that no other one gets it, and its index.
TracedMessages = dict[tuple[int, int], tuple[Any, TracedDict]]


class UnknownKeywordWarning(UserWarning):
    """A keyword that the chat template does not read."""


class ChatRenderer:
    """Renders conversations as ``tokenizer.apply_chat_template(tokenize=False)`` does, with origins.

    Args:
        tokenizer: an HF tokenizer.
        chat_template: in place of the tokenizer's own: a template, or several by their names, of which ``"tool_use"``
            is taken where tools are given and ``"default"`` else.
        template_limits: what a render may take in the core.

    Raises:
        TokenizerError: there is no chat template.
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
        if not callable(getattr(tokenizer, "apply_chat_template", None)):
            raise TokenizerError(f"{type(tokenizer).__name__} has no apply_chat_template")
        self._options = frozenset(inspect.signature(tokenizer.apply_chat_template).parameters)
        self.template(None)

    def source(self, tools: Sequence[Any] | None) -> str:
        """The template that a conversation with these tools is rendered with."""
        given = self._chat_template
        if given is not None and not isinstance(given, (str, Mapping)):
            raise OptionError(f"chat_template={given!r}: give a template, or several by their names")
        if isinstance(given, Mapping):
            name = "tool_use" if tools is not None and "tool_use" in given else "default"
            if name not in given:
                raise TokenizerError(f"chat_template has no {name!r}; it has {', '.join(map(repr, sorted(given)))}")
            return given[name]
        try:
            source = self._tokenizer.get_chat_template(given, tools)
        except ValueError as error:
            raise TokenizerError(
                f"the tokenizer has no chat template: set tokenizer.chat_template, or give chat_template ({error})"
            ) from error
        return str(source)

    def template(self, tools: Sequence[Any] | None) -> ChatTemplate:
        """The compiled template.

        Raises:
            TemplateError: it is none.
        """
        try:
            return compiled(self.source(tools))
        except TemplateSyntaxError as error:
            raise TemplateError(
                f"the chat template cannot be compiled, line {error.lineno}: {error.message}; mend it, or give another"
            ) from None

    def render(
        self,
        messages: Messages,
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Mapping[str, str]] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        now: datetime | None = None,
        traced_messages: TracedMessages | None = None,
        ahead: Outcome | None = None,
        **template_kwargs: Any,
    ) -> Render:
        """Renders one conversation. The first render with each template is compared with the tokenizer's own.

        Args:
            now: what ``strftime_now`` takes for now; the time of the call if not given.
            traced_messages: what was made of messages before, for conversations that share some, such as a student's
                and its teacher's; filled here. Only as long as no message is changed.
            ahead: what came of the :meth:`job` of the same arguments, where it was done already.

        Raises:
            MessageError, OptionError: the messages, or the tools, are of a wrong form.
            TemplateError: the template raised; with its line and the message that was being rendered.
            RenderMismatchError: the tokenizer's own render is another one.
        """
        if add_generation_prompt and continue_final_message:
            raise OptionError(
                "give add_generation_prompt or continue_final_message: a message begins, or the last goes on"
            )
        template = self.template(tools)
        self._check_keywords(template, template_kwargs)
        hf_kwargs = {
            "tools": tools,
            "documents": documents,
            "chat_template": template.source,
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": continue_final_message,
            **template_kwargs,
        }
        now = now or datetime.now()
        if ahead is None:
            job = self.job(
                messages,
                tools=tools,
                documents=documents,
                add_generation_prompt=add_generation_prompt,
                **template_kwargs,
            )
            ahead = job if isinstance(job, Unsupported) else render_jobs([job], now)[0]
        render = self._taken(ahead, messages)
        if render is None:
            known = {} if traced_messages is None else traced_messages
            variables = self._variables(tools, documents, template_kwargs)
            variables["messages"] = _trace_messages(messages, known)
            variables["add_generation_prompt"] = add_generation_prompt
            try:
                render = template.render(variables, now)
                if add_generation_prompt:
                    without = template.render({**variables, "add_generation_prompt": False}, now).text
                    render = _with_prompt(render, without)
            except TemplateRaisedError as raised:
                raise self._template_error(messages, raised, hf_kwargs)  # noqa: B904 - it has its cause
        if continue_final_message:
            return _cut(render, self._own_text(messages, hf_kwargs))
        if template.source not in self._verified:
            self._verify(messages, render, now, hf_kwargs)
            self._verified.add(template.source)
        return render

    def _variables(
        self,
        tools: Sequence[Any] | None,
        documents: Sequence[Mapping[str, str]] | None,
        template_kwargs: Mapping[str, Any],
    ) -> dict[str, Any]:
        plain_types = habits().plain_types

        def traced(value: Any, name: str) -> Any:
            return trace(value, Root(-1, (name,)), plain_types)

        variables: dict[str, Any] = dict(self._tokenizer.special_tokens_map)
        for name, value in template_kwargs.items():
            # Special tokens given by hand are the template's own text all the same.
            variables[name] = value if name.endswith("_token") else traced(value, name)
        variables["tools"] = traced(tool_schemas(tools), "tools")
        variables["documents"] = traced(documents, "documents")
        return variables

    def job(
        self,
        messages: Messages,
        habits_of_template: CoreHabits | None = None,
        *,
        tools: Sequence[Any] | None = None,
        documents: Any = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        **template_kwargs: Any,
    ) -> Job | Unsupported:
        """What the core is to render, read; for the arguments see :meth:`render`."""
        native = native_template(self.source(tools))
        if not isinstance(native, NativeTemplate):
            return Unsupported(native)
        variables = {"tools": tool_schemas(tools), "documents": documents}
        tokens = dict(self._tokenizer.special_tokens_map)
        for name, value in template_kwargs.items():
            # Special tokens given by hand are the template's own text all the same.
            (tokens if name.endswith("_token") else variables)[name] = value
        try:
            _require_dicts(messages)
            given = native.read(messages, variables, tokens, habits())
        except Unsupported as lacking:
            return lacking
        return Job(native, given, add_generation_prompt, habits_of_template, self._limits)

    def _taken(self, outcome: Outcome, messages: Messages) -> Render | None:
        """The core's render; nothing where it leaves this one to traced Jinja2."""
        if isinstance(outcome, TemplateError):
            raise outcome
        if isinstance(outcome, Exception):
            # Traced Jinja2 raises it with its line and its message.
            self.left[str(outcome) if isinstance(outcome, Unsupported) else "it raises"] += 1
            return None
        self.native_renders += 1
        return render_of(outcome, outcome.input.roles() or _roles(messages))

    def _own_text(self, messages: Messages, hf_kwargs: Mapping[str, Any]) -> str:
        """The tokenizer's own render."""
        return str(self._tokenizer.apply_chat_template(list(messages), tokenize=False, **hf_kwargs))

    def _verify(self, messages: Messages, render: Render, now: datetime, hf_kwargs: Mapping[str, Any]) -> None:
        own = self._own_text(messages, hf_kwargs)
        if own == render.text:
            return
        # The clock may have gone on between the two.
        tools, documents, prompt = (hf_kwargs[name] for name in ("tools", "documents", "add_generation_prompt"))
        keywords = {name: value for name, value in hf_kwargs.items() if name not in _OPTIONS}
        variables = self._variables(tools, documents, keywords)
        variables["messages"], variables["add_generation_prompt"] = _trace_messages(messages, {}), prompt
        template = self.template(tools)
        if render.text != template.render(variables, now).text:
            raise _mismatch(render.text, own)
        again = template.render(variables, datetime.now()).text
        own = self._own_text(messages, hf_kwargs)
        if own != again:
            raise _mismatch(again, own)

    def _template_error(
        self, messages: Messages, raised: TemplateRaisedError, hf_kwargs: Mapping[str, Any]
    ) -> TemplateError | RenderMismatchError:
        # transformers' own exception says it without the types that stand for strings here.
        own: Exception | None = None
        try:
            self._own_text(messages, hf_kwargs)
        except Exception as error:
            own = error
        which = ""
        index = raised.message_index if 0 <= raised.message_index < len(messages) else None
        if index is not None:
            which = f" at message {index} (role {messages[index].get('role')!r})"
        line = "" if raised.line is None else f", line {raised.line} of the template"
        shown = own or raised.error
        what = f"the chat template raised{which}{line}: {type(shown).__name__}: {shown}"
        if own is None:
            what += "; the tokenizer's own apply_chat_template does not raise"
        elif index is not None and habits().drops_none and messages[index].get("content", "") is None:
            # Templates that ask for it find none, as in transformers; those of before it was dropped printed "None".
            what += '; its content is None, which transformers takes away: give "" for none'
        found = (RenderMismatchError if own is None else TemplateError)(what, message_index=index)
        found.__cause__ = shown
        return found

    def _check_keywords(self, template: ChatTemplate, template_kwargs: Mapping[str, Any]) -> None:
        if not template_kwargs:
            return
        for name in template_kwargs:
            if name in self._options:
                raise OptionError(
                    f"{name!r} is an option of apply_chat_template that the encoder does not take; "
                    "rendering and tokenizing have options of their own here"
                )
            if name not in template.variables and name not in self._warned and not name.endswith("_token"):
                self._warned.add(name)
                known = ", ".join(sorted(template.variables - _ALWAYS_GIVEN)) or "none"
                warnings.warn(
                    f"the chat template does not read {name!r}; the keywords that it reads: {known}",
                    UnknownKeywordWarning,
                    stacklevel=4,
                )


def _with_prompt(render: Render, without: str) -> Render:
    """A prompt may be written inside of the loop over messages; what the render without it lacks, is it."""
    start = len(render.text)
    if render.text.startswith(without):
        start = len(without)
    elif render.owners[-1][1] == -1:
        start = render.owners[-1][0]
    owners = [owner for owner in render.owners if owner[0] < start]
    return replace(render, prompt_start_char=start, owners=[*owners, (start, -1)] if start else [(0, -1)])


def _require_dicts(messages: Messages) -> None:
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence) or not messages:
        raise Unsupported("messages of a wrong form")
    for message in messages:
        if type(message) is not dict and not isinstance(message, Mapping):
            raise Unsupported("messages of a wrong form")


def _roles(messages: Messages) -> tuple[str, ...]:
    """The role of each message, ``""`` where it has none."""
    roles = []
    for message in messages:
        role = message.get("role", "")
        roles.append("" if role is None and habits().drops_none else str(role))
    return tuple(roles)


# Of `hf_kwargs`, what is no keyword of the template.
_OPTIONS = frozenset({"tools", "documents", "chat_template", "add_generation_prompt", "continue_final_message"})
_ALWAYS_GIVEN = {"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now", "range"}
_ALWAYS_GIVEN |= {"namespace", "dict", "bos_token", "eos_token", "pad_token", "unk_token", "loop"}


def _trace_messages(messages: Messages, known: TracedMessages) -> list[TracedDict]:
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence) or not messages:
        raise MessageError("messages must be a list of at least one message")
    traced = []
    for index, message in enumerate(messages):
        key = (id(message), index)
        if key not in known:
            try:
                known[key] = (message, _trace_message(message, index, habits()))
            except RecursionError:
                raise MessageError(
                    f"message {index} has values nested too deeply, or a value that holds itself", message_index=index
                ) from None
        traced.append(known[key][1])
    return traced


def _trace_message(message: Any, index: int, habits: Habits) -> TracedDict:
    if type(message) is not dict and habits.plain_types:
        message = plain(message)
    if not isinstance(message, Mapping):
        raise MessageError(f"message {index} is {type(message).__name__}, not a dict", message_index=index)
    message = {key: value for key, value in message.items() if value is not None or not habits.drops_none}
    traced: TracedDict = trace(message, Root(index, ()), habits.plain_types)
    if habits.aliases_reasoning:
        reasoning = next((traced[key] for key in REASONING_KEYS if traced.get(key) is not None), None)
        if reasoning is not None:
            aliased = TracedDict({"thinking": reasoning, **dict(dict.items(traced)), "reasoning_content": reasoning})
            aliased._parent, aliased._message_index, aliased._key = traced._parent, index, None
            return aliased
    return traced


def _cut(render: Render, own: str) -> Render:
    """The render as far as the tokenizer's own, which leaves the final message open."""
    if not render.text.startswith(own):
        raise _mismatch(render.text, own)
    end = len(own)
    return replace(
        render,
        given_text=own,
        runs=cut_runs(tuple(render.runs), 0, end),
        native=None,
        owners=[owner for owner in render.owners if owner[0] < end] or [(0, -1)],
        generation=[(start, min(stop, end)) for start, stop in render.generation if start < end],
        open_end=True,
    )


def _mismatch(text: str, own: str) -> RenderMismatchError:
    start = next(
        (i for i, (ours, theirs) in enumerate(zip(text, own, strict=False)) if ours != theirs), min(len(text), len(own))
    )
    return RenderMismatchError(
        f"the render is not the tokenizer's own from character {start} on: {text[start : start + 40]!r}, "
        f"but apply_chat_template gives {own[start : start + 40]!r}. Its apply_chat_template may be overridden, "
        "or this version of transformers prepares messages in another way",
        start_char=start,
    )
