"""Control tokens in the data of conversations, with ``special_tokens="escape"`` and ``"error"``: none stays one."""

from __future__ import annotations

import functools
from typing import Any

from compare_templates import Choices
from control_tokens import MESSAGES, PIECES, TOOLS, WRITTEN, NotComparable, check
from random_inputs import drawn
from random_templates import VALUES
from random_templates import template as random_template

from attack.tries import Attempt, Outcome, Setting, failed, refused, right, told_of

# Tries that have one pool of messages, tools and values, which takes a second to draw.
_TRIES_OF_A_POOL = 400


def start(setting: Setting) -> Attempt:
    """A try is one template and one conversation with control tokens, and parts of such, in its data."""
    written, pieces = drawn(WRITTEN, 0), drawn(PIECES, 0)

    @functools.lru_cache(maxsize=2)
    def pools(block: int) -> tuple[list[Any], ...]:
        number = setting.random(-1 - block).randrange(1 << 30)
        return tuple(drawn(strategy, number + index) for index, strategy in enumerate((MESSAGES, TOOLS, VALUES)))

    def attempt(number: int) -> Outcome:
        chance = setting.random(number)
        messages, tools, values = map(chance.choice, pools(number // _TRIES_OF_A_POOL))
        if chance.random() < 0.7:
            body = "".join(chance.choices(written, k=chance.randint(1, 6)))
            template = f"{{% for m in messages %}}{body}{{% endfor %}}"
            keywords = {"effort": chance.choice(pieces)}
        else:
            template, tools, keywords = random_template(Choices(random=chance)), None, values
        try:
            checked = check(template, messages, tools, keywords)
        except NotComparable:
            return refused("the template cannot render it")
        except BaseException as error:
            return failed(
                f"template {template!r:.1500}\nmessages {messages!r:.1500}\ntools {tools!r:.800}\n{told_of(error)}"
            )
        return right("with control tokens of data" if checked.changed else "without control tokens of data")

    return attempt
