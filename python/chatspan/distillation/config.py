"""What the distillation collators are told once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chatspan.errors import OptionError, quoted
from chatspan.options import (
    ROLES,
    BackendOption,
    Boundaries,
    LossOn,
    OffPromptPolicy,
    PaddingSide,
    require_choices,
    require_counts,
    require_loss_on,
    require_multiples,
    require_switch,
)
from chatspan.rollout.side_arrays import require_names
from chatspan.rows.options import RowOptions

HintGenerator = Callable[[Any, Any], str]
HintPlacement = Literal["before_turn", "append_to_previous", "first_system"]
HintScope = Literal["all", "per_site"]
Layout = Literal["aligned", "indexed", "placeholder"]
Overflow = Literal["error", "drop_row", "drop_site"]
Straddle = Literal["blanks", "inside", "touch", "error"]


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(RowOptions):
    """How rows are read, and how a student's and a teacher's conversation become a batch. The options of
    :class:`chatspan.RowOptions` are options here too.

    Attributes:
        layout: ``"aligned"``: both sides have one shape, and a hole (``attention_mask`` 0) where only the other has
            tokens; for models with full attention. ``"indexed"``: each side is its own plain row, and the in-loss
            tokens are gathered by index; for every model.
        loss_on: what of the loss messages the loss is on: ``"content"``; ``"turn"``, all that the model has to produce
            itself, tool calls and end of turn included; a set of :class:`chatspan.Kind`; or weights, as
            :meth:`chatspan.Encoding.weights` takes them.
        straddle: what becomes of a token that has characters of a content and of the scaffold: ``"blanks"`` takes
            it in if those of the scaffold are blanks (the ``" Yes"`` behind ``Assistant:``), ``"inside"`` leaves it
            out, ``"touch"`` takes it in, ``"error"`` raises :class:`chatspan.StraddleError`.
        max_dropped: how large a part of a message's in-loss tokens may have no counterpart on the teacher's side; two
            may always.
        max_length: how many tokens the longer side may have. Whole messages are left out from the left for it; never
            the system message, the tools, a message with a hint or one that the loss is on.
        overflow: what becomes of a row that is still too long: ``"error"``; ``"drop_row"``; ``"drop_site"``, its loss
            messages may be left out too: those that are too long by themselves, then from the left.
        pad_to_multiple_of: rows are filled up to a multiple of it; packed ones with a sequence of its own, the last.
        pad_sequences_to_multiple_of: each sequence of a packed row is filled up to a multiple of it, as tensor and
            context parallelism need it.
        shift_labels: whether every batch has ``shift_labels``: the student's in-loss tokens, at the columns whose
            logits predict them, so that no column needs its neighbour; -100 elsewhere.
        padding_side: ``"right"``, ``"left"``.
        keep_empty: whether rows that the loss is nowhere on stay, for other losses.
        constant_keys: whether every batch has the same keys, for processes that have to do the same: where no row has a
            loss the teacher is the student, the weights are 0 and R is 1 with a mask that is false. Every batch then
            also has its ``in_loss_tokens`` and ``in_loss_weight``, which a loss over several batches is divided by.
        packing: whether all rows of a call become one row, without padding if no multiple is given; with
            ``layout="indexed"``. Of a processor those alone whose tensors and positions tell the rows apart.
        sdpo_ignore_index: ``sdpo_loss_mask`` where it is not 1.
        backend: what tokenizes, see :class:`chatspan.ChatEncoder`: ``"auto"``, ``"native"``, ``"hf"``.
        off_prompt: what becomes of loss messages whose turn no inference prompt leads to, on either side (see
            :attr:`chatspan.Encoding.off_prompt`): ``"keep"``, the log says once how many there are in the first rows;
            ``"drop_turn"``, the loss is not on them; ``"error"``. The last two render the prompt of each turn.
        boundaries: whether prompts are tokenized apart from their turns, see :class:`chatspan.ChatEncoder`:
            ``"as_rendered"``, ``"as_prompted"``; a tokenizer without offsets takes only the first.
        per_token: keys of assistants' messages that have a value for each of their ``token_ids``, such as
            ``("logprobs", "advantages")``, and names of side arrays of rows as sampled: the batch has them in the
            student's columns; the template does not see them.
    """

    layout: Layout = "aligned"
    loss_on: LossOn = "content"
    straddle: Straddle = "blanks"
    max_dropped: float = 0.02
    max_length: int | None = None
    overflow: Overflow = "error"
    pad_to_multiple_of: int | None = None
    pad_sequences_to_multiple_of: int | None = None
    shift_labels: bool = False
    padding_side: PaddingSide = "right"
    keep_empty: bool = True
    constant_keys: bool = False
    packing: bool = False
    sdpo_ignore_index: int = 0
    backend: BackendOption = "auto"
    off_prompt: OffPromptPolicy = "keep"
    boundaries: Boundaries = "as_rendered"
    per_token: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choices(self, overflow=Overflow, padding_side=PaddingSide, straddle=Straddle, backend=BackendOption)
        require_choices(self, off_prompt=OffPromptPolicy, boundaries=Boundaries)
        require_choices(self, layout=self._layouts(), packing=(True, False), keep_empty=(True, False))
        require_switch("constant_keys", self.constant_keys)
        require_switch("shift_labels", self.shift_labels)
        require_counts(self, "max_length")
        require_multiples(self)
        if not isinstance(self.max_dropped, (int, float)) or not 0 <= self.max_dropped <= 1:
            raise OptionError(
                f"max_dropped={quoted(self.max_dropped)}: expected a fraction of a message's tokens, from 0 to 1"
            )
        if self.packing and self.layout != "indexed":
            raise OptionError(
                f'packing=True needs layout="indexed", not {quoted(self.layout)}: a packed row has no holes'
            )
        index = self.sdpo_ignore_index
        if type(index) is not int or index == 1 or not -(2**63) <= index < 2**63:
            raise OptionError(
                f"sdpo_ignore_index={quoted(self.sdpo_ignore_index)}: expected a whole number other than 1"
            )
        require_loss_on(self.loss_on, ("content", "turn"))
        # A frozen dataclass, of which two are equal if they say the same.
        object.__setattr__(self, "per_token", require_names(self.per_token))

    def _layouts(self) -> Any:
        return Literal["aligned", "indexed"]


@dataclass(frozen=True, kw_only=True)
class CollatorConfig(DistillationConfig):
    """How traces become student and teacher. See also :class:`DistillationConfig`.

    Attributes:
        hint_generator: ``hint_generator(tool_error, error_meta) -> str``: the hint that the teacher sees before the
            turn; ``""`` (or blanks) for none. ``error_meta`` is ``{}`` where the turn has none.
        hint_role: the role of the hint's message, for ``hint_placement="before_turn"``.
        hint_placement: ``"before_turn"`` gives the hint a message of its own right before the turn;
            ``"append_to_previous"`` puts it at the end of the message before, after a blank line, for templates
            that insist on alternating roles; ``"first_system"`` at the end of the system prompt.
        hint_scope: ``"all"``: a trace is one row, whose teacher has a hint at every error site; ``"per_site"``: a row
            for each site, so that no recovery sees another one's hint; ``row_index`` says which trace it is of.
        layout: besides those of :class:`DistillationConfig` ``"placeholder"``: the student has filler text of the same
            token length in the hint's place.
        enable_replay_dpo: whether the traces' ``dpo_pairs`` become ``dpo_…`` keys of the batch.

    Example:
        >>> from chatspan import CollatorConfig
        >>> CollatorConfig(hint_generator=lambda error, meta: f"Mind the {error}.").layout
        'aligned'
    """

    hint_generator: HintGenerator
    hint_role: str = "system"
    hint_placement: HintPlacement = "before_turn"
    hint_scope: HintScope = "all"
    enable_replay_dpo: bool = False

    def __post_init__(self) -> None:
        if not callable(self.hint_generator):
            raise OptionError(f"hint_generator={quoted(self.hint_generator)} is not callable")
        require_choices(self, hint_role=ROLES, hint_placement=HintPlacement, hint_scope=HintScope)
        require_choices(self, enable_replay_dpo=(True, False))
        super().__post_init__()
        if self.layout == "placeholder" and (self.loss_on != "content" or self.max_length is not None):
            raise OptionError('layout="placeholder" has loss_on="content" and no max_length; use layout="aligned"')

    def _layouts(self) -> Any:
        return Layout
