"""Odd objects in messages, tools, documents and keywords: the ids are transformers', or the call is refused."""

from __future__ import annotations

import copy
from collections import UserDict, defaultdict, deque
from collections.abc import Iterator
from random import Random
from types import MappingProxyType
from typing import Any

import numpy as np
from cases import TEMPLATES
from chatspan import ChatEncoder, ChatspanError
from conversations import CONVERSATIONS
from zoo import ZOO

from attack.fuzzers import small
from attack.fuzzers.odd_objects import odd_object, shown
from attack.tries import Attempt, Outcome, Setting, failed, refused, right, told_of

# What templates do with a message beside writing its content.
READS_ALL = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] }}{% if m.content is string %}{{ m.content }}"
    "{% elif m.content %}{% for p in m.content %}{{ p.text or p }}{% endfor %}{% endif %}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
    "{{ m.reasoning_content or '' }}{{ m.name }}{{ m.extra }}<|im_end|>\n{% endfor %}"
    "{{ tools | tojson if tools else '' }}{% for d in documents or [] %}{{ d.title }}{{ d.text }}{% endfor %}"
    "{{ enable_thinking }}{{ extra | string }}{{ '<|im_start|>assistant\n' if add_generation_prompt }}"
)
_NAMES = ["extra", "content", "role", "tool_calls", "name", "reasoning_content", "token_ids", "weight", "arguments"]
_ODD_NAMES = [1, None, (1, 2), b"role", 1.5, "\ud800", True]
_WRAPPED = [tuple, deque, UserDict, MappingProxyType, lambda value: defaultdict(list, value), iter]
_JUDGE_SECONDS = 3
# Keywords of a call, each in its place.
_KEYWORDS = ["enable_thinking", "extra", "tools", "documents", "add_generation_prompt", "continue_final_message"]


def start(setting: Setting) -> Attempt:
    """A try is one conversation with odd objects somewhere, given to both."""
    tokenizer = small.tokenizer()
    templates = [READS_ALL, READS_ALL, READS_ALL, tokenizer.chat_template, *TEMPLATES.values()]
    templates += [path.read_text("utf-8") for path in sorted((ZOO / "templates").glob("*.jinja"))]

    def attempt(number: int) -> Outcome:
        template = setting.random(number).choice(templates)
        return compare(tokenizer, template, lambda: conversation(setting.random(number)))

    return attempt


def conversation(chance: Random) -> tuple[Any, dict[str, Any]]:
    """Messages and keywords with an odd object or two; equal ones for equal chances."""
    chance.random()
    messages, keywords = copy.deepcopy(CONVERSATIONS[chance.choice(list(CONVERSATIONS))])
    both: dict[str, Any] = {"messages": messages, "keywords": dict(keywords)}
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        spoil(both, chance)
    return both["messages"], both["keywords"]


def spoil(both: dict[str, Any], chance: Random) -> None:
    """Puts an odd object at a random place."""
    if chance.random() < 0.25:
        both["keywords"][chance.choice(_KEYWORDS)] = odd_object(chance)
        return
    parent, key = chance.choice(list(_places(both)))
    how = chance.random()
    if how < 0.6:
        parent[key] = odd_object(chance)
    elif how < 0.7 and type(parent[key]) in (dict, list):
        with_wrapper(parent, key, chance)
    elif how < 0.85 and type(parent[key]) is list:
        parent[key].insert(chance.randrange(len(parent[key]) + 1), odd_object(chance))
    elif type(parent[key]) is dict:
        name = chance.choice(_NAMES if chance.random() < 0.7 else _ODD_NAMES)
        parent[key][name] = odd_object(chance)


def with_wrapper(parent: Any, key: Any, chance: Random) -> None:
    """The same value of another type."""
    value, wrapper = parent[key], chance.choice(_WRAPPED)
    if type(value) is list and chance.random() < 0.3:
        parent[key] = np.empty(len(value), dtype=object)
        parent[key][:] = value
        return
    try:
        parent[key] = wrapper(value)
    except (TypeError, ValueError):
        parent[key] = tuple(value)


def _places(value: Any, depth: int = 6) -> Iterator[tuple[Any, Any]]:
    """Each place in plain containers; of the outermost one, only what is given to a call."""
    if type(value) is dict:
        inner = list(value.items())
    elif type(value) is list:
        inner = list(enumerate(value[:40]))
    else:
        return
    for key, part in inner:
        if not (depth == 6 and key == "keywords"):
            yield value, key
        if depth:
            yield from _places(part, depth - 1)


def compare(tokenizer: Any, template: str, given: Any) -> Outcome:
    """What chatspan makes of a conversation, beside what transformers does.

    Args:
        given: makes the messages and the keywords anew, for each of the two.
    """
    wanted = own = None
    try:
        messages, keywords = given()
        with small.at_most(_JUDGE_SECONDS):
            wanted = small.ids_of(tokenizer, messages, {**keywords, "chat_template": template})
    except Exception as error:
        own = f"{type(error).__name__} by transformers"
    except small.OverTime:
        own = "no end by transformers"
    messages, keywords = given()
    said = f"messages {shown(messages)}\nkeywords {shown(keywords)}\n"
    try:
        encoding = ChatEncoder(tokenizer, chat_template=template, backend="hf").encode(messages, **keywords)
    except (ChatspanError, TypeError) as error:
        str(error)
        return refused(f"{type(error).__name__}; {own or 'transformers takes it'}")
    except BaseException as error:
        return failed(f"{said}{told_of(error)}")
    found = encoding.input_ids.tolist()
    if own is not None:
        return right(own) if found == tokenizer(encoding.text, add_special_tokens=False)["input_ids"] else failed(said)
    if found != wanted:
        return failed(f"{said}the ids are others: {small.first_difference(wanted, found)}")
    return right()
