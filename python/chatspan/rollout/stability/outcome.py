"""One event, crossed as a rollout crosses it: what becomes of what was shown and sampled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Literal, NamedTuple

from chatspan.attribute.attributed import AttributedRender
from chatspan.encode.pipeline import EncodingPipeline
from chatspan.errors import (
    RolloutError,
    StopTokenError,
    TemplateError,
    UnrenderedMessageError,
    one_line,
)
from chatspan.render.probes import SYSTEM
from chatspan.render.request import RenderRequest
from chatspan.rollout.proof.bridge import Shown, bridge
from chatspan.rollout.proof.fit import Sampled
from chatspan.rollout.rewrites import Cause
from chatspan.rollout.stability.probes import REASONING_WORD, Probe, Tags

Verdict = Literal["stable", "rewritten", "refused"]
Why = Literal[Cause, "template_raises", "unrendered"]


class Outcome(NamedTuple):
    """What becomes of what was shown and sampled.

    Attributes:
        cause: why it does not stay; ``None`` where it does.
        message_index: the turn behind which a rewrite shows; the message that is refused.
        start_char, shown, written: see :class:`chatspan.rollout.rewrites.Rewrite`.
        words: what a rollout says that refuses the event; of a template that raises its own words.
        texts: the prompt, the conversation up to the turn, and the next prompt, as far as the template writes them.
        doubts: how much better the event may fare in another form; 0 for nothing.
    """

    verdict: Verdict
    cause: Why | None = None
    message_index: int | None = None
    start_char: int | None = None
    shown: str = ""
    written: str = ""
    words: str = ""
    texts: tuple[str, ...] = ()
    doubts: int = 0


def outcome(
    pipeline: EncodingPipeline, probe: Probe, before: RenderRequest, after: RenderRequest, tags: Tags
) -> Outcome | None:
    """What becomes of a turn, and of what was shown for it; ``None`` where the prompt leaves no room for its reasoning.

    Args:
        before: the messages that end with the turn, and the keywords that it was prompted with.
        after: these and what follows, and the keywords of the next prompt.
        tags: what stands around reasoning.
    """
    index = len(before.messages) - 1
    prompted = before._replace(messages=before.messages[:index], add_generation_prompt=True)
    texts: list[str] = []
    try:
        [prompt] = pipeline.render([prompted])
        if probe.reasons and _ends_reasoning(_opening(pipeline, prompted, prompt.attributed), tags):
            return None
        texts.append(prompt.render.text)
        [whole] = pipeline.render([before])
        texts.append(whole.render.text)
    except TemplateError as error:
        return _raised(error, texts)
    shown = Shown(prompt.attributed, index)
    sampled = _sampled(shown.text, whole.attributed, index)
    crossed = partial(_crossed, pipeline, after._replace(add_generation_prompt=True), shown, texts=texts)
    found = crossed(sampled)
    if not probe.reasons or REASONING_WORD in sampled.text or found.verdict == "refused":
        return found
    if any(run[2] == index and REASONING_WORD in whole.render.text[run[0] : run[1]] for run in whole.attributed.fields):
        return found._replace(doubts=1)
    if found.verdict == "stable":
        # A model reasons, though the template writes nothing of it.
        reasoned = f"{tags.opens}\n{REASONING_WORD}\n{tags.closes}\n\n{sampled.text}"
        found = crossed(sampled._replace(text=reasoned))._replace(cause="reasoning_dropped", texts=found.texts)
    return found._replace(doubts=2)


def of_change(found: Outcome) -> Outcome:
    """What is told of an event where a switch changes, which no rollout does: all texts in front of it may differ."""
    if found.verdict != "rewritten":
        return found
    is_before = found.start_char is not None and found.start_char < len(found.texts[0])
    cause = "history_rewritten" if is_before and found.cause != "another_opening" else found.cause
    return found._replace(cause=cause, words="")


def _crossed(
    pipeline: EncodingPipeline, after: RenderRequest, shown: Shown, sampled: Sampled, *, texts: Sequence[str]
) -> Outcome:
    """What a rollout makes of it that begins a new row where it has to."""
    try:
        found = bridge(pipeline, after, shown, sampled, "split")
    except TemplateError as error:
        return _raised(error, texts)
    except RolloutError as error:
        return _refused(error, shown, after, texts)
    told = Outcome("stable", texts=(*texts, found.attributed.render.text))
    rewrite = found.proof.rewrite
    return told if rewrite is None else told._replace(verdict="rewritten", **rewrite._asdict())


def _raised(error: TemplateError, texts: Sequence[str]) -> Outcome:
    words = one_line(error.__cause__ or error)
    doubts = 6 - len(texts)
    return Outcome("refused", "template_raises", error.message_index, words=words, texts=(*texts,), doubts=doubts)


def _refused(error: RolloutError, shown: Shown, after: RenderRequest, texts: Sequence[str]) -> Outcome:
    """What a rollout refuses, whatever ``on_rewrite`` is: the template writes something else, or drops a message."""
    place = (error.start_char, error.shown or "", error.written or "", error.message, (*texts,))
    cause: Cause = "another_end" if isinstance(error, StopTokenError) else "turn_rewritten"
    if isinstance(error, UnrenderedMessageError):
        if error.kind != "moved" or error.message_index is None:
            return Outcome("refused", "unrendered", error.message_index, *place, doubts=3)
        is_system = after.messages[error.message_index]["role"] == SYSTEM["role"]
        cause = "system_moved" if is_system else "history_rewritten"
    return Outcome("rewritten", cause, shown.message_index, *place)


def _sampled(prompt: str, whole: AttributedRender, index: int) -> Sampled:
    """What the model writes of a turn, as the template writes it behind its prompt; nothing where it does not."""
    text = whole.render.text
    if not text.startswith(prompt):
        return Sampled("", "")
    region = whole.regions.get(index)
    end = None if region is None else region.end_of_turn
    said = text[len(prompt) :].rstrip() if end is None else text[len(prompt) : end[1]]
    tokens = sorted(filter(None, whole.control_tokens), key=len, reverse=True)
    return Sampled(said, next(filter(said.endswith, tokens), ""))


def _opening(pipeline: EncodingPipeline, prompted: RenderRequest, prompt: AttributedRender) -> str:
    """What a prompt writes for the turn to come; all behind the last field where the template writes it unasked."""
    text = prompt.render.text
    [plain] = pipeline.try_render([prompted._replace(add_generation_prompt=False)], datetime.now())
    if plain is not None and text.startswith(plain.text) and text != plain.text:
        return text[len(plain.text) :]
    return text[max((end for _, end, *_ in prompt.fields), default=0) :]


def _ends_reasoning(opening: str, tags: Tags) -> bool:
    """Whether an opening has reasoning that is over, as where thinking is switched off."""
    if tags.closes in opening:
        return True
    # What closes reasoning also opens what follows it, where a template has a tag for that.
    first = re.match(r"<[^<>]*>", tags.closes)
    return first is not None and first.group() in opening.partition(tags.opens)[2]
