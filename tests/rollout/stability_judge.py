"""What becomes of an event of a rollout, by transformers' renders alone; nothing of chatspan is in here.

    prompt      = apply_chat_template(messages[:k], add_generation_prompt=True)
    whole       = apply_chat_template(messages[:k + 1])
    next prompt = apply_chat_template(messages[:k + 1] + new, add_generation_prompt=True)

Refused: one of them raises, or the next prompt lacks a word of what is new. Stable: the next prompt begins with the
prompt and the turn that the whole has behind it. Rewritten: anything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from turn_shapes import Messages
from turns_sampled import Talk

# The words of probes: each message's content, reasoning and arguments are one of them.
WORDS = re.compile(r"Z[a-z](?![a-z])")
REASONING = "Zr"


class Judged(NamedTuple):
    """A verdict, and the characters that were shown and sampled, as far as the template writes them.

    Attributes:
        prompt_length: how many of them are the prompt's.
        next_prompt: what inference shows next.
        raised: what the template raised.
    """

    verdict: str
    shown: str = ""
    prompt_length: int = 0
    next_prompt: str = ""
    raised: str = ""


def judged(
    tokenizer: Any,
    source: str,
    messages: Messages,
    new: Messages,
    keywords: Mapping[str, Any],
    next_keywords: Mapping[str, Any],
    *,
    reasons: bool,
) -> Judged:
    """What becomes of the last of some messages, and of what was shown before it.

    Args:
        reasons: whether the model reasons, be it that the template writes it or not.
    """
    before = Talk(tokenizer, source, messages, keywords, WORDS)
    after = Talk(tokenizer, source, [*messages, *new], next_keywords, WORDS)
    count = len(messages)
    prompt, whole, next_prompt = before.prompt(count - 1), before.render(count), after.prompt(count + len(new))
    if prompt is None or whole is None or next_prompt is None:
        return Judged("refused", raised=_raised(before, after, count, len(new)))
    text = before.own_part(whole[len(prompt) :])[0] if whole.startswith(prompt) else ""
    shown = (prompt + text, len(prompt), next_prompt)
    if not words_of_contents(new) <= set(WORDS.findall(next_prompt)):
        return Judged("refused", *shown)
    is_unwritten = reasons and REASONING not in text
    is_stable = whole.startswith(prompt) and next_prompt.startswith(prompt + text) and not is_unwritten
    return Judged("stable" if is_stable else "rewritten", *shown)


def words_of_contents(messages: Messages) -> set[str]:
    return {word for message in messages for word in WORDS.findall(str(message["content"]))}


def _raised(before: Talk, after: Talk, count: int, new: int) -> str:
    """What the template says, in the first of the renders that it refuses."""
    for talk, length, options in (
        (before, count - 1, {"add_generation_prompt": True}),
        (before, count, {}),
        (after, count + new, {"add_generation_prompt": True}),
    ):
        try:
            talk.rendered(length, **options)
        # Templates raise whatever they like.
        except Exception as error:
            return " ".join(str(error).split())
    raise AssertionError("nothing is refused")
