"""Prompts and hints → the ids that a student and a teacher go on from, for trainers that sample the response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatspan.distillation.chats.template_errors import template_error
from chatspan.distillation.config import HintPlacement
from chatspan.distillation.examples.conversation import Conversation
from chatspan.distillation.examples.example import Hint
from chatspan.distillation.examples.hints import with_hints
from chatspan.distillation.examples.traces import ErrorSite
from chatspan.distillation.pairs.hint_places import hint_problem, hint_remedy
from chatspan.encode.pipeline import EncodingPipeline, Rendered
from chatspan.encoding import Encoding
from chatspan.errors import (
    ChatspanError,
    HintError,
    HintPlacementError,
    LayoutError,
    OptionError,
    TemplateError,
    TraceError,
    one_line,
    place_of_row,
    quoted,
)
from chatspan.options import ROLES, BackendOption, require_choices
from chatspan.render.request import request_of
from chatspan.rows.messages import RESERVED_KWARGS, read_messages
from chatspan.rows.steps.plain import plain_data

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class HintedPrompt:
    """What both sides see in front of a response.

    Attributes:
        student_ids: int64 ``[P]``, the prompt, generation prompt included.
        teacher_ids: int64 ``[Pt]``, the same with the hint; the student's where there is none.
        is_hinted: whether there is one.
        teacher_messages: what ``teacher_ids`` are the render of.
    """

    student_ids: Ints
    teacher_ids: Ints
    is_hinted: bool
    teacher_messages: Sequence[Mapping[str, Any]] = ()


def require_own_prompt(found: HintedPrompt, own: Ints, remedy: str, **place: Any) -> None:
    """What the student sampled from is what the chat template makes of the prompt, or the end of it.

    Raises:
        LayoutError: it is something else; with ``place``.
    """
    count = len(found.student_ids)
    if len(own) > count or not np.array_equal(own, found.student_ids[count - len(own) :]):
        raise LayoutError(
            f"the trainer's prompt of {len(own)} tokens is not what the chat template makes of its messages ({count} "
            f"tokens), so student and teacher would see different prompts: {remedy}",
            **place,
        )


class HintedPrompts:
    """Puts hints into prompts, for trainers whose student samples the response itself.

    What the teacher sees is the prompt with the hint in it, and provenance proves after the render that the hint is
    there whole and where it was put. The response's own ids come behind both, so they are the same tokens.

    Args:
        tokenizer: an HF fast tokenizer.
        hint_placement: where the hint stands: ``"append_to_previous"``, at the end of the prompt's last message, a
            user's or a tool's; ``"before_turn"``, in a message of its own behind it; ``"first_system"``, in the system
            message.
        hint_role: the role of a message of its own.
        chat_template_kwargs: what the trainer gives the chat template, ``tools`` among it.
        backend: see :class:`chatspan.ChatEncoder`.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from chatspan import HintedPrompts
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> prompts = HintedPrompts(tokenizer, hint_placement="before_turn")
        >>> [found] = prompts.encode([[{"role": "user", "content": "Book it."}]], ["Mind the limit."])
        >>> print(tokenizer.decode(found.teacher_ids), end="")
        <|im_start|>user
        Book it.<|im_end|>
        <|im_start|>system
        Mind the limit.<|im_end|>
        <|im_start|>assistant
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        hint_placement: HintPlacement = "append_to_previous",
        hint_role: str = "system",
        chat_template_kwargs: Mapping[str, Any] | None = None,
        backend: BackendOption = "auto",
    ) -> None:
        self.tokenizer = tokenizer
        self.hint_placement: HintPlacement = hint_placement
        self.hint_role = hint_role
        require_choices(self, hint_placement=HintPlacement, hint_role=ROLES)
        self._template_kwargs = _kwargs_of(chat_template_kwargs)
        self._pipeline = EncodingPipeline(
            tokenizer, chat_template=self._template_kwargs.pop("chat_template", None), backend=backend
        )

    def encode(self, prompts: Sequence[Any], hints: Sequence[str | None]) -> list[HintedPrompt]:
        """The ids of each prompt for either side, all in one call of the tokenizer.

        Args:
            prompts: lists of messages (or arrays of them, as in verl's ``raw_prompt``), the last one not an assistant's
                where the hint is put into it.
            hints: one for each; ``None`` or blank for none.

        Raises:
            LayoutError: not as many hints as prompts.
            HintError: a hint that is no text.
            HintPlacementError: the template refuses, drops, cuts or moves the hint; with what to use instead.
            TraceError, TemplateError: a prompt, or a hint in it, that cannot be. All with ``row_index``.
        """
        _require_one_each(prompts, hints)
        conversations: list[Conversation] = []
        rows: list[int] = []
        # For each prompt its student's conversation, its teacher's, and where the hint is.
        places: list[tuple[int, int, tuple[Hint, Conversation] | None]] = []
        for row, (messages, hint) in enumerate(zip(prompts, hints, strict=True)):
            with _of_row(row):
                plain, hinted = self._read(f"row {row}", messages, hint)
            both = [plain] if hinted is None else [plain, hinted[1]]
            places.append((len(conversations), len(conversations) + len(both) - 1, hinted))
            conversations += both
            rows += [row] * len(both)
        encodings = self._encodings(conversations, rows)
        found = []
        for row, (student, teacher_at, hinted) in enumerate(places):
            if hinted is not None:
                where, conversation = hinted
                problem = hint_problem(where, len(conversation.messages), encodings[teacher_at])
                if problem is not None:
                    raise HintPlacementError(
                        f"the chat template does not put the hint at the end of the prompt: {problem}; "
                        f"{hint_remedy(where, conversation)}",
                        **place_of_row(row),
                    )
            ids = (encodings[student].input_ids, encodings[teacher_at].input_ids)
            found.append(HintedPrompt(*ids, hinted is not None, conversations[teacher_at].messages))
        return found

    def _read(self, name: str, messages: Any, hint: Any) -> tuple[Conversation, tuple[Hint, Conversation] | None]:
        """The student's conversation; with a hint, where that is and the teacher's."""
        messages = read_messages(_plain(messages, name), name, "the prompt")
        plain = Conversation(name, messages, range(len(messages)), self._template_kwargs)
        if hint is not None and not isinstance(hint, str):
            raise HintError(f"its hint is {type(hint).__name__}, not text: use None for no hint")
        if hint is None or not hint.strip():
            return plain, None
        teacher, where = _hinted(plain, hint, self)
        return plain, (where, teacher)

    def _encodings(self, conversations: Sequence[Conversation], rows: Sequence[int]) -> list[Encoding]:
        """The encodings of conversations, each of a row."""
        requests = [
            request_of(list(conversation.messages), **self._template_kwargs, add_generation_prompt=True)
            for conversation in conversations
        ]
        renders = self._pipeline.render(requests)
        rendered = []
        for conversation, row in zip(conversations, rows, strict=True):
            with _of_row(row):
                rendered.append(self._rendered(conversation, renders))
        return self._pipeline.encode_rendered(rendered)

    def _rendered(self, conversation: Conversation, renders: Iterator[Rendered]) -> Rendered:
        def apply(messages: Any) -> str:
            return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **conversation.template_kwargs))

        try:
            return next(renders)
        except TemplateError as error:
            cause = error.__cause__
            raise template_error(conversation, cause if isinstance(cause, Exception) else error, apply) from error


@contextmanager
def _of_row(row: int) -> Iterator[None]:
    """Errors say which row of the call it is."""
    try:
        yield
    except ChatspanError as error:
        error.trace_id = None
        raise error.at(**place_of_row(row)) from error.__cause__


def _plain(messages: Any, name: str) -> Any:
    try:
        return plain_data(messages)
    except ChatspanError:
        raise
    except RecursionError:
        raise TraceError("the prompt has values nested too deeply", trace_id=name) from None
    # What an object of a caller's own raises.
    except Exception as error:
        what = f"the prompt cannot be read: {type(error).__name__}: {one_line(error)}"
        raise TraceError(what, trace_id=name) from error


def _kwargs_of(given: Any) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise OptionError(f"chat_template_kwargs={quoted(given)}: pass a dict, as apply_chat_template takes it")
    kwargs = dict(given or {})
    # Here as in the trainers tools are among them.
    wrong = sorted(({"messages"} | RESERVED_KWARGS - {"tools"}).intersection(kwargs))
    if wrong:
        raise OptionError(
            f"chat_template_kwargs must not contain {', '.join(wrong)}: a prompt is always rendered to go on"
        )
    return kwargs


def _require_one_each(prompts: Any, hints: Any) -> None:
    for name, given in (("prompts", prompts), ("hints", hints)):
        if isinstance(given, (str, bytes, Mapping)) or not hasattr(given, "__len__"):
            raise LayoutError(f"{name} must be a list, one for each row, got {type(given).__name__}")
    if len(prompts) != len(hints):
        raise LayoutError(f"{len(hints)} hints for {len(prompts)} prompts: pass one for each, None for no hint")


def _hinted(plain: Conversation, hint: str, options: HintedPrompts) -> tuple[Conversation, Hint]:
    """The prompt with its hint, and where that is: as in front of the turn that is still to be written."""
    turn = len(plain.messages)
    turns = Conversation(
        plain.trace_id,
        [*plain.messages, {"role": "assistant", "content": ""}],
        range(turn + 1),
        plain.template_kwargs,
    )
    whole, hints = with_hints(turns, [ErrorSite(turn, hint)], options)
    teacher = Conversation(
        plain.trace_id, whole.messages[:-1], whole.turn_indices[:-1], plain.template_kwargs, plain=plain
    )
    return teacher, hints[turn]
