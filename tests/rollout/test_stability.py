"""What a template does with the events of a rollout: by transformers' prompts, and as a person reads it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import chatspan
import pytest
import stability_table
from chatspan import ChatEncoder, Rollout, StabilityEvent, StabilityReport
from chatspan.render.jinja.template import compiled
from prompts import SOURCES, switches, tokenizer_for
from stability_judge import REASONING, Judged, judged
from stability_table import own_events, report_of
from turn_shapes import NEEDED, forms_of
from zoo import REPO, require_zoo

Say = Callable[[str], None]

_PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
_MESSAGE = "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
# Drops the reasoning of all but the last message unless told otherwise, has no system in the middle, writes no results.
FORGETS = (
    "{% if effort is defined %}{{ '<|im_start|>system\\n' + effort + '<|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('a system message comes first') }}{% endif %}"
    "{% if m.role != 'tool' %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.reasoning_content and (loop.last or keep) %}{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}"
    "{{ m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}" + _PROMPT
)
SYSTEM_FIRST = (
    "{% for m in messages if m.role == 'system' %}" + _MESSAGE + "{% endfor %}"
    "{% for m in messages if m.role != 'system' %}" + _MESSAGE + "{% endfor %}" + _PROMPT
)
NO_THINKING = (
    "{% for m in messages %}" + _MESSAGE + "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' + ('<think>\\n\\n</think>\\n\\n' if enable_thinking is false) }}{% endif %}"
)

AS_READ = """\
with the default keywords:
  stable     user turn
  rewritten  user turn after reasoning: reasoning_dropped
             the template drops the reasoning of earlier turns
             shown   '<think>Zr</think>Zc<|im_end|>'
             written 'Zc<|im_end|>\\n<|im_start|>user\\nZn<|im_end'
  refused    tool result: unrendered
  refused    tool result after reasoning: unrendered
  refused    results of parallel calls: unrendered
             message 2 (tool): the template leaves out 'Zt' of content, so the model would not
             see it: use a role that the template writes there, such as user, or another chat
             template
  refused    second tool result, reasoning: unrendered
             message 4 (tool): the template leaves out 'Zy' of content, so the model would not
             see it: use a role that the template writes there, such as user, or another chat
             template
  refused    tool result and user turn: unrendered
             message 2 (tool): the template leaves out 'Zt' of content, so the model would not
             see it: use a role that the template writes there, such as user, or another chat
             template
  stable     user turn after tools
  rewritten  user turn after tools, reasoning: reasoning_dropped
             the template drops the reasoning of earlier turns
             shown   '<think>Zr</think>Zc<|im_end|>'
             written 'Zc<|im_end|>\\n<|im_start|>user\\nZn<|im_end'
  refused    system in the middle: template_raises
             the template raises at message 2: 'a system message comes first'
with keep=True:
  stable     user turn after reasoning
  stable     user turn after tools, reasoning
  all else as above
with effort='Zk': all as above
effort changes between turns:
  rewritten  not given → 'Zk': user turn: history_rewritten
  rewritten  not given → 'Zk': user turn after reasoning: history_rewritten
             the template changes what was shown before
             shown   'user\\nZu<|im_end|>\\n<|im_start|>assistant\\n'
             written 'system\\nZk<|im_end|>\\n<|im_start|>user\\nZu<'
  rewritten  'Zk' → not given: user turn: history_rewritten
  rewritten  'Zk' → not given: user turn after reasoning: history_rewritten
             the template changes what was shown before
             shown   'system\\nZk<|im_end|>\\n<|im_start|>user\\nZu<'
             written 'user\\nZu<|im_end|>\\n<|im_start|>assistant\\n'
  all else as with the former value
keep changes between turns:
  stable     not given → True: user turn after reasoning
  rewritten  True → not given: user turn after reasoning: reasoning_dropped
             the template drops the reasoning of earlier turns
             shown   '<think>Zr</think>Zc<|im_end|>'
             written 'Zc<|im_end|>\\n<|im_start|>user\\nZn<|im_end'
  all else as with the former value"""


def test_the_report_as_a_person_reads_it(small: Any) -> None:
    report = chatspan.stability(ChatEncoder(small, chat_template=FORGETS))
    assert str(report).splitlines() == AS_READ.splitlines()


def test_the_report_as_json(small: Any) -> None:
    report = chatspan.stability(ChatEncoder(small, chat_template=FORGETS))
    told = json.loads(json.dumps(report.to_dict()))
    assert told["switches"] == {"effort": ["Zk"], "keep": [True]}
    assert {event["event"]: event["verdict"] for event in told["events"][:10]} == report.verdicts
    thinks = told["events"][1]
    assert thinks["messages"][-1]["reasoning_content"] == "Zr"
    assert thinks["new_messages"] == [{"role": "user", "content": "Zn"}]
    assert (thinks["cause"], thinks["message_index"], thinks["keywords"]) == ("reasoning_dropped", 1, {})
    raises = next(event for event in told["events"] if event["cause"] == "template_raises")
    assert (raises["event"], raises["words"]) == ("system in the middle", "a system message comes first")


def test_keywords_are_those_of_all_prompts(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=FORGETS)
    kept = chatspan.stability(encoder, keep=True)
    assert kept.verdicts["user turn after reasoning"] == "stable"
    assert str(kept).startswith("with keep=True:\n")
    assert kept.switches == {"effort": ("Zk",), "keep": (False,)}
    assert "True → False: user turn after reasoning: reasoning_dropped" in str(kept)
    assert chatspan.stability(encoder, template_kwargs={"keep": True}) == kept
    with pytest.raises(chatspan.OptionError, match="'keep'"):
        chatspan.stability(encoder, keep=True, template_kwargs={"keep": False})


def test_tools_are_those_of_all_prompts(small: Any) -> None:
    template = "{% for tool in tools %}{{ tool.function.name }}{% endfor %}" + FORGETS
    tool = {"type": "function", "function": {"name": "rebook", "parameters": {"type": "object", "properties": {}}}}
    report = chatspan.stability(ChatEncoder(small, chat_template=template), tools=[tool])
    assert {event.event for event in report.events if event.tools == [tool]} == set(report.verdicts)


def test_a_system_message_that_is_written_first_moves(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=SYSTEM_FIRST)
    event = own_events(chatspan.stability(encoder))[-1]
    assert (event.event, event.verdict, event.cause) == ("system in the middle", "rewritten", "system_moved")
    assert event.written.startswith("system\nZs<|im_end|>")
    rollout = Rollout(encoder, event.messages[:-1], on_rewrite="split")
    rollout.add_completion(encoder.tokenizer("Zc<|im_end|>")["input_ids"], message=event.messages[-1])
    with pytest.raises(chatspan.UnrenderedMessageError) as raised:
        rollout.add_messages(event.new_messages)
    assert event.words == raised.value.message
    assert event.details[-1] == "a Rollout refuses this, whatever its on_rewrite is"


def test_where_the_prompt_ends_the_reasoning_no_turn_has_any(small: Any) -> None:
    report = chatspan.stability(ChatEncoder(small, chat_template=NO_THINKING))
    assert report.switches == {"enable_thinking": (False,)}
    off = [
        event.event for event in report.events if event.keywords == event.next_keywords == {"enable_thinking": False}
    ]
    assert off
    assert set(report.verdicts) - set(off) == {event for event in report.verdicts if "reasoning" in event}
    assert "no turn has reasoning, as the prompt ends it" in str(report)


def test_reasoning_that_is_never_written_is_dropped(small: Any) -> None:
    template = FORGETS.replace("m.reasoning_content and (loop.last or keep)", "false").replace(
        "{{ m.content", "{{ m.content.split('</think>')[-1] | trim"
    )
    events = {
        event.event: event for event in own_events(chatspan.stability(ChatEncoder(small, chat_template=template)))
    }
    told = events["user turn after reasoning"]
    assert (told.verdict, told.cause) == ("rewritten", "reasoning_dropped")
    assert told.shown.startswith("<think>\nZr\n</think>")
    assert "is not what was sampled" in told.words


def test_no_terminal_obeys_what_a_template_says(small: Any) -> None:
    template = FORGETS.replace("a system message comes first", "\x1b[31mred\x07\u202e").replace(
        "'user'", "'\x1b[1muser'"
    )
    report = chatspan.stability(ChatEncoder(small, chat_template=template))
    assert "\\x1b[31mred\\x07\\u202e" in str(report)
    assert all(character.isprintable() or character == "\n" for character in str(report))


def test_a_template_that_refuses_all_is_told_in_its_words(small: Any) -> None:
    report = chatspan.stability(ChatEncoder(small, chat_template="{{ raise_exception('not today') }}"))
    assert set(report.verdicts.values()) == {"refused"}
    assert {event.words for event in report.events} == {"not today"}


SWITCHES = [
    ("{% if on %}a{% endif %}", {"on": (True, False)}),
    ("{% set is_on = on | default(true) %}{{ 'a' if is_on and tools }}", {"on": (True, False)}),
    ("{% if not on is false %}a{% endif %}", {"on": (True, False)}),
    ("{% if effort == 'high' %}a{% elif effort in ['low', none] %}b{% endif %}", {"effort": ("Zk", "high", "low")}),
    ("{% if budget is defined and budget == 0 %}a{% endif %}", {"budget": (1, 0)}),
    ("{% if on is not defined %}{% set on = 'x' %}{% endif %}{{ on }}", {"on": ("Zk",)}),
    # What the template assigns itself is no keyword, nor what everybody gives.
    ("{% if tools %}{% set content = 'a' %}{% endif %}{{ content if content }}{{ bos_token }}", {}),
]


@pytest.mark.parametrize(("source", "found"), SWITCHES)
def test_switches(source: str, found: dict[str, tuple[Any, ...]]) -> None:
    assert compiled(source).switches == found


def judge(name: str, event: StabilityEvent, messages: Any = None, new: Any = None, tools: Any = None) -> Judged:
    """By transformers, an event in its own form or in another one."""
    base = {**NEEDED.get(name, {}), "tools": tools or event.tools}
    return judged(
        *(tokenizer_for(name), SOURCES[name]),
        *(list(messages or event.messages), list(new or event.new_messages)),
        *({**base, **event.keywords}, {**base, **event.next_keywords}),
        reasons="reasoning" in event.event,
    )


@pytest.fixture(scope="module")
def counts(say: Say) -> Iterator[Counter[tuple[str, str]]]:
    found: Counter[tuple[str, str]] = Counter()
    yield found
    for line in table(found):
        say(line)


def table(counts: Counter[tuple[str, str]]) -> Iterator[str]:
    """How many templates do what with each event."""
    yield f"events of rollouts on {len(SOURCES)} templates, by transformers' prompts:"
    verdicts = ("stable", "rewritten", "refused")
    yield f"    {'':34}" + "".join(f"{verdict:>11}" for verdict in verdicts)
    for event in dict.fromkeys(event for event, _ in counts):
        yield f"    {event:34}" + "".join(f"{counts[event, verdict]:11}" for verdict in verdicts)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_every_template(name: str, counts: Counter[tuple[str, str]], pytestconfig: pytest.Config) -> None:
    report = report_of(name)
    for event in report.events:
        found = judge(name, event)
        assert found.verdict == event.verdict, (event, found)
        assert_place(event, found)
        is_own = not (event.keywords or event.next_keywords)
        counts[event.event if is_own else "switches, constant and changing", event.verdict] += 1
        if event.verdict == "refused" and is_own:
            assert_no_form_is_taken(name, event)
    assert_switches_are_told(name, report)
    assert_no_reasoning_is_possible(name, report)
    if pytestconfig.getoption("--all") or name in list(SOURCES)[::5]:
        for event in own_events(report):
            assert_rollout_says_so(name, event, judge(name, event))


@pytest.mark.filterwarnings("ignore")
def test_the_table_of_the_docs_is_made_of_these_reports() -> None:
    """docs/stability.md, made by ``python tests/rollout/stability_table.py``."""
    require_zoo()
    page = (REPO / "docs" / "stability.md").read_text(encoding="utf-8")
    assert "\n".join(stability_table.lines()) in page


def assert_place(event: StabilityEvent, found: Judged) -> None:
    """What is told of a rewrite and of a refusal stands in transformers' texts, or in its exception."""
    if event.cause == "template_raises":
        assert event.words == found.raised
    is_unwritten = "reasoning" in event.event and REASONING not in found.shown
    if event.verdict != "rewritten" or event.words or is_unwritten:
        return
    at = event.start_char
    assert at is not None
    if event.cause == "another_opening":
        assert at < found.prompt_length
    assert found.shown[:at] == found.next_prompt[:at]
    assert found.shown[at : at + 1] != found.next_prompt[at : at + 1]
    if found.shown[at:]:
        assert event.shown[-1] in found.shown[at:]
    assert found.next_prompt.find(event.written) >= 0


def assert_no_form_is_taken(name: str, event: StabilityEvent) -> None:
    messages, index = [*event.messages, *event.new_messages], len(event.messages)
    for form, keywords in forms_of(messages, {"tools": event.tools} if event.tools else {}):
        assert judge(name, event, form[:index], form[index:], keywords.get("tools")).verdict == "refused"


def assert_switches_are_told(name: str, report: StabilityReport) -> None:
    """Of the keywords that people know of it: a value that changes a prompt of transformers' is one of the report."""
    for keywords in switches(name):
        if len(keywords) == 1 and keywords.keys() - report.switches.keys():
            for event in own_events(report):
                assert judge(name, replace(event, keywords=keywords, next_keywords=keywords)) == judge(name, event)


def assert_no_reasoning_is_possible(name: str, report: StabilityReport) -> None:
    """Where no event with reasoning is told, transformers' prompt ends it."""
    settings = [{}, *({switch: value} for switch, values in report.switches.items() for value in values)]
    for keywords in settings:
        with_these = [event for event in report.events if event.keywords == event.next_keywords == keywords]
        if not any("reasoning" in event.event for event in with_these):
            found = judge(name, with_these[0])
            assert re.search(
                r"</[a-z:]*think>|END_THINKING|<channel\|>", found.shown[: found.prompt_length].rpartition("Zu")[2]
            )


def assert_rollout_says_so(name: str, event: StabilityEvent, found: Judged) -> None:
    """A rollout, given the tokens that transformers writes of the turn, does what is told of the event."""
    encoder = ChatEncoder(tokenizer_for(name), chat_template=SOURCES[name])
    keywords = {**NEEDED.get(name, {}), "tools": event.tools}
    sampled = found.shown[found.prompt_length :]
    is_unwritten = "reasoning" in event.event and REASONING not in sampled

    def crossed(on_rewrite: Any) -> Rollout:
        rollout = Rollout(encoder, event.messages[:-1], on_rewrite=on_rewrite, **keywords)
        ids = encoder.tokenizer(sampled, add_special_tokens=False)["input_ids"]
        # Where the template writes nothing of the turn behind its prompt, nothing is sampled.
        rollout.add_completion(ids, message=event.messages[-1], finish_reason="stop" if ids else "abort")
        rollout.add_messages(event.new_messages)
        return rollout

    if event.verdict == "refused":
        with pytest.raises((chatspan.TemplateError, chatspan.UnrenderedMessageError)):
            crossed("split")
    elif event.verdict == "stable":
        assert [proof.how for proof in crossed("error").proofs] == ["exact"]
    elif event.words and not is_unwritten:
        with pytest.raises(chatspan.RolloutError) as refused:
            crossed("split")
        assert refused.value.message == event.words
    elif not event.words:
        with pytest.raises(chatspan.HistoryRewrittenError) as raised:
            crossed("error")
        assert (raised.value.kind, raised.value.start_char) == (event.cause, event.start_char)
        assert crossed("split").proofs[0].how == "split"
