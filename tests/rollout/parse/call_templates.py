"""Chat templates that write calls, one for each form that real ones have; each has reasoning, too."""

from __future__ import annotations

_TURNS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% if m.reasoning_content %}{{ '<think>\n' + m.reasoning_content + '\n</think>\n' }}{% endif %}{{ m.content }}"
    "{% if m.tool_calls %}CALLS{% endif %}{{ '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_EACH = "{% for c in m.tool_calls %}{% set f = c.function %}ONE{% endfor %}"


def _template(one: str, before: str = "", after: str = "", between: str = "") -> str:
    separated = one + ("{% if not loop.last %}{{ '" + between + "' }}{% endif %}" if between else "")
    calls = "{{ '" + before + "' }}" + _EACH.replace("ONE", separated) + "{{ '" + after + "' }}"
    return _TURNS.replace("CALLS", calls).replace("\n", "\\n")


def _keyed(before: str, pairs: str, after: str, *, items: str = "f.arguments.items()") -> str:
    return before + "{% for k, v in " + items + " %}" + pairs + "{% endfor %}" + after


_BARE = "v if v is string else v | tojson"

CALL_TEMPLATES: dict[str, str] = {
    "JSON object": _template(
        "{{ '\n<tool_call>\n' + {'name': f.name, 'arguments': f.arguments} | tojson + '\n</tool_call>' }}"
    ),
    "JSON list": _template("{{ f | tojson }}", "[TOOL_CALLS][", "]", ", "),
    "name as key": _template("{{ {f.name: f.arguments} | tojson }}", "<calls>[", "]</calls>", ", "),
    "name + JSON": _template("{{ '<function=' + f.name + '>' + f.arguments | tojson + '</function>' }}"),
    "bracket": _template("{{ '[TOOL_CALLS]' + f.name + '[CALL_ID]' + c.id + '[ARGS]' + f.arguments | tojson }}"),
    "indexed": _template(
        "{{ '<call>functions.' + f.name + ':' + loop.index0 | string + '<args>' + f.arguments | tojson + '</call>' }}",
        "<calls>",
        "</calls>",
    ),
    "recipient": _template(
        "{{ ' to=functions.' + f.name + '<|channel|>json<|message|>' + f.arguments | tojson + '<|call|>' }}"
    ),
    "code fence": _template("{{ '\nAction: ' + f.name + '\n```json\n' + f.arguments | tojson + '\n```' }}"),
    "keyed tags": _template(
        _keyed(
            "{{ '\n<tool_call>' + f.name + '\n' }}",
            "{{ '<arg_key>' + k + '</arg_key>\n<arg_value>' }}{{ " + _BARE + " }}{{ '</arg_value>\n' }}",
            "{{ '</tool_call>' }}",
        )
    ),
    "keyed, Python's words": _template(
        _keyed(
            "{{ '\n<function=' + f.name + '>\n' }}",
            "{{ '<parameter=' + k + '>\n' }}"
            "{{ v | tojson if v is mapping or (v is sequence and v is not string) else v | string }}"
            "{{ '\n</parameter>\n' }}",
            "{{ '</function>' }}",
        )
    ),
    "keyed, types marked": _template(
        _keyed(
            "{{ '<invoke name=\"' + f.name + '\">' }}",
            "{{ '<parameter name=\"' + k + '\" string=\"' + ('true' if v is string else 'false') + '\">' }}"
            "{{ " + _BARE + " }}{{ '</parameter>' }}",
            "{{ '</invoke>' }}",
        )
    ),
    "Python calls": _template(
        "{{ f.name + '(' }}{% for k, v in f.arguments.items() %}{{ k + '=' }}{{ v | tojson }}"
        "{% if not loop.last %}{{ ', ' }}{% endif %}{% endfor %}{{ ')' }}",
        "<calls>[",
        "]</calls>",
        ", ",
    ),
    "own quotes": _template(
        "{{ '<call>' + f.name + '{' }}{% for k, v in f.arguments.items() %}{{ k + ':' }}"
        "{{ '<|q|>' + v + '<|q|>' if v is string else v | tojson }}{% if not loop.last %}{{ ',' }}{% endif %}"
        "{% endfor %}{{ '}</call>' }}"
    ),
}
