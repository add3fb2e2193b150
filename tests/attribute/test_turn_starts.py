"""A turn starts where its prompt ends: every template, by transformers' own prompts; and real conversations."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import numpy as np
import openings_table
import pytest
from chatspan import ChatEncoder, Encoding, TurnBoundaryError
from chatspan.attribute.prompts import OffPrompt
from chatspan.attribute.turns import EndOfTurn
from prompts import SOURCES, Row, Turn, row_of, rows_of, switches, tokenizer_for
from turn_shapes import SHAPES, Messages, real_forms, words_of
from zoo import REPO, ZOO_TOKENIZERS, require_zoo

POLICIES: tuple[EndOfTurn, ...] = get_args(EndOfTurn)

Say = Callable[[str], None]


@pytest.fixture(scope="module")
def counts(say: Say) -> Iterator[Counter[str]]:
    found: Counter[str] = Counter()
    yield found
    say(f"turn starts, by transformers' prompts: {listed(found)}")


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))


@functools.cache
def encoded(name: str, shape: str, number: int, cut: bool) -> list[tuple[Row, Encoding]]:
    found = rows_of(name, shape, number, cut=cut)
    return [(row, encoder_of(name).encode(row.messages, **row.keywords)) for row in found]


@functools.cache
def encoder_of(name: str) -> ChatEncoder:
    return ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name])


def rows(name: str, config: pytest.Config) -> Iterator[tuple[Row, Encoding]]:
    """The rows of a template: by default without keywords, and whole conversations with its last switch."""
    numbers = range(len(switches(name)))
    everything = config.getoption("--all")
    for number in numbers if everything else sorted({numbers[0], numbers[-1]}):
        for shape in SHAPES:
            yield from encoded(name, shape, number, everything or number == 0)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_turns_start_where_their_prompts_end(name: str, counts: Counter[str], pytestconfig: pytest.Config) -> None:
    encoder = encoder_of(name)
    apart = ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name], boundaries="as_prompted")
    for row, encoding in rows(name, pytestconfig):
        assert encoding.text == row.text
        counts["rows"] += 1
        for turn in row.turns:
            counts["turns"] += 1
            masks = masks_of(encoding, turn.message_index)
            counts["refused: end unknown"] += "token" not in masks and "all" in masks
            counts["refused: start unknown"] += "all" not in masks
            if "all" not in masks:
                # What cannot be told is never a guess, and what a prompt leads to can be told.
                assert not masks
                assert turn.start is None
                continue
            assert_start(encoding, turn, masks, counts)
            trained = encoder.decode(encoding.input_ids[masks.get("token", masks["all"])])
            assert words_of(trained) == words_of(row.text, turn.message_index)
        if len(encoding.border_tokens):
            assert_apart(apart.encode(row.messages, **row.keywords), row, apart)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_turns_that_no_prompt_leads_to_are_those_of_the_slow_twin(
    name: str, counts: Counter[str], pytestconfig: pytest.Config
) -> None:
    for row, encoding in rows(name, pytestconfig):
        found = encoding.off_prompt
        assert differences(found) == row.off_prompt
        without = {turn.message_index for turn in row.turns if turn.prompt is None}
        assert {index for index, each in found.items() if each.cause == "no_prompt"} == without
        counts.update(f"off prompt: {each.cause}" for each in found.values())


def differences(off_prompt: Mapping[int, OffPrompt]) -> dict[int, tuple[int, str, str]]:
    return {index: (each.start_char, each.prompt, each.row) for index, each in off_prompt.items()}


def masks_of(encoding: Encoding, index: int) -> dict[str, Any]:
    """By policy, which tokens a turn has; those policies are left out that refuse it."""
    found = {}
    for policy in POLICIES:
        try:
            found[policy] = encoding.mask(messages=[index], end_of_turn=policy)
        except TurnBoundaryError:
            with pytest.raises(TurnBoundaryError, match=f"message {index} "):
                encoding.turn_ranges(index, end_of_turn=policy)
    return found


def assert_start(encoding: Encoding, turn: Turn, masks: dict[str, Any], counts: Counter[str]) -> None:
    """All policies begin with the first character behind the prompt, and with the first token there."""
    for policy, mask in masks.items():
        start = encoding.turn_ranges(turn.message_index, end_of_turn=policy)[0][0]
        if turn.start is not None:
            assert (policy, encoding.text[:start]) == (policy, turn.prompt)
        over = np.flatnonzero((encoding.offsets[:, 0] < start) & (encoding.offsets[:, 1] > start))
        assert set(over) <= set(encoding.border_tokens)
        assert not mask[over].any()
        if mask.any():
            first = encoding.offsets[mask][0, 0]
            assert first == (encoding.offsets[over[-1], 1] if len(over) else start)
        else:
            assert not words_of(encoding.text, turn.message_index)
    counts["over the border"] += len(over)


def assert_apart(encoding: Encoding, row: Row, encoder: ChatEncoder) -> None:
    """With ``boundaries="as_prompted"`` no token is prompt and turn: what is trained is the turn to the character."""
    assert encoding.text == row.text
    assert encoding.border_tokens.tolist() == []
    for turn in row.turns:
        if turn.start is not None:
            ranges = encoding.turn_ranges(turn.message_index, end_of_turn="all")
            mask = encoding.mask(messages=[turn.message_index], end_of_turn="all")
            assert encoder.decode(encoding.input_ids[mask]) == row.text[turn.start : ranges[-1][1]]


def plain_words(value: Any) -> set[str]:
    """The words of a message as they may stand in a render: as they are, dumped as JSON, and dumped again."""
    if isinstance(value, dict):
        return {word for key, part in value.items() if key != "role" for word in {*plain_words(part), key}}
    if isinstance(value, list):
        return {word for part in value for word in plain_words(part)}
    once = json.dumps(value)
    return {word for text in (str(value), once, json.dumps(once)) for word in re.findall(r"\w{3,}", text)}


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
def test_real_conversations(
    name: str, zoo_tokenizer: Callable[[str], Any], zoo_messages: list[Messages], say: Say, pytestconfig: pytest.Config
) -> None:
    tokenizer = zoo_tokenizer(name)
    encoder = ChatEncoder(tokenizer)
    scaffold = set(re.findall(r"\w{3,}", tokenizer.chat_template)) | {"python_tag", "tool_calls"}
    found: Counter[str] = Counter()
    for messages in zoo_messages[:: 1 if pytestconfig.getoption("--all") else 10]:
        row = row_of(tokenizer, tokenizer.chat_template, messages, {}, real_forms)
        if row is None:
            found["refused by transformers"] += 1
            continue
        encoding = encoder.encode(row.messages)
        assert encoding.text == row.text
        assert differences(encoding.off_prompt) == row.off_prompt
        for turn in row.turns:
            found["turns"] += 1
            found["off prompt"] += turn.message_index in row.off_prompt
            masks = masks_of(encoding, turn.message_index)
            assert "all" in masks
            assert_start(encoding, turn, masks, found)
            for mask in masks.values():
                trained = encoder.decode(encoding.input_ids[mask])
                others = set(re.findall(r"\w{3,}", trained)) - plain_words(row.messages[turn.message_index]) - scaffold
                assert not others, trained
    say(f"turn starts of real conversations, {name}: {listed(found)}")


def test_the_table_of_the_docs_is_that_of_the_templates() -> None:
    """docs/turns.md, made by ``python tests/attribute/openings_table.py``."""
    require_zoo()
    page = (REPO / "docs" / "turns.md").read_text(encoding="utf-8")
    assert "\n".join(openings_table.lines()) in page
