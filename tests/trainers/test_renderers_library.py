"""chatspan's renderer in the real ``renderers`` package: its methods, the client, and those written by hand."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any

import chatspan
import pytest
from cases import TEMPLATES, assistant, user
from conversations import call, calls, schema, tool
from test_rollout import letters
from turn_shapes import SHAPES, words_of
from zoo import require_zoo

renderers = pytest.importorskip("renderers", reason="renderers is not installed: it needs Python 3.11")
client = pytest.importorskip("renderers.client")
handwritten = pytest.importorskip("handwritten")
ours = pytest.importorskip("chatspan.renderers")

PATH = "chatspan.renderers.ChatspanRenderer"
QUESTION, NEXT = user("2 + 2?"), user("And 3 + 3?")
CALL = '<tool_call>\n{"name": "rebook", "arguments": {"train": "2"}}\n</tool_call><|im_end|>'


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def renderer_of(tokenizer: Any, **fields: Any) -> Any:
    """As the package makes it of its own configuration."""
    return renderers.create_renderer(tokenizer, renderers.CustomRendererConfig(import_path=PATH, **fields))


def text_of(tokenizer: Any, rendered: Any, flags: list[bool]) -> str:
    return str(tokenizer.decode([i for i, on in zip(rendered.token_ids, flags, strict=True) if on]))


def test_it_is_a_renderer_that_the_package_makes(small: Any) -> None:
    renderer = renderer_of(small)
    assert isinstance(renderer, ours.ChatspanRenderer)
    assert isinstance(renderer, renderers.Renderer)
    assert not renderers.is_multimodal(renderer)
    assert renderer.is_prefix_stable is False
    assert [small.decode([each]) for each in renderer.get_stop_token_ids()] == ["<|im_end|>"]


def test_fields_are_its_own_or_keywords_of_the_template(small: Any) -> None:
    template = "{{ greeting }}{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}"
    for make in (
        lambda: renderer_of(small, chat_template=template, greeting="Hi! "),
        lambda: renderers.create_renderer(
            small,
            renderers.CustomRendererConfig(import_path=PATH, chat_template=template),
            chat_template_kwargs={"greeting": "Hi! "},
        ),
    ):
        assert small.decode(make().render_ids([QUESTION])) == "Hi! 2 + 2?<|im_end|>"
    with pytest.raises(ValueError, match="thinking_retention"):
        renderer_of(small, thinking_retention="some")
    with pytest.raises(ValueError, match="Unsupported chat_template_kwargs"):
        renderers.create_renderer(
            small, renderers.CustomRendererConfig(import_path=PATH), chat_template_kwargs={"history_tokens": 1}
        )
    with pytest.raises(chatspan.OptionError, match="max_tokens=0"):
        renderer_of(small, history_tokens=0)


@pytest.mark.parametrize("shape", ["tools and reasoning", "parallel calls", "system first"])
def test_each_token_is_its_messages(small: Any, shape: str) -> None:
    """By the words of the fields: no word of one message is in another's tokens, or in none."""
    messages, keywords = SHAPES[shape]
    renderer = renderer_of(small)
    rendered = renderer.render(handwritten.as_sent(messages), **keywords)
    text = small.apply_chat_template(messages, tokenize=False, **keywords)
    assert small.decode(rendered.token_ids) == text
    for index in range(len(messages)):
        own = text_of(small, rendered, [at == index for at in rendered.message_indices])
        assert words_of(own) == words_of(text, index)
    sampled = text_of(small, rendered, rendered.sampled_mask)
    content = text_of(small, rendered, rendered.is_content)
    of_assistants = {index for index, message in enumerate(messages) if message["role"] == "assistant"}
    assert words_of(sampled) == {word for index in of_assistants for word in words_of(text, index)}
    assert words_of(content) == words_of(text)
    assert sampled.count("<|im_end|>") == len(of_assistants)
    assert "<|im_start|>" not in sampled + content
    assert rendered.message_roles == [message["role"] for message in messages]
    names = ["get_weather" if message["role"] == "tool" else None for message in messages]
    assert rendered.message_tool_names == names
    assert rendered.tokens_by_role(sampled_only=True)["user"] == 0


def test_the_packages_own_training_sample_is_made_of_it(small: Any) -> None:
    messages = [QUESTION, assistant("It is 4."), NEXT, assistant("6")]
    sample = renderers.build_training_sample(
        renderer_of(small), messages, role_to_mask=lambda message: message["role"] == "assistant"
    )
    trained = [i for i, on in zip(sample.token_ids, sample.loss_mask, strict=True) if on]
    assert small.decode(trained) == "It is 4.<|im_end|>6<|im_end|>"
    step = renderers.build_trajectory_step(renderer_of(small), messages[:3], messages[3:])
    assert small.decode(step["completion_ids"]) == "6<|im_end|>\n"


def test_a_bridge_keeps_what_was_sampled_and_says_whose_the_rest_is(small: Any) -> None:
    renderer = renderer_of(small)
    shown = renderer.render_ids([QUESTION], tools=[schema()], add_generation_prompt=True)
    # In tokens of one letter each, as no tokenizer would give them.
    sampled = [*letters(small, "I will.\n" + CALL.removesuffix("<|im_end|>")), *ids_of(small, "<|im_end|>")]
    new = [{**tool("booked"), "tool_call_id": "call_0"}, NEXT]
    bridged = renderer.bridge_to_next_turn(shown, sampled, new, tools=[schema()])
    prior = len(shown) + len(sampled)
    assert bridged.token_ids[:prior] == [*shown, *sampled]
    behind = "\n<|im_start|>tool\nbooked<|im_end|>\n<|im_start|>user\nAnd 3 + 3?<|im_end|>\n<|im_start|>assistant\n"
    assert small.decode(bridged.token_ids[prior:]) == behind
    assert bridged.message_indices[:prior] == [-1] * prior
    assert [text_of(small, bridged, [at == index for at in bridged.message_indices]) for index in (0, 1)] == [
        "<|im_start|>tool\nbooked<|im_end|>\n",
        "<|im_start|>user\nAnd 3 + 3?<|im_end|>\n",
    ]
    assert text_of(small, bridged, bridged.is_content) == "bookedAnd 3 + 3?"
    assert not any(bridged.sampled_mask)
    assert bridged.message_roles == ["tool", "user"]
    # And on from there, also where a length cut the turn off.
    cut = ids_of(small, "It is")
    further = renderer.bridge_to_next_turn(bridged.token_ids, cut, [QUESTION], tools=[schema()])
    assert small.decode(further.token_ids[len(bridged.token_ids) :]) == (
        "It is<|im_end|>\n<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert dict(renderer.refused) == {}


def test_several_completions_of_one_prompt_go_on_by_themselves(small: Any) -> None:
    renderer = renderer_of(small)
    shown = renderer.render_ids([QUESTION], add_generation_prompt=True)
    first, second = (
        renderer.bridge_to_next_turn(shown, ids_of(small, f"{text}<|im_end|>"), [NEXT]) for text in ("4", "5")
    )
    for bridged, text in ((first, "4"), (second, "5")):
        on = renderer.bridge_to_next_turn(bridged.token_ids, ids_of(small, "6<|im_end|>"), [NEXT])
        assert small.decode(on.token_ids).startswith(
            f"<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n{text}"
        )


def test_nothing_is_guessed(small: Any) -> None:
    renderer = renderer_of(small)
    shown = renderer.render_ids([QUESTION], tools=[schema()], add_generation_prompt=True)
    sampled = ids_of(small, "4<|im_end|>")
    other = renderer.render_ids([QUESTION], tools=[schema()])
    for prompt, completion, new, tools in (
        (shown[1:], sampled, [NEXT], [schema()]),
        (other, sampled, [NEXT], [schema()]),
        ([*shown, *sampled], sampled, [NEXT], [schema()]),
        (shown, sampled, [NEXT], None),
        (shown, sampled, [NEXT, assistant("6")], [schema()]),
        (shown, sampled, [], [schema()]),
        ([], sampled, [NEXT], [schema()]),
        # Ids that the tokenizer does not know.
        (shown, [10**6], [NEXT], [schema()]),
    ):
        assert renderer.bridge_to_next_turn(prompt, completion, new, tools=tools) is None
    assert renderer.refused["unknown_prompt"] == 4
    assert renderer.bridge_to_next_turn(shown, sampled, [NEXT], tools=[schema()]) is not None


def test_what_the_template_would_drop_is_kept_where_that_is_wanted(small: Any) -> None:
    sampled = ids_of(small, "<think>Add.</think>4<|im_end|>")

    def bridged(new: dict[str, Any], **fields: Any) -> str | None:
        renderer = renderer_of(small, chat_template=TEMPLATES["drops reasoning"], **fields)
        shown = renderer.render_ids([QUESTION], add_generation_prompt=True)
        found = renderer.bridge_to_next_turn(shown, sampled, [new])
        return None if found is None else str(small.decode(found.token_ids[len(shown) :]))

    result = tool("booked")
    kept = "<think>Add.</think>4<|im_end|>\n<|im_start|>{}\n{}<|im_end|>\n<|im_start|>assistant\n"
    of_user, of_tool = kept.format("user", NEXT["content"]), kept.format("tool", "booked")
    assert [bridged(NEXT), bridged(result)] == [None, None]
    assert [bridged(new, thinking_retention="all") for new in (NEXT, result)] == [of_user, of_tool]
    assert [bridged(new, thinking_retention="tool_cycle") for new in (NEXT, result)] == [None, of_tool]


def test_another_renderer_of_the_same_model_goes_on_and_one_of_another_does_not(small: Any, small_copy: Any) -> None:
    first = renderer_of(small)
    shown = first.render_ids([user("Who goes on?")], add_generation_prompt=True)
    sampled = ids_of(small, "I.<|im_end|>")
    same = renderer_of(small_copy)
    assert same.bridge_to_next_turn(shown, sampled, [NEXT]) is not None
    assert renderer_of(small_copy, history_tokens=10**6).bridge_to_next_turn(shown, sampled, [NEXT]) is None
    small_copy.add_tokens(["<new>"])
    assert renderer_of(small_copy).bridge_to_next_turn(shown, sampled, [NEXT]) is None


def test_what_was_not_asked_for_the_longest_is_forgotten(small: Any) -> None:
    renderer = renderer_of(small, history_tokens=100)
    prompts = [renderer.render_ids([user(text * 80)], add_generation_prompt=True) for text in "abc"]
    assert all(50 < len(prompt) <= 100 for prompt in prompts)
    sampled = ids_of(small, "4<|im_end|>")
    known = [renderer.bridge_to_next_turn(prompt, sampled, [NEXT]) is not None for prompt in reversed(prompts)]
    assert known == [True, False, False]


def test_threads_may_share_a_renderer(small: Any) -> None:
    renderer = renderer_of(small)
    wrong: list[str] = []

    def roll_out(name: str) -> None:
        shown = renderer.render_ids([user(name)], add_generation_prompt=True)
        for turn in range(3):
            bridged = renderer.bridge_to_next_turn(shown, ids_of(small, f"{name}{turn}<|im_end|>"), [user(name)])
            if bridged is None:
                wrong.append(f"{name}{turn}")
                return
            shown = bridged.token_ids
        if small.decode(shown).count(name) != 7:
            wrong.append(name)

    threads = [threading.Thread(target=roll_out, args=(f"thread {number} ",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_completions_are_parsed_in_the_packages_form(small: Any) -> None:
    renderer = renderer_of(small)
    shown = renderer.render_ids([QUESTION], tools=[schema()], add_generation_prompt=True)
    parsed = renderer.parse_response(ids_of(small, f"I will.\n{CALL}"), tools=[schema()], prompt_ids=shown)
    assert (parsed.content, parsed.reasoning_content, parsed.reasoning_complete) == ("I will.", None, True)
    [found] = parsed.tool_calls
    assert (found.name, found.arguments, found.status.value) == ("rebook", {"train": "2"}, "ok")
    assert json.loads(found.raw) == {"name": "rebook", "arguments": {"train": "2"}}
    plain = renderer.parse_response(ids_of(small, "4<|im_end|>"))
    assert (plain.content, plain.tool_calls) == ("4", [])
    broken = ids_of(small, '<tool_call>\n{"name": "rebook", "arguments": {\n</tool_call><|im_end|>')
    [found] = renderer.parse_response(broken, tools=[schema()], prompt_ids=shown).tool_calls
    assert (found.name, found.status.value) == (None, "malformed_structure")
    assert found.raw.startswith("<tool_call>")


def test_the_packages_client_runs_turns_with_it(small: Any) -> None:
    """``generate`` against a server that answers as vLLM's ``/inference/v1/generate`` does."""
    renderer = renderer_of(small)
    answers = [CALL, "Done.<|im_end|>"]
    bodies: list[Any] = []

    async def post(endpoint: str, *, body: Any, **_: Any) -> Any:
        sampled = ids_of(small, answers[len(bodies)])
        bodies.append(body)
        content = [{"token": f"token_id:{each}", "logprob": -0.5} for each in sampled]
        choice = {"index": 0, "finish_reason": "stop", "token_ids": sampled, "logprobs": {"content": content}}
        return SimpleNamespace(content=json.dumps({"request_id": "r", "choices": [choice]}).encode())

    server = SimpleNamespace(base_url="http://localhost/v1", post=post)

    def generate(messages: list[Any], prompt_ids: list[int] | None = None) -> Any:
        arguments = {"model": "m", "tools": [schema()], "max_prompt_len": 10**6, "prompt_ids": prompt_ids}
        return asyncio.run(client.generate(client=server, renderer=renderer, messages=messages, **arguments))

    first = generate([QUESTION])
    assert bodies[0]["sampling_params"]["stop_token_ids"] == renderer.get_stop_token_ids()
    assert first["finish_reason"] == "tool_calls"
    new = [{**tool("booked"), "tool_call_id": "call_0"}]
    bridged = renderer.bridge_to_next_turn(first["prompt_ids"], first["completion_ids"], new, tools=[schema()])
    second = generate([QUESTION, calls(call("rebook", {"train": "2"})), *new], bridged.token_ids)
    assert second["content"] == "Done."
    assert bodies[1]["token_ids"][: len(first["prompt_ids"]) + len(first["completion_ids"])] == [
        *first["prompt_ids"],
        *first["completion_ids"],
    ]


FEW = ("qwen3", "gemma4", "deepseek-v3")


def test_beside_those_that_were_written_by_hand(say: Any, pytestconfig: pytest.Config) -> None:
    """chatspan's ids are transformers' in each case, and its bridges go on wherever the template does: so says
    :func:`handwritten.compare`. How often theirs are the same is in docs/rollout-libraries.md.
    """
    require_zoo()
    names = list(handwritten.BY_NAME) if pytestconfig.getoption("--all") else FEW
    for name in names:
        found = handwritten.compare(handwritten.BY_NAME[name], turns=True)
        assert found.counts["render equal"]
        assert found.counts["bridge equal"]
        assert found.counts["parse ours wrong"] == 0
        say(f"renderers by hand, {handwritten.row(name, found)}")
