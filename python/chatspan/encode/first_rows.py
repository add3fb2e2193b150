"""What is said once of the first rows of a run, whose end nothing here knows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from chatspan.encode.off_prompt import OffPromptSummary
from chatspan.encoding import Encoding
from chatspan.options import OffPromptPolicy

# Rows that are looked at for the word about roles: enough for one that only some rows have.
_ROWS = 256
logger = logging.getLogger("chatspan")


def selected_roles(loss_on: Any) -> tuple[str, ...]:
    """The roles that weights select, in order; none where ``loss_on`` is no weights."""
    if not isinstance(loss_on, Mapping):
        return ()
    parts = [part for key in loss_on for part in (key if isinstance(key, tuple) else (key,))]
    return tuple(dict.fromkeys(part for part in parts if isinstance(part, str)))


def weights_of_row(loss_on: Mapping[Any, float], roles: Collection[str]) -> list[tuple[Any, float]]:
    """The weights whose roles a row has: what is selected in a run may be missing in one of its rows.

    Example:
        >>> weights_of_row({"assistant": 1.0, "critic": 0.5}, ["user", "assistant"])
        [('assistant', 1.0)]
    """
    return [
        (key, weight)
        for key, weight in loss_on.items()
        if all(part in roles for part in (key if isinstance(key, tuple) else (key,)) if isinstance(part, str))
    ]


class RolesSummary:
    """Says once which of the selected roles none of the first rows had.

    Args:
        selected: the roles that the run's options name.
    """

    def __init__(self, selected: Iterable[str]) -> None:
        self._missing = dict.fromkeys(selected)
        self._seen: Counter[str] = Counter()
        self._rows = 0

    def tell_of(self, rows: Iterable[Collection[str]]) -> None:
        """Is given the roles of each row, as they come; speaks after so many rows."""
        for roles in rows:
            if not self._missing:
                return
            self._rows += 1
            self._seen.update(set(roles))
            for role in roles:
                self._missing.pop(role, None)
            if self._rows == _ROWS:
                self.tell()

    def missing(self) -> list[str]:
        """The selected roles that no row had so far."""
        return list(self._missing)

    def tell(self) -> None:
        """Speaks of the rows so far, as where a run ends; not twice."""
        if not self._rows:
            return
        if self._missing:
            logger.warning(
                "none of the first %d rows has a message of the selected role %s; their roles: %s",
                self._rows,
                ", ".join(map(repr, self._missing)),
                ", ".join(f"{role} (in {count})" for role, count in self._seen.most_common()),
            )
        self._missing = {}


class FirstRowsSummary:
    """Says once what is odd about the first rows of a run: turns off their prompt, and selected roles that none has.

    Args:
        policy: what becomes of turns that no prompt leads to.
        loss_on: what of the rows is trained; the roles of weights are selected.
        roles: further roles that are selected.
    """

    def __init__(self, policy: OffPromptPolicy, loss_on: Any, roles: Iterable[str] = ()) -> None:
        self._policy: OffPromptPolicy = policy
        self._loss_on = loss_on
        self._off_prompt = OffPromptSummary()
        self._roles = RolesSummary([*selected_roles(loss_on), *roles])

    @property
    def is_told(self) -> bool:
        """Whether all is said, so that no further rows are looked at."""
        return self._off_prompt.is_told(self._policy) and not self._roles.missing()

    def tell_of(self, encodings: Iterable[Encoding]) -> None:
        """Is given the rows as they come."""
        rows = list(encodings)
        self._off_prompt.tell_of(rows, self._policy, self._loss_on)
        self._roles.tell_of(encoding.roles for encoding in rows)
