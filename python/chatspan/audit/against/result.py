"""What became of rows that were compared with a library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatspan.audit.findings import Group, Groups

OUTCOME = "outcome"
REMARK = "remark"
SAME = "trains the same tokens"
NOTHING = "trains nothing: a mask of zeros"
OTHER = "trains other tokens"


@dataclass
class PeerReport:
    """A library compared with chatspan.

    Attributes:
        name: as ``--against`` takes it; ``method`` and ``statements`` as :class:`Peer` has them.
        rows: that were compared.
        groups: outcomes (each row has one), remarks and differences.
        trained, trained_by_chatspan: tokens, of rows that both took.
    """

    name: str
    method: str
    statements: Sequence[str]
    refused: bool
    rows: int = 0
    groups: Groups = field(default_factory=Groups)
    trained: int = 0
    trained_by_chatspan: int = 0

    def merge(self, later: PeerReport) -> None:
        """Adds what became of rows behind these."""
        self.rows += later.rows
        self.trained += later.trained
        self.trained_by_chatspan += later.trained_by_chatspan
        self.groups.merge(later.groups)

    @property
    def outcomes(self) -> list[Group]:
        """What became of rows, the most frequent first."""
        return self._of(lambda group: group.category == OUTCOME)

    @property
    def remarks(self) -> list[Group]:
        """What else is to be said of rows."""
        return self._of(lambda group: group.category == REMARK)

    @property
    def differences(self) -> list[Group]:
        """What only one of both trains."""
        return self._of(lambda group: group.category not in (OUTCOME, REMARK))

    def _of(self, wanted: Any) -> list[Group]:
        return sorted((group for group in self.groups if wanted(group)), key=lambda group: -group.rows)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.name,
            "method": self.method,
            "statements": list(self.statements),
            "refuses_the_template": self.refused,
            "rows": self.rows,
            "tokens_trained": self.trained,
            "tokens_trained_by_chatspan": self.trained_by_chatspan,
            "outcomes": [group.as_json() for group in self.outcomes],
            "remarks": [group.as_json() for group in self.remarks],
            "differences": [group.as_json() for group in self.differences],
        }
