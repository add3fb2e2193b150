"""verl's real tool agent with chatspan's tokens, and its own builders beside it; ``make test-verl`` installs verl."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from cases import user
from chatspan.verl import TokenBuilder
from conversations import schema
from prompts import SOURCES
from test_trl_rollout_func import CALL, ids_of
from turn_shapes import words_of
from turns_sampled import Sampled, Talk, talks
from zoo import NO_ZOO, ZOO

pytest.importorskip("verl", reason="verl is not installed: make test-verl installs it")
agent_loops = pytest.importorskip("verl.experimental.agent_loop.agent_loop")
wiring = pytest.importorskip("verl.utils.tokenizer.continuous_token_wiring")
ours = pytest.importorskip("chatspan.verl.agent_loop")
omegaconf = pytest.importorskip("omegaconf")
function_tools = pytest.importorskip("verl.tools.function_tool")
schemas = pytest.importorskip("verl.tools.schemas")
replica = pytest.importorskip("verl.workers.rollout.replica")


class Server:
    """Samples what a script says, letter by letter where no tokenizer would."""

    def __init__(self, tokenizer: Any, texts: list[str]) -> None:
        self.sampled = [[i for part in _letters(text) for i in ids_of(tokenizer, part)] for text in texts]
        self.prompts: list[list[int]] = []

    async def generate(self, *, prompt_ids: list[int], **_: Any) -> Any:
        sampled = self.sampled[len(self.prompts)]
        self.prompts.append(list(prompt_ids))
        return replica.TokenOutput(token_ids=sampled, log_probs=[-0.5] * len(sampled))


def _letters(text: str) -> list[str]:
    """A text in single letters, but for the control tokens."""
    parts = text.replace("<|im_end|>", "\0<|im_end|>\0").split("\0")
    return [piece for part in parts for piece in ([part] if part.startswith("<|") else list(part))]


def config_of(**multi_turn: Any) -> Any:
    turns = {
        "max_user_turns": None,
        "max_assistant_turns": None,
        "max_parallel_calls": 2,
        "max_tool_response_length": 256,
        "tool_response_truncate_side": "middle",
        "format": "hermes",
        **multi_turn,
    }
    rollout = {"multi_turn": turns, "prompt_length": 512, "response_length": 512, "full_determinism": False}
    return omegaconf.OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}})


def rebook(train: str) -> str:
    return f"booked {train}"


def run_loop(tokenizer: Any, texts: list[str], messages: list[dict[str, Any]]) -> tuple[Any, Server]:
    """The real agent loop, from its constructor on; what it gives, and the server."""
    tool = function_tools.FunctionTool("rebook", rebook, schemas.OpenAIFunctionToolSchema.model_validate(schema()))

    async def run() -> tuple[Any, Server]:
        server = Server(tokenizer, texts)
        loop = ours.ChatspanToolAgentLoop(
            trainer_config=agent_loops.DictConfigWrap(config_of()),
            server_manager=server,
            tokenizer=tokenizer,
            processor=None,
            dataset_cls=SimpleNamespace,
            data_config=agent_loops.DictConfigWrap(omegaconf.OmegaConf.create({"apply_chat_template_kwargs": {}})),
            tools=agent_loops.ToolListWrap([tool]),
        )
        assert isinstance(loop.continuous_token_builder, TokenBuilder)
        return await loop.run({}, raw_prompt=messages), server

    return asyncio.run(run())


def test_the_tool_agent_keeps_what_was_sampled_and_masks_the_rest(small: Any) -> None:
    question = [user("Move me to the IC 900.")]
    output, server = run_loop(small, [CALL, "Done.<|im_end|>"], question)
    own = [i for i, mask in zip(output.response_ids, output.response_mask, strict=True) if mask]
    assert own == [*server.sampled[0], *server.sampled[1]]
    pieces: list[tuple[int, str]] = []
    for i, mask in zip(output.response_ids, output.response_mask, strict=True):
        text = small.decode([i])
        if pieces and pieces[-1][0] == mask:
            pieces[-1] = (mask, pieces[-1][1] + text)
        else:
            pieces.append((mask, text))
    behind = "\n<|im_start|>tool\nbooked IC 900<|im_end|>\n<|im_start|>assistant\n"
    assert pieces == [(1, CALL), (0, behind), (1, "Done.<|im_end|>")]
    assert output.response_logprobs == [-0.5 if mask else 0.0 for mask in output.response_mask]
    template = small.apply_chat_template(question, tools=[schema()], add_generation_prompt=True, tokenize=False)
    assert small.decode(output.prompt_ids) == template
    assert server.prompts[1] == [*output.prompt_ids, *output.response_ids][: len(server.prompts[1])]
    # verl's own padding and tensors take it.
    assert output.as_dict()["response_mask"].tolist() == output.response_mask


# Builders of verl, each on a template of its family. With --all every template, most of them by the one for all others.
FAMILIES = {
    "Qwen-Qwen2.5-7B-Instruct": "qwen25",
    "Qwen-Qwen3-0.6B": "qwen3",
    "Qwen3.5-4B": "qwen35",
    "GLM-4.6": "glm47",
    "GLM-4.7-Flash": "glm47",
    "GLM-5.2": "glm5",
    "openai-gpt-oss-120b": "gptoss",
    "google-gemma-4-31B-it": "gemma4",
    "google-gemma-4-31B-it-interleaved": "gemma4",
    "deepseek-ai-DeepSeek-V3.1": "deepseek",
    "deepseek-ai-DeepSeek-V3.2": "deepseek",
}
FEW = ("Qwen-Qwen3-0.6B", "GLM-4.7-Flash", "google-gemma-4-31B-it")


def test_beside_verls_own_builders(say: Any, pytestconfig: pytest.Config) -> None:
    """Each is judged by transformers' render of the whole conversation, where that goes on with what was shown."""
    if not ZOO.is_dir():
        pytest.skip(NO_ZOO)
    names = [name for name in SOURCES if name != "chat_template"] if pytestconfig.getoption("--all") else FEW
    counts: Counter[str] = Counter()
    for name in names:
        counts += beside(name)
    found = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    say(f"verl {version('verl')}'s builders on {len(names)} templates, turns that the template goes on from: {found}")
    assert counts["equal"]


def beside(name: str) -> Counter[str]:
    """How often the next prompt of verl's builder is the template's; that of chatspan's always is."""
    counts: Counter[str] = Counter()
    for _, talk in talks(name, 0):
        for sampled in talk.turns():
            new = talk.messages[sampled.index + 1 : sampled.next_index]
            # A template may drop a new message; that chatspan refuses it is tested with bridges.
            if sampled.is_stable and all(words_of(str(each)) <= words_of(str(sampled.next_prompt)) for each in new):
                theirs, mine = merged_by_both(name, talk, sampled)
                assert mine == sampled.next_prompt, name
                counts["equal" if theirs == mine else "raise" if theirs is None else "another prompt"] += 1
    return counts


def merged_by_both(name: str, talk: Talk, sampled: Sampled) -> tuple[str | None, str]:
    """The text of the next prompt that verl's builder makes, ``None`` where it raises; and of chatspan's."""
    tools, tokenizer = talk.keywords.get("tools"), copy.copy(talk.tokenizer)
    tokenizer.chat_template = SOURCES[name]
    keywords = {key: value for key, value in talk.keywords.items() if key != "tools"}
    mine = TokenBuilder(tokenizer, chat_template_kwargs=keywords)
    previous, updated = talk.messages[: sampled.index + 1], talk.messages[: sampled.next_index]
    shown = mine.build_initial_tokens(talk.messages[: sampled.index], tools=tools)
    token_ids = mine.merge_assistant_tokens(shown, ids_of(tokenizer, sampled.text)).token_ids
    merged = mine.merge_context_tokens(previous, updated, token_ids, tools=tools)
    assert merged.token_ids[: len(token_ids)] == token_ids
    assert len(merged.inserted_token_ids) + merged.appended_token_count == len(merged.token_ids) - len(token_ids)
    try:
        family = FAMILIES.get(name, "default")
        builder = wiring.create_continuous_token_builder(tokenizer, model_family=family, chat_template_kwargs=keywords)
        theirs = builder.merge_context_tokens(previous, updated, token_ids, tools=tools)
    # Templates raise whatever they like, and so do builders.
    except Exception:
        return None, tokenizer.decode(merged.token_ids)
    return tokenizer.decode(theirs.token_ids), tokenizer.decode(merged.token_ids)
