"""What a caller selects of an encoding: messages by index and by role; with an error for what is not there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from itertools import islice
from numbers import Integral
from typing import Any

from chatspan.errors import OptionError, quoted
from chatspan.options import ROLES, near_role

# As many messages as an error lists the roles of.
_SHOWN = 12


def selected_messages(
    roles: Any, messages: Any, seen: Sequence[str], named: Callable[[], Collection[str]]
) -> tuple[frozenset[str] | None, list[int]]:
    """The roles that are selected, ``None`` for all, and the messages of these roles and indices, -1 for none's.

    Args:
        roles: a role, or several; ``None`` for all, and for what belongs to no message.
        messages: indices; ``None`` for all. With all roles -1 is what belongs to no message.
        seen: the role of each message.
        named: gives the roles that the template asks for.

    Raises:
        OptionError: a role that neither a message has nor anything else knows, or an index that is not there.
    """
    wanted = None if roles is None else _roles(roles, seen, named)
    chosen = None if messages is None else _indices(messages, seen, also=(-1,) if roles is None else ())
    indices = range(-1 if roles is None else 0, len(seen))
    return wanted, [
        index for index in indices if (chosen is None or index in chosen) and (wanted is None or seen[index] in wanted)
    ]


def require_role(role: str, what: str, seen: Sequence[str], named: Callable[[], Collection[str]]) -> None:
    """A role that a message has, that is usual, or that the template asks for.

    Args:
        what: what selects it, as the error calls it.

    Raises:
        OptionError: it is none of these; with the roles that are there, and the nearest.
    """
    # What is asked of the template last takes its syntax tree.
    if role in seen or role in ROLES or role in named():
        return
    near = near_role(role) or next(iter(get_close_matches(role, [*seen, *ROLES, *named()], n=1)), None)
    hint = "" if near is None else f"; did you mean {near!r}?"
    raise OptionError(
        f"{what}: no message has the role {role!r}, and it is not a usual role; {shown_roles(seen)}{hint}"
    )


def require_index(index: Any, what: str, seen: Sequence[str]) -> int:
    """The index of a message that is there.

    Args:
        what: what selects it, as the error calls it.

    Raises:
        OptionError: it is none; with the messages that are there.
    """
    if type(index) is not int and (isinstance(index, bool) or not isinstance(index, Integral)):
        raise OptionError(f"{what}: {quoted(index)} is {type(index).__name__}, not the index of a message")
    at = int(index)
    if not 0 <= at < len(seen):
        raise OptionError(f"{what}: there is no message {at}; {shown_roles(seen)}")
    return at


def shown_roles(seen: Sequence[str]) -> str:
    """How many messages there are, and of which roles, for an error.

    Example:
        >>> shown_roles(["system", "user"])
        'the 2 messages, from 0 on: system, user'
    """
    count = f"the {len(seen)} messages, from 0 on" if len(seen) != 1 else "the only message, 0"
    more = f", … ({', '.join(sorted(set(seen)))})" if len(seen) > _SHOWN else ""
    return f"{count}: {', '.join(seen[:_SHOWN])}{more}"


def _roles(roles: Any, seen: Sequence[str], named: Callable[[], Collection[str]]) -> frozenset[str]:
    given = f"roles={quoted(roles)}"
    if isinstance(roles, str):
        roles = (roles,)
    is_collection = isinstance(roles, Collection) and not isinstance(roles, bytes)
    roles = tuple(islice(roles, len(roles))) if is_collection else ()
    # By their types, which no object can lie about.
    if not is_collection or not all(issubclass(type(role), str) for role in roles):
        raise OptionError(f"{given}: expected a role, a collection of roles, or None for all")
    if len(roles) == 0:
        raise OptionError("roles is empty, which selects nothing: pass at least one role, or None for all")
    roles = tuple(map(str.__str__, roles))
    for role in roles:
        require_role(role, given, seen, named)
    return frozenset(roles)


def _indices(messages: Any, seen: Sequence[str], also: Collection[int]) -> frozenset[int]:
    if not isinstance(messages, Collection) or isinstance(messages, (str, bytes)):
        raise OptionError(f"messages={quoted(messages)}: pass a collection of message indices, or None for all")
    given = f"messages={quoted(messages)}"
    # No more than it says: the class of a list may be a caller's own, and give items without end.
    some = islice(messages, len(messages))
    return frozenset(index if index in also else require_index(index, given, seen) for index in some)
