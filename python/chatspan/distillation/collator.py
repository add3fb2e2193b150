"""Students' and teachers' conversations → the tensors of a self-distillation loss."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chatspan.batch.media_form import require_form
from chatspan.batch.sides import Arrays, pad_id_of, sequence_widths, ungrouped
from chatspan.batch.tensors import Batch, tensors_of
from chatspan.distillation.batches import batch_of
from chatspan.distillation.chats.encoded_chat import EncodedChat, sampled_chat
from chatspan.distillation.chats.prefix_delta import encode_chat
from chatspan.distillation.chats.provenance import ProvenanceRoute, is_fast
from chatspan.distillation.config import DistillationConfig
from chatspan.distillation.examples.conversation import Conversation
from chatspan.distillation.examples.example import Example
from chatspan.distillation.examples.reading import name_of, read_chats
from chatspan.distillation.examples.rows import row_examples
from chatspan.distillation.explain import explain_row
from chatspan.distillation.layouts import Row, row_of
from chatspan.distillation.media import with_media
from chatspan.distillation.pairs.lengths import fitted
from chatspan.distillation.pairs.off_prompt import off_prompt_of
from chatspan.distillation.pairs.pair import Pair, pair_of, placeholder_pair, unrendered
from chatspan.encode.first_rows import FirstRowsSummary
from chatspan.encode.off_prompt import off_prompt_error
from chatspan.encoding import Encoding
from chatspan.errors import BackendError, EmptyBatchError, LayoutError, OptionError, TruncationError, quoted
from chatspan.media.processors import is_processor
from chatspan.media.remembered import media_remembered
from chatspan.rows.conversations import Chat
from chatspan.rows.notes import NoteLog
from chatspan.rows.reader import RowReader
from chatspan.rows.row import listed_rows
from chatspan.tokenize.loaded import require_loaded

# As many rows as a data set's lengths are found of in one go: all cores at work, little memory.
_ROWS_AT_ONCE = 64
logger = logging.getLogger("chatspan")


class SelfDistillationCollator:
    """Builds the batch of a self-distillation trainer (SDPO, arXiv 2601.20802; OPSD, arXiv 2601.18734).

    Called with a list of rows ``{"messages", "teacher_messages", "loss_messages"?, "teacher_loss_messages"?,
    "trace_id"?, "tools"?, "chat_template_kwargs"?}``. The teacher's conversation may insert messages anywhere, replace
    a message's content or append to one; the messages that the loss is on (indices in ``messages``; else each
    assistant's message that both sides have) are the same on both. A row with ``"teacher_messages": None`` has no
    loss. Rows may be in another dialect that :func:`chatspan.read_row` knows; a message's flag (``weight``, ``train``,
    …) takes it out of the loss, or gives it a weight. An assistant's message may have ``token_ids``, the ids that were
    sampled for its turn; they stand on both sides in place of its text, whichever side has them.

    A row ``{"sampled": row, "teacher_messages", …}`` has a :class:`chatspan.SampledRow` for its student, which is that
    row, token by token; the loss messages are its turns, and the teacher has the same ids in its own conversation.

    Args:
        tokenizer: any HF fast tokenizer with a chat template; or a processor, for rows with images, videos and audio,
            in parts of messages or in columns: ``images`` …, and ``teacher_images`` … where the teacher's are others.
        config: how.

    Returns (of a call):
        int64 tensors ``[B, T]``, padded with the pad id (the eos id where there is none): ``input_ids``,
        ``attention_mask``, ``position_ids``, ``response_mask`` (1 on the tokens of assistants' contents). If the loss
        is anywhere, also ``ctx_teacher_input_ids``, ``ctx_teacher_attention_mask``, ``ctx_teacher_position_ids`` (of
        the same shape with ``layout="aligned"``), ``sdpo_loss_mask`` (1 on the student's in-loss tokens), float32
        ``[B, T]`` ``sdpo_loss_weight``, and for the in-loss tokens of each row int64 ``[B, R]``
        ``student_response_idx`` and ``teacher_response_idx`` (their columns, with equal ids), ``student_logit_idx`` and
        ``teacher_logit_idx`` (the columns whose logits predict them), bool ``[B, R]`` ``response_idx_mask`` (which of
        these are real).
        Masks stand at the positions of ``input_ids``, unshifted. int64 ``[B]``: ``row_index``, which row of the input
        it is; ``dropped_tokens``, in-loss tokens that came out different on the teacher's side;
        ``dropped_messages``, left out for ``max_length``; ``dropped_sites``, loss messages that the template leaves out
        or that did not fit. int64 ``[1]``: ``dropped_rows``. With ``constant_keys`` every batch has all of these, and
        ``[1]`` ``in_loss_tokens`` (int64) and ``in_loss_weight`` (float32), their number and the sum of their weights.
        For each name of ``per_token`` also ``[B, T, …]``, the side array of the student's tokens, 0 elsewhere, and, if
        the loss is anywhere, ``[B, R, …]`` ``student_response_…``, of the in-loss tokens alone.
        With ``shift_labels`` also int64 ``[B, T]`` ``shift_labels``, the in-loss tokens where they are predicted.
        With ``packing`` all is one row, without ``attention_mask``, with ``cu_seq_lens_q``, ``cu_seq_lens_k`` (int32),
        ``max_length_q``, ``max_length_k`` (int) and ``seq_idx`` (int32) of either side, as transformers'
        ``DataCollatorWithFlattening``.
        Of a processor also what it returned for the batch's media (``pixel_values`` …), which it is asked for once a
        side: ``ctx_teacher_pixel_values`` … are there only where they are not the student's, by content;
        :func:`chatspan.loss.model_inputs` gives a model either side's. A side with media has no ``position_ids`` where
        the family's models make positions of several dimensions themselves (mrope).

    Raises:
        ChatspanError: one of its kinds, with ``trace_id`` and ``turn_index``.
        EmptyBatchError: no row is left.
        BackendError: (when made) ``backend="native"`` cannot be.

    Attributes:
        routes: how many conversations went which way (``"provenance"``, ``"prefix_delta"``).

    Example:
        >>> from transformers import AutoTokenizer
        >>> from chatspan import DistillationConfig, SelfDistillationCollator
        >>> tokenizer = AutoTokenizer.from_pretrained("examples/tokenizer")
        >>> collate = SelfDistillationCollator(tokenizer, DistillationConfig(layout="indexed"))
        >>> question, answer = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "It is 4."}
        >>> batch = collate([{"messages": [question, answer],
        ...                   "teacher_messages": [{"role": "user", "content": "2 + 2? (It is 4.)"}, answer]}])
        >>> at = batch["teacher_response_idx"][0]
        >>> tokenizer.decode(batch["ctx_teacher_input_ids"][0, at])
        'It is 4.'
    """

    def __init__(self, tokenizer: Any, config: DistillationConfig | None = None) -> None:
        self.processor = tokenizer if is_processor(tokenizer) else None
        given = tokenizer
        if self.processor is not None:
            tokenizer = tokenizer.tokenizer
        require_loaded(tokenizer)
        self.tokenizer = tokenizer
        self.config: DistillationConfig = config if config is not None else DistillationConfig()
        if not isinstance(self.config, DistillationConfig):
            raise OptionError(
                f"config is {type(config).__name__}: use DistillationConfig(…) or CollatorConfig(…); of a dict, "
                "CollatorConfig(**config)"
            )
        self.routes: Counter[str] = Counter()
        self._pad_id = pad_id_of(tokenizer)
        self._route = None
        if is_fast(given):
            self._route = ProvenanceRoute(given, self.config)
            require_form(self._route.pipeline, packing=self.config.packing)
        elif self.config.loss_on != "content":
            raise OptionError(f'loss_on={self.config.loss_on!r} needs an HF fast tokenizer; without one: "content"')
        elif self.config.off_prompt != "keep":
            raise OptionError(f'off_prompt={self.config.off_prompt!r} needs an HF fast tokenizer; without one: "keep"')
        elif self.config.boundaries != "as_rendered":
            raise OptionError('boundaries="as_prompted" needs an HF fast tokenizer; without one: "as_rendered"')
        elif self.config.per_token:
            raise OptionError(f"per_token={quoted(self.config.per_token)} needs an HF fast tokenizer; without one: ()")
        self._first_rows = FirstRowsSummary(self.config.off_prompt, self.config.loss_on)
        self._notes = NoteLog()
        self._reader = RowReader(
            self.config, None if self._route is None else self._route.pipeline, per_token=self.config.per_token
        )
        if self.config.backend == "native":
            self.warm_up()

    def warm_up(self) -> None:
        """Loads the native tokenizer now, as before worker processes are forked that would else load one each.

        Raises:
            BackendError: with ``backend="native"``, if it cannot be native; with the reason.
        """
        if self._route is not None:
            self._route.warm_up()
        elif self.config.backend == "native":
            raise BackendError(f"{type(self.tokenizer).__name__} is not an HF fast tokenizer")

    def __call__(self, rows: Sequence[Any]) -> Batch:
        rows = ungrouped(rows) if self.config.packing else rows
        with media_remembered():
            return tensors_of(self._arrays(rows), None if self._route is None else self._route.pipeline.decode_one)

    def _arrays(self, rows: Sequence[Any]) -> Arrays:
        found, dropped_rows = self._rows(rows)
        if not found:
            raise EmptyBatchError(
                f"none of {len(rows)} rows is left: they are too long, or have no loss and "
                "keep_empty=False; filter the data set with collator.has_signal"
            )
        batch = batch_of(found, self.config, self._pad_id)
        if self.processor is not None and self._route is not None:
            batch = with_media(batch, found, self.config, self._route.pipeline)
        batch["dropped_rows"] = np.array([dropped_rows], dtype=np.int64)
        return batch

    def has_signal(self, row: Any) -> bool:
        """Whether the loss is on any token of a row; to filter a data set beforehand.

        Raises:
            ChatspanError: as a call.
        """
        return any(len(found.weights) for found in self._rows([row])[0])

    def lengths(self, rows: Sequence[Any]) -> list[int]:
        """How many tokens each row takes, on its longer side and with those that ``pad_sequences_to_multiple_of`` adds;
        0 for one that is left out.

        Raises:
            ChatspanError: as a call.
        """
        rows = listed_rows(rows)
        lengths = [0] * len(rows)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            for found in self._rows(rows[start : start + _ROWS_AT_ONCE])[0]:
                width = sequence_widths([found.pair.width], self.config.pad_sequences_to_multiple_of)
                lengths[start + found.pair.example.row_index] += int(width[0])
        return lengths

    def explain(self, row: Any) -> str:
        """What becomes of a row, for a person to read: hints, in-loss text, and what was left out."""
        return "\n\n".join(explain_row(found, self.tokenizer) for found in self._rows([row])[0]) or "left out\n"

    def _examples(self, rows: Sequence[Any]) -> list[Example]:
        return row_examples(self._chats(rows, "rows"))

    def _chats(self, rows: Sequence[Any], what: str) -> list[Chat]:
        chats = read_chats(rows, self._reader, what)
        for index, chat in enumerate(chats):
            self._notes.tell(chat.notes, f"trace {name_of(chat, index)!r}")
        return chats

    def examined(self, rows: Sequence[Any]) -> list[Row]:
        """The rows of a batch before they are tensors, with all that is known of their tokens.

        Raises:
            ChatspanError: as a call.
        """
        return self._rows(rows)[0]

    def _rows(self, rows: Sequence[Any]) -> tuple[list[Row], int]:
        """The rows of a batch, and how many examples were left out."""
        pairs = self._fitted(self._pairs(self._examples(rows)))
        found = [row_of(pair, self.config.layout) for pair in pairs if pair is not None]
        self._first_rows.tell_of(_encodings(found))
        for row in found:
            if row.dropped_tokens:
                what = f"{row.dropped_tokens} in-loss tokens have no counterpart and are not trained"
                _warn(row.pair.example, what, row.messages_of_dropped)
        left_out = sum(pair is None for pair in pairs)
        if self.config.keep_empty:
            return found, left_out
        kept = [row for row in found if len(row.weights)]
        return kept, left_out + len(found) - len(kept)

    def _encode(self, conversations: Sequence[Conversation]) -> list[EncodedChat]:
        """Every conversation goes through the tokenizer in one call, which may use all cores; each once."""
        each = {id(conversation): conversation for conversation in conversations}
        rendered = [key for key, conversation in each.items() if conversation.sampled is None]
        once = [each[key] for key in rendered]
        if self._route is not None:
            chats = self._route.encode_chats(once)
        else:
            chats = [encode_chat(self.tokenizer, conversation) for conversation in once]
        chat_of = dict(zip(rendered, chats, strict=True))
        for key, conversation in each.items():
            if conversation.sampled is not None:
                chat_of[key] = sampled_chat(conversation.sampled, len(conversation.messages))
        self.routes.update(chat.route for chat in chat_of.values())
        return [chat_of[id(conversation)] for conversation in conversations]

    def _encode_sides(
        self, examples: Sequence[Example], students: Sequence[Conversation], teachers: Sequence[Conversation]
    ) -> list[EncodedChat]:
        """Students, then teachers; a processor is called once for each side, whose tensors are those of the batch."""
        if self.processor is None or not teachers:
            return self._encode([*students, *teachers])
        # Where there is no teacher, the student is one.
        side = self._encode([example.teacher or example.student for example in examples])
        of_teachers = [chat for chat, example in zip(side, examples, strict=True) if example.teacher is not None]
        return [*self._encode(students), *of_teachers]

    def _pairs(self, examples: Sequence[Example]) -> list[Pair]:
        """Sites whose recovery the template leaves out of the render are no sites, so their hints are taken out too."""
        mirrored = self.config.layout == "placeholder"
        if mirrored:
            _require_rendered(examples)
        students = [
            example.teacher if mirrored and example.teacher is not None else example.student for example in examples
        ]
        teachers = [example.teacher for example in examples if example.teacher is not None]
        chats = iter(self._encode_sides(examples, students, teachers))
        student_chats = [next(chats) for _ in students]
        pairs = []
        for example, student in zip(examples, student_chats, strict=True):
            if example.teacher is None:
                pairs.append(pair_of(example, student, None, self.config))
                continue
            teacher = next(chats)
            out = [] if mirrored else unrendered(example, student, teacher, self.config.loss_on)
            off = [] if out or self.config.off_prompt == "keep" else self._off(example, student, teacher)
            if mirrored:
                pairs.append(self._mirrored(placeholder_pair(example, teacher)))
            elif out:
                _warn(example, "the chat template leaves the recovery out, so there is nothing to distil", out)
                pairs += self._pairs([_without(example, out)])
            elif off:
                _warn(example, "no inference prompt leads to the turn, so it is not in the loss", off)
                pairs += self._pairs([_without(example, off)])
            else:
                pairs.append(pair_of(example, student, teacher, self.config))
        return pairs

    def _off(self, example: Example, student: EncodedChat, teacher: EncodedChat) -> list[int]:
        """The loss messages that no prompt leads to, on either side.

        Raises:
            OffPromptError: with ``off_prompt="error"``.
        """
        found = off_prompt_of(example, student, teacher)
        if found and self.config.off_prompt == "error":
            index, off = min(found.items())
            raise off_prompt_error(index, off).at(**example.student.place(index))
        return list(found)

    def _mirrored(self, pair: Pair) -> Pair:
        raise OptionError('layout="placeholder" is for traces: use a ComposerDataCollator')

    def _fitted(self, pairs: Sequence[Pair]) -> list[Pair | None]:
        return [self._fit(pair) for pair in pairs]

    def _fit(self, pair: Pair) -> Pair | None:
        """The pair cut to ``max_length``; nothing if it is left out."""
        if self.config.max_length is None:
            return pair
        try:
            found = fitted(pair, self.config.max_length, getattr(self.tokenizer, "bos_token_id", None))
        except TruncationError as error:
            loss_messages = pair.example.loss_messages
            if self.config.overflow == "error":
                raise
            if self.config.overflow == "drop_site" and loss_messages:
                out = [index for index in loss_messages if index == error.turn_index]
                _warn(pair.example, f"does not fit and is left out: {error.message}", out)
                return self._fit(self._pairs([_without(pair.example, out)])[0])
            _warn(pair.example, f"the row is left out: {error.message}")
            return None
        if found.dropped_messages:
            _warn(found.example, "left out for max_length", found.dropped_messages)
        return found


def _encodings(rows: Sequence[Row]) -> Iterator[Encoding]:
    """Of both sides of rows with a loss, where they were rendered with provenance."""
    for row in rows:
        for chat in (row.pair.student, row.pair.teacher):
            if row.teacher is not None and chat is not None and chat.encoding is not None:
                yield chat.encoding


def _require_rendered(examples: Sequence[Example]) -> None:
    for example in examples:
        if example.student.sampled is not None:
            raise LayoutError(
                'layout="placeholder" gives the student filler text, which is not what was sampled: use "aligned" or '
                '"indexed"',
                trace_id=example.student.trace_id,
            )


def _without(example: Example, loss_messages: Sequence[int]) -> Example:
    assert example.with_loss_on is not None
    fewer = example.with_loss_on([index for index in example.loss_messages if index not in loss_messages])
    return replace(fewer, dropped_sites=example.dropped_sites + len(loss_messages))


def _warn(example: Example, what: str, turns: Sequence[int] = ()) -> None:
    of_turns = f", turn {', '.join(map(str, turns))}" if turns else ""
    logger.warning("trace %r%s: %s", example.student.trace_id, of_turns, what)
