"""The traced render is transformers' own, character for character, or both raise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chatspan.errors import TemplateError
from chatspan.render.origins import field_runs
from chatspan.render.renderer import ChatRenderer
from conversations import CONVERSATIONS, SPECIAL_TOKENS
from zoo import ZOO, ZOO_TOKENIZERS, require_zoo

TEMPLATES = sorted((ZOO / "templates").glob("*.jinja")) if ZOO.is_dir() else []


@pytest.fixture(scope="module")
def outcomes(say: Callable[[str], None]) -> Iterator[Counter[str]]:
    counts: Counter[str] = Counter()
    yield counts
    say(f"renders compared with transformers': {dict(counts)}")


def compare(tokenizer: Any, renderer: ChatRenderer, source: str, messages: Any, kwargs: Any) -> str:
    try:
        own = tokenizer.apply_chat_template(messages, tokenize=False, chat_template=source, **kwargs)
    except Exception:
        with pytest.raises(TemplateError):
            renderer.render(messages, **kwargs)
        return "both raise"
    render = renderer.render(messages, **kwargs)
    assert render.text == own
    position = 0
    for start, end, origin, origin_start in field_runs(render.runs):
        assert position <= start < end <= len(own)
        assert origin_start < 0 or own[start:end] == str.__str__(origin)[origin_start : origin_start + end - start]
        position = end
    return "equal"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::chatspan.render.renderer.UnknownKeywordWarning")
def test_templates(
    path: Any, zoo_tokenizer: Callable[[str], Any], zoo_messages: list[Any], outcomes: Counter[str], request: Any
) -> None:
    tokenizer, source = zoo_tokenizer("qwen2_5"), path.read_text()
    renderer = ChatRenderer(tokenizer, source)
    for messages, kwargs in CONVERSATIONS.values():
        outcomes[compare(tokenizer, renderer, source, messages, {**SPECIAL_TOKENS, **kwargs})] += 1
    step = 1 if request.config.getoption("--all") else 20
    for messages in zoo_messages[::step]:
        outcomes[compare(tokenizer, renderer, source, messages[:10], SPECIAL_TOKENS)] += 1


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
def test_tokenizers_own_templates(
    name: str, zoo_tokenizer: Callable[[str], Any], zoo_messages: list[Any], outcomes: Counter[str], request: Any
) -> None:
    tokenizer = zoo_tokenizer(name)
    renderer = ChatRenderer(tokenizer)
    for messages, kwargs in CONVERSATIONS.values():
        outcomes[compare(tokenizer, renderer, renderer.source(None), messages, kwargs)] += 1
    for messages in zoo_messages[:: 1 if request.config.getoption("--all") else 4]:
        outcomes[compare(tokenizer, renderer, renderer.source(None), messages, {})] += 1


def test_the_templates_are_there() -> None:
    require_zoo()
    assert len(TEMPLATES) == 55
