"""Random assistants' messages, and what transformers renders of them; nothing of chatspan is in here."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

Message = dict[str, Any]
Shape = tuple[bool, bool, int]

_WORDS = (
    *("Hello", "the", "train", "Köln", "is", "late", "2", "10:22", "ß", "🚆", "naïve", "日本", "a_b", "x-y", "-", "…"),
    *(" ", " ", " ", "\n", "\n\n", "\t", ".", ", ", ": ", "; ", "'", '"', "\\", "/", "&", "%", "$", "#", "*", "`"),
    *("```json\n{}\n```", '{"a": 1}', "[1, 2]", "{{x}}", "{% y %}", "<b>", "</b>", "(", ")", "true", "null", "None"),
)
_KEYS = ("city", "days", "exact", "flag", "via", "opt", "note", "q", "n", "a_b", "größe", "k1")
_NAMES = ("get_weather", "find", "rebook.now", "f1")
_SCALARS = (
    *("Bonn", "Köln", "7", "1.5", "true", "null", "None", "[]", "{}", "", "a, b", "x=1", 'say "hi"', "it's", "\\n"),
)


def _schema(name: str, properties: Mapping[str, Any]) -> Message:
    parameters = {"type": "object", "properties": dict(properties)}
    return {"type": "function", "function": {"name": name, "description": "Does it.", "parameters": parameters}}


TOOLS = [
    _schema(
        "get_weather",
        {
            "city": {"type": "string", "description": "which"},
            "days": {"type": "integer", "description": "how many"},
            "exact": {"type": "number", "description": "how exactly"},
            "flag": {"type": "boolean", "description": "whether"},
            "via": {"type": "array", "items": {"type": "string"}, "description": "over"},
            "opt": {"type": "object", "properties": {}, "description": "more"},
            "note": {"type": ["string", "null"], "description": "a note"},
        },
    ),
    _schema(
        "find",
        {"q": {"type": "string", "description": "what"}, "n": {"type": "integer", "description": "how many"}},
    ),
]
# For templates that take schemas apart and know few types.
FEW_TYPES = [_schema("get_weather", {"city": {"type": "string", "description": "which"}})]
_TYPES: dict[str, dict[str, str]] = {
    tool["function"]["name"]: {
        key: schema["type"]
        for key, schema in tool["function"]["parameters"]["properties"].items()
        if isinstance(schema["type"], str)
    }
    for tool in TOOLS
}


def text(random: Random, marks: Sequence[str] = ()) -> str:
    """A text that begins and ends with no blank; with some of the marks, if there are any."""
    words = [random.choice(_WORDS) for _ in range(random.randint(1, 12))]
    for _ in range(random.randint(0, 2) if marks else 0):
        words.insert(random.randint(0, len(words)), random.choice(list(marks)))
    return "".join(words).strip() or "Yes"


def value(random: Random, kind: str | None = None, depth: int = 0) -> Any:
    """A value of JSON, of a type if one is named."""
    kind = kind or random.choice(("string", "string", "integer", "number", "boolean", "null", "array", "object"))
    if kind == "string":
        return random.choice(_SCALARS) if random.random() < 0.5 else text(random)
    if kind == "integer":
        return random.choice((0, 1, -3, 42, 10**12))
    if kind == "number":
        return random.choice((0.5, -2.25, 1e-7, 3.0, 1e22))
    if kind in ("boolean", "null"):
        return None if kind == "null" else random.random() < 0.5
    size = random.randint(0, 2) if depth < 2 else 0
    if kind == "array":
        return [value(random, None, depth + 1) for _ in range(size)]
    return {random.choice(_KEYS): value(random, None, depth + 1) for _ in range(size)}


def arguments(random: Random, name: str) -> Message:
    """Arguments that keep to the schema, where it names them."""
    types = _TYPES.get(name, {})
    among = sorted(types) if types and random.random() < 0.8 else list(_KEYS)
    keys = random.sample(among, random.randint(0, min(3, len(among))))
    return {key: value(random, types.get(key), 1 if types else 0) for key in keys if key != "note"}


def message(random: Random, shape: Shape, marks: Sequence[str] = ()) -> Message:
    """A message with reasoning, a content, and so many calls, all in their plainest form."""
    reasoning, content, calls = shape
    found: Message = {"role": "assistant", "content": text(random, marks) if content else ""}
    if reasoning:
        found["reasoning_content"] = text(random, marks)
    if calls:
        names = [random.choice(_NAMES) for _ in range(calls)]
        found["tool_calls"] = [call(name, arguments(random, name), index) for index, name in enumerate(names)]
    return found


def call(name: str, given: Any, index: int) -> Message:
    return {"type": "function", "id": f"abcdefgh{index}", "function": {"name": name, "arguments": given}}


def histories(marked: Template) -> list[list[Message]]:
    """Prompts: of a user, with a system's message, behind an answer, behind a tool's result."""
    user: Message = {"role": "user", "content": "Which train?"}
    found = marked.variant_of(
        {"role": "assistant", "content": "", "tool_calls": [call("find", {"q": "x"}, 0)]}, (False, False, 1)
    )
    result = {"role": "tool", "name": "find", "tool_call_id": "abcdefgh0", "content": "IC 900"}
    return [
        [user],
        [{"role": "system", "content": "Be brief."}, user],
        [user, {"role": "assistant", "content": "This one."}, user],
        *([[user, found[0], result]] if found is not None else []),
    ]


_MARKED = {
    "reasoning_content": "mark1why",
    "content": "mark2say",
    "names": ("mark3f", "mark4g"),
    "values": ("mark5x", "mark6y"),
}


@dataclass
class Template:
    """A chat template as transformers renders it.

    Attributes:
        keywords: what every render is made with.
        tools: those that it takes.
        end: what ends a content.
        style: by shape how messages of it are to be changed so that all of them is written, and whether it takes
            tools; ``None``: not at all.
    """

    tokenizer: Any
    source: str
    keywords: Mapping[str, Any] = field(default_factory=dict)
    style: dict[Shape, tuple[int, bool] | None] = field(default_factory=dict)
    tools: list[Message] = field(default_factory=lambda: TOOLS)
    end: str = ""

    def __post_init__(self) -> None:
        if self.render([_USER], tools=TOOLS, prompt=True) is None:
            self.tools = FEW_TYPES
        for tools in (None, self.tools):
            said = self.render([_USER, {"role": "assistant", "content": _MARKED["content"]}], tools=tools)
            if said is not None and str(_MARKED["content"]) in said:
                self.end = said.rpartition(str(_MARKED["content"]))[2].strip()
                return

    def render(self, messages: Sequence[Message], *, tools: Any, prompt: bool = False) -> str | None:
        """The render; ``None`` where the template refuses."""
        try:
            found = self.tokenizer.apply_chat_template(
                copy.deepcopy(list(messages)),
                chat_template=self.source,
                tools=tools,
                tokenize=False,
                add_generation_prompt=prompt,
                **self.keywords,
            )
        # Templates raise whatever they like.
        except Exception:
            return None
        return str(found)

    def variant_of(self, plain: Message, shape: Shape) -> tuple[Message, bool] | None:
        """The message in the form in which the template writes all of it, and whether tools are needed for that;
        ``None`` if there is none.
        """
        reasoning, content, calls = shape
        # A second call shows whether the first alone is written; more are as two.
        shape = (reasoning, content, min(calls, 2))
        if shape not in self.style:
            self.style[shape] = self._style_of(shape)
        style = self.style[shape]
        return None if style is None else (_variants(plain)[style[0]], style[1])

    def _style_of(self, shape: Shape) -> tuple[int, bool] | None:
        reasoning, content, calls = shape
        made: Message = {"role": "assistant", "content": _MARKED["content"] if content else ""}
        if reasoning:
            made["reasoning_content"] = _MARKED["reasoning_content"]
        if calls:
            made["tool_calls"] = [
                call(name, {"Za": word}, index)
                for index, (name, word) in enumerate(zip(_MARKED["names"], _MARKED["values"], strict=True))
            ][:calls]
        words = [*_MARKED["names"][:calls], *_MARKED["values"][:calls]]
        words += [_MARKED[key] for key, there in (("reasoning_content", reasoning), ("content", content)) if there]
        for with_tools in (True,) if calls else (False, True):
            for number, variant in enumerate(_variants(made)):
                row = self.render([_USER, variant], tools=self.tools if with_tools else None)
                if row is None or "'Za'" in row or '\\"Za\\"' in row:
                    continue
                if all(row.count(word) == 1 for word in words):
                    return number, with_tools
        return None


_USER: Message = {"role": "user", "content": "Q"}


def _variants(plain: Message) -> list[Message]:
    """The message in the forms that templates take: names of reasoning, no content, arguments as text."""
    found: list[Message] = []
    for absent in ({"content": ""}, {"content": None}, {}):
        for as_text in (False, True):
            made = copy.deepcopy(plain)
            if made.get("tool_calls") and not made["content"]:
                del made["content"]
                made |= absent
            for each in made.get("tool_calls", ()):
                given = each["function"]["arguments"]
                each["function"]["arguments"] = json.dumps(given, ensure_ascii=False) if as_text else given
            if "reasoning_content" in made:
                made["thinking"] = made["reasoning"] = made["reasoning_content"]
            found.append(made)
    return found


def marks_in(source: str) -> list[str]:
    """Tags and control tokens that a template has in its source, whole."""
    found = set(re.findall(r"<[^<>\s{}'\"]{1,40}>|\[/?[A-Z_]{3,}\]", source))
    return sorted(found)


def same(parsed: Any, plain: Message) -> bool:
    """Whether a parsed completion has the message's words, blanks at the ends of texts aside, and the same data."""
    mine = ((parsed.message.get("content") or "").strip(), (parsed.reasoning or "").strip())
    theirs = ((plain.get("content") or "").strip(), plain.get("reasoning_content", "").strip())
    calls = [each["function"] for each in parsed.tool_calls]
    wanted = [each["function"] for each in plain.get("tool_calls", ())]
    return mine == theirs and json.dumps(calls, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def sampled(random: Random, template: Template, tail: str) -> str:
    """What a model would have sampled of a turn: up to the stop token, with what is behind it, or without."""
    bare = tail.rstrip()
    if template.end and bare.endswith(template.end) and random.random() < 0.2:
        return bare[: len(bare) - len(template.end)]
    return bare if template.end and random.random() < 0.7 else tail
