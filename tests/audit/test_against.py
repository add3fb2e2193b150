"""``chatspan audit --against``: what other libraries would train, and the tokens that differ, as text."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import chatspan
import pytest
from audits import FORGETFUL, GOOD, TAGGED, Command, write_rows
from cases import CHATML, TEMPLATES, assistant, system, user
from chatspan import read_row
from chatspan.audit.against.compare import OURS, THEIRS
from chatspan.audit.against.peer import PeerRefusal
from chatspan.audit.against.prefix_delta import UNSTABLE
from chatspan.audit.against.run import PEERS
from chatspan.audit.against.texts import same_tokens, text_difference
from chatspan.audit.against.verl_style import MISMATCH
from conversations import call, calls, schema, tool
from zoo import ZOO

TWO_TURNS = [user("q"), assistant("One."), user("q"), assistant("Two.")]
ZEROS = "trains nothing: a mask of zeros"
SAME = "trains the same tokens"
OTHER = "trains other tokens"


def against(audit: Command, *rows: Any, names: str, options: tuple[object, ...] = ()) -> dict[str, Any]:
    """The reports of libraries by their names."""
    report = audit.rows(*rows, options=("--against", names, *options))
    return {peer["name"]: peer for peer in report["against"]}


def outcomes(peer: dict[str, Any]) -> dict[str, int]:
    return {each["what"]: each["rows"] for each in peer["outcomes"]}


def quotes(peer: dict[str, Any]) -> dict[str, list[str]]:
    """The text of differences by ``"side: what"``."""
    return {
        f"{each['category']}: {each['what']}": [place["quote"] for place in each["places"]]
        for each in peer["differences"]
    }


def test_without_tags_transformers_trains_nothing_which_is_said_once(audit: Command) -> None:
    hf = against(audit, GOOD, TWO_TURNS, names="hf")["hf"]
    (statement,) = hf["statements"]
    assert "no {% generation %} blocks" in statement
    assert "It trains nothing." in statement
    assert outcomes(hf) == {ZEROS: 2}
    assert hf["tokens_trained"] == 0 < hf["tokens_trained_by_chatspan"]
    assert hf["differences"] == []


def test_with_tags_the_tokens_that_differ_are_text(audit: Command) -> None:
    hf = against(audit, GOOD, TWO_TURNS, names="hf", options=("--template", TAGGED))["hf"]
    assert hf["statements"] == []
    assert outcomes(hf) == {OTHER: 2}
    found = quotes(hf)
    assert found.keys() == {f"{THEIRS}: headers", f"{OURS}: the end of turns"}
    assert found[f"{THEIRS}: headers"][0].endswith("<|im_start|>assistant⟦\n⟧Hello!<|im_end|>\n")
    assert found[f"{OURS}: the end of turns"][0].endswith("|>assistant\nHello!⟦<|im_end|>⟧\n")
    (ends,) = [each for each in hf["differences"] if each["category"] == OURS]
    assert (ends["rows"], ends["tokens"], ends["places"][0]["message_index"]) == (2, 3, 1)
    # What the blocks hold is what is compared with, if that is what was asked for.
    same = against(audit, GOOD, names="hf", options=("--template", TAGGED, "--loss", "generation"))["hf"]
    assert outcomes(same) == {SAME: 1}


def test_trl_refuses_a_template_that_it_does_not_know(audit: Command) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    trl = against(audit, GOOD, TWO_TURNS, names="trl")["trl"]
    (statement,) = trl["statements"]
    assert statement.startswith("it refuses the template: ValueError: The chat template is not training-compatible")
    assert trl["refuses_the_template"]
    assert (trl["rows"], trl["outcomes"]) == (0, [])


def test_trl_swaps_a_template_that_it_knows_and_what_that_changes_is_told(audit: Command, small_copy: Any) -> None:
    utils = pytest.importorskip("trl.chat_template_utils", reason="TRL is not installed")
    small_copy.chat_template = utils.qwen3_chat_template
    small_copy.save_pretrained(audit.folder / "tokenizer")
    data = write_rows(audit.folder / "d.jsonl", TWO_TURNS)
    _, out, _ = audit.run(data, "--against", "trl", "--json", tokenizer=str(audit.folder / "tokenizer"))
    (trl,) = json.loads(out)["against"]
    assert "it knows the template and swaps it for one of its own, qwen3_training.jinja." in trl["statements"]
    (remark,) = trl["remarks"]
    assert remark["what"] == "the swapped template writes other text than the tokenizer's own"
    assert "<think>\\n\\n</think>" in remark["places"][0]["quote"]
    told = quotes(trl)[f"{THEIRS}: text that chatspan's template does not write"]
    assert any("<think>" in quote for quote in told)


def test_trl_takes_a_template_with_tags_as_it_is_and_warns_of_the_end_of_turn(audit: Command) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    trl = against(audit, GOOD, [user("no answer")], names="trl", options=("--template", TAGGED))["trl"]
    assert trl["statements"] == [
        "it takes the template as it is: it has {% generation %} blocks.",
        "it warns that the end of turn is not in the loss.",
    ]
    assert outcomes(trl) == {OTHER: 1, "the row has no trained token, which ends the training": 1}


def test_prefix_delta_is_unstable_where_earlier_messages_change(audit: Command) -> None:
    thoughtful = [user("q"), assistant("One.", reasoning_content="since"), user("q"), assistant("Two.")]
    delta = against(audit, thoughtful, GOOD, names="prefix-delta", options=("--template", FORGETFUL))["prefix-delta"]
    assert outcomes(delta) == {UNSTABLE: 1, OTHER: 1}
    (unstable,) = [each for each in delta["outcomes"] if each["what"] == UNSTABLE]
    (place,) = unstable["places"]
    assert (place["row"], place["message_index"]) == ("data.jsonl:1", 2)
    assert place["quote"].startswith("messages[:2]: after ")
    assert "'<think>since</think>' is missing" in place["quote"]
    # Where it is stable, it trains the newline behind the end of turn, too.
    found = quotes(delta)
    assert found.keys() == {f"{THEIRS}: what follows the end of turns"}
    assert found[f"{THEIRS}: what follows the end of turns"][0].endswith("Hello!<|im_end|>⟦\n⟧")


def test_prefix_delta_equals_all_of_a_turn_with_the_newline(audit: Command) -> None:
    options = ("--template", CHATML, "--end-of-turn", "all")
    delta = against(audit, GOOD, TWO_TURNS, names="prefix-delta", options=options)["prefix-delta"]
    assert outcomes(delta) == {SAME: 2}


def test_axolotls_method_on_a_plain_template(audit: Command) -> None:
    found = against(audit, GOOD, TWO_TURNS, names="axolotl-style", options=("--template", CHATML))["axolotl-style"]
    assert outcomes(found) == {SAME: 2}


def test_axolotls_method_shifts_where_an_earlier_turn_changes(audit: Command) -> None:
    """The dummy has no reasoning, so what differs begins with it, and shifts by it where it is dropped."""
    thoughtful = [user("q"), assistant("One.", reasoning_content="since"), user("Why?"), assistant("Two.")]
    options = ("--template", FORGETFUL)
    found = against(audit, thoughtful, names="axolotl-style", options=options)["axolotl-style"]
    assert outcomes(found) == {OTHER: 1}
    assert any("user" in quote for quote in quotes(found)[f"{THEIRS}: text of user messages"])


def test_verls_method_on_a_plain_template_trains_the_newline_too(audit: Command) -> None:
    found = against(audit, GOOD, TWO_TURNS, names="verl-style", options=("--template", CHATML))["verl-style"]
    assert quotes(found).keys() == {f"{THEIRS}: what follows the end of turns"}
    options = ("--template", CHATML, "--end-of-turn", "all")
    assert outcomes(against(audit, GOOD, TWO_TURNS, names="verl-style", options=options)["verl-style"]) == {SAME: 2}


def test_verls_method_refuses_a_conversation_that_is_not_its_messages(audit: Command) -> None:
    thoughtful = [user("q"), assistant("One.", reasoning_content="since"), user("Why?"), assistant("Two.")]
    found = against(audit, thoughtful, GOOD, names="verl-style", options=("--template", FORGETFUL))["verl-style"]
    assert outcomes(found) == {MISMATCH: 1, OTHER: 1}
    (mismatch,) = [each for each in found["outcomes"] if each["what"] == MISMATCH]
    assert "<think>since</think>" in mismatch["places"][0]["quote"]


def test_verls_method_takes_off_a_default_system_text(audit: Command) -> None:
    template = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + CHATML
    options = ("--template", template, "--end-of-turn", "all")
    found = against(audit, GOOD, TWO_TURNS, names="verl-style", options=options)["verl-style"]
    assert outcomes(found) == {SAME: 2}
    # With a system message of its own nothing is to be taken off, and it is, as there.
    found = against(audit, [system("Own."), *GOOD], names="verl-style", options=options)["verl-style"]
    assert outcomes(found) == {SAME: 1}


def test_verls_method_puts_a_user_in_front_where_a_message_alone_is_refused(audit: Command) -> None:
    # It takes texts and parts, as the library's own empty message is one.
    template = (
        "{% if messages[0].role != 'user' %}{{ raise_exception('a user first') }}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content if m.content is string else '' }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    options = ("--template", template, "--end-of-turn", "all")
    assert outcomes(against(audit, GOOD, names="verl-style", options=options)["verl-style"]) == {SAME: 1}
    never = "{% if messages|length < 2 %}{{ raise_exception('too few') }}{% endif %}" + CHATML
    found = against(audit, GOOD, names="verl-style", options=("--template", never))["verl-style"]
    assert found["refuses_the_template"]
    assert "too few" in found["statements"][0]


def test_renderers_without_one_by_hand_trains_headers(audit: Command) -> None:
    pytest.importorskip("renderers", reason="renderers is not installed")
    found = against(audit, GOOD, names="renderers", options=("--template", CHATML))["renderers"]
    assert "no renderer by hand" in found["statements"][0]
    assert f"{THEIRS}: headers" in quotes(found)


def test_a_renderer_by_hand_is_compared_by_the_tokenizers_name(
    zoo_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("renderers", reason="renderers is not installed")
    tokenizer = copy.copy(zoo_tokenizer("qwen3"))
    tokenizer.name_or_path = "Qwen/Qwen3-8B"
    peer = PEERS["renderers"](tokenizer)
    assert "Qwen3Renderer" in peer.method
    assert list(peer.statements) == []
    row = peer.row(read_row({"messages": GOOD}))
    trained = [token for token, is_trained in zip(row.input_ids, row.mask, strict=True) if is_trained]
    assert tokenizer.decode(trained) == "<think>\n\n</think>\n\nHello!<|im_end|>"

    def raising(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("no such role")

    monkeypatch.setattr("renderers.build_training_sample", raising)
    with pytest.raises(PeerRefusal, match="ValueError: no such role"):
        peer.row(read_row({"messages": GOOD}))


def test_an_answer_that_begins_like_the_dummy_is_trained_in_part_by_axolotls_method(audit: Command) -> None:
    row = [user("Give me a list."), assistant("[[1, 2], [3, 4]]")]
    found = against(audit, row, names="axolotl-style", options=("--template", CHATML))["axolotl-style"]
    assert quotes(found)[f"{OURS}: content"][0].partition("⟦")[2].startswith("[[")


def test_tools_reach_the_libraries(audit: Command) -> None:
    row = {"messages": [user("Go"), calls(call("rebook", {"a": 1})), tool("ok"), assistant("Done.")]}
    row["tools"] = [schema()]  # type: ignore[assignment]
    peers = against(audit, row, names="prefix-delta,hf")
    assert outcomes(peers["prefix-delta"]) == {OTHER: 1}
    assert quotes(peers["prefix-delta"]).keys() == {f"{THEIRS}: what follows the end of turns"}
    assert outcomes(peers["hf"]) == {ZEROS: 1}


def test_rows_that_raise_here_and_there(audit: Command) -> None:
    bad = [user("a"), user("b"), assistant("c")]
    peers = against(audit, GOOD, bad, "{", names="all", options=("--template", TEMPLATES["alternating"]))
    assert set(peers) >= {"hf", "prefix-delta", "axolotl-style"}
    for name in ("hf", "prefix-delta", "axolotl-style"):
        raised = {each["what"]: each for each in peers[name]["outcomes"]}["the template raises, as chatspan does"]
        assert raised["rows"] == 1
        assert raised["places"][0]["row"] == "data.jsonl:2"
        assert "roles must alternate" in raised["places"][0]["quote"]
        # The line that is no JSON is left to the audit.
        assert peers[name]["rows"] == 2


def test_so_many_rows_are_compared(audit: Command) -> None:
    rows = [GOOD] * 70
    assert against(audit, *rows, names="hf")["hf"]["rows"] == 50
    assert against(audit, *rows, names="hf", options=("--against-rows", 0))["hf"]["rows"] == 70
    assert against(audit, *rows, names="hf", options=("--limit", 3))["hf"]["rows"] == 3
    two = against(audit, *rows, names="hf,prefix-delta", options=("--processes", 2))
    assert two == against(audit, *rows, names="hf,prefix-delta")


def test_differences_are_no_problems_of_the_data_and_are_printed(audit: Command) -> None:
    data = write_rows(audit.folder / "d.jsonl", GOOD, TWO_TURNS)
    code, out, _ = audit.run(data, "--against", "hf", "--against", "prefix-delta", "--template", TAGGED)
    assert code == 0
    assert "against hf ──" in out
    assert "transformers" in out
    assert "Only it trains:" in out
    assert "headers: 3 tokens, 2 rows" in out
    assert re.search(r"d\.jsonl:1 message 1  \S*<\|im_start\|>assistant⟦⏎⟧Hello!<\|im_end\|>⏎", out)
    assert "Only chatspan trains:" in out
    assert "the end of turns: 3 tokens, 2 rows" in out


def test_a_missing_library_is_a_line(audit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    data = write_rows(audit.folder / "d.jsonl", GOOD)
    code, out, err = audit.run(data, "--against", "hf,trl")
    assert (code, out) == (1, "")
    assert "chatspan: --against trl: TRL is not installed; pip install trl, or leave it out\n" in err
    monkeypatch.setitem(sys.modules, "renderers", None)
    _, _, err = audit.run(data, "--against", "renderers")
    assert '--against renderers: it is not installed; pip install "chatspan[renderers]", or leave it out\n' in err
    assert "Traceback" not in err


def test_an_old_trl_is_a_line(audit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    utils = pytest.importorskip("trl.chat_template_utils", reason="TRL is not installed")
    monkeypatch.delattr(utils, "is_chat_template_stop_token_trained")
    code, _, err = audit.run(write_rows(audit.folder / "d.jsonl", GOOD), "--against", "trl")
    assert code == 1
    assert "has no is_chat_template_stop_token_trained: pip install --upgrade trl" in err


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("<Hi>", "<Hi>", "0123"),
        ("<Hi><Yo>", "<Hi><think><Yo>", "0123-------4567"),
        ("<a>bc", "<a>xbc", "012-34"),
        ("", "<a>", "---"),
        ("<a>", "", ""),
    ],
)
def test_tokens_of_two_renders_that_are_the_same(ours: str, theirs: str, expected: str) -> None:
    found = same_tokens([*map(ord, ours)], [*map(ord, theirs)], {ord("<")})
    assert "".join("-" if i < 0 else str(i) for i in found.tolist()) == expected


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("a\nb\nc\n", "a\nc\n", "after 'a\\n' 'b\\n' is missing"),
        ("a\nc\n", "a\nb\nc\n", "after 'a\\n' there is 'b\\n' more"),
        ("a x c", "a y c", "after 'a ' 'x' became 'y'"),
    ],
)
def test_where_two_texts_differ(one: str, other: str, told: str) -> None:
    assert text_difference(one, other) == told


@pytest.mark.parametrize("tokenizer", ["qwen3", "llama3_2"])
@pytest.mark.parametrize("name", ["tau_airline_sdpo", "tau_airline_messages"])
def test_what_each_does_on_the_real_conversations(
    audit: Command, zoo_tokenizer: Any, name: str, tokenizer: str, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    rows = 0 if request.config.getoption("--all") else 10
    options = ("--json", "--against", "hf,trl,prefix-delta", "--against-rows", rows, "--limit", rows or 200)
    options += ("--null-content", "as_given")
    _, out, _ = audit.run(ZOO / "traces" / f"{name}.jsonl", *options, tokenizer=str(ZOO / "tokenizers" / tokenizer))
    hf, trl, delta = json.loads(out)["against"]
    assert hf["statements"][0].endswith("It trains nothing.")
    assert hf["tokens_trained"] == 0 < hf["tokens_trained_by_chatspan"]
    assert "refuses the template: ValueError" in trl["statements"][0]
    raises = tokenizer == "qwen3" and name == "tau_airline_messages"
    assert ("the template raises, as chatspan does" in outcomes(hf)) == raises
    if tokenizer == "qwen3":
        assert outcomes(delta)[UNSTABLE] + outcomes(delta).get("the template raises, as chatspan does", 0) == (
            rows or 200
        )
        (unstable,) = [each for each in delta["outcomes"] if each["what"] == UNSTABLE]
        assert "'<think>\\n\\n</think>\\n\\n' is missing" in unstable["places"][0]["quote"]
    else:
        assert outcomes(delta) == {SAME: rows or 200}


def test_a_template_with_tags_on_the_real_conversations(audit: Command, zoo_tokenizer: Any, tmp_path: Path) -> None:
    utils = pytest.importorskip("trl.chat_template_utils", reason="TRL is not installed")
    template = tmp_path / "qwen3_training.jinja"
    template.write_text(utils.qwen3_training_chat_template, encoding="utf-8")
    options = ("--template", template, "--against", "hf,trl", "--limit", 10, "--json")
    data = ZOO / "traces" / "tau_airline_sdpo.jsonl"
    _, out, _ = audit.run(data, *options, tokenizer=str(ZOO / "tokenizers" / "qwen3"))
    hf, trl = json.loads(out)["against"]
    assert trl["statements"] == ["it takes the template as it is: it has {% generation %} blocks."]
    assert quotes(hf) == quotes(trl)
    for quote in quotes(hf)[f"{THEIRS}: what follows the end of turns"]:
        assert "<|im_end|>⟦\n⟧<|im_start|>user\n" in quote


def test_importing_the_comparison_imports_no_peer() -> None:
    """TRL takes seconds to import: only who asks for it shall wait."""
    code = (
        "import chatspan.audit.against.run, chatspan.cli.audit, sys; print({'trl', 'transformers'} & set(sys.modules))"
    )
    python = str(Path(chatspan.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": python}
    )
    assert found.stdout.strip() == "set()"
