"""Turns on real templates: what is before the first word, and what ends them; and which templates are prefix-stable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import assistant, system, user
from chatspan import ChatEncoder, ChatspanError, Kind, TemplateError, TurnBoundaryError
from chatspan.distillation.chats.prefix_delta import encode_chat
from chatspan.distillation.examples.conversation import Conversation
from conversations import SPECIAL_TOKENS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slow_attribution import assert_equal_to_slow
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast
from zoo import ZOO

TEMPLATES = sorted((ZOO / "templates").glob("*.jinja")) if ZOO.is_dir() else []

# What the assistant of the last message has to write itself, for templates of each sort.
TURNS = {
    "Qwen-Qwen2.5-7B-Instruct": "Wb<|im_end|>",
    "openai-gpt-oss-120b": "<|channel|>final<|message|>Wb<|return|>",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "Wb<｜end▁of▁sentence｜>",
    "mistralai-Mistral-Nemo-Instruct-2407": "Wb</s>",
    "meta-llama-Llama-3.1-8B-Instruct": "Wb<|eot_id|>",
    "google-gemma-2-2b-it": "Wb<end_of_turn>",
    "unsloth-Apriel-1.5": "Wb\n<|end|>\n</s>",
    "microsoft-Phi-3.5-mini-instruct": "Wb<|end|>",
}


@pytest.mark.parametrize("name", TURNS)
def test_turns_of_real_templates(name: str, zoo_tokenizer: Callable[[str], Any]) -> None:
    tokenizer = zoo_tokenizer("qwen2_5")
    source = (ZOO / "templates" / f"{name}.jinja").read_text()
    encoding = ChatEncoder(tokenizer, chat_template=source).encode([user("Wa"), assistant("Wb")], **SPECIAL_TOKENS)
    offsets = encoding.offsets[encoding.mask()]
    said = encoding.text[offsets[0, 0] : offsets[-1, 1]]
    assert said.strip() == TURNS[name].strip()


def test_templates_without_an_end_of_turn_name_the_other_policies(zoo_tokenizer: Callable[[str], Any]) -> None:
    source = (ZOO / "templates" / "GLM-4.6.jinja").read_text() if ZOO.is_dir() else ""
    encoder = ChatEncoder(zoo_tokenizer("qwen2_5"), chat_template=source)
    with pytest.raises(TurnBoundaryError, match=r'"next_header".*"none"'):
        encoder.encode([user("Wa"), assistant("Wb"), user("Wc")]).mask()


def test_a_system_text_in_front_of_the_loop_has_an_end(zoo_tokenizer: Callable[[str], Any]) -> None:
    encoding = ChatEncoder(zoo_tokenizer("qwen3")).encode([system("Be kind."), user("Hi")])
    ends = [(s.message_index, encoding.text[s.start_char : s.end_char]) for s in encoding.segments]
    assert (0, "<|im_end|>") in ends


@pytest.fixture(scope="module")
def stability(say: Callable[[str], None]) -> Any:
    found: dict[str, list[str]] = {}
    yield found
    for what, names in sorted(found.items()):
        say(f"templates, {what}: {len(names)} ({', '.join(names)})")


def bytes_tokenizer() -> Any:
    alphabet = sorted(ByteLevel.alphabet())
    backend = Tokenizer(BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = ByteLevelDecoder()
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False)


QUESTIONS = [user("Which train goes to Bonn?"), user("When?")]


@pytest.mark.parametrize("reasoning", [{"reasoning_content": "Sunday."}, {}], ids=["reasoning", "plain"])
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_contents_are_those_of_prefix_delta(path: Any, reasoning: Any, stability: Any) -> None:
    """Each byte a token, so that nothing but the template decides; where it is not prefix-stable, it is listed."""
    tokenizer = bytes_tokenizer()
    keywords = {**SPECIAL_TOKENS, "chat_template": path.read_text()}
    first, second = QUESTIONS
    messages = [first, assistant("EC 315 does.", **reasoning), second, assistant("Nine o'clock.")]
    kind = "with earlier reasoning" if reasoning else "plain"
    try:
        reference = encode_chat(tokenizer, Conversation("t", messages, range(4), keywords))
    except ChatspanError as error:
        stability.setdefault(f"{kind}, prefix delta raises {type(error).__name__}", []).append(path.stem)
        return
    encoding = ChatEncoder(tokenizer, chat_template=path.read_text()).encode(messages, **SPECIAL_TOKENS)
    assert encoding.input_ids.tolist() == reference.input_ids.tolist()
    mask = np.zeros(len(encoding), dtype=bool)
    for start, end in (span for spans in reference.content_tokens for span in spans):
        mask[start:end] = True
    assert mask.tolist() == encoding.mask(what="content", straddle="inside").tolist()
    stability.setdefault(f"{kind}, equal to prefix delta", []).append(path.stem)


TEXT = st.text(max_size=12) | st.sampled_from(["<think>a</think>b", "<|im_end|>", "user", "assistant\n", " \n"])
ARGUMENTS = st.recursive(
    TEXT | st.integers(-3, 3) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
CALL = st.builds(
    lambda name, arguments: {
        "id": "abcdefghi",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    },
    st.sampled_from(["rebook", "user"]),
    st.dictionaries(st.sampled_from(["a", "b c"]), ARGUMENTS, max_size=2),
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": TEXT | st.none()},
        optional={"reasoning_content": TEXT, "tool_calls": st.lists(CALL, max_size=2), "name": TEXT},
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_random_messages(path: Any, zoo_tokenizer: Callable[[str], Any], request: Any) -> None:
    tokenizer, source = zoo_tokenizer("qwen2_5"), path.read_text()
    encoder = ChatEncoder(tokenizer, chat_template=source)

    @settings(
        max_examples=400 if request.config.getoption("--all") else 15,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(MESSAGES, st.booleans())
    def check(messages: list[dict[str, Any]], prompt: bool) -> None:
        keywords = {**SPECIAL_TOKENS, "add_generation_prompt": prompt}
        try:
            own = tokenizer.apply_chat_template(messages, tokenize=False, chat_template=source, **keywords)
        except Exception:
            with pytest.raises(TemplateError):
                encoder.encode(messages, **keywords)
            return
        encoding = encoder.encode(messages, **keywords)
        assert encoding.text == own
        assert len(encoding.kind) == len(encoding.message_index) == len(encoding.input_ids)
        assert {int(kind) for kind in encoding.kind} <= set(Kind)
        ends = [s.end_char for s in encoding.segments]
        assert [0, *ends[:-1]] == [s.start_char for s in encoding.segments] or not own
        for span in encoding.spans:
            if span.verbatim and span.message_index >= 0:
                value: Any = messages[span.message_index]
                for key in span.path:
                    value = value[key]
                assert (
                    own[span.start_char : span.end_char]
                    == value[span.field_start_char :][: span.end_char - span.start_char]
                )
        for kind in Kind:
            mask = encoding.mask(None, {kind}, messages=[*range(-1, len(messages), 2)])
            ranges = [(s.start_char, s.end_char) for s in encoding.segments if s.kind == kind and s.message_index % 2]
            other = encoding._mask_of(ranges, "first")
            # A token that begins with the blank before a word is the word's.
            mask[encoding.straddling] = other[encoding.straddling] = False
            assert mask.tolist() == other.tolist()
        encoding.explain()
        assert_equal_to_slow(encoding._attributed)

    check()
