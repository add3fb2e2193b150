"""A rollout of many turns: prompt, completion, new messages, next prompt; every sampled id is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from chatspan.encode.token_ids import with_token_ids, without_token_ids
from chatspan.errors import MessageError, OptionError, RolloutError, is_a, quoted
from chatspan.options import one_of
from chatspan.render.request import (
    RenderRequest,
    has_messages,
    has_role,
    listed,
    merged_keywords,
    not_messages,
    own_copy,
    unreadable,
)
from chatspan.rollout.chats import chat_of, require_encoder
from chatspan.rollout.parts import Part, RowInParts, joined, turn_arrays
from chatspan.rollout.proof.bridge import Proof, Shown, bridge
from chatspan.rollout.proof.completion import UNFINISHED, completion_ids, sampled_of
from chatspan.rollout.proof.fit import Sampled
from chatspan.rollout.proof.given_prompt import Owned, owned_prompt
from chatspan.rollout.rewrites import OnRewrite
from chatspan.rollout.sampled_row import SampledRow, counted

if TYPE_CHECKING:
    from chatspan.encoder import ChatEncoder
    from chatspan.rollout.parse.parsed import ParsedCompletion


class _Turn(NamedTuple):
    """The last turn, and how things stood when it ended.

    Attributes:
        shown: what it was sampled from.
        row: the row up to the end of the turn.
        rows, proofs: how many rows were complete, and how many prompts were proven.
    """

    message_index: int
    shown: Shown
    sampled: Sampled
    row: RowInParts
    rows: int
    proofs: int
    finish_reason: str | None


class Rollout:
    """A conversation that a model takes part in, with every token that it sampled.

    The next prompt begins with the prompt and the tokens that were sampled. What stands behind them is the template's
    own text: the whole conversation is rendered, and the origin of each of its characters proves where to go on, see
    :attr:`proofs`; or it is refused with its place.

    Args:
        encoder: the tokenizer and the chat template.
        messages: what the model is shown first, as ``apply_chat_template`` takes them.
        tools, documents, keywords, template_kwargs: as in :meth:`chatspan.ChatEncoder.encode`, for all prompts.
        on_rewrite: where the template changes what was shown, as templates do that drop earlier reasoning: ``"error"``;
            ``"split"``, a new row begins with the new prompt; ``"keep"``, what was shown and sampled stays, and what
            the template would change is recorded in :attr:`proofs`.

    Raises:
        OptionError: another ``on_rewrite``.
        MessageError, TemplateError: of the messages, see :meth:`chatspan.ChatEncoder.encode`.

    Example:
        >>> from transformers import AutoTokenizer
        >>> import chatspan
        >>> encoder = chatspan.ChatEncoder(AutoTokenizer.from_pretrained("examples/tokenizer"))
        >>> rollout = chatspan.Rollout(encoder, [{"role": "user", "content": "2 + 2?"}])
        >>> sampled = encoder.tokenizer("4<|im_end|>", add_special_tokens=False)["input_ids"]
        >>> rollout.add_completion(sampled, message={"role": "assistant", "content": "4"})
        >>> shown = len(rollout.prompt_ids) + len(sampled)
        >>> encoder.decode(rollout.add_messages([{"role": "user", "content": "And 3 + 3?"}])[shown:])
        '\\n<|im_start|>user\\nAnd 3 + 3?<|im_end|>\\n<|im_start|>assistant\\n'
    """

    def __init__(
        self,
        encoder: ChatEncoder,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Mapping[str, str]] | None = None,
        on_rewrite: OnRewrite = "error",
        template_kwargs: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        if not one_of(on_rewrite, get_args(OnRewrite)):
            raise OptionError(f'on_rewrite={quoted(on_rewrite)}: use "error", "split" or "keep"')
        require_encoder(encoder)
        self.encoder = encoder
        self.on_rewrite = on_rewrite
        own = merged_keywords(keywords, template_kwargs)
        self._request = RenderRequest(
            _copied(messages), tools, documents, add_generation_prompt=True, template_kwargs=own
        )
        self._rows: list[RowInParts] = []
        self._proofs: list[Proof] = []
        self._turn: _Turn | None = None
        self._awaits_messages = False
        self._shown, self._row = self._first_prompt(self._request, None)
        # The ids of recorded turns are part of the prompt now.
        plain, self._shown_ids = without_token_ids(self._request.messages)
        self._request = self._request._replace(messages=plain)

    def __repr__(self) -> str:
        turns = sum(part.turn is not None for row in (*self._rows, self._row) for part in row.parts)
        awaits = "messages" if self._awaits_messages else "a completion"
        in_rows = f"{counted(turns, 'turn')} in {counted(len(self._rows) + 1, 'row')}"
        return f"Rollout({in_rows}, {len(self._row)} tokens, awaits {awaits})"

    def _first_prompt(self, request: RenderRequest, given_ids: Any) -> tuple[Shown, RowInParts]:
        """The prompt of messages of which none was sampled here; with the ids that were shown, where they are known."""
        pipeline = self.encoder.pipeline
        [rendered] = pipeline.render([request])
        [encoding] = pipeline.encode_rendered([rendered])
        prompt = Owned(encoding.input_ids, encoding.message_index, encoding.kind)
        if given_ids is not None:
            prompt = owned_prompt(pipeline, encoding, given_ids, len(request.messages))
        return Shown(rendered.attributed, len(request.messages)), RowInParts.begun(Part(*prompt))

    def _begin_with(self, prompt_ids: Any) -> None:
        """Takes ids for what was shown, in place of those that the tokenizer gives."""
        self._shown, self._row = self._first_prompt(self._request, prompt_ids)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation so far, with the messages of the completions."""
        return [dict(message) for message in self._request.messages]

    @property
    def tools(self) -> Sequence[Any] | None:
        """The tools of all prompts."""
        return self._request.tools

    @property
    def prompt_ids(self) -> NDArray[np.int64]:
        """int64 ``[P]``: what to sample from; of the last turn, while no messages were added behind it."""
        return self._row.prompt_ids

    @property
    def last_shown(self) -> Owned:
        """What was shown last: all that stands between the turn before and the one to sample, with the message and the
        kind of each token; the whole prompt, where there is no turn before or a new row begins.
        """
        part = next(part for part in reversed(self._row.parts) if part.turn is None)
        assert part.kind is not None
        return Owned(part.ids, part.message_index, part.kind)

    @property
    def proofs(self) -> list[Proof]:
        """For each prompt but the first why it is the template's; see :class:`chatspan.rollout.proof.bridge.Proof`."""
        return list(self._proofs)

    def parse(self, token_ids: Any) -> ParsedCompletion:
        """What a completion of the prompt says; see :meth:`chatspan.ChatEncoder.parse_completion`."""
        return self._parsed(token_ids)

    def _parsed(self, token_ids: Any) -> ParsedCompletion:
        request = self._request
        return self.encoder.parse_completion(
            request.messages[: self._shown.message_index],
            token_ids,
            tools=request.tools,
            documents=request.documents,
            template_kwargs=request.template_kwargs,
        )

    def add_completion(
        self,
        token_ids: Any,
        *,
        message: Mapping[str, Any] | None = None,
        finish_reason: str | None = "stop",
        logprobs: Any = None,
        **per_token: Any,
    ) -> None:
        """Adds what was sampled from the prompt.

        Args:
            token_ids: int ``[N]``, with the stop token, where one was sampled.
            message: what they say, as the template takes it; by default as
                :meth:`chatspan.ChatEncoder.parse_completion` reads them.
            finish_reason: why sampling ended, as servers call it: ``"stop"``, ``"length"``, ``"abort"`` … A turn that
                ended with one of the last two may go on in another completion, whose ``message`` is the whole turn's.
            logprobs: float ``[N]``, of the sampled tokens.
            per_token: other arrays, ``[N, …]``; or of all tokens so far, ``[P + N, …]``, such as routed experts.

        Raises:
            RolloutError: the turn was added already; no ids.
            OptionError: arrays of another length.
            MessageError: a message that is no assistant's.
        """
        index = self._shown.message_index
        if finish_reason is not None and not is_a(finish_reason, str):
            raise OptionError(f"finish_reason={quoted(finish_reason)}: expected the server's value, or None")
        if self._awaits_messages and (self._turn is None or self._turn.finish_reason not in UNFINISHED):
            raise RolloutError(
                f"message {index} (assistant): its completion was already added: pass what follows it to add_messages",
                message_index=index,
            )
        base, begun = (self._row.without_last, self._row.parts[-1]) if self._awaits_messages else (self._row, None)
        ids = completion_ids(self.encoder.tokenizer, token_ids, finish_reason, index)
        arrays = turn_arrays({"logprobs": logprobs, **per_token}, len(ids), len(self._row), index)
        if begun is not None:
            arrays = joined(begun, len(ids), arrays, index)
            ids = np.concatenate([begun.ids, ids])
        said = self._parsed(ids).message if message is None else _assistant(message, index)
        control_tokens = self._shown.attributed.conventions.control_tokens
        sampled = sampled_of(self.encoder.pipeline, base.last_shown_id, ids, control_tokens)
        part = Part(ids, np.full(len(ids), index, dtype=np.int32), turn=index, arrays=arrays)
        self._row = base + part
        self._turn = _Turn(index, self._shown, sampled, self._row, len(self._rows), len(self._proofs), finish_reason)
        self._request = self._request._replace(messages=[*self._request.messages[:index], said])
        self._awaits_messages = True

    def add_messages(self, new_messages: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
        """Adds what an environment or a user says next. Several calls in a row add one after the other.

        Returns:
            int64 ``[P]``, the next prompt. It begins with the former one and all that was sampled for it, unless the
            template rewrites these and ``on_rewrite="split"``.

        Raises:
            TemplateError, MessageError: the template refuses the messages.
            HistoryRewrittenError, OpeningRewrittenError, ReasoningDroppedError: with ``on_rewrite="error"``, the
                template changes what was shown.
            TurnMismatchError: the turn's message is not what was sampled.
            StopTokenError: the template goes on behind the turn with another token than the one that was sampled.
            UnrenderedMessageError: the template drops a new message, or writes it elsewhere.
        """
        known = self._request.messages
        request = self._request._replace(messages=[*known, *_copied(new_messages, len(known))])
        turn = self._turn
        _require_no_token_ids(request.messages, len(known))
        if turn is None:
            with_ids = request._replace(messages=with_token_ids(request.messages, self._shown_ids))
            self._shown, self._row = self._first_prompt(with_ids, None)
            self._request = request
            return self.prompt_ids
        found = bridge(self.encoder.pipeline, request, turn.shown, turn.sampled, self.on_rewrite)
        rows, suffix = self._rows[: turn.rows], Part(found.ids, found.message_index, found.kind)
        if found.proof.how == "split":
            self._rows = [*rows, turn.row]
            self._row = RowInParts.begun(suffix, found.proof.rewrite)
        else:
            self._rows, self._row = rows, turn.row + suffix
        self._proofs = [*self._proofs[: turn.proofs], found.proof]
        self._shown = Shown(found.attributed, len(request.messages))
        self._request, self._awaits_messages = request, False
        return self.prompt_ids

    def rows(self) -> list[SampledRow]:
        """The rows so far, in order; of several each but the first has its ``cause``."""
        return [
            row.row(chat_of(self.encoder.pipeline, self._request, row.last_turn, self._shown_ids if at == 0 else {}))
            for at, row in enumerate([*self._rows, self._row])
            if row.has_turns
        ]


def _copied(messages: Any, first: int = 0) -> list[dict[str, Any]]:
    """Messages as they are now; what the caller does with them later is no part of a rollout.

    Raises:
        MessageError: they are none; with ``message_index``.
    """
    if not has_messages(messages):
        raise not_messages(messages)
    messages = listed(messages)
    for index, message in enumerate(messages, first):
        if not isinstance(message, Mapping):
            raise MessageError(
                f"message {index} is {type(message).__name__}: expected a mapping with a role", message_index=index
            )
    return [_copy(message, index) for index, message in enumerate(messages, first)]


def _copy(message: Mapping[str, Any], index: int) -> dict[str, Any]:
    try:
        given = dict(message)
    # What a mapping of a caller's own raises.
    except Exception as error:
        raise unreadable(index, error) from error
    try:
        return {name: own_copy(value) for name, value in given.items()}
    # It holds itself: its render says so.
    except RecursionError:
        return given


def _require_no_token_ids(messages: Sequence[Mapping[str, Any]], first: int) -> None:
    for index, message in enumerate(messages):
        if index >= first and message.get("token_ids") is not None:
            raise MessageError(
                f"message {index} has token_ids: pass sampled ids to add_completion, and recorded "
                "ones in the rollout's first messages",
                message_index=index,
            )


def _assistant(message: Any, index: int) -> dict[str, Any]:
    [copied] = _copied([message], index)
    if not has_role(copied, "assistant"):
        raise MessageError(
            f"message {index} has the role {quoted(copied.get('role'))}: a completion has the role 'assistant'",
            message_index=index,
        )
    copied.pop("token_ids", None)
    return copied
