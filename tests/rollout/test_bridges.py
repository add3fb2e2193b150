"""From a sampled turn to the next prompt, on every template: by transformers' renders of what inference shows."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import get_args

import chatspan
import pytest
from chatspan import ChatEncoder, Rollout
from chatspan.rollout.proof.bridge import Proof
from chatspan.rollout.rewrites import OnRewrite
from prompts import SOURCES, switches, tokenizer_for
from turn_shapes import Messages, words_of
from turns_sampled import Sampled, Talk, talks
from zoo import REPO, require_zoo

Say = Callable[[str], None]


@dataclass(frozen=True)
class Crossed:
    """What a rollout made of a turn: the ids before it and behind it, or the error."""

    shown: list[int]
    sampled: list[int]
    next_ids: list[int]
    proof: Proof | None
    error: chatspan.ChatspanError | None


@pytest.fixture(scope="module")
def counts(say: Say) -> Iterator[Counter[str]]:
    found: Counter[str] = Counter()
    yield found
    for line in table(found):
        say(line)


def table(counts: Counter[str]) -> Iterator[str]:
    yield "bridges, by transformers' renders:"
    for what, count in sorted(counts.items()):
        yield f"    {count:6} {what}"


@functools.cache
def encoder_of(name: str) -> ChatEncoder:
    return ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name])


def crossed(encoder: ChatEncoder, talk: Talk, turn: Sampled, text: str, on_rewrite: OnRewrite) -> Crossed:
    rollout = Rollout(encoder, talk.messages[: turn.index], on_rewrite=on_rewrite, **talk.keywords)
    shown = rollout.prompt_ids.tolist()
    assert encoder.decode(shown) == turn.prompt
    ids = talk.tokenizer(text, add_special_tokens=False)["input_ids"]
    is_whole = text == turn.text
    rollout.add_completion(ids, message=talk.messages[turn.index], finish_reason="stop" if is_whole else "length")
    try:
        found = rollout.add_messages(talk.messages[turn.index + 1 : turn.next_index])
    except chatspan.ChatspanError as error:
        return Crossed(shown, ids, [], None, error)
    # What was sampled is trained, and nothing else.
    [row] = rollout.rows()
    assert row.input_ids[row.sampled].tolist() == ids
    assert row.prompt_ids.tolist() == shown
    return Crossed(shown, ids, found.tolist(), rollout.proofs[-1], None)


def variants(turn: Sampled) -> Iterator[tuple[str, str]]:
    """What may be sampled: the turn with its stop token, without it, and in other spellings."""
    yield "stop", turn.text
    if turn.stop:
        yield "stop not sampled", turn.text[: -len(turn.stop)]
    body = turn.text[: len(turn.text) - len(turn.stop)]
    yield "blanks", f"{body.rstrip()} \n{turn.stop}"
    if '{"city": "' in body:
        yield "json", body.replace('{"city": "', '{"city":"') + turn.stop


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_every_template(name: str, counts: Counter[str], pytestconfig: pytest.Config) -> None:
    numbers = range(len(switches(name)))
    encoder = encoder_of(name)
    for number in numbers if pytestconfig.getoption("--all") else sorted({numbers[0], numbers[-1]}):
        for _, talk in talks(name, number):
            for turn in talk.turns():
                if turn.next_prompt is None or not turn.text:
                    counts["left out: the template refuses the next prompt, or writes nothing of the turn"] += 1
                    continue
                for variant, text in variants(turn):
                    for on_rewrite in get_args(OnRewrite):
                        found = crossed(encoder, talk, turn, text, on_rewrite)
                        said = f"{variant}, on_rewrite={on_rewrite}: {outcome(found)}"
                        assert_proven(encoder, talk, turn, text, found)
                        counts[said] += 1


def outcome(found: Crossed) -> str:
    if found.error is not None:
        return f"refused, {type(found.error).__name__}"
    assert found.proof is not None
    return found.proof.how


def assert_proven(encoder: ChatEncoder, talk: Talk, turn: Sampled, text: str, found: Crossed) -> None:
    assert turn.next_prompt is not None
    new = talk.messages[turn.index + 1 : turn.next_index]
    is_stable = turn.next_prompt.startswith(turn.prompt + text)
    if found.error is not None:
        assert_rightly_refused(talk, turn, text, found.error, is_stable)
        return
    assert found.proof is not None
    written = encoder.decode(found.next_ids)
    if found.proof.how == "split":
        # The prompt that inference shows, and none of what was sampled is shown again.
        assert written == turn.next_prompt
        assert not is_stable
        return
    before = [*found.shown, *found.sampled]
    assert found.next_ids[: len(before)] == before
    if found.proof.how == "exact":
        assert written == turn.next_prompt
        return
    # The suffix is the end of the prompt that inference shows, with all new words and none of the turn's.
    assert not is_stable
    suffix = encoder.decode(found.next_ids[len(before) :])
    assert turn.next_prompt.endswith(suffix)
    assert words_of(suffix) >= new_words(new, turn.next_prompt)
    assert not words_of(suffix, turn.index)


def new_words(new: Messages, prompt: str) -> set[str]:
    return words_of(str(new)) & words_of(prompt)


def assert_rightly_refused(
    talk: Talk, turn: Sampled, text: str, error: chatspan.ChatspanError, is_stable: bool
) -> None:
    """The template drops or moves a new message, changes what was shown, or ends the turn otherwise."""
    assert turn.next_prompt is not None
    if isinstance(error, chatspan.UnrenderedMessageError):
        assert error.message_index is not None
        assert turn.index < error.message_index < turn.next_index
        words = words_of(str(talk.messages[error.message_index]["content"]))
        stands_behind = turn.next_prompt[len(turn.prompt) :] if is_stable else turn.next_prompt
        moved = error.kind == "moved"
        assert words
        assert moved or not words <= words_of(stands_behind)
        return
    assert error.message_index == turn.index
    assert not is_stable, error


@pytest.mark.filterwarnings("ignore")
def test_the_table_of_the_docs_is_that_of_the_templates(pytestconfig: pytest.Config) -> None:
    """docs/rollouts.md, made by ``python tests/rollout/bridges_table.py``."""
    require_zoo()
    if not pytestconfig.getoption("--all"):
        pytest.skip("every template with each switch: only with --all")
    # Imported here, as it imports this module.
    import bridges_table

    page = (REPO / "docs" / "rollouts.md").read_text(encoding="utf-8")
    assert "\n".join(bridges_table.lines()) in page
