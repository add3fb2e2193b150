"""Very many templates, each with an encoder of its own, which is thrown away."""

from __future__ import annotations

from cases import assistant, user
from chatspan import ChatEncoder

from attack.attacks import BY_NAME
from attack.fuzzers import small
from attack.fuzzers.plateau import plateau
from attack.tries import Attempt, Setting

_COUNT = 10_000
# A short one, of which all is found out that is of a long one.
_TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
# Of so many one has a construct that only Jinja2 has.
_LACKING, _LACKS = 10, "{% if false %}{{ dict(*[]) }}{% endif %}"
_MESSAGES = [user("Hi"), assistant("Yes."), user("So?"), assistant("No.")]


def start(setting: Setting) -> Attempt:
    """A try is a part of the templates."""
    tokenizer, parts = small.tokenizer(), BY_NAME[setting.name].count or 1

    def part(number: int) -> float:
        for index in range(_COUNT // parts):
            template = f"{_TEMPLATE}{number}-{index}{_LACKS * (index % _LACKING == 0)}"
            ChatEncoder(tokenizer, chat_template=template, backend="hf").encode(_MESSAGES).mask(what="content")
        return 0

    return plateau(part, parts, _COUNT // parts)
