"""Traces → the data set of TRL's ``SDPOTrainer``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.distillation.config import CollatorConfig
from chatspan.distillation.examples.traces import Trace, read_traces
from chatspan.errors import EmptyBatchError, LayoutError, OptionError, quoted
from chatspan.rows.same_text import text_key
from chatspan.rows.steps.plain import plain_data


def sdpo_rows(
    traces: Sequence[Mapping[str, Any]],
    config: CollatorConfig,
    *,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """A row for each error site: the conversation in front of it, for which the student samples its own recovery.

    Args:
        traces: as :class:`chatspan.ComposerDataCollator` takes them.
        config: of it ``hint_generator`` counts.
        chat_template_kwargs: those of ``SDPOConfig``, ``tools`` among them: they are the same for all rows there.

    Returns:
        ``{"prompt", "privileged_context", "trace_id", "turn_index"}``: messages, and the hint.

    Raises:
        LayoutError: a site that nothing stands in front of, or a trace whose ``tools`` or ``chat_template_kwargs`` are
            others; with ``trace_id`` and ``turn_index``.
        EmptyBatchError: no trace has an error site that gets a hint.
        TraceError, HintError: as the collator.

    Example:
        >>> from chatspan import CollatorConfig
        >>> from chatspan.trl import sdpo_rows
        >>> config = CollatorConfig(hint_generator=lambda error, meta: f"Mind the {error}.")
        >>> [row] = sdpo_rows([{"trace_id": "t1", "turns": [
        ...     {"role": "user", "content": "Book it."},
        ...     {"role": "assistant", "content": "It is full.", "tool_error": "limit"}]}], config)
        >>> row["prompt"], row["privileged_context"]
        ([{'role': 'user', 'content': 'Book it.'}], 'Mind the limit.')
    """
    if chat_template_kwargs is not None and not isinstance(chat_template_kwargs, Mapping):
        raise OptionError(f"chat_template_kwargs={quoted(chat_template_kwargs)}: pass the dict that SDPOConfig has")
    rows = []
    for trace in read_traces(traces, config):
        if trace.error_sites:
            _require_same_kwargs(trace, chat_template_kwargs or {})
        for site in trace.error_sites:
            place: dict[str, Any] = {"trace_id": trace.plain.trace_id, "turn_index": site.turn_index}
            if site.turn_index == 0:
                raise LayoutError("nothing comes before it, so there is no prompt to sample for", **place)
            prompt = [dict(message) for message in trace.plain.messages[: site.turn_index]]
            rows.append({"prompt": prompt, "privileged_context": site.hint, **place})
    if not rows:
        raise EmptyBatchError(f"none of {len(traces)} traces has an error site that gets a hint, so there is no row")
    return rows


def _require_same_kwargs(trace: Trace, given: Mapping[str, Any]) -> None:
    own = trace.plain.template_kwargs
    for name in sorted({*own, *given}):
        if text_key(plain_data(own.get(name))) != text_key(plain_data(given.get(name))):
            raise LayoutError(
                f"its {name!r} is {quoted(own.get(name))}, that of SDPOConfig's chat_template_kwargs is "
                f"{quoted(given.get(name))}: TRL renders every row with the same; make a data set for each",
                trace_id=trace.plain.trace_id,
            )
