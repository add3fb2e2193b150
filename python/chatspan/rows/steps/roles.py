"""Roles that are not usual: a template's own, or a typing error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.errors import RowError, quoted
from chatspan.options import ROLES, near_role
from chatspan.rows.dialects import sharegpt
from chatspan.rows.habits import Habits
from chatspan.rows.notes import Note


def check_roles(messages: Sequence[Mapping[str, Any]], habits: Habits | None, notes: list[Note]) -> None:
    """Notes roles that are a near miss of a usual one; refuses those that the template writes nothing of.

    Raises:
        RowError: a message without a role, or of a role that is neither usual nor written by the template.
    """
    usual = frozenset(ROLES)
    for index, message in enumerate(messages):
        role = message.get("role")
        if isinstance(role, str) and role in usual:
            continue
        if "role" not in message:
            keys = ", ".join(map(quoted, message)) or "none"
            raise RowError(f"message {index} has no 'role'; its keys: {keys}", message_index=index)
        if not isinstance(role, str) or not role:
            raise RowError(
                f"message {index} has the role {quoted(role)}: expected a text such as "
                f"{', '.join(map(repr, ROLES[:5]))}",
                message_index=index,
            )
        near = near_role(role)
        meant = "" if near is None else f": did you mean {near!r}?"
        if near is None and (known := sharegpt.role_of(role)) != role:
            meant = f': format="sharegpt" (--row-format sharegpt) reads it as {known!r}'
        if habits is not None and not habits.writes_role(role):
            seen = ", ".join(dict.fromkeys(str(each.get("role")) for each in messages))
            raise RowError(
                f"unknown role {role!r} of message {index}, which the chat template does not write"
                f"{meant or f'; the roles of the row: {seen}'}",
                message_index=index,
            )
        if near is not None:
            notes.append(Note("role_near_miss", f"the role {role!r} is unusual{meant}", f"message {index}", index))
