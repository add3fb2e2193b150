"""Rows that nobody writes on purpose, and what of a value can change."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import random
import types
from collections.abc import Callable
from typing import Any

import numpy as np


class Text(str):
    """A text of a type of one's own."""


class Number(int):
    """A number of a type of one's own."""


class Fields(dict[Any, Any]):
    """A dict of a type of one's own."""


class Silent:
    """Has no ``repr``."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@dataclasses.dataclass
class Message:
    """A message as people's own code has it."""

    role: Any
    content: Any


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def cyclic() -> dict[str, Any]:
    found: dict[str, Any] = {"role": "user"}
    return found | {"content": [found.setdefault("content", found)]}


WORDS = [
    "",
    " ",
    "Hi",
    "user",
    "assistnat",
    "\ud800",
    "\0",
    "{",
    "[]",
    '{"a": 1}',
    '[{"role": "user", "content": "x"}]',
]
WORDS += ["<image>", "NaN", "null", "<tool_call>", '<tool_call>{"name": "f", "arguments": {}}</tool_call>', "USER: a"]
WORDS += ['{"a": ' + "9" * 5000 + "}", '{"a": "\\ud800"}', '{"a": ' * 3000, "<|im_end|>", "ATIF-v1.5"]
LEAVES: list[Callable[[], Any]] = [
    *(lambda value=value: value for value in (None, True, False, 0, 1, -1, 0.5, 1e300, 10**6000, float("nan"))),
    *(lambda value=value: value for value in (float("inf"), b"x", bytearray(b"x"), 1j, (), {1}, int, range(3), len)),
    *(lambda value=value: value for value in (Text("user"), Number(1), datetime.date(2026, 1, 1), decimal.Decimal(1))),
    *(lambda value=value: value for value in (np.float64("nan"), np.int64(3), np.str_("x"), np.bool_(True))),
    *(lambda value=value: value for value in (np.array(5), np.array([]), np.datetime64("2026-01-01"))),
    lambda: nested(10_000),
    cyclic,
    Silent,
    object,
]
KEYS = [
    "role",
    "content",
    "from",
    "value",
    "text",
    "tool_calls",
    "tool_call",
    "function_call",
    "weight",
    "train",
    "loss",
]
KEYS += [
    "tool_error",
    "error_meta",
    "is_error",
    "refusal",
    "name",
    "tool_call_id",
    "reasoning_content",
    "type",
    "input",
]
KEYS += [
    "id",
    "function",
    "arguments",
    "thinking",
    "tool_use_id",
    "source",
    "message",
    "observation",
    "results",
    "image",
]
KEYS += ["token_ids"]
ODD_KEYS = [1, None, True, (1, 2), b"x", 1.5, Text("role"), 10**6000, "\ud800"]
COLUMNS = ["messages", "conversations", "turns", "prompt", "completion", "instruction", "output", "query", "answers"]
COLUMNS += ["tools", "chat", "system", "steps", "agent", "functions", "documents", "chat_template_kwargs", "trace_id"]
COLUMNS += ["loss_messages", "teacher_messages", "teacher_loss_messages", "dpo_pairs", "images", "history", "mesages"]
SHAPES = [["messages"]] * 4 + [["conversations"], ["turns"], ["prompt", "completion"], ["steps", "schema_version"]]
SHAPES += [["messages", "teacher_messages"], ["messages", "conversations"]]


class Hostile:
    """Rows made of a seed: mostly a conversation, with something odd somewhere."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def row(self) -> Any:
        if self._maybe(0.03):
            return self.value()
        row: dict[Any, Any] = {name: self.messages() for name in self._random.choice(SHAPES)}
        if "schema_version" in row:
            row["schema_version"] = "ATIF-v1.5"
        while self._maybe(0.4):
            plain = [self.messages(), [0], [1], "s", {"a": 1}, [{"name": "f", "parameters": {}}]]
            row[self._key(COLUMNS)] = self.value() if self._maybe(0.6) else self._random.choice(plain)
        return self._random.choice([dict, dict, Fields, types.MappingProxyType])(row)

    def messages(self) -> Any:
        found = [self._message() for _ in range(self._random.randint(1, 4))]
        array = np.empty(len(found), dtype=object)
        array[:] = found
        return self._random.choice([found, found, tuple(found), array])

    def value(self, depth: int = 3) -> Any:
        kind = self._random.random()
        if depth == 0 or kind < 0.55:
            return self._random.choice(WORDS) if self._maybe(0.5) else self._random.choice(LEAVES)()
        if kind < 0.7:
            items = [self.value(depth - 1) for _ in range(self._random.randint(0, 3))]
            return self._random.choice([list, tuple])(items)
        if kind < 0.75:
            return Message(self.value(depth - 1), self.value(depth - 1))
        fields = {self._key(KEYS): self.value(depth - 1) for _ in range(self._random.randint(0, 4))}
        return self._random.choice([dict, Fields, types.MappingProxyType])(fields)

    def _message(self) -> Any:
        role = self._random.choice(["user", "assistant", "assistant", "tool", "system"])
        message: dict[Any, Any] = {"role": role, "content": self._random.choice(["Hi", "Yes.", None, self._blocks()])}
        if self._maybe(0.2):
            speaker = self._random.choice(["human", "gpt", "function_call", "observation"])
            message = {"from": speaker, "value": self._random.choice(WORDS)}
        elif self._maybe(0.1):
            message = {"source": self._random.choice(["user", "agent"]), "message": self.value(1)}
        if self._maybe(0.3):
            message["tool_calls"] = self._random.choice([[self._call()], [], None, self._call()])
        if self._maybe(0.2):
            message[self._random.choice(["weight", "train", "loss"])] = self._random.choice([0, 1, True, 0.5, None])
        if self._maybe(0.3):
            message[self._key(KEYS)] = self.value()
        return self._random.choice([dict, dict, Fields, types.MappingProxyType])(message)

    def _blocks(self) -> list[Any]:
        result = {"type": "tool_result", "tool_use_id": "1", "content": self.value(1), "is_error": True}
        some = [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "t"}, result, "plain", self.value(1)]
        some.append({"type": "tool_use", "id": "1", "name": "f", "input": {"q": None}})
        return self._random.sample(some, self._random.randint(0, 2))

    def _call(self) -> Any:
        arguments = [{}, {"a": None}, '{"a": 1}', "x", "[1]", None, {"a": 1.0}, self.value(2)]
        function = {"name": "f", "arguments": self._random.choice(arguments)}
        return self._random.choice([function, {"type": "function", "id": "1", "function": function}])

    def _key(self, names: list[str]) -> Any:
        return self._random.choice(names if self._maybe(0.93) else ODD_KEYS)

    def _maybe(self, chance: float) -> bool:
        return self._random.random() < chance


def written(value: Any, depth: int = 0) -> Any:
    """All of a value that can change, as what can be compared, also where Python has no equality or no text."""
    if depth > 50:
        return "deep"
    if isinstance(value, np.ndarray):
        return ("array", id(value), written(value.tolist(), depth + 1))
    if isinstance(value, (dict, types.MappingProxyType)):
        fields = [(written(key, depth + 1), written(part, depth + 1)) for key, part in value.items()]
        return (type(value).__name__, fields)
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [written(part, depth + 1) for part in value])
    if isinstance(value, Message):
        return written(vars(value), depth)
    if isinstance(value, int):
        return (type(value).__name__, hex(value))
    return (type(value).__name__, id(value) if isinstance(value, Silent) else repr(value))
