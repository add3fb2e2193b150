"""Rollouts turn by turn: what is kept, what is the template's, what rides along, what is refused."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import chatspan
import numpy as np
import pytest
from cases import assistant, user
from chatspan import ChatEncoder, Rollout
from test_sampled_rows import FORGETS, shown

QUESTION, NEXT = user("2 + 2?"), user("And 3 + 3?")


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def letters(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that no tokenizer gives: each character by itself."""
    return [i for letter in text for i in ids_of(tokenizer, letter)]


def test_a_loop_of_two_turns(small: Any) -> None:
    encoder = ChatEncoder(small)
    rollout = Rollout(encoder, [QUESTION])
    assert encoder.decode(rollout.prompt_ids) == "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    # In tokens of one letter each, as no tokenizer would give them.
    first = [*letters(small, "It is 4."), *ids_of(small, "<|im_end|>")]
    rollout.add_completion(first, message=assistant("It is 4."), logprobs=[-0.5] * len(first))
    prompt_ids = rollout.add_messages([NEXT])
    assert prompt_ids.tolist() == rollout.prompt_ids.tolist()
    rollout.add_completion(ids_of(small, "6<|im_end|>"), message=assistant("6"))
    [row] = rollout.rows()
    assert shown(encoder, row) == [
        ("<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n", False),
        ("It is 4.<|im_end|>", True),
        ("\n<|im_start|>user\nAnd 3 + 3?<|im_end|>\n<|im_start|>assistant\n", False),
        ("6<|im_end|>", True),
    ]
    assert row.completion_ids[: len(first)].tolist() == first
    assert row.logprobs is not None
    assert row.logprobs.tolist() == [-0.5] * len(first) + [0.0] * (len(row.completion_ids) - len(first))
    assert {index: encoder.decode(row.input_ids[row.message_index == index]) for index in range(4)} == {
        0: "<|im_start|>user\n2 + 2?<|im_end|>\n",
        1: "It is 4.<|im_end|>\n",
        2: "<|im_start|>user\nAnd 3 + 3?<|im_end|>\n",
        3: "6<|im_end|>",
    }
    assert [proof.how for proof in rollout.proofs] == ["exact"]
    assert rollout.messages == [QUESTION, assistant("It is 4."), NEXT, assistant("6")]


def test_a_stop_token_that_was_not_sampled_is_added_by_the_template(small: Any) -> None:
    encoder = ChatEncoder(small)
    rollout = Rollout(encoder, [QUESTION])
    rollout.add_completion(ids_of(small, "It is"), message=assistant("It is"), finish_reason="length")
    assert encoder.decode(rollout.add_messages([NEXT])).count("It is<|im_end|>\n<|im_start|>user") == 1
    assert rollout.proofs[0].added_end == "<|im_end|>"
    rollout.add_completion(ids_of(small, "6<|im_end|>"), message=assistant("6"))
    assert [text for text, own in shown(encoder, rollout.rows()[0]) if own] == ["It is", "6<|im_end|>"]


def test_a_turn_goes_on_where_it_was_cut_off(small: Any) -> None:
    encoder = ChatEncoder(small)
    rollout = Rollout(encoder, [QUESTION])
    begun, rest = ids_of(small, "It "), ids_of(small, "is 4.<|im_end|>")
    rollout.add_completion([], message=assistant(""), finish_reason="abort")
    rollout.add_completion(begun, message=assistant("It "), finish_reason="length", logprobs=[-1.0] * len(begun))
    rollout.add_completion(rest, message=assistant("It is 4."), logprobs=[-2.0] * len(rest))
    rollout.add_messages([NEXT])
    [row] = rollout.rows()
    assert [text for text, own in shown(encoder, row) if own] == ["It is 4.<|im_end|>"]
    assert row.logprobs is not None
    assert row.logprobs.tolist() == [-1.0] * len(begun) + [-2.0] * len(rest)
    with pytest.raises(chatspan.RolloutError, match=r"message 3 \(assistant\): token_ids must be the ids"):
        rollout.add_completion([], message=assistant(""))


def test_messages_can_be_added_one_by_one(small: Any) -> None:
    encoder = ChatEncoder(small)
    one_by_one, at_once = Rollout(encoder, [QUESTION]), Rollout(encoder, [QUESTION, user("Hm?")])
    one_by_one.add_messages([user("Hm?")])
    for rollout in (one_by_one, at_once):
        rollout.add_completion(ids_of(small, "4<|im_end|>"), message=assistant("4"))
    one_by_one.add_messages([NEXT])
    one_by_one.add_messages([user("Well?")])
    assert one_by_one.prompt_ids.tolist() == at_once.add_messages([NEXT, user("Well?")]).tolist()
    assert [proof.how for proof in one_by_one.proofs] == ["exact"]
    assert len(one_by_one.rows()) == 1


def test_what_the_template_drops_begins_a_new_row_or_stays(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=FORGETS)
    thinks = assistant("4", reasoning_content="Add.")
    sampled = ids_of(small, "<think>Add.</think>4<|im_end|>")
    prompts = {}
    for on_rewrite in ("split", "keep"):
        rollout = Rollout(encoder, [QUESTION], on_rewrite=on_rewrite)
        rollout.add_completion(sampled, message=thinks)
        prompts[on_rewrite] = encoder.decode(rollout.add_messages([NEXT]))
        rollout.add_completion(ids_of(small, "6<|im_end|>"), message=assistant("6"))
        rows = rollout.rows()
        proof = rollout.proofs[0]
        assert proof.rewrite is not None
        assert proof.rewrite.cause == "reasoning_dropped"
        assert (proof.how, len(rows)) == (("split", 2) if on_rewrite == "split" else ("kept", 1))
        assert [row.cause for row in rows] == [None, proof.rewrite][: len(rows)]
        own = [text for row in rows for text, is_own in shown(encoder, row) if is_own]
        assert own == ["<think>Add.</think>4<|im_end|>", "6<|im_end|>"]
    asked = "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    goes_on = "4<|im_end|>\n<|im_start|>user\nAnd 3 + 3?<|im_end|>\n<|im_start|>assistant\n"
    assert prompts == {"split": f"{asked}{goes_on}", "keep": f"{asked}<think>Add.</think>{goes_on}"}


def test_a_refused_bridge_leaves_the_rollout_as_it_was(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=FORGETS)
    rollout = Rollout(encoder, [QUESTION])
    rollout.add_completion(ids_of(small, "4<|im_end|>"), message=assistant("4"))
    before = rollout.prompt_ids.tolist(), rollout.messages, len(rollout.rows())
    with pytest.raises(chatspan.MessageError):
        rollout.add_messages([])
    with pytest.raises(chatspan.ChatspanError):
        rollout.add_messages([{"role": "user", "content": "a\ud800"}])
    assert (rollout.prompt_ids.tolist(), rollout.messages, len(rollout.rows())) == before
    assert encoder.decode(rollout.add_messages([NEXT])).endswith("And 3 + 3?<|im_end|>\n<|im_start|>assistant\n")


def test_arrays_of_the_completion_and_of_all_tokens(small: Any) -> None:
    encoder = ChatEncoder(small)
    rollout = Rollout(encoder, [QUESTION])
    sampled = ids_of(small, "4<|im_end|>")
    before = len(rollout.prompt_ids)
    experts = np.arange((before + len(sampled)) * 6, dtype=np.int16).reshape(-1, 2, 3)
    rollout.add_completion(sampled, message=assistant("4"), advantages=[1.0, 2.0], routed_experts=experts)
    rollout.add_messages([NEXT])
    rollout.add_completion(ids_of(small, "6<|im_end|>"), message=assistant("6"), advantages=[3.0, 4.0])
    [row] = rollout.rows()
    assert row.per_token["routed_experts"].shape == (len(row), 2, 3)
    assert row.per_token["routed_experts"].dtype == np.int16
    assert row.per_token["routed_experts"][: len(experts)].tolist() == experts.tolist()
    assert not row.per_token["routed_experts"][len(experts) :].any()
    assert row.per_token["advantages"][row.sampled].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert not row.per_token["advantages"][~row.sampled].any()


WRONG_COMPLETIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"token_ids": 3}, chatspan.RolloutError, r"message 1 \(assistant\): token_ids must be"),
    ({"token_ids": [-1]}, chatspan.RolloutError, "which is not an id"),
    ({"message": user("4")}, chatspan.MessageError, "message 1 has the role 'user'"),
    ({"message": "4"}, chatspan.MessageError, "message 1 is str"),
    ({"logprobs": [0.0]}, chatspan.OptionError, "logprobs has 1 values for the 2 token_ids of message 1"),
    ({"logprobs": "ab"}, chatspan.OptionError, "logprobs"),
    ({"logprobs": [[1.0], [1.0, 2.0]]}, chatspan.OptionError, "logprobs"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG_COMPLETIONS)
def test_wrong_completions(small: Any, call: dict[str, Any], error: type[Exception], words: str) -> None:
    rollout = Rollout(ChatEncoder(small), [QUESTION])
    given = {"token_ids": ids_of(small, "4<|im_end|>"), "message": assistant("4"), **call}
    with pytest.raises(error, match=words):
        rollout.add_completion(**given)
    assert rollout.rows() == []


def test_two_completions_of_one_turn_are_an_error(small: Any) -> None:
    rollout = Rollout(ChatEncoder(small), [QUESTION])
    rollout.add_completion(ids_of(small, "4<|im_end|>"), message=assistant("4"))
    with pytest.raises(chatspan.RolloutError, match="its completion was already added: pass what follows") as raised:
        rollout.add_completion(ids_of(small, "4<|im_end|>"), message=assistant("4"))
    assert raised.value.message_index == 1
    with pytest.raises(chatspan.OptionError, match="on_rewrite='fork'"):
        Rollout(ChatEncoder(small), [QUESTION], on_rewrite="fork")  # type: ignore[arg-type]


def test_a_prompt_in_other_tokens_is_taken_as_it_was_shown(small: Any) -> None:
    """A loop that keeps the messages itself, and whose second prompt has the first turn as it was sampled."""
    encoder = ChatEncoder(small)
    shown_ids = encoder.encode([QUESTION], add_generation_prompt=True).input_ids.tolist()
    sampled = [*letters(small, "It is 4."), *ids_of(small, "<|im_end|>")]
    messages, answer = [QUESTION], assistant("It is 4.")
    second = chatspan.bridge_to_next_turn(encoder, messages, shown_ids, sampled, [NEXT], message=answer)
    assert second[: len(shown_ids) + len(sampled)].tolist() == [*shown_ids, *sampled]
    messages = [*messages, answer, NEXT]
    third = chatspan.bridge_to_next_turn(
        encoder, messages, second, ids_of(small, "6<|im_end|>"), [user("?")], message=assistant("6")
    )
    assert third[: len(second)].tolist() == second.tolist()
    assert (
        encoder.decode(third) == encoder.encode([*messages, assistant("6"), user("?")], add_generation_prompt=True).text
    )


def test_keywords_reach_every_prompt(small: Any) -> None:
    template = "{{ 'now ' + now if now }}" + str(small.chat_template)
    encoder = ChatEncoder(small, chat_template=template)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rollout = Rollout(encoder, [QUESTION], template_kwargs={"now": "noon"})
    rollout.add_completion(ids_of(small, "4<|im_end|>"), message=assistant("4"))
    assert encoder.decode(rollout.add_messages([NEXT])).startswith("now noon<|im_start|>user")


def test_recorded_turns_are_part_of_the_first_prompt(small: Any) -> None:
    encoder = ChatEncoder(small)
    sampled = [*letters(small, "It is 4."), *ids_of(small, "<|im_end|>")]
    rollout = Rollout(encoder, [QUESTION, {**assistant("It is 4."), "token_ids": sampled}, NEXT])
    prompt_ids = rollout.prompt_ids.tolist()
    first = len(encoder.encode([QUESTION], add_generation_prompt=True))
    assert prompt_ids[first : first + len(sampled)] == sampled
    rollout.add_completion(ids_of(small, "6<|im_end|>"), message=assistant("6"))
    assert rollout.add_messages([user("?")])[: len(prompt_ids)].tolist() == prompt_ids
    assert encoder.decode(rollout.rows()[0].labels()[rollout.rows()[0].sampled]) == "6<|im_end|>"
    with pytest.raises(chatspan.MessageError, match=r"message 5 has token_ids: pass sampled ids to add_compl"):
        rollout.add_messages([{**assistant("It is 4."), "token_ids": sampled}])


def test_copies_go_on_from_a_shared_history(small: Any) -> None:
    encoder = ChatEncoder(small)
    rollout = Rollout(encoder, [QUESTION])
    rollout.add_completion(ids_of(small, "4<|im_end|>"), message=assistant("4"))
    branches = [copy.copy(rollout) for _ in range(2)]
    for branch, word in zip(branches, ("Why?", "Sure?"), strict=True):
        branch.add_messages([user(word)])
        branch.add_completion(ids_of(small, "Yes<|im_end|>"), message=assistant("Yes"))
    assert [each.messages[2]["content"] for each in branches] == ["Why?", "Sure?"]
    assert [repr(each) for each in (rollout, branches[0])] == [
        "Rollout(1 turn in 1 row, 15 tokens, awaits messages)",
        f"Rollout(2 turns in 1 row, {len(branches[0].rows()[0])} tokens, awaits messages)",
    ]


def test_what_the_caller_does_with_its_messages_later_is_no_part_of_the_rollout(small: Any) -> None:
    encoder = ChatEncoder(small)
    question, answer = dict(QUESTION), assistant("", tool_calls=[{"function": {"name": "f", "arguments": {"a": 1}}}])
    rollout = Rollout(encoder, [question])
    text = encoder.encode([question, answer]).text
    said = text[text.index("assistant\n") + len("assistant\n") :].rstrip()
    rollout.add_completion(ids_of(small, said), message=answer)
    question["content"], answer["tool_calls"][0]["function"]["arguments"]["a"] = "3 + 3?", 2
    rollout.add_messages([NEXT])
    assert rollout.proofs[0].how == "exact"


def test_what_a_completion_says_is_parsed_where_it_is_not_given(small: Any) -> None:
    encoder = ChatEncoder(small)
    schema = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    rollout = Rollout(encoder, [user("Bonn?")], tools=[schema])
    sampled = ids_of(small, '\n<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call><|im_end|>')
    assert rollout.parse(sampled).tool_calls == rollout.parse(np.array(sampled)).tool_calls
    rollout.add_completion(sampled)
    [call] = rollout.messages[-1]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": {"city": "Bonn"}}
    rollout.add_messages([{"role": "tool", "content": "sunny"}])
    # What is no call stays content, and the rollout goes on.
    rollout.add_completion(ids_of(small, "Well <tool_call>{<|im_end|>"))
    assert rollout.messages[-1] == assistant("Well <tool_call>{")
    rollout.add_messages([user("?")])
    assert [proof.how for proof in rollout.proofs] == ["exact", "exact"]
    begun = Rollout(encoder, [QUESTION])
    begun.add_completion(ids_of(small, "It "), finish_reason="length")
    begun.add_completion(ids_of(small, "is 4.<|im_end|>"))
    assert begun.messages[-1] == assistant("It is 4.")


def test_side_arrays_of_other_shapes_are_errors_with_their_name(small: Any) -> None:
    rollout = Rollout(ChatEncoder(small), [QUESTION])
    ids = ids_of(small, "4")
    rollout.add_completion(ids, message=assistant("4"), finish_reason="length", routed=[[1, 2]])
    with pytest.raises(
        chatspan.OptionError, match=r"routed has values of the shape \[3\] per token, but the completion"
    ):
        rollout.add_completion(ids, message=assistant("44"), routed=[[1, 2, 3]])
    rollout.add_messages([NEXT])
    rollout.add_completion(ids, message=assistant("4"), routed=[[1, 2, 3]])
    with pytest.raises(chatspan.OptionError, match=r"routed has values of the shapes \[2\] and \[3\] per token"):
        rollout.rows()
