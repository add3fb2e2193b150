"""Templates and messages that would run for ever, or take all memory. As a program: each in a process of its own, which
may take so much processor time and memory; what it came to is a line of JSON."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Processor time and memory that a case may take: what ends takes a small part of it. Of memory it is the room that is
# asked for, of which the core's allocator asks for a gigabyte at once.
SECONDS = 20
BYTES = 3 << 30

STOPPED = r"TemplateError: the chat template was stopped at its limit "
BY_BYTES = STOPPED + "bytes=1073741824:"
BY_STEPS = STOPPED + "steps=500000000:"
BY_DEPTH = STOPPED + "depth=400:"
ANY_BOUND = STOPPED


@dataclass(frozen=True)
class Case:
    """Attributes:
    source: a template.
    ends: what it comes to, as a pattern: ``"rendered …"``, or an error's type and text.
    nested: puts the first content one level deeper.
    times: how often it is rendered.
    limits: other ones than the usual.
    """

    source: str
    ends: str
    nested: Callable[[Any], Any] | None = None
    times: int = 1
    limits: Mapping[str, int] = field(default_factory=dict)


# What Jinja2's compiler could work out is not written down: `n` is 2.
LONG = "{% set n = messages | length %}{% set x = ('ab' * 1000) * (n * 4000) %}"
HALF = LONG.replace("'ab' * 1000", "'ab' * 10000") + "{% set h = x ~ x %}"
MANY = "{% set n = messages | length %}{% set l = [n] * (n * 8000000) %}"
ROUNDS = "{% for i in range(100000) %}"
END = "{% endfor %}"
NS = "{% set ns = namespace(x=[1], y=[1]) %}"


NESTED = NS + "{% for i in range(300) %}{% set ns.x = [ns.x] %}" + END
# What Python would take years for: each list holds the one before it twice.
SHARED = NS + "{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}" + END
SHARED_DICTS = (
    NS + "{% for i in range(60) %}{% set ns.x = {1: ns.x, 2: ns.x} %}{% set ns.y = {1: ns.y, 2: ns.y} %}" + END
)


def again(body: str) -> str:
    return ROUNDS + body + END


def each(prefix: str, before: str, expressions: Iterable[str], *, rounds: bool = False) -> dict[str, Case]:
    """A case for each expression. They are many: fewer steps than usual take less time."""
    bodies = {expression: f"{{% set z = {expression} %}}" for expression in expressions}
    return {
        f"{prefix}: {expression}": Case(
            before + (again(body) if rounds else body), ANY_BOUND, limits={"steps": 20_000_000}
        )
        for expression, body in bodies.items()
    }


# What goes through a long text, in which nothing of it is found.
OF_TEXTS = (
    "x[::-1]",
    "x[::-1000000]",
    "x[5]",
    "x[5:6]",
    "x.upper()",
    "x | title",
    "x.title()",
    "x.capitalize()",
    "x.strip('ab')",
    "x | trim(x)",
    "blank.strip()",
    "blank.split()",
    "x.split('c')",
    "x.rsplit('c', 1)",
    "x.splitlines()",
    "x.partition('c')",
    "x.replace('c', 'd')",
    "x.count('c')",
    "x.find(x ~ 'c')",
    "x.endswith(y)",
    "x.isalpha()",
    "x is lower",
    "x == y",
    "x < y",
    "x in [y ~ 1, y ~ 2]",
    "y in {x ~ 1: 1}",
    "x | wordcount",
    "blank | int",
    "x | e",
    "x | indent",
    "x | list | first",
    "x | reverse",
    "x | tojson",
    "x | string | length",
    "[x, y] | sort",
    "[x, y] | unique | list",
    "wide[5]",
    "wide | upper",
    "wide[::-1]",
    "wide.isalnum()",
)
TEXTS = (
    LONG + "{% set y = 'ab' * (n * 4000000) %}{% set blank = ' ' * (n * 8000000) %}{% set wide = 'é' * (n * 4000000) %}"
)
# What compares, orders and writes values that hold the same ones many times over.
OF_VALUES = (
    "ns.x == ns.y",
    "ns.x != ns.y",
    "ns.x is eq(ns.y)",
    "ns.x in [ns.y]",
    "[ns.x].index(ns.y)",
    "[ns.x].count(ns.y)",
    "[ns.x] | select('eq', ns.y) | list",
    "ns.x | string",
    "ns.x ~ 'a'",
    "ns.x | tojson",
    "ns.x | tojson(indent=0)",
    "ns.x | title",
    "[ns.x] | join",
    "{'a': ns.x} == {'a': ns.y}",
    "raise_exception(ns.x)",
)
OF_LISTS = ("ns.x < ns.y", "[ns.x, ns.y] | sort", "[ns.x, ns.y] | max")
# What may be kept: each takes a little memory.
KEPT = (
    "[ns.y]",
    "(ns.y,)",
    "{'a': ns.y}",
    "{'a': ns.y}.get",
    "{'a': ns.y}.values()",
    "namespace(x=ns.y)",
    "[ns.y, i ~ j]",
    "[ns.y, messages[0].content ~ j]",
    "[ns.y, [j] | map('string')]",
    "[ns.y, loop]",
)


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
    "macros without end": Case("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(1) }}", BY_DEPTH),
    "calls without end": Case(
        "{% macro g() %}{{ caller() }}{% endmacro %}"
        "{% macro f() %}{% call g() %}{{ f() }}{% endcall %}{% endmacro %}{{ f() }}",
        BY_DEPTH,
    ),
    "macros that call themselves twice": Case(
        "{% macro f(n) %}{% if n < 300 %}{{ f(n + 1) }}{{ f(n + 1) }}{% endif %}{% endmacro %}{{ f(0) }}", BY_DEPTH
    ),
    "many arguments": Case(
        "{% macro f("
        + ", ".join(f"a{i}" for i in range(1000))
        + ") %}{% endmacro %}"
        + again("{% set x = f(" + ", ".join(f"a{999 - i}=1" for i in range(1000)) + ") %}"),
        BY_STEPS,
    ),
    "many names": Case(
        "".join(f"{{% set a{i} = 1 %}}" for i in range(2000)) + again(again("{% set x = a0 %}")), BY_STEPS
    ),
    "a list of many to sort": Case("{% set l = range(100000) | list %}" + again("{% set x = l | sort %}"), ANY_BOUND),
    "a list of many to sort backwards": Case(
        "{% set l = (range(99999) | list) * 50 %}" + again("{% set x = l | sort(reverse=true) | first %}"), ANY_BOUND
    ),
    "texts to sort": Case(LONG + "{{ ([x ~ 1, x ~ 2] * 1000) | sort | length }}", ANY_BOUND),
    "a list to count in": Case("{% set l = range(100000) | list %}" + again("{% set x = l.count(-1) %}"), BY_STEPS),
    "a list to look up in": Case(
        "{% set l = range(100000) | list %}" + again("{% set x = l.index(99999) %}"), BY_STEPS
    ),
    "lists to compare": Case(
        "{% set l = range(100000) | list %}{% set m = range(100000) | list %}" + again("{% set x = l == m %}"), BY_STEPS
    ),
    "the least of a list": Case("{% set l = range(100000) | list %}" + again("{% set x = l | min %}"), BY_STEPS),
    "long keys": Case(LONG + "{% set d = {x ~ 1: 1} %}{% set y = x ~ 2 %}" + again("{% set z = d[y] %}"), BY_STEPS),
    "a path of many": Case(
        "{% set ns = namespace() %}{% set ns.x = ns %}{% set p = 'x.' * ((messages | length) * 4000000) ~ 'x' %}"
        + again("{% set y = [ns] | map(attribute=p) | list %}"),
        BY_STEPS,
    ),
    # --- texts
    "a text that doubles": Case("{% set ns = namespace(x='ab') %}" + again("{% set ns.x = ns.x + ns.x %}"), BY_BYTES),
    "and doubles": Case("{% set ns = namespace(x='ab') %}" + again("{% set ns.x = ns.x ~ ns.x %}"), BY_BYTES),
    "a text many times": Case("{{ 'a' * ((messages | length) * 5000000000) }}", BY_BYTES),
    "nothing many times": Case("{{ '' * ((messages | length) * 5000000000) }}{{ [] * 10000000000 }}", "rendered 2"),
    "much text": Case(LONG + again("{{ x }}"), BY_BYTES),
    "a long exception": Case(LONG + "{{ raise_exception(x) }}", "TemplateError: .*ababab"),
    "escaped again and again": Case(
        "{% set ns = namespace(x='&' * 1000000) %}" + again("{% set ns.x = (ns.x | e) ~ '' %}"), ANY_BOUND
    ),
    "tojson with an indent": Case(LONG + "{{ [[[[n]]]] | tojson(indent=x) | length }}", "rendered|" + ANY_BOUND),
    "tojson with many blanks": Case(
        "{% set n = messages | length %}{{ [[[[n]]]] | tojson(indent=n * 500000000) | length }}", BY_BYTES
    ),
    "tojson with blanks on each level": Case(NESTED + "{{ ns.x | tojson(indent=1000000) | length }}", BY_BYTES),
    "tojson again and again": Case(
        LONG + again("{% set y = messages[0].content | tojson(separators=[x, x]) %}"), BY_BYTES
    ),
    "tojson of input again and again": Case(LONG + again("{% set y = messages | tojson(indent=x) %}"), BY_BYTES),
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
    "a list many times": Case("{{ ([1] * ((messages | length) * 5000000000)) | length }}", ANY_BOUND),
    "lists that are kept": Case(NS + again("{% set ns.y = [range(100000) | list, ns.y] %}"), ANY_BOUND),
    "lists of many": Case(MANY + NS + again("{% set ns.y = [l + l, ns.y] %}"), ANY_BOUND),
    "a text as a list": Case(LONG + "{% set a = x | list %}{% set b = x | list %}{{ b | length }}", ANY_BOUND),
    "texts as lists": Case(LONG + NS + again("{% set ns.y = [x.split('a'), ns.y] %}"), ANY_BOUND),
    "a long range": Case(
        "{% for i in range((messages | length) * 5000000000) %}{% endfor %}", "TemplateError: .*Range too big"
    ),
    "half of all text as a list": Case(HALF + "{{ h | list | length }}", ANY_BOUND),
    "half of all text in parts": Case(HALF + "{{ h.split('a') | length }}", BY_BYTES),
    "half of all text in lines": Case(HALF.replace("ab", "a\\n") + "{{ h.splitlines() | length }}", BY_BYTES),
    "half of all text in words": Case(HALF.replace("ab", "a ") + "{{ h.split() | length }}", ANY_BOUND),
    "half of all text escaped": Case(HALF.replace("ab", "&&") + "{{ h | e | length }}", ANY_BOUND),
    "half of all text written": Case(HALF + "{{ h }}", BY_BYTES),
    "half of all text in capitals": Case(HALF + "{{ (h ~ 'é') | upper }}", BY_BYTES),
    "a long list sorted": Case(
        "{% set n = messages | length %}{{ ([1, 0] * (n * 3000000)) | sort | first }}", BY_BYTES
    ),
    "copies of a field": Case(
        "{% set x = (messages[0].content ~ '-') * ((messages | length) * 10000000) %}{{ (x ~ x ~ x) | length }}",
        BY_BYTES,
    ),
    "copies of a field in parts": Case(
        "{% set x = (messages[0].content ~ '-') * ((messages | length) * 1000000) %}"
        + again("{% set y = x.split('-') %}"),
        ANY_BOUND,
    ),
    "owners": Case(
        "{% macro f() %}" + again("{% for m in messages %}{{ m.role[0] }}" + END) + "{% endmacro %}"
        "{% for i in range(1000) %}{% set x = f() %}" + END,
        ANY_BOUND,
    ),
    "owners of one text": Case(
        "{% macro f() %}"
        + again("{% for m in messages %}{{ m.role[0] }}" + END)
        + "{% endmacro %}{% set x = f() %}"
        + again("{% set y = x.split('u') %}"),
        ANY_BOUND,
    ),
    "macros that are kept": Case(
        NS + again(again("{% macro f() %}{{ ns.y }}{% endmacro %}{% set a = 1 %}{% set ns.y = [ns.y, f] %}")), BY_BYTES
    ),
    "macros that are not": Case(again(again("{% macro f() %}{{ ns.y }}{% endmacro %}")), BY_BYTES),
    **each("in a long text", TEXTS, OF_TEXTS, rounds=True),
    **each("of shared lists", SHARED, [*OF_VALUES, *OF_LISTS]),
    **each("of shared dicts", SHARED_DICTS, OF_VALUES),
    "shared lists that changed": Case(
        SHARED + "{% for i in [1, 2] %}{{ loop.changed(ns.x if i == 1 else ns.y) }}" + END, ANY_BOUND
    ),
    "shared lists of a field": Case(
        SHARED.replace("x=[1]", "x=[messages[0].content]") + "{{ ns.x | tojson | length }}", ANY_BOUND
    ),
    "shared lists": Case(SHARED + "{{ ns.x == ns.y }}", BY_STEPS),
    **{
        f"kept: {expression}": Case(
            NS + again("{% for j in range(100000) %}{% set ns.y = " + expression + " %}" + END), BY_BYTES
        )
        for expression in KEPT
    },
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
    from chatspan import TemplateLimits
    from chatspan.render.renderer import ChatRenderer

    content: Any = "Hi"
    for _ in range(LEVELS if case.nested else 0):
        content = case.nested(content)  # type: ignore[misc]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "Hello"}]
    try:
        renderer = ChatRenderer(_tokenizer(), case.source, TemplateLimits(**case.limits))
        for _ in range(case.times):
            found = renderer.render(messages)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return f"rendered {len(found.text)}"


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(Path(__file__).parents[2] / "examples" / "tokenizer")


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
