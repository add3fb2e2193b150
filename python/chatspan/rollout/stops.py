"""Where sampling has to stop: the tokens that end an assistant's turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatspan.encode.pipeline import EncodingPipeline
from chatspan.errors import ChatspanError
from chatspan.render.probes import RESULT, SCHEMA, USER, Message, as_parts, assistant, calling
from chatspan.render.request import RenderRequest
from chatspan.rollout.sampled import SampledEnd, sampled_rows
from chatspan.tokenize.control_tokens import control_ids, control_tokens
from chatspan.tokenize.stops import stop_ids

_ANSWER = assistant("Zc")
_PROBES: tuple[list[Message], ...] = (
    [USER, _ANSWER],
    [USER, _ANSWER, USER, _ANSWER],
    [USER, calling()],
    [USER, calling(), RESULT, _ANSWER],
)


def turn_end_ids(pipeline: EncodingPipeline, like: RenderRequest) -> list[int]:
    """The ids at which sampling stops, in rising order.

    Those with which the template ends turns, answers and calls, or opens what follows a turn that has no end of its own
    (``<|observation|>``); the tokenizer's end of sequence; and what the model's generation config names, where that is
    at hand. Found by rendering small conversations.

    Args:
        like: a request with the keywords of the template; its messages do not count.
    """
    tokenizer = pipeline.tokenizer
    found = set(stop_ids(tokenizer, str(getattr(tokenizer, "name_or_path", ""))))
    for tools in (None, [SCHEMA]):
        control = control_ids(tokenizer, control_tokens(tokenizer, pipeline.template(tools).literal_text)).tokens
        for probe in _PROBES:
            found.update(each for each in _ends(pipeline, like, probe, tools) if each in control)
    return sorted(found)


def _ends(
    pipeline: EncodingPipeline, like: RenderRequest, probe: list[Message], tools: Sequence[Any] | None
) -> set[int]:
    """The last token of each turn of a probe; none where the template refuses it."""
    for messages in (probe, as_parts(probe)):
        ends: SampledEnd
        for ends in ("token", "next_header"):
            request = like._replace(messages=messages, tools=tools, add_generation_prompt=False)
            try:
                [rendered] = pipeline.render([request])
                rows = sampled_rows(pipeline, request, end_of_turn=ends)
            # The template takes no such conversation, or nothing tells where its turns end.
            except ChatspanError:
                continue
            last = {int(row.input_ids[ranges[-1][1] - 1]) for row in rows for ranges in row.turns.values()}
            # What closes a call may be followed by another one.
            closes_call = rendered.attributed.conventions.markers.call_ends
            return {each for each in last if pipeline.decode([each]) not in closes_call}
    return set()
