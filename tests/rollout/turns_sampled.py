"""Turns as a model would have sampled them, by transformers' renders alone; nothing of chatspan is in here.

    prompt = apply_chat_template(messages[:k], add_generation_prompt=True)
    whole  = apply_chat_template(messages[:k + 1])

Where the whole begins with the prompt, the model would have written what stands behind it: up to the control token
that ends it, without what blanks or other control tokens the template writes after that.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prompts import SOURCES, row_of, switches, tokenizer_for
from turn_shapes import NEEDED, SHAPES, WORD, Messages


@dataclass(frozen=True)
class Sampled:
    """A turn, and what inference showed before it and after it.

    Attributes:
        index, next_index: of its message, and of the next assistant's.
        prompt: what was shown.
        text: what the model writes, the token that ends it included.
        stop: that token; empty where the template writes none.
        next_prompt: what inference shows next; ``None`` where the template refuses it.
    """

    index: int
    next_index: int
    prompt: str
    text: str
    stop: str
    next_prompt: str | None

    @property
    def is_stable(self) -> bool:
        """Whether the next prompt begins with what was shown and written."""
        return self.next_prompt is not None and self.next_prompt.startswith(self.prompt + self.text)


class Talk:
    """A conversation, and its turns one after the other.

    Args:
        words: those of its messages.
    """

    def __init__(
        self,
        tokenizer: Any,
        source: str,
        messages: Messages,
        keywords: Mapping[str, Any],
        words: re.Pattern[str] = WORD,
    ) -> None:
        self.messages = messages
        self._words = words
        self.keywords = dict(keywords)
        self.tokenizer = tokenizer
        self._apply = functools.partial(
            tokenizer.apply_chat_template, chat_template=source, tokenize=False, **self.keywords
        )

    def prompt(self, count: int) -> str | None:
        """What inference shows for the messages so far."""
        return self.render(count, add_generation_prompt=True)

    def turns(self) -> Iterator[Sampled]:
        """The turns that the template writes behind their prompts, but the last, which nothing follows."""
        indices = [index for index, message in enumerate(self.messages) if message["role"] == "assistant"]
        for index, following in zip(indices, [*indices[1:], len(self.messages)], strict=True):
            prompt, whole = self.prompt(index), self.render(index + 1)
            if prompt is None or whole is None or not whole.startswith(prompt) or following <= index + 1:
                continue
            text, stop = self.own_part(whole[len(prompt) :])
            yield Sampled(index, following, prompt, text, stop, self.prompt(following))

    def own_part(self, behind: str) -> tuple[str, str]:
        """What the model writes of what stands behind its prompt, up to the first control token behind its last word.

        Of a call the tags that close it are the model's, too: they are no special tokens of the templates' tokenizers,
        and all special tokens but the last of a run of them close something.
        """
        words = list(self._words.finditer(behind))
        last = words[-1].end() if words else 0
        ends = [(match.start(), match.end()) for match in self._specials.finditer(behind, last)]
        if not ends:
            return behind.rstrip(), ""
        # A run of control tokens: tool calls are closed, then the turn. Behind that may stand an end of text, or what
        # opens the next message, which some templates write unasked.
        known = (end for stops in self._stops for end in ends if behind[slice(*end)] == stops)
        stop = next(known, ends[-1])
        return behind[: stop[1]], behind[stop[0] : stop[1]]

    @functools.cached_property
    def _specials(self) -> re.Pattern[str]:
        tokens = sorted(map(str, self.tokenizer.all_special_tokens + list(self.tokenizer.get_added_vocab())), key=len)
        return re.compile("|".join(re.escape(token) for token in reversed(tokens)))

    @functools.cached_property
    def _stops(self) -> list[str]:
        """The control tokens that end a plain answer, and a user's message."""
        plain = [{"role": "user", "content": "Zu"}, {"role": "assistant", "content": "Zc"}]
        try:
            text = self._apply(plain)
        # Templates raise whatever they like.
        except Exception:
            return []
        found = (self._specials.match(text.rpartition(word)[2].lstrip()) for word in ("Zc", "Zu"))
        return [each.group() for each in found if each]

    def render(self, count: int, **options: Any) -> str | None:
        """The first messages as transformers renders them; ``None`` where the template refuses."""
        try:
            return self.rendered(count, **options)
        # Templates raise whatever they like.
        except Exception:
            return None

    def rendered(self, count: int, **options: Any) -> str:
        """The first messages as transformers renders them; raises what the template does."""
        return str(self._apply(self.messages[:count], **options))


def talks(name: str, number: int) -> Iterator[tuple[str, Talk]]:
    """The conversations that a template takes, each by its shape.

    Args:
        number: of the template's ``switches``.
    """
    for shape, (messages, keywords) in SHAPES.items():
        given = {**NEEDED.get(name, {}), **keywords, **switches(name)[number]}
        row = row_of(tokenizer_for(name), SOURCES[name], messages, given)
        if row is not None:
            yield shape, Talk(tokenizer_for(name), SOURCES[name], row.messages, row.keywords)
