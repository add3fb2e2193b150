"""What is asked, what was recorded, and what the hints say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.settings import Settings

Message = dict[str, Any]

# Words that are one token of the examples' tokenizer each, so that all questions are alike.
THINGS = (
    "train", "seat", "date", "day", "name", "message", "origin", "prompt",
    "reward", "string", "text", "type", "part", "role", "start", "object",
)  # fmt: skip
ACTIONS = (
    "find", "change", "move", "write", "take", "call", "run", "try",
    "look", "add", "request", "tell", "thank", "promise", "want", "end",
)  # fmt: skip
LETTERS = "ABCDEFGHJKLM"
DIGITS = "0123456789"
ERROR = "error: no such code"
# Where the recovery stands: behind the question, the first answer and the error.
RECOVERY = 3


@dataclass(frozen=True)
class Combination:
    """A thing and an action, by their place in the lists."""

    thing: int
    action: int

    @property
    def question(self) -> str:
        """What the user writes."""
        return f"{THINGS[self.thing]} {ACTIONS[self.action]}"


@dataclass(frozen=True)
class Recording:
    """A conversation in which the assistant was wrong, was told so, and tried again.

    Attributes:
        wrong: its first answer.
        recovery: what it tried then: the answer, or the same error.
        answer: what would have been right, which the hint says.
    """

    combination: Combination
    wrong: str
    recovery: str
    answer: str

    @property
    def prompt(self) -> list[Message]:
        """What the assistant sees in front of its recovery."""
        return prompt_of(self.combination, self.wrong)

    @property
    def messages(self) -> list[Message]:
        """All of it."""
        return [*self.prompt, {"role": "assistant", "content": self.recovery}]

    @property
    def succeeds(self) -> bool:
        """Whether the recovery is right."""
        return self.recovery == self.answer


def prompt_of(combination: Combination, wrong: str) -> list[Message]:
    """A question, a wrong answer, and the error."""
    return [
        {"role": "user", "content": combination.question},
        {"role": "assistant", "content": wrong},
        {"role": "tool", "content": ERROR},
    ]


def write_hint(tool_error: Any, error_meta: Any) -> str:
    """The hint that a teacher sees in front of the recovery."""
    return f"Say {error_meta['answer']}"


def hint_of(answer: str) -> Message:
    """The message that has it."""
    return {"role": "system", "content": write_hint(ERROR, {"answer": answer})}


class World:
    """The codes of a seed. A code has a part for the thing and a part for the action: ``B3-F9``.

    Each part once was another one, which an assistant that was not trained on the recordings says more often.

    Attributes:
        seen, held_out: combinations. Each thing and each action is in both, no combination is.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        self._settings = settings
        draw = random.Random(f"codes {seed}")
        self.old_parts, self.parts = [], []
        for count in (settings.things, settings.actions):
            pairs = [_two_parts(draw) for _ in range(count)]
            self.old_parts.append([old for old, _ in pairs])
            self.parts.append([new for _, new in pairs])
        shift = draw.randrange(4)
        self.seen: list[Combination] = []
        self.held_out: list[Combination] = []
        for thing in range(settings.things):
            for action in range(settings.actions):
                is_out = (thing + action + shift) % 4 == 0
                (self.held_out if is_out else self.seen).append(Combination(thing, action))

    def answer(self, combination: Combination) -> str:
        """What is right."""
        return f"{self.parts[0][combination.thing]}-{self.parts[1][combination.action]}"

    def habit(self, combination: Combination, draw: random.Random) -> str:
        """What an assistant says that was not trained: each part as it was, as it is, or another one."""
        places = (combination.thing, combination.action)
        return "-".join(self._part_by_habit(of, place, draw) for of, place in enumerate(places))

    def _part_by_habit(self, of: int, place: int, draw: random.Random) -> str:
        chance = draw.random()
        if chance < self._settings.old:
            return self.old_parts[of][place]
        if chance < self._settings.old + self._settings.right:
            return self.parts[of][place]
        return any_part(draw)

    def wrong(self, combination: Combination, draw: random.Random) -> str:
        """The same, where it is wrong."""
        while (said := self.habit(combination, draw)) == self.answer(combination):
            pass
        return said

    def recordings(self, count: int, draw: random.Random) -> list[Recording]:
        """Of seen combinations alone; some recoveries repeat the error."""
        return [self._recording(draw.choice(self.seen), draw) for _ in range(count)]

    def _recording(self, combination: Combination, draw: random.Random) -> Recording:
        wrong, answer = self.wrong(combination, draw), self.answer(combination)
        recovery = wrong if draw.random() < self._settings.repeats else answer
        return Recording(combination, wrong, recovery, answer)

    def first_conversations(self, count: int, draw: random.Random) -> list[list[Message]]:
        """What the first training is on, of seen combinations alone.

        Half of them have hints, which are drawn and followed; in the others the recovery is said by habit, too.
        """
        found = []
        for index in range(count):
            combination = draw.choice(self.seen)
            prompt = prompt_of(combination, self.wrong(combination, draw))
            said = self.habit(combination, draw)
            if index % 2:
                said = f"{any_part(draw)}-{any_part(draw)}"
                prompt.append(hint_of(said))
            found.append([*prompt, {"role": "assistant", "content": said}])
        return found


def any_part(draw: random.Random) -> str:
    """A letter and a digit."""
    return draw.choice(LETTERS) + draw.choice(DIGITS)


def _two_parts(draw: random.Random) -> tuple[str, str]:
    """Two that differ in both."""
    letters, digits = draw.sample(LETTERS, 2), draw.sample(DIGITS, 2)
    return letters[0] + digits[0], letters[1] + digits[1]


def other_answers(recordings: Sequence[Recording], draw: random.Random) -> list[str]:
    """For each recording the answer of another one: hints that are shuffled among rows."""
    answers = [recording.answer for recording in recordings]
    draw.shuffle(answers)
    return answers
