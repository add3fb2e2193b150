"""Conversations of a batch → drafts: read one by one, rendered side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from chatspan.draft import Draft
from chatspan.drafter import Drafter
from chatspan.native_template import Job, Outcome, render_jobs
from chatspan.renderer import Messages
from chatspan.template_program import Unsupported


class Asked(NamedTuple):
    """A conversation that is to be drafted, and the keywords of its render."""

    drafter: Drafter
    messages: Messages
    render_kwargs: Mapping[str, Any]


def drafts_of(asked: Sequence[Asked], *, now: datetime, cut: bool = True, **options: Any) -> Iterator[Draft]:
    """The drafts, in order. What is wrong with a conversation is raised when its draft is taken.

    Args:
        now: what templates take for now.
        cut: whether renders are to be cut by message and kind, too.
        options: see :meth:`Drafter.draft`.
    """
    for each, outcome in zip(asked, _outcomes(asked, now, cut), strict=True):
        yield each.drafter.draft(each.messages, now=now, ahead=outcome, **each.render_kwargs, **options)


def _outcomes(asked: Sequence[Asked], now: datetime, cut: bool) -> list[Outcome | None]:
    """What the core makes of each; nothing where a conversation cannot be read, which its draft says why."""
    read = [_job(each, cut) for each in asked]
    rendered = iter(render_jobs([each for each in read if isinstance(each, Job)], now))
    return [next(rendered) if isinstance(each, Job) else each for each in read]


def _job(asked: Asked, cut: bool) -> Job | Unsupported | None:
    try:
        return asked.drafter.job(asked.messages, cut=cut, **asked.render_kwargs)
    except Exception:
        return None
