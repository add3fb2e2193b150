"""The renderers that people wrote by hand for ``renderers``, and chatspan's, on the same conversations.

Who is right is said by transformers' render of the model's own chat template. The conversations are in the form in
which ``renderers`` gets them: calls' arguments as JSON text, no content beside calls that have none. The table in the
docs: ``python tests/trainers/handwritten.py``, with the folders of ``pythonpath`` in ``pyproject.toml`` on the path.
"""

from __future__ import annotations

import copy
import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chatspan.renderers import ChatspanRenderer, ChatspanRendererConfig
from prompts import SOURCES, tokenizer_for
from renderers import config_from_name, create_renderer
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from turn_shapes import SHAPES, Messages
from turns_sampled import Sampled, Talk
from zoo import ZOO


class Family(NamedTuple):
    """A renderer by hand, and the chat template that it is to be equal to.

    Attributes:
        name: what ``renderers`` calls it.
        template: of the zoo; ``None``: the tokenizer's own.
        tokenizer: of the zoo; ``None``: a stand-in, which has the template's control tokens.
        tokens: more control tokens that the renderer asks the stand-in for.
        keywords: of the template, where the renderer has other values than it.
    """

    name: str
    template: str | None
    tokenizer: str | None = None
    tokens: tuple[str, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()


_DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")
_DEEPSEEK += ("<｜latest_reminder｜>", "｜DSML｜", "<｜action｜>", "<｜query｜>", "<｜authority｜>", "<｜domain｜>")
_DEEPSEEK += ("<｜title｜>", "<｜read_url｜>")
_GEMMA = ("<|image>", "<image|>", "<|image|>", "<|think|>", "<|tool>", "<tool|>", "<channel|>")
FAMILIES = (
    Family("qwen3", "Qwen-Qwen3-0.6B", "qwen3"),
    Family("qwen3.5", "Qwen3.5-4B"),
    Family("glm-5", "GLM-4.7-Flash", tokens=("[gMASK]", "<sop>", "<|system|>")),
    Family("kimi-k2", "Kimi-K2-Instruct"),
    Family("llama-3", "meta-llama-Llama-3.2-3B-Instruct", "llama3_2", keywords=(("date_string", "26 Jul 2024"),)),
    Family("gemma4", "google-gemma-4-31B-it", tokens=_GEMMA),
    Family("nemotron-3", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"),
    Family("deepseek-v3", None, "deepseek_v3"),
    Family("deepseek-v4", "deepseek-ai-DeepSeek-V4", tokens=_DEEPSEEK),
)
BY_NAME = {family.name: family for family in FAMILIES}


@dataclass
class Compared:
    """How often the two are equal.

    Attributes:
        counts: by what was compared and how it came out: ``"render equal"``, ``"bridge only theirs"`` …
        differences: by what and where, parts of both texts, for a person: theirs, and chatspan's.
    """

    counts: Counter[str] = field(default_factory=Counter)
    differences: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, what: str, shape: str = "", theirs: str = "", ours: str = "") -> None:
        self.counts[what] += 1
        if theirs or ours:
            at = next((at for at, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), 0)
            texts = (theirs[max(at - 40, 0) :][:100], ours[max(at - 40, 0) :][:100])
            self.differences.setdefault(f"{what}, {shape}", texts)


@functools.cache
def _words() -> Tokenizer:
    """Qwen3's words, with the control tokens of all stand-ins."""
    words = Tokenizer.from_file(str(ZOO / "tokenizers" / "qwen3" / "tokenizer.json"))
    known = set(words.get_vocab())
    for family in FAMILIES:
        if family.tokenizer is None:
            known.update(tokenizer_for(str(family.template)).get_added_vocab(), family.tokens)
    words.add_special_tokens(sorted(known - set(words.get_vocab())))
    return words


@functools.cache
def tokenizer_of(family: Family) -> Any:
    """The model's tokenizer, or one that stands in for it."""
    if family.tokenizer is not None:
        tokenizer = AutoTokenizer.from_pretrained(ZOO / "tokenizers" / family.tokenizer)
    else:
        ends = tokenizer_for(str(family.template))
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=_words(), bos_token=ends.bos_token, eos_token=ends.eos_token, pad_token=ends.eos_token
        )
    if family.template is not None:
        tokenizer.chat_template = SOURCES[family.template]
    return tokenizer


def pair_of(family: Family) -> tuple[Any, ChatspanRenderer]:
    """Theirs, and chatspan's."""
    tokenizer = tokenizer_of(family)
    theirs = create_renderer(tokenizer, config_from_name(family.name))
    return theirs, ChatspanRenderer(tokenizer, ChatspanRendererConfig(**dict(family.keywords)))


def as_sent(messages: Messages) -> Messages:
    """Messages as programs send them to a renderer."""
    found = []
    for message in copy.deepcopy(messages):
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
        if message.get("tool_calls") and not message["content"]:
            message["content"] = None
        # One name of the reasoning; templates that read the other are none of these.
        message.pop("thinking", None)
        found.append(message)
    return found


def talks_of(family: Family, tokenizer: Any) -> Iterator[tuple[str, Talk]]:
    """The conversations that the template takes, in the first form of them in which it does."""
    for shape, (messages, keywords) in SHAPES.items():
        sent = as_sent(messages)
        for form in (_with_objects(sent), sent, _without_nulls(_with_objects(sent)), _without_nulls(sent)):
            talk = Talk(tokenizer, tokenizer.chat_template, form, {**keywords, **dict(family.keywords)})
            if talk.render(len(form)) is not None:
                yield shape, talk
                break


def _with_objects(messages: Messages) -> Messages:
    found = copy.deepcopy(messages)
    for message in found:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return found


def _without_nulls(messages: Messages) -> Messages:
    return [{**message, "content": message["content"] or ""} for message in messages]


def compare(family: Family, *, turns: bool) -> Compared:
    """Renders the conversations by both, and their turns.

    Args:
        turns: whether completions are parsed and bridged, too.

    Raises:
        AssertionError: chatspan's ids are not those of transformers' render.
    """
    found = Compared()
    theirs, ours = pair_of(family)
    tokenizer = tokenizer_of(family)
    for shape, talk in talks_of(family, tokenizer):
        sent = as_sent(SHAPES[shape][0])
        _compare_renders(found, shape, talk, sent, theirs, ours)
        for sampled in talk.turns() if turns else ():
            _compare_turn(found, shape, talk, sampled, sent, theirs, ours)
    return found


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _compare_renders(found: Compared, shape: str, talk: Talk, sent: Messages, theirs: Any, ours: Any) -> None:
    tools = talk.keywords.get("tools")
    for prompt in (False, True):
        count = len(sent) - (prompt and sent[-1]["role"] == "assistant")
        text = talk.render(count, add_generation_prompt=prompt)
        if text is None:
            continue
        mine = ours.render(sent[:count], tools=tools, add_generation_prompt=prompt)
        assert mine.token_ids == ids_of(talk.tokenizer, text), f"{shape}: not transformers'"
        try:
            other = theirs.render(sent[:count], tools=tools, add_generation_prompt=prompt)
        # By hand, anything may be raised.
        except Exception as error:
            found.add("render only ours", shape, f"{type(error).__name__}: {error}", text)
            continue
        if other.token_ids != mine.token_ids:
            found.add("render differs", shape, talk.tokenizer.decode(other.token_ids), text)
            continue
        found.add("render equal")
        for name in ("sampled_mask", "is_content", "message_indices"):
            if not getattr(mine, name):
                found.add(f"{name} only theirs", shape, text, text)
                continue
            pairs = zip(mine.token_ids, getattr(other, name), getattr(mine, name), strict=True)
            at = [(talk.tokenizer.decode([each]), a, b) for each, a, b in pairs if a != b]
            if at:
                found.add(f"{name} differs", shape, repr([(a, b) for a, b, _ in at]), repr([(a, b) for a, _, b in at]))
            else:
                found.add(f"{name} equal")


def _compare_turn(
    found: Compared, shape: str, talk: Talk, sampled: Sampled, sent: Messages, theirs: Any, ours: Any
) -> None:
    tools, decode = talk.keywords.get("tools"), talk.tokenizer.decode
    place = f"{shape}, message {sampled.index}"
    prompt_ids = ours.render_ids(sent[: sampled.index], tools=tools, add_generation_prompt=True)
    completion_ids = [*ids_of(talk.tokenizer, sampled.text), *_stop_behind(talk, sampled, theirs)]
    said = _said_by(sent[sampled.index], sampled.text)
    for who, renderer in (("theirs", theirs), ("ours", ours)):
        parsed = renderer.parse_response(completion_ids, tools=tools, prompt_ids=prompt_ids)
        calls = [(call.name, call.arguments) for call in parsed.tool_calls]
        if (parsed.content.strip(), (parsed.reasoning_content or "").strip(), calls) == said:
            found.add(f"parse {who} right")
        else:
            found.add(f"parse {who} wrong", place, repr(parsed), repr(said))
    new = sent[sampled.index + 1 : sampled.next_index]
    refused = Counter(ours.refused)
    mine = ours.bridge_to_next_turn(prompt_ids, completion_ids, new, tools=tools)
    why = ", ".join(ours.refused - refused)
    other = theirs.bridge_to_next_turn(prompt_ids, completion_ids, new, tools=tools)
    if mine is None:
        # Nothing else may keep it from going on.
        assert not sampled.is_stable, f"{place}: {why}"
        found.add("bridge none" if other is None else "bridge only theirs", place, "" if other is None else why, "")
        return
    prior = [*prompt_ids, *completion_ids]
    assert mine.token_ids[: len(prior)] == prior, f"{place}: what was shown and sampled is not in front"
    assert sampled.is_stable, f"{place}: the template does not go on with it"
    assert decode(mine.token_ids) == decode(ids_of(talk.tokenizer, str(sampled.next_prompt))), place
    if other is None:
        found.add("bridge only ours", place)
    elif mine.token_ids == other.token_ids:
        found.add("bridge equal")
    else:
        found.add("bridge differs", place, decode(other.token_ids), decode(mine.token_ids))


def _stop_behind(talk: Talk, sampled: Sampled, theirs: Any) -> list[int]:
    """The token that ends sampling where the template's turns have no end of their own: it opens what follows."""
    stops = theirs.get_stop_token_ids()
    if not sampled.is_stable or ids_of(talk.tokenizer, sampled.text)[-1] in stops:
        return []
    following = ids_of(talk.tokenizer, str(sampled.next_prompt)[len(sampled.prompt + sampled.text) :])[:1]
    return following if following and following[0] in stops else []


def _said_by(message: Mapping[str, Any], written: str) -> tuple[str, str, list[tuple[str, Any]]]:
    """What of a message its turn says; a template may leave out the rest."""
    calls = [
        (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls", ())
    ]
    said = [text if text and text in written else "" for text in (message["content"], message.get("reasoning_content"))]
    return said[0], said[1], [call for call in calls if all(str(value) in written for value in call[1].values())]


_BRIDGES = ("equal", "differs", "none", "only theirs", "only ours")


def header() -> str:
    """The head of a table of :func:`row`."""
    bridges = ["bridges equal", "differ", "both `None`", "only theirs", "only chatspan's"]
    columns = ["family", "renders equal", *bridges, "parsed right, theirs and chatspan's"]
    return f"| {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) - 1)}"


def row(name: str, found: Compared) -> str:
    """A line of the docs' table; ``2 of 3`` is how many were equal or right, of how many."""
    counts = found.counts
    renders = sum(count for what, count in counts.items() if what.startswith("render "))
    parsed = [f"{counts[f'parse {who} right']}" for who in ("theirs", "ours")]
    of_turns = counts["parse ours right"] + counts["parse ours wrong"]
    cells = [f"`{name}`", f"{counts['render equal']} of {renders}"]
    cells += [str(counts[f"bridge {how}"]) for how in _BRIDGES]
    return f"| {' | '.join([*cells, f'{parsed[0]}, {parsed[1]} of {of_turns}'])} |"


if __name__ == "__main__":
    print(header())
    for each in FAMILIES:
        print(row(each.name, compare(each, turns=True)))
