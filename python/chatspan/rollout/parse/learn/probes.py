"""The small messages that show how a template writes a turn, and their renders behind a prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from chatspan.render.habits import TemplateHabits
from chatspan.render.origins import Path, field_runs
from chatspan.render.preparation import REASONING_KEYS
from chatspan.render.probes import RESULT, USER, as_parts, calling
from chatspan.render.rendered import Render
from chatspan.render.renderer import ChatRenderer
from chatspan.render.request import RenderRequest
from chatspan.rollout.parse.learn.marks import common_start

# Words that stand nowhere else. Ids have nine letters, which some templates demand.
REASON, SAID = "Zr", "Zc"
IDS = ("abcdefghi", "abcdefghj", "abcdefghk")
Call = tuple[str, Mapping[str, Any]]
Message = dict[str, Any]
ONE_CALL: tuple[Call, ...] = (("Zf", {"Za": "Zx"}),)
CALLS: tuple[Call, ...] = (*ONE_CALL, ("Zg", {"Zb": "Zy", "Zd": "Zz"}), ("Zh", {"Ze": "Zw"}))
_REASONING_KEY = re.compile(r"[a-z_]*(?:reason|think|thought)[a-z_]*")


class Field(NamedTuple):
    """Characters of a turn that come from the message: half-open, and the field's path without ``function``.

    ``copied`` says that they are the field's own text, whole.
    """

    start: int
    end: int
    path: Path
    copied: bool


class Turn(NamedTuple):
    """A probe's message as the template writes it behind the prompt.

    Attributes:
        text: from where the row leaves the prompt, or the prompt ends, to the end of the message.
        fields: what of it comes from the message, in order.
        dropped: the end of the prompt that the row does not have; empty where the row begins with the prompt.
    """

    text: str
    fields: tuple[Field, ...]
    dropped: str


class Style(NamedTuple):
    """The form of messages that a template takes.

    Attributes:
        reasoning_key: the name of a message's reasoning; empty if the template reads none.
        no_content: what stands for no content beside calls: ``{"content": ""}``, ``{"content": None}`` or ``{}``.
        argument_objects: whether calls have arguments that are objects; or JSON text.
        parts: whether a content is a list of parts.
    """

    reasoning_key: str = ""
    no_content: Mapping[str, Any] = {"content": ""}
    argument_objects: bool = True
    parts: bool = False

    def message(
        self,
        content: str | None,
        reasoning: str | None = None,
        calls: Sequence[tuple[str, Any, str | None]] = (),
        reasoning_key: str | None = None,
    ) -> Message:
        """An assistant's message.

        Args:
            calls: names, arguments, and ids where there are some.
        """
        message: Message = {"role": "assistant"}
        if content is None and calls:
            message |= self.no_content
        elif self.parts:
            message["content"] = [{"type": "text", "text": content or ""}]
        else:
            message["content"] = content or ""
        if reasoning is not None:
            message[reasoning_key or self.reasoning_key or REASONING_KEYS[0]] = reasoning
        if calls:
            message["tool_calls"] = [self.call(*call) for call in calls]
        return message

    def call(self, name: str, arguments: Any, call_id: str | None) -> Message:
        """A call of a message."""
        if not self.argument_objects and not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        function = {"name": name, "arguments": arguments}
        return {"type": "function", **({} if call_id is None else {"id": call_id}), "function": function}


class Prober:
    """Renders probes behind one prompt.

    Args:
        like: a request with the tools and keywords.
        history: the messages of the prompt.
        tokens: the control tokens.
        prompt: its render, where it is known.
    """

    def __init__(
        self,
        renderer: ChatRenderer,
        like: RenderRequest,
        history: Sequence[Message],
        tokens: Sequence[str],
        prompt: str | None = None,
    ) -> None:
        self._renderer = renderer
        self._like = like._replace(messages=(), add_generation_prompt=False, continue_final_message=False)
        self.history = list(history)
        self.tokens = tokens
        self._now = datetime.now()
        asked = self._like._replace(messages=self.history)
        if prompt is None:
            [render] = renderer.try_render([asked._replace(add_generation_prompt=True)], self._now)
            prompt = None if render is None else render.text
        [plain] = renderer.try_render([asked], self._now)
        self.prompt = prompt
        self.opening = ""
        if prompt is not None and plain is not None and prompt.startswith(plain.text):
            self.opening = prompt[len(plain.text) :]

    @property
    def tools(self) -> Sequence[Any] | None:
        """The tools of the prompt."""
        return self._like.tools

    def row(self, message: Message) -> str | None:
        """The prompt's messages and this one, rendered; ``None`` where the template refuses."""
        asked = self._like._replace(messages=[*self.history, message])
        [render] = self._renderer.try_render([asked], self._now)
        return None if render is None else render.text

    def turns(self, messages: Sequence[Message]) -> list[Turn | None]:
        """The turns of messages; ``None`` where the template refuses one, or writes nothing of it."""
        if self.prompt is None:
            return [None] * len(messages)
        asked = [self._like._replace(messages=[*self.history, message]) for message in messages]
        renders = self._renderer.try_render(asked, self._now)
        index = len(self.history)
        return [None if render is None else turn_of(render, self.prompt, index, self.tokens) for render in renders]

    def turn(self, message: Message) -> Turn | None:
        """The turn of one message."""
        return self.turns([message])[0]


def turn_of(render: Render, prompt: str, index: int, tokens: Sequence[str]) -> Turn:
    """What a row has of message ``index`` behind its prompt, or from where it leaves the prompt."""
    text = render.text
    start = len(prompt) if text.startswith(prompt) else common_start(text, prompt, tokens)
    fields = tuple(
        Field(first - start, last - start, path, copied)
        for first, last, message_index, path, copied in _fields(render)
        if message_index == index and first >= start
    )
    owned = [
        last
        for (first, owner), (last, _) in zip(render.owners, [*render.owners[1:], (len(text), -1)], strict=True)
        if owner == index and last > start
    ]
    end = max([*(field.end + start for field in fields), *owned[-1:]], default=len(text))
    return Turn(text[start : end if owned else len(text)], fields, prompt[start:])


def _fields(render: Render) -> list[tuple[int, int, int, Path, bool]]:
    native = render.native
    found = None if native is None else native.fields()
    if found is None:
        found = [(start, end, of._message_index, of._path, at) for start, end, of, at in field_runs(render.runs)]
    runs = []
    for start, end, message_index, path, at in found:
        plain = tuple(key for key in path if key != "function")
        runs.append((start, end, message_index, plain, at == 0))
    return runs


def context_of(history: Sequence[Message]) -> str:
    """What the learned forms of a turn depend on: the role of the last message."""
    role = history[-1].get("role") if history else None
    # A role may be anything that a template writes.
    return role if isinstance(role, str) else ""


def short_history(context: str, style: Style | None = None) -> list[Message] | None:
    """The shortest conversation that ends with this role; ``None`` where there is no usual one."""
    if context == "user":
        history = [USER]
    elif context == "tool":
        history = [USER, calling(), RESULT]
    else:
        return None
    if style is not None and context == "tool":
        history[1] = style.message(None, None, [("Zf", {"Za": "Zx"}, RESULT["tool_call_id"])])
    return as_parts(history) if style is not None and style.parts else history


def reasoning_keys(keys: frozenset[str]) -> list[str]:
    """The names that a template may read a message's reasoning by, the usual ones first.

    Args:
        keys: all names that the template may look up.
    """
    usual = [key for key in REASONING_KEYS if key in keys]
    return [*usual, *sorted(key for key in keys if key not in usual and _REASONING_KEY.fullmatch(key))]


def find_style(prober: Prober, keys: frozenset[str], habits: TemplateHabits) -> Style:
    """The form of messages that the template of a prober takes."""
    style = Style(argument_objects=habits.takes_argument_objects())
    said = prober.turns([style.message(SAID), style._replace(parts=True).message(SAID)])
    style = style._replace(parts=not _writes(said[0], SAID) and _writes(said[1], SAID))
    forms: list[Mapping[str, Any]] = [{"content": ""}, {"content": None}, {}]
    calls = [(name, arguments, IDS[0]) for name, arguments in ONE_CALL]
    bare = prober.turns([style._replace(no_content=form).message(None, None, calls) for form in forms])
    good = [form for form, turn in zip(forms, bare, strict=True) if _writes(turn, "Zf")]
    style = style._replace(no_content=good[0] if good else forms[0])
    names = reasoning_keys(keys)
    shapes: list[tuple[str | None, Sequence[Any]]] = [(SAID, ()), (None, calls), (SAID, calls)]
    asked = [(name, style.message(said, REASON, made, name)) for name in names for said, made in shapes]
    turns = prober.turns([message for _, message in asked])
    found = [name for (name, _), turn in zip(asked, turns, strict=True) if _writes(turn, REASON)]
    return style._replace(reasoning_key=found[0] if found else "")


def _writes(turn: Turn | None, word: str) -> bool:
    return turn is not None and word in turn.text
