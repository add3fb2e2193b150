"""Conversations in which each field of each message holds one word that stands nowhere else.

The word of message ``k`` is ``mark{k:02d}`` and the field's name: ``user``, ``system``, ``say`` (content), ``why``
(reasoning), ``arg0``, ``arg1`` (arguments of calls), ``res`` (a tool's result). So decoded text says whose it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from conversations import FIREFUNCTION

Messages = list[dict[str, Any]]

WORD = re.compile(r"mark(\d\d)(user|system|say|why|arg\d|res)")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "which"}},
                "required": ["city"],
            },
        },
    }
]


class Talk:
    """A conversation under construction; each message knows its place."""

    def __init__(self) -> None:
        self.messages: Messages = []

    def user(self) -> Talk:
        return self._add("user", content=f"{self._word('user')} please?")

    def system(self) -> Talk:
        return self._add("system", content=f"{self._word('system')} rules.")

    def say(self, *, why: bool = False, calls: int = 0, **keys: Any) -> Talk:
        """An assistant's message with a content."""
        if why:
            # Names of one field in different families; a template reads one of them.
            keys["reasoning_content"] = keys["thinking"] = f"{self._word('why')} since."
        if calls:
            keys["tool_calls"] = [self._call(number) for number in range(calls)]
        return self._add("assistant", **{"content": f"{self._word('say')} it is.", **keys})

    def call(self, calls: int = 1, **keys: Any) -> Talk:
        """An assistant's message with calls alone."""
        return self.say(calls=calls, content="", **keys)

    def result(self) -> Talk:
        """The result of the first call that has none yet."""
        at = max(index for index, message in enumerate(self.messages) if message.get("tool_calls"))
        call = self.messages[at]["tool_calls"][len(self.messages) - at - 1]
        content = f"{self._word('res')} degrees"
        return self._add("tool", name="get_weather", tool_call_id=call["id"], content=content)

    def _add(self, role: str, **keys: Any) -> Talk:
        self.messages.append({"role": role, **keys})
        return self

    def _word(self, name: str) -> str:
        return f"mark{len(self.messages):02d}{name}"

    def _call(self, number: int) -> dict[str, Any]:
        function = {"name": "get_weather", "arguments": {"city": self._word(f"arg{number}")}}
        return {"id": f"call{len(self.messages):02d}{number:03d}", "type": "function", "function": function}


_WITH_TOOLS = {"tools": TOOLS}
# Each with the keywords that it is rendered with.
SHAPES: dict[str, tuple[Messages, dict[str, Any]]] = {
    "plain": (Talk().user().say().user().say().messages, {}),
    "system first": (Talk().system().user().say().user().say().messages, {}),
    "reasoning": (Talk().user().say(why=True).user().say(why=True).messages, {}),
    "some reasoning": (Talk().user().say().user().say(why=True).user().say().messages, {}),
    "tools": (Talk().user().call().result().say().user().say().messages, _WITH_TOOLS),
    "tools and reasoning": (
        Talk().user().call(why=True).result().call(why=True).result().say(why=True).user().say(why=True).messages,
        _WITH_TOOLS,
    ),
    "parallel calls": (Talk().user().call(2).result().result().say().user().say().messages, _WITH_TOOLS),
    "user after tool": (Talk().user().call().result().user().say().messages, _WITH_TOOLS),
    "system in the middle": (Talk().user().say().system().user().say().messages, {}),
    "assistant first": (Talk().say().user().say().messages, {}),
    "call last": (Talk().user().say().user().say(calls=1).messages, _WITH_TOOLS),
    "bare call last": (Talk().system().user().call().messages, _WITH_TOOLS),
}
WITH_RESULTS = ("tools", "tools and reasoning", "parallel calls", "user after tool")

# Values of the keywords that templates read, besides none given.
SWITCHES: dict[str, tuple[Any, ...]] = {
    "enable_thinking": (True, False),
    "thinking": (True, False),
    "reasoning_effort": ("high", "none"),
    "reasoning": (False,),
    "thinking_budget": (0, 512),
    "clear_thinking": (False,),
    "drop_thinking": (False,),
    "skip_thinking": (True,),
    "keep_past_thinking": (True,),
    "truncate_history_thinking": (False,),
    "add_thoughts": (True,),
    "keep_tool_result": (1,),
}
# Two at once where they only matter together.
TOGETHER: dict[str, tuple[dict[str, Any], ...]] = {
    "deepseek-ai-DeepSeek-V4": (
        {"thinking": True, "drop_thinking": False},
        {"thinking": True, "reasoning_effort": "high"},
    ),
    "GLM-4.7-Flash": ({"enable_thinking": False, "clear_thinking": False},),
    "GLM-5.2": ({"enable_thinking": False, "clear_thinking": False},),
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": ({"enable_thinking": False, "truncate_history_thinking": False},),
}
# What a template does not render without.
NEEDED: dict[str, dict[str, Any]] = {"fireworks-ai-llama-3-firefunction-v2": FIREFUNCTION}


def words_of(text: str, message_index: int | None = None, field: str = "") -> set[str]:
    """The marked words in a text: of all messages or of one, of all fields or of those whose name begins so."""
    return {
        found.group()
        for found in WORD.finditer(text)
        if message_index in (None, int(found.group(1))) and found.group(2).startswith(field)
    }


def forms_of(messages: Messages, keywords: Mapping[str, Any]) -> Iterator[tuple[Messages, dict[str, Any]]]:
    """The same conversation in the forms that templates take: arguments, absent contents, parts, tools named."""
    for these in ({}, _WITH_TOOLS):
        yield messages, {**keywords, **these}
        yield [_with_text_arguments(message) for message in messages], {**keywords, **these}
        yield [_without_content(message, content=None) for message in messages], {**keywords, **these}
        yield [_without_content(message) for message in messages], {**keywords, **these}
        yield [_as_parts(message) for message in messages], {**keywords, **these}


def _with_text_arguments(message: dict[str, Any]) -> dict[str, Any]:
    if not message.get("tool_calls"):
        return message
    functions = [call["function"] for call in message["tool_calls"]]
    texts = [{**function, "arguments": json.dumps(function["arguments"])} for function in functions]
    calls = zip(message["tool_calls"], texts, strict=True)
    return {**message, "tool_calls": [{**call, "function": function} for call, function in calls]}


def _without_content(message: dict[str, Any], **instead: Any) -> dict[str, Any]:
    if not message.get("tool_calls") or message["content"]:
        return message
    return {**{key: value for key, value in message.items() if key != "content"}, **instead}


def _as_parts(message: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(message.get("content"), str):
        return message
    return {**message, "content": [{"type": "text", "text": message["content"]}]}


def real_forms(messages: Messages, keywords: dict[str, Any]) -> Iterator[tuple[Messages, dict[str, Any]]]:
    """A real conversation in the forms that templates take; the last one has no calls and no results."""
    yield messages, keywords
    with_contents = [{**message, "content": message.get("content") or ""} for message in messages]
    yield with_contents, keywords
    numbers = {id: f"call{number:05d}" for number, id in enumerate(call_ids(messages))}
    yield [with_ids(message, numbers) for message in with_contents], keywords
    spoken: Messages = []
    for message in with_contents:
        if message["role"] == "tool" or not message["content"]:
            continue
        if spoken and spoken[-1]["role"] == message["role"]:
            spoken[-1] = {**spoken[-1], "content": spoken[-1]["content"] + "\n" + message["content"]}
        else:
            spoken.append({"role": message["role"], "content": message["content"]})
    yield spoken, keywords


def call_ids(messages: Messages) -> list[str]:
    return [call["id"] for message in messages for call in message.get("tool_calls") or ()]


def with_ids(message: dict[str, Any], numbers: dict[str, str]) -> dict[str, Any]:
    """A message whose calls have ids of nine letters and digits, as Mistral's templates want them."""
    if message["role"] == "tool":
        return {**message, "tool_call_id": numbers[message["tool_call_id"]]}
    calls = [{**call, "id": numbers[call["id"]]} for call in message.get("tool_calls") or ()]
    return {**message, "tool_calls": calls} if calls else message
