"""A conversation, rendered by traced Jinja2: its input traced, then its template run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from chatspan.errors import ChatspanError, MessageError, OptionError
from chatspan.render.jinja.data import TracedDict, trace
from chatspan.render.jinja.template import ChatTemplate, TemplateRaisedError
from chatspan.render.origins import Root
from chatspan.render.preparation import REASONING_KEYS, Preparation, plain, preparation, tool_schemas
from chatspan.render.rendered import Render
from chatspan.render.request import Messages, RenderRequest, has_messages, not_messages, reason, unreadable

# By the identity of a message, which is kept with it so that no other one gets it, and its index: conversations of a
# batch may share messages, such as a student's and its teacher's.
TracedMessages = dict[tuple[int, int], tuple[Any, TracedDict]]


def render_traced(
    template: ChatTemplate,
    request: RenderRequest,
    special_tokens: Mapping[str, Any],
    now: datetime,
    traced: TracedMessages,
) -> Render:
    """Renders a conversation.

    Args:
        now: what ``strftime_now`` takes for now.
        traced: what was made of messages before; filled here.

    Raises:
        MessageError, OptionError: the messages, or the tools, are of a wrong form.
        TemplateRaisedError: the template raised.
    """
    variables = traced_variables(request, special_tokens, traced)
    render = template.render(variables, now)
    if not request.add_generation_prompt:
        return render
    try:
        without = template.render({**variables, "add_generation_prompt": False}, now).text
    except TemplateRaisedError:
        # It takes such messages as a prompt alone.
        without = None
    return with_prompt(render, without)


def traced_variables(
    request: RenderRequest, special_tokens: Mapping[str, Any], traced: TracedMessages
) -> dict[str, Any]:
    """What the template gets."""
    plain_types = preparation().plain_types

    def placed(value: Any, name: str) -> Any:
        try:
            return trace(value, Root(-1, (name,)), plain_types)
        except RecursionError:
            raise OptionError(
                f"{name} has values nested too deeply, or a value that holds itself: pass plain JSON"
            ) from None
        except (ChatspanError, MemoryError):
            raise
        # What an object of a caller's own raises.
        except Exception as error:
            raise OptionError(f"{name} {reason(error)}") from error

    variables: dict[str, Any] = dict(special_tokens)
    for name, value in request.template_kwargs.items():
        # Special tokens given by hand are the template's own text all the same.
        variables[name] = value if name.endswith("_token") else placed(value, name)
    variables["tools"] = placed(tool_schemas(request.tools), "tools")
    variables["documents"] = placed(request.documents, "documents")
    variables["messages"] = trace_messages(request.messages, traced)
    variables["add_generation_prompt"] = request.add_generation_prompt
    return variables


def trace_messages(messages: Messages, known: TracedMessages) -> list[TracedDict]:
    """The messages, traced.

    Args:
        known: what was made of messages before; filled here.
    """
    if not has_messages(messages):
        raise not_messages(messages)
    traced = []
    for index, message in enumerate(messages):
        key = (id(message), index)
        if key not in known:
            try:
                known[key] = (message, _trace_message(message, index, preparation()))
            except RecursionError:
                raise MessageError(
                    f"message {index} has values nested too deeply, or a value that holds itself", message_index=index
                ) from None
            except (ChatspanError, MemoryError):
                raise
            except Exception as error:
                raise unreadable(index, error) from error
        traced.append(known[key][1])
    return traced


def _trace_message(message: Any, index: int, prepared: Preparation) -> TracedDict:
    if type(message) is not dict and prepared.plain_types:
        message = plain(message)
    if not isinstance(message, Mapping):
        raise MessageError(f"message {index} is {type(message).__name__}, not a dict", message_index=index)
    message = {key: value for key, value in list(message.items()) if value is not None or not prepared.drops_none}
    traced: TracedDict = trace(message, Root(index, ()), prepared.plain_types)
    if prepared.aliases_reasoning:
        reasoning = next((traced[key] for key in REASONING_KEYS if traced.get(key) is not None), None)
        if reasoning is not None:
            aliased = TracedDict({"thinking": reasoning, **dict(dict.items(traced)), "reasoning_content": reasoning})
            aliased._parent, aliased._message_index, aliased._key = traced._parent, index, None
            return aliased
    return traced


def with_prompt(render: Render, without: str | None) -> Render:
    """A prompt may be written inside of the loop over messages; what the render without it lacks, is it.

    Args:
        without: that render; nothing where the template refuses it.
    """
    start = len(render.text)
    if without is not None and render.text.startswith(without):
        start = len(without)
    elif render.owners[-1][1] == -1:
        start = render.owners[-1][0]
    owners = [owner for owner in render.owners if owner[0] < start]
    return replace(render, prompt_start_char=start, owners=[*owners, (start, -1)] if start else [(0, -1)])
