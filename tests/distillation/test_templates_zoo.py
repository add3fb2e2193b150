"""Every real chat template: the assistants' tokens are those that sentinel words say, or a typed error."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cases import TRICKY_CONTENTS, assistant, config, system, trace, user
from chatspan import ChatspanError, ComposerDataCollator, TemplateError
from references import content_mask, sentinel_spans
from zoo import ZOO, require_zoo

TEMPLATES = sorted((ZOO / "templates").glob("*.jinja")) if ZOO.is_dir() else []
CONVERSATIONS = {
    "plain": [user("user"), assistant("assistant"), user("user"), assistant("assistant")],
    "system": [system("Be kind.\n"), user(" Hi there"), assistant("Yes."), user("And\n"), assistant("yes\nYes. ")],
    "blanks": [user("\n\nHi"), assistant("\n\nHi\n"), user("x"), assistant(" yes, at nine ")],
    "reasoning": [
        user("q"),
        assistant("<think>\nr\n</think>\n\nOne."),
        user("q"),
        assistant("<think>\ns\n</think>\n\nTwo."),
    ],
    **{
        name: [user("Go on."), assistant(content), user("Go on."), assistant("Go on.")]
        for name, content in TRICKY_CONTENTS.items()
    },
}


@pytest.fixture(scope="module")
def outcomes(say: Callable[[str], None]) -> Iterator[Counter[str]]:
    counts: Counter[str] = Counter()
    yield counts
    say(f"{len(TEMPLATES)} templates × {len(CONVERSATIONS)} conversations: {dict(counts)}")


def test_the_templates_are_there() -> None:
    require_zoo()
    assert len(TEMPLATES) == 55


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_real_template(path: Any, zoo_tokenizer: Callable[[str], Any], outcomes: Counter[str]) -> None:
    tokenizer = zoo_tokenizer("qwen2_5")
    kwargs = {"chat_template": path.read_text(), "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    collate = ComposerDataCollator(tokenizer=tokenizer, config=config())
    for name, messages in CONVERSATIONS.items():
        try:
            batch = collate([trace(*messages, chat_template_kwargs=kwargs)])
        except TemplateError:
            with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the template raises
                tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)
            outcomes["the template raises"] += 1
            continue
        except ChatspanError as error:
            outcomes[f"refused: {type(error).__name__}"] += 1
            continue
        try:
            text, spans = sentinel_spans(tokenizer, messages, **kwargs)
        except KeyError:
            # The template cuts reasoning out of contents, and a word with it.
            assert name == "reasoning"
            mask = batch["response_mask"][0].bool()
            said = tokenizer.decode(batch["input_ids"][0][mask])
            # With a tokenizer that is not the template's, a full stop may share a token with the scaffold.
            thought = r"\s*(<think>)?\s*[rs]?\s*(</think>)?\s*"
            assert re.fullmatch(rf"{thought}One\.?{thought}Two\.?\s*", said), said
            outcomes["the template cuts contents, what is left is trained"] += 1
            continue
        assert text == tokenizer.apply_chat_template(messages, tokenize=False, **kwargs), name
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        assert batch["input_ids"][0].tolist() == encoded["input_ids"], name
        of_assistants = [span for i, m in enumerate(messages) if m["role"] == "assistant" for span in spans.get(i, [])]
        mask = content_mask(text, encoded["offset_mapping"], of_assistants)
        assert batch["response_mask"][0].tolist() == [int(m) for m in mask], name
        outcomes["equal to sentinel words"] += 1
