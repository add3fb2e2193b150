"""The table of openings in the docs, made of transformers' renders alone.

python tests/attribute/openings_table.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from cases import assistant, user
from conversations import SPECIAL_TOKENS, call, calls, tool
from transformers import AutoTokenizer
from zoo import EXAMPLES, ZOO

# (family, its template in the zoo, keywords)
FAMILIES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Qwen2.5", "Qwen-Qwen2.5-7B-Instruct", {}),
    ("Qwen3", "Qwen-Qwen3-0.6B", {}),
    ("Qwen3", "Qwen-Qwen3-0.6B", {"enable_thinking": False}),
    ("Qwen3.5", "Qwen3.5-4B", {}),
    ("DeepSeek-V3.1", "deepseek-ai-DeepSeek-V3.1", {}),
    ("DeepSeek-V3.1", "deepseek-ai-DeepSeek-V3.1", {"thinking": True}),
    ("DeepSeek-R1", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", {}),
    ("GLM-4.6", "GLM-4.6", {}),
    ("GLM-4.6", "GLM-4.6", {"enable_thinking": False}),
    ("Kimi-K2", "moonshotai-Kimi-K2", {}),
    ("gpt-oss", "openai-gpt-oss-120b", {}),
    ("Llama 3.1", "meta-llama-Llama-3.1-8B-Instruct", {}),
    ("Gemma 4", "google-gemma-4-31B-it", {}),
    ("SmolLM3", "HuggingFaceTB-SmolLM3-3B", {"enable_thinking": False}),
    ("Mistral-Nemo", "mistralai-Mistral-Nemo-Instruct-2407", {}),
)
USER, ANSWER = user("Zu"), assistant("Za")
AFTER_TOOL = [USER, calls(call("get", {"a": "Zx"}, "abcdefghi")), tool("Zt", "abcdefghi")]
HEADER = (
    "| template | keywords | opening after a user | opening after a tool | stop |",
    "|---|---|---|---|---|",
)


def lines() -> Iterator[str]:
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
    yield from HEADER
    for family, name, keywords in FAMILIES:
        source = (ZOO / "templates" / f"{name}.jinja").read_text(encoding="utf-8")

        def render(messages: Any, source: str = source, keywords: Any = keywords, **more: Any) -> str | None:
            try:
                return tokenizer.apply_chat_template(
                    messages, tokenize=False, chat_template=source, **{**SPECIAL_TOKENS, **keywords, **more}
                )
            # What templates raise has no common base.
            except Exception:
                return None

        openings = [_opening(render, history) for history in ([USER], AFTER_TOOL)]
        row = render([USER, ANSWER]) or ""
        stop = row.rpartition("Za")[2].rstrip()
        said = ", ".join(f"`{key}={value}`" for key, value in keywords.items())
        yield f"| {family} | {said} | {_cell(openings[0])} | {_cell(openings[1])} | {_cell(stop)} |"


def _opening(render: Any, history: Any) -> str | None:
    prompt, plain = render(history, add_generation_prompt=True), render(history)
    if prompt is None or plain is None or not prompt.startswith(plain):
        return None
    return prompt[len(plain) :]


def _cell(text: str | None) -> str:
    if text is None:
        return "refused"
    if not text:
        return "nothing"
    return "`" + text.replace("\n", "\\n").replace("|", "\\|") + "`"


if __name__ == "__main__":
    print("\n".join(lines()))
