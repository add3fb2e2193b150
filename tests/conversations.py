"""Conversations that templates are rendered with: what is in real ones, and what breaks code that guesses."""

from __future__ import annotations

from typing import Any

from cases import TRICKY_CONTENTS, assistant, system, user


def call(name: str, arguments: Any, call_id: str = "abcdefghi") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*tool_calls: dict[str, Any], content: Any = "", **keys: Any) -> dict[str, Any]:
    return assistant(content, tool_calls=list(tool_calls), **keys)


def tool(content: Any, name: str = "rebook", call_id: str = "abcdefghi") -> dict[str, Any]:
    return {"role": "tool", "content": content, "name": name, "tool_call_id": call_id}


def schema(name: str = "rebook") -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"train": {"type": "string", "description": "its number"}}}
    return {"type": "function", "function": {"name": name, "description": "Books again.", "parameters": parameters}}


# One template raises without these.
FIREFUNCTION = {"functions": "[]", "datetime": "2024-01-01"}
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

# Each with the keywords that it is rendered with.
CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "plain": ([user("user"), assistant("assistant"), user("user"), assistant("assistant")], {}),
    "system": (
        [system("Be kind.\n"), user(" Hi there"), assistant("Yes."), user("And\n"), assistant("yes\nYes. ")],
        {},
    ),
    "prompt": ([user("Hi")], {"add_generation_prompt": True}),
    "prompt after tool": (
        [user("Hi"), calls(call("rebook", {"train": "IC 900"})), tool("done")],
        {"add_generation_prompt": True, "tools": [schema()]},
    ),
    "blank": ([user("Hi"), assistant(" "), user("?"), assistant("\n\nYes")], {}),
    "reasoning": ([user("q"), assistant("One.", reasoning_content="because"), user("q"), assistant("Two.")], {}),
    "last reasoning": ([user("q"), assistant("One."), user("q"), assistant("Two.", reasoning_content="since\n")], {}),
    "reasoning inside": (
        [user("q"), assistant("<think>\nr\n</think>\n\nOne."), user("q"), assistant("<think>s</think>Two")],
        {},
    ),
    "tools": (
        [
            user("Move it."),
            calls(call("rebook", {"train": "IC 900", "seats": 2, "via": ["Köln", "Bonn"], "quoted": 'a "b"\n'})),
            tool('{"ok": true}'),
            assistant("Done."),
        ],
        {"tools": [schema(), schema("cancel")]},
    ),
    "two calls": (
        [
            user("Both."),
            calls(call("rebook", {"train": "1"}, "aaaaaaaaa"), call("cancel", {}, "bbbbbbbbb"), content="I will."),
            tool("ok", "rebook", "aaaaaaaaa"),
            tool("ok", "cancel", "bbbbbbbbb"),
            assistant("Both are done."),
            user("Thanks"),
            assistant("Bye."),
        ],
        {"tools": [schema(), schema("cancel")]},
    ),
    "arguments as text": (
        [user("Go."), calls(call("rebook", '{"train": "IC 900"}'), content=None), tool("ok"), assistant("Done.")],
        {"tools": [schema()]},
    ),
    "reasoning and call": (
        [
            user("Go."),
            calls(call("rebook", {"train": "2"}), reasoning_content="I must."),
            tool("ok"),
            assistant("Done."),
        ],
        {"tools": [schema()]},
    ),
    "parts": (
        [
            user([{"type": "text", "text": "One "}, {"type": "text", "text": "two"}]),
            assistant([{"type": "text", "text": "3"}]),
        ],
        {},
    ),
    "assistant first": ([assistant("Hello."), user("Hi"), assistant("Yes?")], {}),
    "documents": ([user("Who?"), assistant("Me.")], {"documents": [{"title": "A", "text": "About me."}]}),
    **{
        f"tricky: {name}": ([user("Go on."), assistant(content), user(content), assistant("Go on.")], {})
        for name, content in TRICKY_CONTENTS.items()
    },
}
