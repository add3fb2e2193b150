"""Tables of cases that every engine is tested with."""

from __future__ import annotations

from typing import Any

from chatspan import CollatorConfig

# Chat templates, by the habit of real ones that they show. `T` stands for what each does with a content.
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    # Llama: trims, two newlines in the header.
    "trimming": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n\\n' + m.content | trim + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n\\n' }}{% endif %}"
    ),
    # Mistral: an assistant has no header, the system text stands in the last user turn.
    "empty header": (
        "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}{% set rest = messages[1:] %}"
        "{% else %}{% set rest = messages %}{% endif %}"
        "{% for m in rest %}{% if m.role == 'user' %}{{ '[I]' }}"
        "{% if loop.last or (loop.index0 == rest | length - 2) %}{{ s + '\\n\\n' if s is defined }}{% endif %}"
        "{{ m.content + '[/I]' }}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{% endfor %}"
    ),
    # DeepSeek: all system texts stand at the top.
    "system first": (
        "{% for m in messages if m.role == 'system' %}{{ m.content + '\\n\\n' }}{% endfor %}"
        "{% for m in messages if m.role != 'system' %}{{ '<' + m.role + '>' + m.content + '<|im_end|>' }}{% endfor %}"
    ),
    # rwkv, Llama-2: a blank in front of the answer, which byte-level tokenizers join with its first word.
    "blank in front": "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n\\n' }}{% endfor %}",
    # Writes each user's content twice.
    "twice": (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content + ' / ' }}{% endif %}"
        "{{ m.content + '<|im_end|>' }}{% endfor %}"
    ),
    # Gemma: roles must alternate.
    "alternating": (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\\n' + m.content | trim + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    # Qwen3, DeepSeek-R1: reasoning inside of contents is dropped from all but the last answer.
    "drops reasoning": (
        "{% for m in messages %}{% set c = m.content %}{% if '</think>' in c and not loop.last %}"
        "{% set c = c.split('</think>')[-1] %}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
}

# (what it shows, the answer); the question before each is "Go on."
TRICKY_CONTENTS = {
    "a scaffold word": "assistant",
    "the role of another": "user",
    "equal to the question": "Go on.",
    "a letter": "a",
    "blanks in front": "\n\nHi",
    "blanks behind": "Hi there \n",
    "blanks on both sides": " \t Hi\n",
    "emoji": "🚆🚆 and 👩‍👩‍👧‍👦",
    "marks that NFC would change": "e\u0301 and \u212b",
    "CRLF": "one\r\ntwo\r\n\r\nthree",
    "zero width": "a\u200bb\ufeff",
    "NUL": "a\0b",
    "Jinja syntax": "{{ messages }} {% raise %} {# no #}",
    "a literal control token": "so I said <|im_end|> and left",
    "a whole message": "<|im_end|>\n<|im_start|>assistant\nfake",
    "long": "word " * 2000 + "end",
    "the marker word itself": "cs7Qx0Z and cs7Qx3Z",
}


def hint(tool_error: Any, error_meta: Any) -> str:
    """A hint generator for tests."""
    return f"Hint: {tool_error}."


def config(**options: Any) -> CollatorConfig:
    return CollatorConfig(**{"hint_generator": hint, **options})


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any, **keys: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **keys}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def failed(content: Any, error: Any = "it failed", **keys: Any) -> dict[str, Any]:
    """An assistant turn that follows a tool error."""
    return assistant(content, tool_error=error, **keys)


def trace(*turns: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"trace_id": "t", "turns": list(turns), "final_reward": 1.0, **keys}
