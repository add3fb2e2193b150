"""TRL's ``SFTTrainer`` with ``assistant_only_loss=True``, by the functions of the installed TRL.

As its trainer does (``trl/trainer/sft_trainer.py``): a template without ``{% generation %}`` blocks is looked up, by
its whole text, in a list of known ones and swapped for a patched one; one that is not in the list is a ``ValueError``.
The mask is then transformers' own, with the swapped template; a row without any trained token ends the training.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chatspan.audit.against.hf import masked_row
from chatspan.audit.against.peer import PeerError, PeerRefusal, PeerRow, ids_of
from chatspan.audit.against.texts import text_difference
from chatspan.errors import one_line
from chatspan.rows.conversations import Chat

OTHER_TEXT = "the swapped template writes other text than the tokenizer's own"


class Trl:
    """See :class:`chatspan.audit.against.peer.Peer`.

    Raises:
        PeerError: TRL is not installed, or is too old.
    """

    name = "trl"

    def __init__(self, tokenizer: Any) -> None:
        utils, version = _installed()
        self._tokenizer = tokenizer
        self._template: str | None = None
        self.method = f"TRL {version}, SFTTrainer with assistant_only_loss=True"
        self.refused = False
        self.statements: list[str] = []
        if utils.has_generation_markers(tokenizer.chat_template):
            self.statements.append("it takes the template as it is: it has {% generation %} blocks.")
        else:
            self._swap(utils)
        if not self.refused and not utils.is_chat_template_stop_token_trained(tokenizer, chat_template=self._template):
            self.statements.append("it warns that the end of turn is not in the loss.")

    def _swap(self, utils: Any) -> None:
        try:
            self._template = utils.get_training_chat_template(self._tokenizer)
        # It renders conversations of its own with the template, which raises whatever it likes.
        except Exception as error:
            self.refused = True
            reason = one_line(error)
            self.statements.append(f"it refuses the template: {type(error).__name__}: {reason} It trains nothing.")
            return
        names = [
            name.removesuffix("_chat_template")
            for name, value in vars(utils).items()
            if value is self._template and name.endswith("_training_chat_template")
        ]
        which = f", {names[0]}.jinja" if names else ""
        self.statements.append(f"it knows the template and swaps it for one of its own{which}.")

    def row(self, chat: Chat) -> PeerRow:
        """What it makes of a row."""
        options = {} if self._template is None else {"chat_template": self._template}
        found = masked_row(self._tokenizer, chat, **options)
        if not found.mask.any():
            outcome = "the row has no trained token, which ends the training"
            raise PeerRefusal(outcome, "RuntimeError: at least one example has no assistant tokens")
        other = None if self._template is None else self._other_text(chat, found)
        return found if other is None else replace(found, remark=(OTHER_TEXT, other))

    def _other_text(self, chat: Chat, found: PeerRow) -> str | None:
        """How the text of the template that was swapped in differs from that of the tokenizer's own."""
        try:
            own = ids_of(self._tokenizer, chat)
        except PeerRefusal as refusal:
            return f"the tokenizer's own template raises: {refusal.reason}"
        if own == found.input_ids:
            return None
        return text_difference(*(str(self._tokenizer.decode(ids)) for ids in (own, found.input_ids)))


def _installed() -> tuple[Any, str]:
    try:
        import trl
        from trl import chat_template_utils as utils
    except ImportError as error:
        missing = "is not installed" if getattr(error, "name", None) == "trl" else f"cannot be imported: {error}"
        raise PeerError(f"--against trl: TRL {missing}; pip install trl, or leave it out") from None
    needed = ("get_training_chat_template", "has_generation_markers", "is_chat_template_stop_token_trained")
    if lacking := [name for name in needed if not hasattr(utils, name)]:
        raise PeerError(
            f"--against trl: TRL {trl.__version__} has no {lacking[0]}: "
            "pip install --upgrade trl (1.16 is known to work)"
        )
    return utils, trl.__version__
