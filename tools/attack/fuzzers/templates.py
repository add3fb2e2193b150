"""Random chat templates, and real ones that were changed: text and ids are those of transformers, or both refuse."""

from __future__ import annotations

import functools
import re
from random import Random
from typing import Any

from cases import TEMPLATES
from chatspan import ChatEncoder, ChatspanError, MessageError, OptionError
from compare_templates import TAGS, WORDS, Choices
from random_inputs import Input, pool
from random_templates import template as random_template
from smallest import Word, smallest
from zoo import ZOO

from attack.fuzzers import small
from attack.table import kind_of
from attack.tries import Attempt, Outcome, Setting, failed, refused, right, told_of

# Tries that have one pool of inputs, which takes seconds to draw.
_TRIES_OF_A_POOL = 400
_JUDGE_SECONDS = 10
# Failures that are made smaller, and what for each.
_MADE_SMALLER, _TRIES_TO_MAKE_SMALLER = 5, 150
# An error that says that a template, or what it is given, is too much, which transformers does not look at.
_LIMITS = ("was stopped at its limit", "nested too deeply", "has a lone surrogate")
_WORD = re.compile(r"'[^']*'|\w+|\S")


def start(setting: Setting) -> Attempt:
    """A try is one template and one conversation."""
    tokenizer = small.tokenizer()
    real = [*TEMPLATES.values(), tokenizer.chat_template]
    real += [path.read_text("utf-8") for path in sorted((ZOO / "templates").glob("*.jinja"))]

    made_smaller = iter(range(_MADE_SMALLER))

    @functools.lru_cache(maxsize=2)
    def inputs(block: int) -> list[Input]:
        return pool(setting.random(-1 - block).randrange(1 << 30), values=True)

    def attempt(number: int) -> Outcome:
        chance = setting.random(number)
        given = chance.choice(inputs(number // _TRIES_OF_A_POOL))
        source, what = drawn(real, chance)
        outcome = compare(tokenizer, source, given, what)
        if outcome.kind == "failed" and next(made_smaller, None) is not None:
            return smaller(tokenizer, source, given, outcome)
        return outcome

    return attempt


def drawn(real: list[str], chance: Random) -> tuple[str, str]:
    """A template, and what it is."""
    if chance.random() < 0.6:
        return random_template(Choices(random=chance)), "a random template"
    source, others = chance.choice(real), chance.sample(real, 3)
    changes = chance.choice([0, 1, 1, 2, 4])
    for _ in range(changes):
        source = changed(source, others, chance)
    return source, "a changed template" if changes else "a real template"


def smaller(tokenizer: Any, source: str, given: Input, outcome: Outcome) -> Outcome:
    """The same failure of less."""
    kind = kind_of(outcome.note)

    def compared(found: Any) -> Outcome:
        parts, messages, keywords = found
        return compare(tokenizer, "".join(parts), Input(messages, keywords), "")

    def shows(found: Any) -> bool:
        less = compared(found)
        return bool(found[1]) and less.kind == "failed" and kind_of(less.note) == kind

    for words in (TAGS, WORDS):
        parts = [Word(word) for word in words.findall(source)]
        found = smallest((parts, given.messages, given.keywords), shows, _TRIES_TO_MAKE_SMALLER)
        source, given = "".join(found[0]), Input(found[1], found[2])
    return compared(([source], given.messages, given.keywords))


def changed(source: str, others: list[str], chance: Random) -> str:
    """A template with a tag less, more, elsewhere or of another one, or with another word in a tag."""
    parts = TAGS.findall(source)
    if not parts:
        return chance.choice(others)
    place = chance.randrange(len(parts))
    how = chance.choice(["drop", "repeat", "swap", "other", "word", "word", "word", "cut"])
    if how == "drop":
        del parts[place : place + 1]
    elif how == "repeat":
        parts.insert(chance.randrange(len(parts) + 1), parts[place])
    elif how == "swap":
        other = chance.randrange(len(parts))
        parts[place], parts[other] = parts[other], parts[place]
    elif how == "other":
        parts.insert(place, chance.choice(TAGS.findall(chance.choice(others))))
    elif how == "cut":
        del parts[place:]
    else:
        words = list(_WORD.finditer(parts[place]))
        there = list(_WORD.finditer(chance.choice(TAGS.findall(chance.choice([source, *others])))))
        if words and there:
            old, new = chance.choice(words), chance.choice(there)
            parts[place] = parts[place][: old.start()] + new.group() + parts[place][old.end() :]
    return "".join(parts)


def compare(tokenizer: Any, source: str, given: Input, what: str) -> Outcome:
    """What chatspan makes of a template and a conversation, beside what transformers does."""
    said = f"template {source[:1500]!r}\nmessages {given.messages!r:.1500}\nkeywords {given.keywords!r:.800}\n"
    keywords = {**given.keywords, "chat_template": source}
    try:
        with small.at_most(_JUDGE_SECONDS):
            text = tokenizer.apply_chat_template(given.messages, **keywords, tokenize=False)
            ids = small.ids_of(tokenizer, given.messages, keywords)
    except Exception as error:
        text, own = None, f"transformers raises {type(error).__name__}: {error!s:.300}"
    except small.OverTime:
        return refused(f"{what}: no end by transformers")
    if text is not None and " at 0x" in text.lower():
        return refused(f"{what}: an address in the text, another one in each render")
    try:
        encoding = ChatEncoder(tokenizer, chat_template=source).encode(given.messages, **given.keywords)
    except ChatspanError as error:
        if text is None:
            return refused(f"{what}: by both")
        if any(words in str(error) for words in _LIMITS):
            return refused(f"{what}: {type(error).__name__} of a limit")
        if isinstance(error, MessageError) and "for which a tokenizer has no tokens" in str(error):
            return refused(f"{what}: an image for a tokenizer")
        if isinstance(error, OptionError):
            # As documents that are an empty text, through which transformers goes.
            return refused(f"{what}: OptionError of an argument")
        return failed(f"{said}transformers renders {text[:300]!r}\n{told_of(error)}")
    except BaseException as error:
        return failed(f"{said}{told_of(error)}")
    if text is None:
        return failed(f"{said}chatspan renders {encoding.text[:300]!r}\n{own}")
    if encoding.text != text:
        return failed(f"{said}another text: {small.first_difference(text, encoding.text)}")
    if encoding.input_ids.tolist() != ids:
        return failed(f"{said}other ids: {small.first_difference(ids, encoding.input_ids.tolist())}")
    try:
        encoding.mask()
    except ChatspanError:
        return right(f"{what}, whose turns cannot be told")
    except BaseException as error:
        return failed(f"{said}{told_of(error)}")
    return right(what)
