"""Inputs for many renders: drawn once, and then changed and mixed, which takes a hundredth of the time of drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import hypothesis
from cases import TRICKY_CONTENTS
from conversations import CONVERSATIONS as BY_HAND
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from random_chats import CONVERSATIONS, NESTED, OPTIONS
from random_templates import VALUES

# Of what Hypothesis draws for a pool, and of the inputs that are made of it.
DRAWN, INPUTS = 60, 300
# The repr of a long text is most of the time of a render.
TEXTS = [text for text in TRICKY_CONTENTS.values() if len(text) < 100]
ROLES = ["user", "assistant", "system", "tool", "developer", "critic", ""]
# What templates look for in a message, a part, a call or a tool.
NAMES = [
    *("role", "content", "tool_calls", "reasoning_content", "thinking", "name", "tool_call_id", "type", "text"),
    *("function", "arguments", "id", "description", "parameters", "properties", "required", "a", "items", "prefix"),
]


@dataclass(frozen=True)
class Input:
    """What a template is rendered with; equal inputs have the same key."""

    messages: list[Any]
    keywords: dict[str, Any]
    key: int = field(init=False)

    def __post_init__(self) -> None:
        # By their repr, since 1, 1.0 and True are equal, and the order of a dict is none of its equality.
        object.__setattr__(self, "key", hash(repr((self.messages, self.keywords))))


def pool(number: int, *, values: bool, inputs: int = INPUTS) -> list[Input]:
    """Different inputs; other ones for each number.

    Args:
        values: whether with the variables of random templates too.
    """
    random = Random(number)
    chats = [*drawn(CONVERSATIONS, number), *(messages for messages, _ in random.sample(list(BY_HAND.values()), 8))]
    options = drawn(OPTIONS, number + 1)
    variables = drawn(VALUES, number + 2) if values else [{}]
    change = Change(random, [*drawn(NESTED, number + 3), *_contents(chats)])
    made: dict[int, Input] = {}
    for _ in range(4 * inputs):
        messages, option, variable = random.choice(chats), random.choice(options), random.choice(variables)
        for _ in range(random.choice([0, 0, 1, 1, 2, 3])):
            messages = change.messages(messages, chats)
        if random.random() < 0.3:
            option = change.options(option)
        if variable and random.random() < 0.3:
            variable = change.mapping(variable)
        one = Input(messages, {**option, **variable})
        made.setdefault(one.key, one)
        if len(made) == inputs:
            break
    return list(made.values())


def drawn(strategy: st.SearchStrategy[Any], number: int, count: int = DRAWN) -> list[Any]:
    """Values of a strategy, the same ones for the same number."""
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(strategy)
    def draw(value: Any) -> None:
        found.append(value)

    draw()
    return found


def _contents(chats: Sequence[Any]) -> list[Any]:
    return [value for messages in chats for message in messages for key, value in message.items() if key != "role"]


class Change:
    """Changes values a little: what is given stays as it was, and messages and tools stay dicts.

    Args:
        stock: values that may stand anywhere.
    """

    def __init__(self, random: Random, stock: Sequence[Any]) -> None:
        self._random = random
        self._stock = stock

    def messages(self, messages: Sequence[Any], chats: Sequence[Sequence[Any]]) -> list[Any]:
        """At least one message."""
        changed = list(messages)
        place = self._random.randrange(len(changed))
        how = self._random.choice(["inside", "inside", "inside", "content", "role", "swap", "drop", "repeat", "other"])
        if how == "inside":
            changed[place] = self.mapping(changed[place])
        elif how == "content":
            changed[place] = {**changed[place], "content": self._content()}
        elif how == "role":
            changed[place] = {**changed[place], "role": self._random.choice(ROLES)}
        elif how == "other":
            changed.insert(place, self._random.choice(self._random.choice(chats)))
        else:
            self._items(changed, place, how)
        return changed or list(messages)

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        changed = dict(options)
        if changed.get("tools"):
            place = self._random.randrange(len(changed["tools"]))
            changed["tools"] = list(changed["tools"])
            changed["tools"][place] = self.mapping(changed["tools"][place])
        elif "documents" in changed:
            changed["documents"] = self._value(changed["documents"])
        else:
            changed["add_generation_prompt"] = not changed["add_generation_prompt"]
        return changed

    def mapping(self, mapping: dict[str, Any]) -> dict[str, Any]:
        """Something in it, or one thing more or less."""
        how = self._random.choice(["inside", "inside", "inside", "drop", "more", "order"])
        if how == "more" or not mapping:
            return {**mapping, self._random.choice(NAMES): self._other()}
        name = self._random.choice(list(mapping))
        if how == "inside":
            return {**mapping, name: self._value(mapping[name])}
        rest = {key: value for key, value in mapping.items() if key != name}
        return rest if how == "drop" else {**rest, name: mapping[name]}

    def _value(self, value: Any) -> Any:
        if self._random.random() < 0.25:
            return self._other()
        changes: dict[type, Callable[[Any], Any]] = {dict: self.mapping, list: self._list, str: self._text}
        if type(value) in changes:
            return changes[type(value)](value)
        if type(value) is int:
            return value + self._random.choice([-1, 1, 0.5, 2**62])
        return self._other()

    def _list(self, items: list[Any]) -> list[Any]:
        if not items:
            return [self._other()]
        changed, place = list(items), self._random.randrange(len(items))
        how = self._random.choice(["inside", "inside", "swap", "drop", "repeat"])
        if how == "inside":
            changed[place] = self._value(changed[place])
        else:
            self._items(changed, place, how)
        return changed

    def _items(self, items: list[Any], place: int, how: str) -> None:
        if how == "drop":
            del items[place]
        elif how == "repeat":
            items.insert(self._random.randrange(len(items)), items[place])
        else:
            items[place], items[0] = items[0], items[place]

    def _text(self, text: str) -> str:
        how = self._random.randrange(5)
        cut = self._random.randrange(len(text) + 1)
        more = self._random.choice(TEXTS)
        return [more, text + more, text[:cut] + more + text[cut:], text[:cut], text[cut:] + text[:cut]][how]

    def _content(self) -> Any:
        text = self._random.choice(TEXTS)
        forms = [text, text, text, None, [], "", [{"type": "text", "text": text}], [text], {"text": text}]
        forms.append([{"type": "text", "text": text}, {"type": "image"}, {"type": "text", "text": self._other()}])
        return self._random.choice(forms)

    def _other(self) -> Any:
        return self._random.choice(TEXTS if self._random.random() < 0.3 else self._stock)
