"""Small templates, each of which shows one thing. What they give is asked of Jinja2. A template a line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from machine_cases_jinja import OF_JINJA2
from machine_cases_python import OF_PYTHON

CASES = {**OF_PYTHON, **OF_JINJA2}


def one_by_one(group: str) -> Iterator[str]:
    """The templates of a group; expressions that stand beside each other are templates of their own."""
    for source in CASES[group]:
        expressions = re.findall(r"\{\{ .*? \}\}", source)
        if len(expressions) > 1 and group != "source" and "|".join(expressions) == source.replace("}}{{", "}}|{{"):
            yield from expressions
        else:
            yield source


# Where traced strings are not what Jinja2 would have there; the first render with a template is compared for that.
UNLIKE_JINJA2 = [
    "{{ ['a' | safe, word | safe] }}",
    "{{ ('<b>%s</b>' | safe) % html }}",
    "{{ ('<b>{}</b>' | safe).format(html) }}",
    "{{ (word | safe) * 2 + '<' }}",
    "{{ (word | safe).split('l') }}",
    "{% autoescape true %}{{ html }}{% endautoescape %}",
]
# What the clock says is only the same for engines that are told the time.
CLOCK = [
    "{{ strftime_now('%Y-%m-%d %H:%M:%S') }}|{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%A, %B %j %U %w %y %p %I %%') }}",
    "{{ strftime_now('') }}|{{ strftime_now('é %Y') }}|{{ strftime_now('%Y')[2:] }}|{{ strftime_now('%-d') }}|{{ strftime_now('%e') }}",
    "{{ strftime_now(1) }}",
    "{{ strftime_now() }}",
    "{{ strftime_now('%s') is string }}|{{ strftime_now('%z|%Z|%f') }}|{{ strftime_now(format='%Y') }}",
    "{% set today = strftime_now('%Y-%m-%d') if strftime_now is defined else 'x' %}{{ today }}",
]
# Where origins go: copies, cuts, joins, dumps, generation blocks, owners.
ORIGINS = [
    "{{ word }}{{ word[1:3] }}{{ word[::-1] }}{{ word | trim('H') }}{{ word | upper }}{{ word * 2 }}{{ word.split('l') | join('-') }}",
    "{{ spaced | trim }}{{ spaced.split() | join('') }}{{ lines.splitlines() | join('|') }}{{ word.replace('l', blank) }}{{ word.replace('l', html) }}",
    "{{ word ~ html }}{{ word + html[2:] }}{{ [word, html] | join(word) }}{{ '%s/%s' % (word, html) }}{{ '{}{}'.format(word, html) }}{{ '%10s' % word }}",
    "{{ nested }}{{ nested.a }}{{ nested | tojson }}{{ nested | tojson(indent=2) }}{{ (nested | tojson)[3:9] }}{{ [word, nested] }}{{ {'k': word} | tojson }}",
    "{{ number }}{{ number + 0 }}{{ half }}{{ floats }}{{ flag }}{{ nothing }}{{ numbers[0] }}{{ numbers | join(',') }}{{ number | string }}{{ number ~ half }}",
    "{% for k, v in counts.items() %}{{ k }}{{ v }}{% endfor %}{% for k in counts %}{{ k }}{% endfor %}{{ counts | list }}{{ counts.keys() | join }}",
    "{% for k, v in counts | dictsort %}{{ k }}{{ v }}{% endfor %}{% for k, v in counts | items %}{{ k }}{{ v }}{% endfor %}",
    "{% for c in word %}{{ c }}{% endfor %}|{{ word | list }}|{{ word | list | join }}|{{ word | reverse }}|{{ word | first }}{{ word[1] }}{{ word[-1] }}",
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}end",
    "{% for m in messages %}<{{ m.role }}>{% generation %}{{ m.content }}</>{% endgeneration %}\n{% endfor %}",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{% generation %}{{ m.content }}{% endgeneration %}.{% endgeneration %}{% endif %}{% endfor %}",
    "{% generation %}{% endgeneration %}{% generation %}{{ blank }}{% endgeneration %}{% generation %}x{% endgeneration %}",
    "{% set x %}{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %},{% endfor %}{% endset %}{{ x }}|{{ x[2:] }}|{{ x | trim(',') }}",
    "{% macro f(m) %}{{ m.content }};{% endmacro %}{{ f(messages[0]) }}{{ f(messages[1]) }}{% for m in messages %}{{ f(m) }}{% endfor %}end",
    "{% macro f(x) %}{% for m in x %}{{ m.content }};{% endfor %}{% endmacro %}{{ f(messages) }}{{ f(messages) | upper }}{{ f(messages)[3:] }}",
    "{% for i in range(messages | length) %}{% set m = messages[i] %}{{ i }}{{ m.content }}{% endfor %}{% set m = messages[0] %}{{ m.content }}",
    "{% for m in messages %}{% for c in m.content %}{{ c }}{% endfor %}{% set n = messages[0] %}{{ n.content }}{% endfor %}",
    "{% for m in messages %}{{ loop.previtem.content }}{{ loop.nextitem.content }}{% endfor %}{% for m in messages[::-1] %}{{ m.content }}{% endfor %}",
    "{% for m in messages | selectattr('role', 'equalto', 'user') %}{{ m.content }}{% endfor %}{% for m in messages if m.role != 'user' %}{{ m.content }}{% else %}none{% endfor %}",
    "{% for m in messages %}{% set d = {'role': m.role, 'content': m.content | trim} %}{% for e in [d] %}{{ e.content }}{% endfor %}{% endfor %}",
    "{% set ns = namespace(text='') %}{% for m in messages %}{% set ns.text = ns.text ~ m.content ~ '\n' %}{% endfor %}{{ ns.text }}{{ ns.text | trim }}",
    "{% for m in messages %}{{ m }}{{ m | tojson }}{{ [m] }}{{ messages | tojson }}{% endfor %}",
    "{{ messages }}{{ messages | tojson(indent=1) }}{{ messages[0].items() | list }}{{ messages | map(attribute='content') | join('\n') }}",
    "{% filter upper %}{% for m in messages %}{{ m.content }}{% endfor %}{% endfilter %}{% filter trim %} {{ word }} {% endfilter %}",
    "{{ html | e }}{{ html | safe }}{{ (html | safe) + html }}{{ html | forceescape }}{{ [html | safe, html] | join }}{{ html | striptags }}",
    "{{ quotes | tojson }}{{ [quotes] }}{{ german | upper }}{{ german | title }}{{ [single] }}{{ [word, single, double] | tojson(ensure_ascii=true) }}",
    "{% macro f() %}{{ caller() }}!{% endmacro %}{% for m in messages %}{% call f() %}{{ m.content }}{% endcall %}{% endfor %}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{% break %}{% endfor %}end{{ word }}",
    "{% for m in messages recursive %}{{ m.content }}{% if loop.depth < 2 %}{{ loop(messages[:1]) }}{% endif %}{% endfor %}",
    "{{ bos_token }}{{ eos_token ~ word }}{{ tools }}{{ documents }}{{ add_generation_prompt }}",
    "{{ lines | indent(2) }}{{ lines | indent(2, true) }}{{ word | indent }}{{ word | center(9) }}{{ word | replace('', '-') }}{{ word | capitalize }}",
    "{{ word.partition('l') | join('|') }}{{ word.rsplit('l', 1) | join('|') }}{{ word.removeprefix('H') }}{{ word.ljust(9) }}{{ word.title() }}{{ word.join(['a', 'b']) }}",
    "{% for k in dict(counts) %}{{ k }}{% endfor %}{{ dict(counts, b=word) }}{{ dict(counts, d=word) | list }}{{ dict(counts).items() | list }}{{ dict(counts) | tojson }}{{ dict(messages[0]) | dictsort }}",
    "{{ counts | last }}{{ counts | first }}{% for k in counts | reverse %}{{ k }}{% endfor %}{{ counts | reverse | join }}",
    "{% filter upper %}{% generation %}{% endgeneration %}{% endfilter %}|{% filter center %}{% generation %}{% endgeneration %}{% endfilter %}|{% filter upper %}{% generation %}A{% endgeneration %}{% endfilter %}",
    "{{ pair }}{{ pair[0] }}{{ alone | tojson }}{{ triples }}{{ triples[0][0] }}{{ records | map(attribute='name') | sort | join }}{{ letters | unique | join }}",
    "{{ word | default('x') }}{{ blank | default(word, true) }}{{ word or html }}{{ word and html }}{{ html if off else word }}{{ {'a': word}.a }}{{ [word][0] }}{{ (word,)[0] }}",
]
