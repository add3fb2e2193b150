"""``renderers`` of PrimeIntellect: a renderer by hand for each family of models, by the installed library.

Its ``build_training_sample`` gives ids and a mask. The renderer is the one that its automatic choice takes for the
tokenizer's name; of other names that is ``DefaultRenderer``, which goes by the template and counts an assistant's
header as the model's.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np

from chatspan.audit.against.peer import PeerError, PeerRefusal, PeerRow, ids_of
from chatspan.audit.against.texts import text_difference
from chatspan.errors import one_line
from chatspan.rows.conversations import Chat

OTHER_TEXT = "its render is another text than the template's"


class Renderers:
    """See :class:`chatspan.audit.against.peer.Peer`.

    Raises:
        PeerError: renderers is not installed.
    """

    name = "renderers"

    def __init__(self, tokenizer: Any) -> None:
        self._library = _installed()
        self._tokenizer = tokenizer
        self._renderer: Any = None
        self.refused = False
        self.statements: list[str] = []
        try:
            self._renderer = self._library.create_renderer(tokenizer)
        # What it does not know of a tokenizer shows in errors of any kind.
        except Exception as error:
            self.refused = True
            self.statements.append(f"it refuses the tokenizer: {type(error).__name__}: {one_line(error)}")
        chosen = "none" if self._renderer is None else type(self._renderer).__name__
        self.method = f"renderers {version('renderers')}, build_training_sample of assistants' messages, with {chosen}"
        if chosen == "DefaultRenderer":
            self.statements.append(
                f"it has no renderer by hand for {str(tokenizer.name_or_path)!r}, and goes by the template."
            )

    def row(self, chat: Chat) -> PeerRow:
        """What it makes of a row."""
        keywords = dict(chat.template_kwargs)
        tools = keywords.pop("tools", None)
        if tools is not None:
            tools = [tool.get("function", tool) for tool in tools]
        try:
            sample = self._library.build_training_sample(
                self._renderer,
                [dict(message) for message in chat.messages],
                role_to_mask=lambda message: message["role"] == "assistant",
                tools=tools,
            )
        except Exception as error:
            raise PeerRefusal("it raises", f"{type(error).__name__}: {one_line(error)}") from None
        ids = list(sample.token_ids)
        whole = ids_of(self._tokenizer, chat)
        remark = None
        if ids != whole:
            remark = (OTHER_TEXT, text_difference(*(str(self._tokenizer.decode(some)) for some in (whole, ids))))
        return PeerRow(ids, np.array(sample.loss_mask, dtype=bool), remark)


def _installed() -> Any:
    try:
        import renderers
    except ImportError:
        raise PeerError(
            '--against renderers: it is not installed; pip install "chatspan[renderers]", or leave it out'
        ) from None
    return renderers
