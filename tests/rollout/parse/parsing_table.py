"""The table of parsed completions in the docs: random messages, rendered by transformers, parsed, compared.

python tests/rollout/parse/parsing_table.py --messages 10000
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[2] / "attribute"))

from chatspan import ChatEncoder
from prompts import SOURCES, switches, tokenizer_for
from random_messages import Shape, Template, histories, marks_in, message, same, sampled
from turn_shapes import NEEDED

SHAPES: dict[str, Shape] = {
    "content": (False, True, 0),
    "reasoning": (True, True, 0),
    "call": (False, False, 1),
    "calls": (False, False, 2),
    "content, call": (False, True, 1),
    "reasoning, call": (True, False, 1),
    "all": (True, True, 2),
}
SAME, UNSURE, OTHER_UNSURE, OTHER = "same", "same, unsure", "other, unsure", "other"
COLUMNS = (*SHAPES, UNSURE, OTHER_UNSURE, OTHER)


class Sweep:
    """Random messages of a template, with each of the keywords that it reads.

    Args:
        name: of the template.
        encoder, templates: where it is none of the known ones.
        marked: whether texts hold the template's own marks.
    """

    def __init__(
        self,
        name: str,
        *,
        encoder: ChatEncoder | None = None,
        templates: Sequence[Template] = (),
        marked: bool = False,
    ) -> None:
        self.name = name
        if not templates:
            tokenizer, needed = tokenizer_for(name), NEEDED.get(name, {})
            templates = [Template(tokenizer, SOURCES[name], {**needed, **keywords}) for keywords in switches(name)]
        self.templates = list(templates)
        source = self.templates[0].source
        self.encoder = encoder or ChatEncoder(self.templates[0].tokenizer, chat_template=source)
        self.histories = [histories(template) for template in self.templates]
        self.marks = marks_in(source) if marked else []
        self.prompts: dict[tuple[int, int, bool], str | None] = {}
        self.seconds = 0.0

    @property
    def form(self) -> str:
        """How the template writes calls, as it was learned."""
        kinds = {forms.calls.kind for forms in self.encoder._parsers.learned() if forms.calls is not None}
        return ", ".join(sorted(kinds))

    def run(self, count: int, seed: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The shape and the outcome of messages that the template writes whole behind their prompt."""
        random = Random(f"{self.name} {seed}")
        done = 0
        for _ in range(20 * count):
            shape_name = random.choice(list(SHAPES))
            found = self._one(random, SHAPES[shape_name])
            if found is not None:
                yield shape_name, *found
                done += 1
            if done >= count:
                return

    def _one(self, random: Random, shape: Shape) -> tuple[str, dict[str, Any]] | None:
        reasoning, content, calls = shape
        shape = (reasoning, content, random.randint(1, 3) if calls > 1 else calls)
        plain = message(random, shape, self.marks)
        which = random.randrange(len(self.templates))
        template = self.templates[which]
        given = template.variant_of(plain, shape)
        if given is None:
            return None
        number = random.randrange(len(self.histories[which]))
        history = self.histories[which][number]
        with_tools = given[1] or number == 3 or random.random() < 0.2
        tools = template.tools if with_tools else None
        key = (which, number, with_tools)
        if key not in self.prompts:
            self.prompts[key] = template.render(history, tools=tools, prompt=True)
        prompt, row = self.prompts[key], template.render([*history, given[0]], tools=tools)
        if prompt is None or row is None or not row.startswith(prompt):
            return None
        if not all(plain.get(key, "").strip() in row for key in ("content", "reasoning_content")):
            # The template drops some of it, or writes it otherwise.
            return None
        completion = row[len(prompt) :] if self.marks else sampled(random, template, row[len(prompt) :])
        start = time.perf_counter()
        parsed = self.encoder.parse_completion(history, completion, tools, template_kwargs=template.keywords)
        self.seconds += time.perf_counter() - start
        case = {"message": plain, "parsed": parsed, "completion": completion, "prompt": prompt}
        alike = same(parsed, plain)
        # One that is the same renders alike; a part of them shows that.
        if parsed.certain and (not alike or random.random() < 0.1):
            again = template.render([*history, parsed.message], tools=tools)
            assert again is not None, case
            wanted = prompt + completion[: len(completion) - len(parsed.rest)]
            if any(note.code == "spelling" for note in parsed.notes):
                # JSON that is spelled otherwise does not come up: transformers wrote it.
                again, wanted = "".join(again.split()), "".join(wanted.split())
            assert again.startswith(wanted), case
        if alike:
            return (SAME if parsed.certain else UNSURE), case
        return (OTHER if parsed.certain else OTHER_UNSURE), case


def line_of(job: tuple[str, int, int, bool, bool]) -> tuple[str, str, Counter[str], float]:
    """A line of the table: the template, the form of its calls, its counts and the time of one."""
    name, count, seed, marked, verbose = job
    warnings.filterwarnings("ignore")
    sweep = Sweep(name, marked=marked)
    counts: Counter[str] = Counter()
    for shape, outcome, case in sweep.run(count, seed):
        counts[outcome] += 1
        counts[f"of {shape}"] += 1
        counts[f"{outcome} {shape}"] += 1
        if verbose and outcome == OTHER:
            print(name, shape, case, file=sys.stderr)
    return (
        name,
        sweep.form,
        counts,
        sweep.seconds / max(1, sum(counts[outcome] for outcome in (SAME, UNSURE, OTHER_UNSURE, OTHER))),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--marked", action="store_true", help="texts hold the template's own marks")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="show certain readings that are another message")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    names = options.names or list(SOURCES)
    jobs = [(name, options.messages, options.seed, options.marked, options.verbose) for name in names]
    print(f"| template | calls are | messages | {' | '.join(COLUMNS)} | ms |")
    print("|---|---|" + "---:|" * (len(COLUMNS) + 2))
    total: Counter[str] = Counter()
    with multiprocessing.Pool(options.processes) as pool:
        for name, form, counts, seconds in pool.imap(line_of, jobs):
            total += counts
            print(_line(name, form, counts, f"{1000 * seconds:.1f}"), flush=True)
    print(_line("all", "", total, ""))


def _line(name: str, form: str, counts: Counter[str], milliseconds: str) -> str:
    made = sum(counts[outcome] for outcome in (SAME, UNSURE, OTHER_UNSURE, OTHER))
    pairs = [(counts[f"{SAME} {shape}"], counts[f"of {shape}"]) for shape in SHAPES]
    cells = [f"{same_certain} of {of}" if of else "" for same_certain, of in pairs]
    cells += [str(counts[outcome]) for outcome in (UNSURE, OTHER_UNSURE, OTHER)]
    return f"| {name} | {form} | {made} | {' | '.join(cells)} | {milliseconds} |"


if __name__ == "__main__":
    main()
