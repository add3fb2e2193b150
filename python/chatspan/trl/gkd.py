"""Conversations → the batches of TRL's ``GKDTrainer`` and ``GOLDTrainer``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chatspan.attribute.turns import EndOfTurn
from chatspan.batch.padding import padded_ids
from chatspan.distillation.prompts.asked import require_asked
from chatspan.encode.escapes import SpecialTokens
from chatspan.encode.truncation import Truncation, truncated
from chatspan.errors import LayoutError, OptionError, RowError
from chatspan.options import BackendOption, Boundaries, OffPromptPolicy, require_choices
from chatspan.rows.conversations import Chat
from chatspan.rows.options import RowKeywords, RowOptions, checked
from chatspan.rows.reader import RowReader
from chatspan.rows.row import RawRow
from chatspan.supervised.collator import ChatCollator
from chatspan.supervised.options import EmptyRows, SupervisedLossOn, TrainOn
from chatspan.supervised.rows import IGNORED, SupervisedRow, supervised_rows
from chatspan.supervised.sampled import TrainedRow, refuse_sampled
from chatspan.supervised.selection import trained_messages
from chatspan.trl.byte_offsets import response_byte_offsets

if TYPE_CHECKING:
    from typing_extensions import Unpack

Responses = Literal["one", "all"]


class GKDCollator(ChatCollator):
    """Builds the batch of TRL's ``GKDTrainer`` and ``GOLDTrainer``, in place of TRL's ``DataCollatorForChatML``.

    Called with rows as :class:`chatspan.ChatCollator` takes them. What is trained is what the model has to produce
    itself, its end of turn included and the newline behind that not.

    Args:
        tokenizer: an HF fast tokenizer.
        responses: ``"one"``: each row is one prompt and one response, which is what these trainers know: the message
            that the loss is on (``loss_messages``, or the only assistant's), and what follows it is left out, so that
            the template writes it as the last one; :func:`response_rows` makes such rows. ``"all"``: the loss is on
            every turn; for GKD with ``lmbda=0`` and GOLD with one tokenizer, where nothing is sampled.
        check_prompt: with ``"one"``, whether a prompt is an error that the chat template does not write when it is
            asked for the response, since the student may sample from it; see :func:`chatspan.verl.sdpo_tensors`.
        loss_on, end_of_turn, max_length, truncation, empty_rows, special_tokens, chat_template, backend,
            off_prompt, boundaries, train_on, row_options: see :class:`chatspan.ChatCollator`.

    Returns (of a call):
        int64, padded on the left: ``input_ids``, ``attention_mask``, ``labels`` (-100 where nothing is trained)
        ``[B, T]``; ``prompts``, ``prompt_attention_mask`` ``[B, P]``, everything in front of the response (with
        ``"all"``, of the last one). With ``"one"`` also what GOLD aligns two tokenizers by: ``original_prompt_text``,
        ``original_completion_text`` (lists of text), and, from byte-level tokenizers, int64 ``[B, T, 2]``
        ``byte_offsets``, in the UTF-8 bytes of the completion, (0, 0) elsewhere.

    Raises:
        LayoutError: with ``"one"``, a row in which the loss is on several messages, or on parts of one that do not
            adjoin, or see ``check_prompt``; with its place.
        ChatspanError: as :class:`chatspan.ChatCollator`.

    Example:
        >>> from transformers import AutoTokenizer
        >>> from chatspan.trl import GKDCollator
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> collate = GKDCollator(tokenizer)
        >>> batch = collate([{"messages": [{"role": "user", "content": "2 + 2?"},
        ...                                {"role": "assistant", "content": "It is 4."}]}])
        >>> tokenizer.decode(batch["labels"][batch["labels"] != -100])
        'It is 4.<|im_end|>'
        >>> tokenizer.decode(batch["prompts"][0])
        '<|im_start|>user\\n2 + 2?<|im_end|>\\n<|im_start|>assistant\\n'
    """

    _has_quick_way = False

    def __init__(
        self,
        tokenizer: Any,
        *,
        responses: Responses = "one",
        check_prompt: bool = True,
        loss_on: SupervisedLossOn = "turn",
        end_of_turn: EndOfTurn = "token",
        max_length: int | None = None,
        truncation: Truncation = "error",
        empty_rows: EmptyRows = "error",
        special_tokens: SpecialTokens = "as_rendered",
        chat_template: str | Mapping[str, str] | None = None,
        backend: BackendOption = "auto",
        off_prompt: OffPromptPolicy = "keep",
        boundaries: Boundaries = "as_rendered",
        train_on: TrainOn = "all",
        **row_options: Unpack[RowKeywords],
    ) -> None:
        super().__init__(
            tokenizer,
            loss_on=loss_on,
            end_of_turn=end_of_turn,
            max_length=max_length,
            truncation=truncation,
            empty_rows=empty_rows,
            padding_side="left",
            special_tokens=special_tokens,
            chat_template=chat_template,
            backend=backend,
            off_prompt=off_prompt,
            boundaries=boundaries,
            train_on=train_on,
            **checked(row_options),
        )
        self.responses: Responses = responses
        self.check_prompt = check_prompt
        require_choices(self, responses=Responses, check_prompt=(True, False))
        if isinstance(loss_on, Mapping):
            raise OptionError("GKD and GOLD have no weights: set loss_on to a name or a set of Kinds")

    def _supervised(self, rows: Sequence[RawRow]) -> Sequence[TrainedRow | None]:
        refuse_sampled(rows, "GKDCollator")
        if self.responses == "all":
            return super()._supervised(rows)
        part = partial(_up_to_its_response, train_on=self._options.train_on)
        found = supervised_rows(self.encoder, rows, self._options, part=part)
        kept = [None if one is None else _its_response(one, row) for one, row in zip(found, rows, strict=True)]
        for one, row in zip(kept, rows, strict=True):
            if one is not None and self.check_prompt:
                self._require_asked(one, row)
        return kept

    def _require_asked(self, found: SupervisedRow, row: RawRow) -> None:
        chat = found.chat
        start = _stretches(found)[0][0]
        template = self.encoder.template(chat.template_kwargs.get("tools")).source
        require_asked(
            self.encoder.tokenizer,
            chat.messages[:-1],
            {**chat.template_kwargs, "chat_template": template},
            found.encoding.text[: int(found.encoding.offsets[start, 0])],
            row_index=row.index,
            row_place=row.place,
            message_index=len(chat.messages) - 1,
        )

    def _batch(self, trained: Sequence[TrainedRow]) -> dict[str, Any]:
        rows = [row for row in trained if isinstance(row, SupervisedRow)]
        batch = super()._batch(rows)
        starts = [_stretches(row)[-1][0] for row in rows]
        prompts = [row.encoding.input_ids[:start] for row, start in zip(rows, starts, strict=True)]
        batch["prompts"], batch["prompt_attention_mask"] = padded_ids(prompts, self._pad_id, "left")
        return batch if self.responses == "all" else batch | self._texts(rows, starts)

    def _texts(self, rows: Sequence[SupervisedRow], starts: Sequence[int]) -> dict[str, Any]:
        """What GOLD aligns two tokenizers by."""
        chars = [int(row.encoding.offsets[start, 0]) for row, start in zip(rows, starts, strict=True)]
        ends = [int(row.encoding.offsets[-1, 1]) for row in rows]
        texts = [row.encoding.text[start:end] for row, start, end in zip(rows, chars, ends, strict=True)]
        found: dict[str, Any] = {
            "original_prompt_text": [row.encoding.text[:start] for row, start in zip(rows, chars, strict=True)],
            "original_completion_text": texts,
        }
        width = max(len(row.encoding) for row in rows)
        offsets = np.zeros((len(rows), width, 2), dtype=np.int64)
        for index, (row, start, text) in enumerate(zip(rows, starts, texts, strict=True)):
            of_row = response_byte_offsets(self.encoder.tokenizer, row.encoding.input_ids[start:], text)
            if of_row is None:
                # GOLD says itself that it needs them.
                return found
            offsets[index, width - len(of_row) :] = of_row
        return {**found, "byte_offsets": offsets}


def response_rows(rows: Iterable[Any], **row_options: Unpack[RowKeywords]) -> list[dict[str, Any]]:
    """A row for each response: each message that the loss is on, with the conversation up to it.

    Args:
        rows: as :class:`chatspan.ChatCollator` takes them.
        row_options: how rows are read: the fields of :class:`chatspan.RowOptions`. The template is not known yet, and
            what depends on it is left to the collator.

    Returns:
        ``{"messages", "loss_messages"}``, with ``tools``, ``documents``, ``chat_template_kwargs`` and ``trace_id``
        where the row has them.

    Raises:
        RowError: a row has no conversation, or no message that the loss could be on; with ``row_index``.

    Example:
        >>> from chatspan.trl import response_rows
        >>> turns = [{"role": role, "content": text} for role, text in
        ...          [("user", "Hi"), ("assistant", "Hello!"), ("user", "Bye"), ("assistant", "See you.")]]
        >>> [row["messages"][-1]["content"] for row in response_rows([{"messages": turns}])]
        ['Hello!', 'See you.']
    """
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
        raise RowError(f"expected rows, got {type(rows).__name__}: pass a list of them, or a data set")
    found = []
    row_options.setdefault("tool_arguments", "as_given")
    reader = RowReader(RowOptions(**checked(row_options)))
    for index, row in enumerate(rows):
        raw = RawRow(index=index, place=f"row {index}", value=row)
        chat = reader.read(raw)
        responses = _responses(chat)
        if not responses:
            among = "" if chat.loss_messages is None else " among those in the loss"
            raise raw.error(f"it has no assistant message{among}, so there is no response")
        found += [_row_up_to(chat, response) for response in responses]
    return found


def _responses(chat: Chat, train_on: TrainOn = "all") -> list[int]:
    """The messages that the loss may be on."""
    roles = [str(message.get("role")) for message in chat.messages]
    chosen = trained_messages(chat, roles, train_on)
    return [index for index in (range(len(roles)) if chosen is None else chosen) if roles[index] == "assistant"]


def _row_up_to(chat: Chat, response: int) -> dict[str, Any]:
    row = chat.as_row()
    return {**row, "messages": row["messages"][: response + 1], "loss_messages": [response]}


def _up_to_its_response(chat: Chat, train_on: TrainOn) -> Chat:
    """The conversation without what follows its response, so that the template writes that as the last message."""
    responses = _responses(chat, train_on)
    if len(responses) > 1:
        raise LayoutError(
            f"the loss is on {len(responses)} messages ({', '.join(map(str, responses))}), but GKD and GOLD take "
            "one prompt and one response per row: split them with chatspan.trl.response_rows(rows), name one in the "
            'row\'s "loss_messages", or use responses="all" if nothing is sampled',
            message_index=responses[1],
        )
    # One without any is told of by what looks for something to train on.
    if not responses:
        return chat
    messages = chat.messages[: responses[0] + 1]
    weights = {index: weight for index, weight in chat.weights.items() if index < len(messages)}
    return replace(chat, messages=messages, weights=weights, loss_messages=responses)


def _its_response(found: SupervisedRow, row: RawRow) -> SupervisedRow:
    """The row up to the end of its response."""
    stretches = _stretches(found)
    place: dict[str, Any] = {"row_index": row.index, "row_place": row.place}
    if len(stretches) > 1:
        between = found.encoding.input_ids[stretches[0][1] : stretches[1][0]]
        raise LayoutError(
            f"the loss is on {len(stretches)} parts of the response with {len(between)} tokens between them, but "
            'GKD and GOLD take one response: use loss_on="turn", or responses="all" if nothing is sampled',
            **place,
        )
    ((start, end),) = stretches
    if found.encoding.truncated and start <= 1:
        raise LayoutError(
            f"the response alone is longer than max_length={len(found.encoding)}: nothing is left of its prompt",
            **place,
        )
    encoding = truncated(found.encoding, end, "right")
    return replace(found, encoding=encoding, labels=found.labels[:end])


def _stretches(row: SupervisedRow) -> list[tuple[int, int]]:
    """The ranges of tokens that are trained, half-open."""
    trained = np.concatenate([[False], row.labels != IGNORED, [False]])
    edges = np.flatnonzero(trained[1:] != trained[:-1]).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
