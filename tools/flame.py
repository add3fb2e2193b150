"""Draws where the time of one row goes, as a flame graph: ``python tools/flame.py [--out FILE]``.

``ChatCollator`` makes the tensors of rows of 80 messages, without a cache of texts, while py-spy samples the stacks of
the process (``pip install py-spy``). The width of a box is its share of the samples; its milliseconds are that share of
a call's median, measured without py-spy. A function that does little but call one other is left out. The frames of the
Rust core are one box, with a border.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import cycle
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[1]
OUT = REPOSITORY / "docs" / "images" / "encode-flame.svg"
MESSAGES, RATE = 80, 200
ROOT = "ChatCollator.__call__"
CORE = "_core.abi3.so"
# What a folder of the package does to a row, in the order of the way; what is of none of them counts to its caller.
STEPS = {
    "rows": "read",
    "render": "render",
    "attribute": "attribute",
    "tokenize": "tokenize",
    "encode": "encode",
    "encoding.py": "encode",
    "supervised": "labels",
    "batch": "tensors",
}
# Of a call's time: what is drawn at all, and what a function that calls one other must do itself to be drawn.
LEAST, LEAST_OWN = 0.004, 0.03

WIDTH, MARGIN, HEIGHT, LETTER, TOP, GAP = 720.0, 14.0, 20.0, 6.6, 40.0, 1.0
STYLE = """
svg { --ground: #ffffff; --line: #dfe1e4; --text: #1c2024; --quiet: #59616b; --read: #eceef0; --render: #dbe7fd;
  --attribute: #e6dff8; --tokenize: #fde3cf; --encode: #e2f3dc; --labels: #fbdfe8; --tensors: #d8f1f1; }
@media (prefers-color-scheme: dark) { svg { --ground: #16191c; --line: #2e343a; --text: #e4e7ea; --quiet: #a0a9b3;
  --read: #33393f; --render: #203a68; --attribute: #41326b; --tokenize: #663b19; --encode: #2b4d22; --labels: #62293f;
  --tensors: #1d4d4d; } }
text { font: 11px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; fill: var(--text); }
.head { font-weight: 600; }
.quiet { fill: var(--quiet); }
.ground { fill: var(--ground); stroke: var(--line); }
.rust { stroke: var(--text); stroke-width: 1; }
"""


@dataclass
class Frame:
    """A function, where it was called from one stack of callers.

    Attributes:
        step: one of the values of ``STEPS``.
        count: the samples in it and in what it calls.
        called: what it calls, by name and step.
    """

    name: str
    step: str
    count: int = 0
    called: dict[tuple[str, str], Frame] = field(default_factory=dict)

    @property
    def own(self) -> int:
        """The samples in itself."""
        return self.count - sum(each.count for each in self.called.values())


def main() -> None:
    """Measures, samples and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="the SVG to write")
    parser.add_argument("--zoo", type=Path, help="the folder of tokenizers and traces")
    parser.add_argument("--tokenizer", default="qwen2_5", help="its name in the zoo")
    parser.add_argument("--seconds", type=float, default=20, help="how long to sample")
    parser.add_argument("--loop", action="store_true", help="only make tensors for so long, and say how long each took")
    arguments = parser.parse_args()
    if arguments.loop:
        print(json.dumps(loop(arguments.zoo, arguments.tokenizer, arguments.seconds)))
        return
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        sys.exit("py-spy is not installed: pip install py-spy")
    zoo = [] if arguments.zoo is None else ["--zoo", str(arguments.zoo)]
    command = [sys.executable, __file__, "--loop", "--tokenizer", arguments.tokenizer, *zoo, "--seconds"]
    measured = json.loads(run([*command, "5"]))
    with tempfile.TemporaryDirectory() as folder:
        stacks = Path(folder) / "stacks.txt"
        record = [spy, "record", "--native", "--format", "raw", "--rate", str(RATE), "--output", str(stacks), "--"]
        run([*record, *command, str(arguments.seconds)])
        root = tree(stacks.read_text(encoding="utf-8").splitlines())
    if not root.count:
        sys.exit(f"no sample is inside of {ROOT}: sample for longer, with --seconds")
    title = (
        f"ChatCollator, a row of {MESSAGES} messages, {measured['tokens']:,} tokens of {arguments.tokenizer}: "
        f"{measured['ms']:.2f} ms"
    )
    arguments.out.write_text(svg(root, title, measured["ms"]), encoding="utf-8")
    print(f"{arguments.out}: {root.count} samples, {measured['ms']:.2f} ms a row")
    for step, (ms, rust) in steps(root, measured["ms"]).items():
        print(f"  {step:10} {ms:.3f} ms, of it Rust {rust:.3f}")


def run(command: Sequence[str]) -> str:
    """What a command prints; its errors end this one."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def loop(zoo: Path | None, tokenizer: str, seconds: float) -> dict[str, float]:
    """Makes tensors of one row after another: the median milliseconds of one, and how many tokens it has."""
    sys.path.insert(0, str(REPOSITORY / "benches"))
    from inputs import DEFAULT_ZOO, load_inputs
    from native import _collator, _tensors

    inputs = load_inputs(zoo or DEFAULT_ZOO, tokenizer)
    rows = inputs.joined_rows(MESSAGES) or [inputs.row(MESSAGES)["turns"]]
    # Without a cache of texts.
    collate = _collator(inputs.tokenizer, 0)
    tokens = [_tensors(collate, row)["input_ids"].numel() for row in rows]
    times = []
    end = time.perf_counter() + seconds
    for row in cycle(rows):
        start = time.perf_counter()
        _tensors(collate, row)
        times.append(time.perf_counter() - start)
        if start > end:
            break
    return {"ms": median(times) * 1e3, "tokens": round(median(tokens))}


def tree(lines: Sequence[str]) -> Frame:
    """The stacks of py-spy's raw format that are inside of the call, without what only passes through."""
    root = Frame(ROOT, "labels")
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        start = next((at for at, each in enumerate(frames) if each.startswith(f"{ROOT} ")), None)
        if start is None:
            continue
        frame = root
        frame.count += int(count)
        for name, step in _named(frames[start + 1 :]):
            frame = frame.called.setdefault((name, step or frame.step), Frame(name, step or frame.step))
            frame.count += int(count)
            if name == "Rust":
                break
    return _without_passing(root, root.count)


def _named(frames: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Names and steps of the frames of Python functions and of the core; no step: the caller's."""
    for frame in frames:
        name, _, place = frame.rpartition(" (")
        file = place.rstrip(")").rpartition(":")[0] or place.rstrip(")")
        if CORE in file:
            yield "Rust", None
        elif file.endswith(".py"):
            of_package = file.partition("chatspan/")[2]
            yield name, STEPS.get(of_package.partition("/")[0])


def _without_passing(frame: Frame, whole: int) -> Frame:
    """The frame, with what it calls; of functions that do little themselves but call one, the last."""
    called: dict[tuple[str, str], Frame] = {}
    for each in frame.called.values():
        if each.count < LEAST * whole:
            continue
        kept = _without_passing(each, whole)
        while len(kept.called) == 1 and kept.own < LEAST_OWN * whole and kept.name != "Rust":
            only = next(iter(kept.called.values()))
            if only.name == "Rust" or only.step != kept.step:
                break
            only.count, kept = kept.count, only
        called[kept.name, kept.step] = _joined(called.get((kept.name, kept.step)), kept)
    return Frame(frame.name, frame.step, frame.count, called)


def _joined(first: Frame | None, second: Frame) -> Frame:
    """Two frames of the same name and caller as one."""
    if first is None:
        return second
    called = dict(first.called)
    for key, each in second.called.items():
        called[key] = _joined(called.get(key), each)
    return Frame(first.name, first.step, first.count + second.count, called)


def steps(root: Frame, ms: float) -> dict[str, tuple[float, float]]:
    """By step the milliseconds, and those of them in the core."""
    counts = {step: [0, 0] for step in STEPS.values()}

    def add(frame: Frame) -> None:
        counts[frame.step][0] += frame.own
        counts[frame.step][1] += frame.own if frame.name == "Rust" else 0
        for each in frame.called.values():
            add(each)

    add(root)
    return {step: (own / root.count * ms, rust / root.count * ms) for step, (own, rust) in counts.items() if own}


def svg(root: Frame, title: str, ms: float) -> str:
    """The picture of a call that takes so many milliseconds."""
    inner = WIDTH - 2 * MARGIN
    boxes = list(_boxes(root, root.count, MARGIN, 0, inner, ms))
    depth = 1 + max(level for level, _ in boxes)
    legend = list(_legend(root, ms, TOP + depth * (HEIGHT + GAP) + 14))
    height = TOP + depth * (HEIGHT + GAP) + 14 + 18 * len(legend) + 4
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" width="{WIDTH:.0f}" '
        f'role="img"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect class="ground" x=".5" y=".5" width="{WIDTH - 1:.0f}" height="{height - 1:.0f}" rx="8"/>\n'
        f'<text class="head" x="{MARGIN:.0f}" y="24">{escape(title)}</text>\n'
        + "\n".join([*(box for _, box in boxes), *legend])
        + "\n</svg>\n"
    )


def _boxes(frame: Frame, whole: int, x: float, level: int, inner: float, ms: float) -> Iterator[tuple[int, str]]:
    """The box of a frame and those under it, with their levels."""
    width = frame.count / whole * inner
    took = frame.count / whole * ms
    y = TOP + level * (HEIGHT + GAP)
    label = _label(frame.name, f"{took:.2f}", width)
    rust = ' class="rust"' if frame.name == "Rust" else ""
    text = f'<text x="{x + 4:.1f}" y="{y + 14:.1f}">{escape(label)}</text>' if label else ""
    yield (
        level,
        f"<g><title>{escape(frame.name)}, {frame.step}: {took:.3f} ms, {frame.count / whole:.1%}</title>"
        f'<rect{rust} x="{x:.1f}" y="{y:.1f}" width="{max(width - GAP, 0.5):.1f}" height="{HEIGHT:.0f}" rx="2" '
        f'style="fill:var(--{frame.step})"/>{text}</g>',
    )
    for each in sorted(frame.called.values(), key=_turn):
        yield from _boxes(each, whole, x, level + 1, inner, ms)
        x += each.count / whole * inner


def _turn(frame: Frame) -> float:
    """Where on the way the samples of a frame are, on the whole: what comes first is drawn on the left."""
    order = list(STEPS.values())
    counts = steps(frame, frame.count)
    return sum(order.index(step) * own for step, (own, _) in counts.items()) / frame.count


def _label(name: str, took: str, width: float) -> str:
    """As much of the name as there is room for, and the time."""
    room = int((width - 6) / LETTER)
    if len(name) + 1 + len(took) <= room:
        return f"{name} {took}"
    if len(took) + 5 <= room:
        return f"{name[: room - len(took) - 2]}… {took}"
    return took if len(took) <= room else ""


def _legend(root: Frame, ms: float, y: float) -> Iterator[str]:
    """Lines that say what the colours are, and what each step takes."""
    for line, (step, (took, rust)) in enumerate(steps(root, ms).items()):
        at = y + 18 * line
        of_it = f", of it {rust:.2f} in Rust" if rust >= 0.005 else ""
        yield (
            f'<g><rect x="{MARGIN:.0f}" y="{at:.1f}" width="12" height="12" rx="2" style="fill:var(--{step})"/>'
            f'<text x="{MARGIN + 20:.0f}" y="{at + 10:.1f}">{step:9} {took:.2f} ms{of_it}</text></g>'
        )


if __name__ == "__main__":
    main()
