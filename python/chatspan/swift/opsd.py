"""Rows for ms-swift's OPSD: the conversation, what the teacher reads in place of its last user's message, and ids.

Contract: ``OnPolicySample`` and ``GKDSample`` of ``swift/rl_core/data.py`` and ``encode_gkd_samples`` of
``swift/rlhf_trainers/gkd_helpers.py``, ms-swift 4.6.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatspan.distillation.chats.encoded_chat import EncodedChat
from chatspan.distillation.examples.example import Example
from chatspan.distillation.pairs.pair import Pair
from chatspan.distillation.prompts.responses import example_up_to, require_text
from chatspan.errors import EmptyBatchError, LayoutError, OptionError, quoted

if TYPE_CHECKING:
    from chatspan.distillation.collator import SelfDistillationCollator

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class OpsdRow:
    """A row, and what both sides of it are as tokens.

    Attributes:
        row: as ms-swift reads it.
        trace_id: what errors call it.
        student_ids, teacher_ids: int64 ``[S]``, ``[T]``, up to the end of the last turn.
        student_mask, teacher_mask: bool, where the loss is.
    """

    row: dict[str, Any]
    trace_id: str
    student_ids: Ints
    student_mask: NDArray[np.bool_]
    teacher_ids: Ints
    teacher_mask: NDArray[np.bool_]


def opsd_rows(collator: SelfDistillationCollator, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The data set of ms-swift's OPSD (``--rlhf_type gkd``) whose responses are known: recorded, or rollouts.

    ms-swift renders the prompts by a template of its own, and puts the ids of the turns in as they are.
    :func:`chatspan.swift.proof.proven_rows` looks with that template whether all tokens and masks come out as here.

    Args:
        collator: a :class:`chatspan.SelfDistillationCollator` or :class:`chatspan.ComposerDataCollator`: which tokens
            the loss is on, and hints. ms-swift's teacher differs from the student in the last user's message alone, so
            a hint has to stand there: ``hint_placement="append_to_previous"`` where that is what the turn answers, and
            ``hint_scope="per_site"`` where a trace has several.
        rows: as the collator takes them, rollouts among them: ``{"sampled": row, …}``.

    Returns:
        For each row with a loss, up to the last message that the loss is on: ``messages``; ``teacher_prompt``, the text
        of the last user's message as the teacher reads it; ``response_token_ids`` and ``response_loss_mask``, a list of
        each assistant's message, of which ``loss`` says whether it is trained: ms-swift reads the mask for the student,
        and the flag for the teacher; ``add_eos``, false, since the ids end as they were sampled; ``tools`` and
        ``chat_template_kwargs`` where the row has them. ``--remove_unused_columns false`` keeps them, and
        ``--lmbda 0`` takes the responses that are given.

    Raises:
        LayoutError: what these columns cannot say: a teacher that differs elsewhere, contents that are no text, other
            weights than 1, a turn that is in the loss in part, a row that was cut; with ``trace_id``.
        EmptyBatchError: the loss is nowhere on these rows.
        ChatspanError: as a call of the collator.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> from chatspan.swift import opsd_rows
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> collator = chatspan.SelfDistillationCollator(tokenizer, chatspan.DistillationConfig(loss_on="turn"))
        >>> answer = {"role": "assistant", "content": "It is 4."}
        >>> [row] = opsd_rows(collator, [{
        ...     "messages": [{"role": "user", "content": "2 + 2?"}, answer],
        ...     "teacher_messages": [{"role": "user", "content": "2 + 2? (The solution: 4.)"}, answer]}])
        >>> row["teacher_prompt"], [tokenizer.decode(ids) for ids in row["response_token_ids"]]
        ('2 + 2? (The solution: 4.)', ['It is 4.<|im_end|>'])
    """
    return [one.row for one in examined_rows(collator, rows)]


def examined_rows(collator: SelfDistillationCollator, rows: Sequence[Any]) -> list[OpsdRow]:
    """The same, with both sides as tokens. Raises as :func:`opsd_rows`."""
    if getattr(getattr(collator, "config", None), "layout", None) in (None, "placeholder"):
        raise OptionError(
            f"{type(collator).__name__} has no teacher, or a student with filler text: pass a "
            'SelfDistillationCollator or a ComposerDataCollator with layout="indexed"'
        )
    require_text(collator)
    # Both sides end with the last message that the loss is on, as the model wrote it.
    examples = [example_up_to(one, max(one.loss_messages)) for one in collator._examples(rows) if one.loss_messages]
    pairs = [pair for pair in collator._fitted(collator._pairs(examples)) if pair is not None and len(pair.weights)]
    if not pairs:
        raise EmptyBatchError(f"no token of {len(rows)} rows is in the loss, so there is nothing to distil")
    return [_row_of(pair, collator.tokenizer) for pair in pairs]


def _row_of(pair: Pair, tokenizer: Any) -> OpsdRow:
    example = pair.example
    assert pair.teacher is not None
    assert example.teacher is not None
    place: dict[str, Any] = {"trace_id": example.student.trace_id}
    if pair.dropped_messages or len(pair.student_tokens) < len(pair.student.input_ids):
        raise LayoutError("it was cut to max_length, but ms-swift would render all of it: leave the row out", **place)
    if not np.all(pair.weights == 1):
        raise LayoutError("its tokens have weights other than 1, which response_loss_mask cannot carry", **place)
    messages = [_plain(message, index, place) for index, message in enumerate(example.student.messages)]
    teacher_prompt = _teacher_prompt(example, messages, place)
    masks = [
        _mask(len(chat.input_ids), at)
        for chat, at in ((pair.student, pair.student_loss), (pair.teacher, pair.teacher_loss))
    ]
    turns = _turns(pair, messages, place)
    ids, in_loss = ([array[start:end] for start, end in turns] for array in (pair.student.input_ids, masks[0]))
    if sum(int(each.sum()) for each in in_loss) < len(pair.weights):
        raise LayoutError("the loss is on tokens outside of assistants' turns, which have no ids of their own", **place)
    assistants = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    for index, own, mask in zip(assistants, ids, in_loss, strict=True):
        # Its student reads the mask of the ids, its teacher this flag of the message.
        messages[index] |= {"content": messages[index]["content"] or tokenizer.decode(own), "loss": bool(mask.any())}
        if mask.any() and not mask.all():
            raise LayoutError(
                f"message {index}: the loss is on {int(mask.sum())} of the {len(mask)} tokens of its turn, but "
                'in ms-swift only the student reads response_loss_mask: use loss_on="turn"',
                **place,
            )
    row: dict[str, Any] = {
        "messages": messages,
        "teacher_prompt": teacher_prompt,
        "response_token_ids": [own.tolist() for own in ids],
        "response_loss_mask": [mask.astype(int).tolist() for mask in in_loss],
        "add_eos": False,
    }
    kwargs = dict(example.student.template_kwargs)
    if kwargs.get("tools"):
        row["tools"] = kwargs.pop("tools")
    if kwargs:
        row["chat_template_kwargs"] = kwargs
    end, teacher_end = turns[-1][1], int(pair.teacher_loss[-1]) + 1
    return OpsdRow(
        row=row,
        trace_id=example.student.trace_id,
        student_ids=pair.student.input_ids[:end],
        student_mask=masks[0][:end],
        teacher_ids=pair.teacher.input_ids[:teacher_end],
        teacher_mask=masks[1][:teacher_end],
    )


def _mask(count: int, at: Ints) -> NDArray[np.bool_]:
    mask = np.zeros(count, dtype=bool)
    mask[at] = True
    return mask


def _plain(message: Mapping[str, Any], index: int, place: Mapping[str, Any]) -> dict[str, Any]:
    """A message as ms-swift's own template takes it; calls are in the ids of the turn."""
    role, content = str(message["role"]), message.get("content")
    if not isinstance(content, str) and not (role == "assistant" and content is None):
        raise LayoutError(f"message {index}: its content is {quoted(content)}, not text", **place)
    return {"role": role, "content": content}


def _teacher_prompt(example: Example, messages: Sequence[Mapping[str, Any]], place: Mapping[str, Any]) -> str:
    """What the teacher reads in place of the last user's message, which is all that it may have of its own."""
    assert example.teacher is not None
    theirs = example.teacher.messages
    users = [index for index, message in enumerate(messages) if message["role"] == "user"]
    if len(theirs) != len(messages) or not users:
        raise LayoutError(
            f"the teacher has {len(theirs)} messages, the student {len(messages)}, but ms-swift's teacher_prompt "
            'replaces only the last user message: put the hint there, as hint_placement="append_to_previous" '
            "does if the turn answers a user",
            **place,
        )
    for index, (mine, other) in enumerate(zip(example.student.messages, theirs, strict=True)):
        if mine != other and (index != users[-1] or mine["role"] != other["role"]):
            raise LayoutError(
                f"the teacher has another message {index} (a {mine['role']}'s), but ms-swift's teacher_prompt "
                f"replaces only the last user message, {users[-1]}: put the hint there",
                **place,
            )
    content = theirs[users[-1]].get("content")
    if not isinstance(content, str) or not content:
        raise LayoutError(f"the teacher's message {users[-1]} is {quoted(content)}, not text", **place)
    return content


def _turns(pair: Pair, messages: Sequence[Mapping[str, Any]], place: Mapping[str, Any]) -> list[tuple[int, int]]:
    """The tokens of each assistant's turn, half-open, its end included."""
    found = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        ranges = _turn(pair.student, index)
        if len(ranges) != 1:
            raise LayoutError(
                f"message {index}: its turn is {len(ranges)} ranges of tokens, but ms-swift takes one per turn", **place
            )
        found += ranges
    return found


def _turn(chat: EncodedChat, index: int) -> list[tuple[int, int]]:
    if chat.row is not None and index in chat.row.turns:
        return list(chat.row.turns[index])
    if index in chat.sampled:
        return [chat.sampled[index]]
    if chat.encoding is None:
        raise LayoutError(f"message {index}: the end of its turn is unknown, because it was not sampled")
    at = np.flatnonzero(chat.encoding.mask(what="turn", messages=[index]))
    if not len(at):
        return []
    breaks = np.flatnonzero(np.diff(at) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(at, breaks)]
