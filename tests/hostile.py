"""Templates and messages that would run for ever, or take all memory. As a program: each in a process of its own, which
may take so much processor time and memory; what it came to is a line of JSON."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Processor time and memory that a case may take: what ends takes a small part of it.
SECONDS = 20
BYTES = 2 << 30

STOPPED = r"TemplateError: the chat template was stopped: "
BY_BYTES = STOPPED + "more than 1073741824 bytes"
ANY_BOUND = STOPPED


@dataclass(frozen=True)
class Case:
    """Attributes:
    source: a template.
    ends: what it comes to, as a pattern: ``"rendered …"``, or an error's type and text.
    nested: puts the first content one level deeper.
    times: how often it is rendered.
    """

    source: str
    ends: str
    nested: Callable[[Any], Any] | None = None
    times: int = 1


# What Jinja2's compiler could work out is not written down: `n` is 2.
LONG = "{% set n = messages | length %}{% set x = ('ab' * 1000) * (n * 4000) %}"
MANY = "{% set n = messages | length %}{% set l = [n] * (n * 8000000) %}"
ROUNDS = "{% for i in range(100000) %}"
END = "{% endfor %}"
NS = "{% set ns = namespace(x=[1], y=[1]) %}"


def again(body: str) -> str:
    return ROUNDS + body + END


CASES: dict[str, Case] = {
    # --- steps
    "loops over nothing": Case(again(again("")), ANY_BOUND),
    "loops": Case(again(again("{% set x = i %}")), ANY_BOUND),
    "loops with a filter": Case(again("{% for j in range(100000) if false %}" + END), ANY_BOUND),
    "a filter in a loop": Case(again("{% set x = range(100000) | map('string') | list %}"), ANY_BOUND),
    "unique": Case(again("{% set x = range(100000) | unique | list %}"), ANY_BOUND),
    "a search in a list": Case("{% set l = range(100000) | list %}" + again("{{ -1 in l }}"), ANY_BOUND),
    "a search in a text": Case(LONG + again("{{ 'c' in x }}"), ANY_BOUND),
    "the length of a text": Case("{% set x = 'é' * 4000000 %}" + again("{% set y = x | length %}"), ANY_BOUND),
    "a list that grows": Case(NS + again("{% set ns.x = ns.x + [i] %}"), ANY_BOUND),
    "macros without end": Case("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(1) }}", "TemplateError: .*Recursion"),
    "calls without end": Case(
        "{% macro g() %}{{ caller() }}{% endmacro %}"
        "{% macro f() %}{% call g() %}{{ f() }}{% endcall %}{% endmacro %}{{ f() }}",
        "TemplateError: .*Recursion",
    ),
    # --- texts
    "a text that doubles": Case("{% set ns = namespace(x='ab') %}" + again("{% set ns.x = ns.x + ns.x %}"), BY_BYTES),
    "and doubles": Case("{% set ns = namespace(x='ab') %}" + again("{% set ns.x = ns.x ~ ns.x %}"), BY_BYTES),
    "a text many times": Case("{{ 'a' * ((messages | length) * 5000000000) }}", STOPPED + "a text repeated"),
    "much text": Case(LONG + again("{{ x }}"), BY_BYTES),
    "a long exception": Case(LONG + "{{ raise_exception(x) }}", "TemplateError: .*ababab"),
    "escaped again and again": Case(
        "{% set ns = namespace(x='&' * 1000000) %}" + again("{% set ns.x = (ns.x | e) ~ '' %}"), BY_BYTES
    ),
    "tojson with an indent": Case(LONG + "{{ [[[[n]]]] | tojson(indent=x) | length }}", "rendered|" + ANY_BOUND),
    "tojson with separators": Case(LONG + "{{ ([n] * 5000) | tojson(separators=[x, x]) | length }}", BY_BYTES),
    "replace": Case(LONG + "{{ x.replace('a', x) | length }}", ANY_BOUND),
    "the filter replace": Case(LONG + "{{ x | replace('a', x) | length }}", ANY_BOUND),
    "replace of nothing": Case(LONG + "{{ x.replace('', x) | length }}", ANY_BOUND),
    "join": Case(LONG + "{{ ([x] * (n * 5000)) | join | length }}", ANY_BOUND),
    "join by a text": Case(LONG + "{{ x.join(['a'] * (n * 5000)) | length }}", ANY_BOUND),
    "concat": Case(LONG + "{{ (" + " ~ ".join(["x"] * 300) + ") | length }}", ANY_BOUND),
    "sum": Case(LONG + "{{ (" + " + ".join(["x"] * 300) + ") | length }}", ANY_BOUND),
    "indent": Case(LONG + "{{ ('\\n' * (n * 5000)) | indent(x, blank=true) | length }}", ANY_BOUND),
    # --- lists
    "a list that doubles": Case(NS + again("{% set ns.x = ns.x + ns.x %}"), ANY_BOUND),
    "a list many times": Case("{{ ([1] * ((messages | length) * 5000000000)) | length }}", STOPPED + "a list repeated"),
    "lists that are kept": Case(NS + again("{% set ns.y = [range(100000) | list, ns.y] %}"), ANY_BOUND),
    "lists of many": Case(MANY + NS + again("{% set ns.y = [l + l, ns.y] %}"), ANY_BOUND),
    "a text as a list": Case(LONG + "{% set a = x | list %}{% set b = x | list %}{{ b | length }}", ANY_BOUND),
    "texts as lists": Case(LONG + NS + again("{% set ns.y = [x.split('a'), ns.y] %}"), ANY_BOUND),
    "a long range": Case(
        "{% for i in range((messages | length) * 5000000000) %}{% endfor %}", "TemplateError: .*Range too big"
    ),
    # --- values in each other
    "a namespace in itself": Case("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", r"rendered \d+"),
    "and in a list": Case(
        "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x | length }}{{ ns.x == [ns] }}", "rendered 5"
    ),
    "and as JSON": Case("{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x | tojson }}", "TemplateError: "),
    "namespaces": Case(NS + again("{% set ns.x = namespace(x=ns.x) %}") + "{{ 'ok' }}", "rendered 2"),
    "lists": Case(NS + again("{% set ns.x = [ns.x] %}") + "{{ 'ok' }}", "rendered 2"),
    "dicts": Case(NS + again("{% set ns.x = {'a': ns.x} %}") + "{{ 'ok' }}", "rendered 2"),
    "methods of dicts": Case(NS + again("{% set ns.x = {'a': ns.x}.get %}") + "{{ 'ok' }}", "rendered 2"),
    "views": Case(NS + again("{% set ns.x = {'a': ns.x}.values() %}") + "{{ 'ok' }}", "rendered 2"),
    "loops in loops": Case(NS + again("{% for j in [ns.x] %}{% set ns.x = loop %}" + END) + "{{ 'ok' }}", "rendered 2"),
    "loops that changed": Case(
        NS + again("{% for j in [1] %}{% set y = loop.changed(ns.x) %}{% set ns.x = loop %}" + END) + "{{ 'ok' }}",
        "rendered 2",
    ),
    "callers": Case(
        NS
        + "{% macro keep() %}{% set ns.x = caller %}{% if false %}{{ caller() }}{% endif %}{% endmacro %}"
        + again("{% set before = ns.x %}{% call keep() %}{{ before }}{% endcall %}")
        + "{% set ns.x = 1 %}{{ 'ok' }}",
        "rendered 2",
    ),
    # --- render behind render
    "macros": Case(LONG + "{% macro f() %}{{ x }}{% endmacro %}", "rendered 0", times=200),
    "callers that are kept": Case(
        LONG + NS + "{% macro f() %}{% set ns.x = caller %}{% endmacro %}{% call f() %}{{ ns }}{% endcall %}",
        "rendered 0",
        times=200,
    ),
    "namespaces in themselves": Case(LONG + NS + "{% set ns.x = [ns, x] %}", "rendered 0", times=200),
    "texts": Case(LONG + NS + "{% set ns.x = [x] %}", "rendered 0", times=200),
    # --- messages
    "a list in lists": Case("{{ messages[1].content }}", "(Message|Template)Error: ", nested=lambda x: [x]),
    "a dict in dicts": Case("{{ messages[1].content }}", "(Message|Template)Error: ", nested=lambda x: {"a": x}),
    "written": Case("{{ messages[0].content }}", "(Message|Template)Error: ", nested=lambda x: [x]),
}
LEVELS = 10_000


def render(case: Case) -> str:
    """What a case comes to."""
    from chatspan.renderer import ChatRenderer

    content: Any = "Hi"
    for _ in range(LEVELS if case.nested else 0):
        content = case.nested(content)  # type: ignore[misc]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "Hello"}]
    try:
        renderer = ChatRenderer(_tokenizer(), chat_template=case.source)
        for _ in range(case.times):
            found = renderer.render(messages)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return f"rendered {len(found.text)}"


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(Path(__file__).parents[1] / "examples" / "tokenizer")


def _in_a_process(case: Case, seconds: int) -> str:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        used = sum(os.times()[:2])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + seconds, int(used) + seconds))
        memory = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + BYTES
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        os.write(1, render(case).encode(errors="replace"))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        return said
    number = os.WTERMSIG(status)
    if number in (signal.SIGKILL, signal.SIGXCPU):
        return f"did not end in {seconds} s"
    return f"ended the process: {signal.Signals(number).name}"


def main(names: Iterable[str]) -> None:
    # What all have in common is done once.
    render(Case("a", "rendered 1"))
    for name in names or CASES:
        case = CASES[name]
        print(json.dumps([name, _in_a_process(case, SECONDS)]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
