"""What a chat template does with the forms that a message may have: found by rendering small conversations, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from chatspan.render.probes import CALL, RESULT, USER, Message, assistant
from chatspan.render.renderer import ChatRenderer
from chatspan.render.request import RenderRequest

_ANSWER = assistant("Zc")
_OBJECT, _TEXT = {"Za": "Zx"}, '{"Za": "Zx"}'
# As Python writes it, and JSON does not.
_REPR = "'Za'"
_PARTS_DUMPED = ("'type'", '"type"')


class TemplateHabits:
    """The habits of a template with some keywords; each is found when it is first asked for.

    Args:
        like: a request with these keywords; its messages do not count.
    """

    def __init__(self, renderer: ChatRenderer, like: RenderRequest) -> None:
        self._renderer = renderer
        self._like = like._replace(add_generation_prompt=False, continue_final_message=False)
        self._known: dict[Any, bool] = {}

    def takes_argument_objects(self) -> bool:
        """Whether it renders a call whose ``arguments`` are an object, and not as a Python ``repr``."""
        return self._found("objects", self._probe_objects)

    def takes_null_content(self) -> bool:
        """Whether it renders a call beside a ``content`` that is null, and not as ``None``."""
        return self._found("null", self._probe_null)

    def takes_text_parts(self, role: str) -> bool:
        """Whether it writes the text of a message of this role whose ``content`` is a list of parts."""
        return self._found(("parts", role), lambda: self._probe_parts(role))

    def writes_role(self, role: str) -> bool:
        """Whether it writes the text of a message of this role; also if it refuses the role, and so says it itself."""
        return self._found(("role", role), lambda: self._probe_role(role))

    def _found(self, what: Any, probe: Callable[[], bool]) -> bool:
        if what not in self._known:
            self._known[what] = probe()
        return self._known[what]

    def _texts(self, conversations: Iterable[Sequence[Message]]) -> list[str | None]:
        asked = [self._like._replace(messages=list(messages)) for messages in conversations]
        renders = self._renderer.try_render(asked, datetime.now())
        return [None if render is None else render.text for render in renders]

    def _probe_objects(self) -> bool:
        for content in ("", None, "Zc"):
            for tail in ([RESULT, _ANSWER], [RESULT], []):
                both = [[USER, _calling(arguments, content), *tail] for arguments in (_OBJECT, _TEXT)]
                with_object, with_text = self._texts(both)
                if with_object is None and with_text is not None:
                    return False
                # A template may leave calls out beside some contents, or all of them.
                if with_object is not None and "Zx" in with_object:
                    return _REPR not in with_object or with_text is None or _REPR in with_text
        # Nothing tells: as inference servers do.
        return True

    def _probe_null(self) -> bool:
        arguments = _OBJECT if self.takes_argument_objects() else _TEXT
        for tail in ([RESULT, _ANSWER], [RESULT], [], [RESULT, _ANSWER, USER]):
            both = [[USER, _calling(arguments, content), *tail] for content in (None, "")]
            with_null, with_empty = self._texts(both)
            if with_empty is None:
                continue
            if with_null is None or with_null.count("None") > with_empty.count("None"):
                return False
        return True

    def _probe_parts(self, role: str) -> bool:
        parts = [{"type": "text", "text": "Zq"}]
        for before, after in _around(role):
            both = [[*before, {**_of_role(role), "content": content}, *after] for content in (parts, "Zq")]
            with_parts, with_text = self._texts(both)
            if with_text is None or "Zq" not in with_text:
                continue
            if with_parts is None or "Zq" not in with_parts:
                return False
            return not any(with_parts.count(key) > with_text.count(key) for key in _PARTS_DUMPED)
        return True

    def _probe_role(self, role: str) -> bool:
        conversations = [[*before, {**_of_role(role), "content": "Zq"}, *after] for before, after in _around(role)]
        texts = [text for text in self._texts(conversations) if text is not None]
        return not texts or any("Zq" in text for text in texts)


def _calling(arguments: Any, content: str | None) -> Message:
    call = {**CALL, "function": {**CALL["function"], "arguments": arguments}}
    return assistant(content, tool_calls=[call])


def _of_role(role: str) -> Message:
    return RESULT if role == "tool" else {"role": role}


def _around(role: str) -> list[tuple[list[Message], list[Message]]]:
    """What stands before and after a message of this role, in conversations that templates take."""
    if role == "tool":
        before = [USER, _calling(_OBJECT, "")]
        return [(before, []), (before, [_ANSWER]), ([USER, _calling(_TEXT, "")], [])]
    if role == "user":
        return [([], []), ([], [_ANSWER])]
    if role == "assistant":
        return [([USER], []), ([USER], [USER])]
    return [([], [USER]), ([USER], []), ([USER], [_ANSWER]), ([USER, _ANSWER], [USER])]
