"""Conversations of a batch → drafts: read one by one, rendered side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from chatspan.draft import Draft
from chatspan.drafter import Drafter, without_token_ids
from chatspan.native_template import Job, Outcome, render_jobs
from chatspan.renderer import Messages
from chatspan.template_program import Unsupported

TokenIds = Mapping[int, Sequence[int]]


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
    read = [_read(each, cut) for each in asked]
    rendered = iter(render_jobs([job for _, _, job in read if isinstance(job, Job)], now))
    for each, (messages, token_ids, job) in zip(asked, read, strict=True):
        outcome: Outcome | None = next(rendered) if isinstance(job, Job) else job
        yield each.drafter.draft(messages, token_ids=token_ids, now=now, ahead=outcome, **each.render_kwargs, **options)


def _read(asked: Asked, cut: bool) -> tuple[Messages, TokenIds | None, Job | Unsupported | None]:
    """The messages, the sampled ids taken out of them, and what the core is to render.

    No job, nor ids, where a conversation cannot be read: its draft says why.
    """
    try:
        messages, token_ids = without_token_ids(asked.messages)
        return messages, token_ids, asked.drafter.job(messages, cut=cut, **asked.render_kwargs)
    except Exception:
        return asked.messages, None, None
