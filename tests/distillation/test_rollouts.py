"""Rollouts in self-distillation: the student as it was sampled, the teacher with a hint, each number at its token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chatspan
import hypothesis.strategies as st
import numpy as np
import pytest
from batches import student_text, teacher_text
from cases import assistant, config, failed, system, user
from chatspan import (
    AlignmentError,
    ChatEncoder,
    ComposerDataCollator,
    DistillationConfig,
    LayoutError,
    OptionError,
    Rollout,
    RolloutError,
    SelfDistillationCollator,
    TokenizerError,
    TraceError,
)
from chatspan.verl import sdpo_tensors
from hypothesis import given
from marked import Marks, recorded
from zoo import ZOO_TOKENIZERS

TURNS = [(user("2 + 2?"), "It is 5."), (user("Sure?"), "Sorry: 4")]
# Drops the reasoning of all turns but the last, as Qwen3's does.
FORGETS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content and loop.last %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORMS: list[dict[str, Any]] = [
    {"layout": "aligned"},
    {"layout": "aligned", "padding_side": "left", "pad_to_multiple_of": 16},
    {"layout": "indexed"},
    {"layout": "indexed", "padding_side": "left"},
    {"layout": "indexed", "packing": True},
]


@pytest.fixture
def marks(small: Any) -> Marks:
    return Marks(small)


def composer(tokenizer: Any, **options: Any) -> ComposerDataCollator:
    return ComposerDataCollator(
        tokenizer, config(**{"loss_on": "turn", "per_token": ("logprobs",), "layout": "indexed", **options})
    )


def in_loss(tokenizer: Any, batch: Any, row: int = 0) -> tuple[str, str]:
    """The text of the in-loss tokens, on the student's side and on the teacher's."""
    mask = batch["response_idx_mask"][row]
    sides = (("input_ids", "student_response_idx"), ("ctx_teacher_input_ids", "teacher_response_idx"))
    found = [tokenizer.decode(batch[ids][row, batch[at][row][mask]]) for ids, at in sides]
    return found[0], found[1]


def assert_numbers(marks: Marks, batch: Any, not_sampled: str = "") -> None:
    """Each number stands at the token that it was given to, in the columns and among the in-loss tokens.

    Args:
        not_sampled: a text in the loss that has no numbers.
    """
    for row, numbers in enumerate(batch["logprobs"]):
        marks.require_own(batch["input_ids"][row], numbers)
        mask = batch["response_idx_mask"][row]
        own = batch["student_response_logprobs"][row]
        text = in_loss(marks.tokenizer, batch, row)[0]
        assert marks.said(own[mask].tolist()) == (text.removesuffix(not_sampled) if not_sampled else text)
        assert not own[~mask].any()
        assert numbers[batch["student_response_idx"][row][mask]].tolist() == own[mask].tolist()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_numbers_stand_at_their_tokens_in_every_layout(small: Any, marks: Marks, form: dict[str, Any]) -> None:
    rollout = marks.rollout(ChatEncoder(small), TURNS)
    messages = recorded(marks.rollout(ChatEncoder(small), TURNS))
    messages[3]["tool_error"] = "it is 4"
    rows = [
        {"sampled": rollout.rows()[0], "tool_errors": {1: "add them", 3: "say it"}},
        {"turns": messages},
        {"turns": [user("Hi"), failed("Nothing of this was sampled.")]},
    ]
    batch = composer(small, **form)(rows)
    said = ["It is 5.<|im_end|>Sorry: 4<|im_end|>", "Sorry: 4<|im_end|>", "Nothing of this was sampled.<|im_end|>"]
    assert_numbers(marks, batch, said[2])
    if form.get("packing"):
        assert in_loss(small, batch) == ("".join(said),) * 2
        assert marks.said(batch["logprobs"][0].tolist()) == said[0] * 2
    else:
        assert [in_loss(small, batch, row) for row in range(3)] == [(text, text) for text in said]
        assert [marks.said(numbers.tolist()) for numbers in batch["logprobs"]] == [said[0], said[0], ""]


def test_with_filler_in_the_hints_place_the_numbers_stand_at_their_tokens(small: Any, marks: Marks) -> None:
    messages = recorded(marks.rollout(ChatEncoder(small), TURNS))
    messages[3]["tool_error"] = "it is 4"
    collate = composer(small, layout="placeholder", loss_on="content")
    batch = collate([{"turns": messages}])
    assert_numbers(marks, batch)
    assert in_loss(small, batch) == ("Sorry: 4", "Sorry: 4")
    assert marks.said(batch["logprobs"][0].tolist()) == "It is 5.<|im_end|>Sorry: 4<|im_end|>"
    row = {"sampled": marks.rollout(ChatEncoder(small), TURNS).rows()[0], "trace_id": "t"}
    with pytest.raises(LayoutError, match=r"trace 't': layout=\"placeholder\" gives the student filler text"):
        collate([row])


def test_the_student_is_the_row_as_sampled_and_the_teacher_has_the_hint_and_the_same_ids(
    small: Any, marks: Marks
) -> None:
    [row] = marks.rollout(ChatEncoder(small), TURNS).rows()
    batch = composer(small, hint_scope="per_site")([{"sampled": row, "tool_errors": {1: "add", 3: "say it"}}])
    assert batch["row_index"].tolist() == [0, 0]
    for at in range(2):
        seen = batch["attention_mask"][at] == 1
        assert batch["input_ids"][at][seen].tolist() == row.input_ids.tolist()
    turns = ["It is 5.<|im_end|>", "Sorry: 4<|im_end|>"]
    assert [in_loss(small, batch, at) for at in range(2)] == [(turn, turn) for turn in turns]
    assert teacher_text(small, batch, 1) == (
        "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\nIt is 5.<|im_end|>\n"
        "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>system\nHint: say it.<|im_end|>\n"
        "<|im_start|>assistant\nSorry: 4<|im_end|>\n"
    )
    # Letter by letter in the teacher's context, too: the model sees what it wrote.
    ids = batch["ctx_teacher_input_ids"][1].tolist()
    first = marks.ids("It is 5.")
    assert any(ids[start : start + len(first)] == first for start in range(len(ids)))


def test_a_teacher_of_its_own_messages(small: Any, marks: Marks) -> None:
    rollout = marks.rollout(ChatEncoder(small), TURNS)
    [row] = rollout.rows()
    teacher = [system("It is 4."), *rollout.messages]
    options = DistillationConfig(layout="indexed", loss_on="turn", per_token=("logprobs",))
    collate = SelfDistillationCollator(small, options)
    rows = [
        {"sampled": row, "teacher_messages": teacher},
        {"sampled": row, "teacher_messages": teacher, "loss_messages": [3], "teacher_loss_messages": [4]},
        # As they are written to a file; the teacher's need no ids, and are the student's.
        {"messages": recorded(rollout), "teacher_messages": teacher, "loss_messages": [1]},
    ]
    batch = collate(rows)
    assert_numbers(marks, batch)
    first, last = "It is 5.<|im_end|>", "Sorry: 4<|im_end|>"
    assert [in_loss(small, batch, at) for at in range(3)] == [(text, text) for text in (first + last, last, first)]
    ids = row.input_ids.tolist()
    assert batch["input_ids"][0].tolist()[: len(ids)] == batch["input_ids"][2].tolist()[: len(ids)] == ids
    assert "3, 9 tokens in the loss: 'Sorry: 4<|im_end|>'" in collate.explain(rows[0])


def test_what_a_split_or_a_kept_rollout_was_shown_is_what_both_sides_see(small: Any) -> None:
    encoder = ChatEncoder(small, chat_template=FORGETS)

    def ids(text: str) -> list[int]:
        return list(small(text, add_special_tokens=False)["input_ids"])

    students, teachers = {}, {}
    for on_rewrite in ("split", "keep"):
        rollout = Rollout(encoder, [user("2 + 2?")], on_rewrite=on_rewrite)
        rollout.add_completion(ids("<think>Add.</think>4<|im_end|>"), message=assistant("4", reasoning_content="Add."))
        rollout.add_messages([user("And?")])
        # Cut off: the template ends the turn itself, in the teacher's context.
        rollout.add_completion(
            ids("<think>Hm.</think>5"), message=assistant("5", reasoning_content="Hm."), finish_reason="length"
        )
        rows = [{"sampled": row, "tool_errors": {3: "later"}} for row in rollout.rows()]
        batch = composer(small, per_token=())(rows)
        assert in_loss(small, batch, len(rows) - 1) == ("<think>Hm.</think>5",) * 2
        students[on_rewrite] = student_text(small, batch, len(rows) - 1)
        teachers[on_rewrite] = teacher_text(small, batch, len(rows) - 1)
    begun = "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    asked = "4<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n"
    answer = "<|im_start|>assistant\n<think>Hm.</think>5"
    hint = "<|im_start|>system\nHint: later.<|im_end|>\n"
    for on_rewrite, thoughts in (("split", ""), ("keep", "<think>Add.</think>")):
        assert students[on_rewrite] == f"{begun}{thoughts}{asked}{answer}"
        # The template is the encoder's, which the collator's tokenizer does not have.
        assert teachers[on_rewrite] == f"{begun}{thoughts}{asked}{hint}{answer}<|im_end|>\n"


def test_recorded_turns_in_the_first_prompt_are_their_ids_on_both_sides(small: Any, marks: Marks) -> None:
    encoder = ChatEncoder(small)
    before = [user("Hi"), assistant("Hello", token_ids=marks.ids("Hello"))]
    rollout = Rollout(encoder, before)
    rollout.add_messages([user("2 + 2?")])
    rollout.add_completion(marks.ids("It is 5."), message=assistant("It is 5."))
    [row] = rollout.rows()
    assert list(row.turns) == [3]
    batch = composer(small, per_token=())([{"sampled": row, "tool_errors": {1: "not sampled here", 3: "add"}}])
    assert in_loss(small, batch) == ("It is 5.<|im_end|>",) * 2
    for name in ("input_ids", "ctx_teacher_input_ids"):
        ids, hello = batch[name][0].tolist(), marks.ids("Hello")
        assert any(ids[start : start + len(hello)] == hello for start in range(len(ids))), name
    assert "Hint: not sampled" not in teacher_text(small, batch, 0)


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}


@pytest.mark.parametrize("placement", ["before_turn", "append_to_previous", "first_system"])
def test_a_call_in_another_spelling_than_the_templates(small: Any, placement: str) -> None:
    """It stays as it was sampled on both sides, and is an error site without a content."""
    rollout = Rollout(ChatEncoder(small), [user("2 + 2?")])
    spelled = ['<tool_call>\n{"name":"add","arguments":{"b":2,"a":2}}\n</tool_call><|im_end|>', "Done.<|im_end|>"]
    said = [assistant("", tool_calls=[CALL]), assistant("Done.")]
    for at in range(2):
        if at:
            rollout.add_messages([{"role": "tool", "content": "4"}])
        rollout.add_completion(small(spelled[at], add_special_tokens=False)["input_ids"], message=said[at])
    row = {"sampled": rollout.rows()[0], "tool_errors": {1: "add them"}, "trace_id": "t"}
    batch = composer(small, per_token=(), hint_placement=placement)([row])
    assert in_loss(small, batch) == (spelled[0], spelled[0])
    before, _, _ = teacher_text(small, batch, 0).partition("<tool_call>")
    assert before.count("Hint: add them.") == 1
    with pytest.raises(TraceError, match=r"trace 't', turn 1: it has a tool_error and no content, but loss_on=\"cont"):
        composer(small, per_token=(), loss_on="content")([row])
    with pytest.raises(AlignmentError, match=r"trace 't', turn 1: message 1: the chat template writes it in other wo"):
        composer(small, per_token=(), loss_on={chatspan.Kind.TOOL_CALL})([row])
    done = {**row, "tool_errors": {3: "say more"}}
    assert in_loss(small, composer(small, per_token=(), loss_on="content")([done]), 0) == ("Done.", "Done.")


TEXTS = st.text("ab 4.é🚆", min_size=1, max_size=6).filter(lambda text: text == text.strip())


@given(
    chats=st.lists(st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), min_size=1, max_size=3), min_size=1, max_size=3),
    form=st.sampled_from(FORMS),
    loss_on=st.sampled_from(["turn", "content"]),
    scope=st.sampled_from(["all", "per_site"]),
    max_length=st.none() | st.integers(60, 110),
    as_sampled=st.booleans(),
)
def test_numbers_stand_at_their_tokens_in_random_batches(
    small: Any,
    chats: list[list[tuple[str, str, bool]]],
    form: dict[str, Any],
    loss_on: Any,
    scope: Any,
    max_length: int | None,
    as_sampled: bool,
) -> None:
    marks = Marks(small)
    rows, expected = [], []
    for chat in chats:
        errors = {2 * at + 1: "wrong" for at, (_, _, is_site) in enumerate(chat) if is_site or at == 0}
        rollout = marks.rollout(ChatEncoder(small), [(user(question), answer) for question, answer, _ in chat])
        messages = recorded(rollout)
        for index, error in errors.items():
            messages[index]["tool_error"] = error
        rows.append({"sampled": rollout.rows()[0], "tool_errors": errors} if as_sampled else {"turns": messages})
        said = [messages[index]["content"] + ("<|im_end|>" if loss_on == "turn" else "") for index in errors]
        expected += said if scope == "per_site" else ["".join(said)]
    options = {"hint_scope": scope, "loss_on": loss_on, "max_length": max_length, "overflow": "drop_row", **form}
    try:
        batch = composer(small, **options)(rows)
    except chatspan.EmptyBatchError:
        assert max_length
        return
    assert_numbers(marks, batch)
    found = [in_loss(small, batch, row) for row in range(len(batch["input_ids"]))]
    if max_length is None:
        assert found == [(text, text) for text in (["".join(expected)] if form.get("packing") else expected)]
    assert all(mine == theirs for mine, theirs in found)


@pytest.mark.parametrize("name", ZOO_TOKENIZERS)
def test_real_templates(name: str, zoo_tokenizer: Callable[[str], Any]) -> None:
    """The teacher's context of a sampled turn is what transformers prompts with, the hint among the messages."""
    tokenizer = zoo_tokenizer(name)
    encoder = ChatEncoder(tokenizer)
    messages = [user("2 + 2?"), assistant("It is 5."), user("Sure?"), assistant("Sorry: 4")]
    plain = encoder.sampled_rows(messages)
    stop = plain[-1].input_ids[plain[-1].turns[3][0][1] - 1].item()
    rollout = Rollout(encoder, messages[:1], on_rewrite="split")
    for index in (1, 3):
        if index > 1:
            rollout.add_messages(messages[index - 1 : index])
        letters = [i for c in messages[index]["content"] for i in tokenizer(c, add_special_tokens=False)["input_ids"]]
        numbers = np.arange(len(letters) + 1) + 10.0 * index
        rollout.add_completion([*letters, stop], message=messages[index], logprobs=numbers)
    row = rollout.rows()[-1]
    collate = composer(tokenizer, hint_placement="append_to_previous")
    batch = collate([{"sampled": row, "tool_errors": {3: "it is 4"}}])
    hinted = [*messages[:2], user("Sure?\n\nHint: it is 4.")]
    asked = tokenizer.apply_chat_template(hinted, tokenize=False, add_generation_prompt=True)
    at = batch["teacher_response_idx"][0]
    assert tokenizer.decode(batch["ctx_teacher_input_ids"][0, : at[0]]) == asked
    [(start, end)] = row.turns[3]
    assert batch["input_ids"][0].tolist() == row.input_ids.tolist()
    assert batch["ctx_teacher_input_ids"][0, at].tolist() == row.input_ids[start:end].tolist()
    assert batch["student_response_logprobs"][0].tolist() == row.per_token["logprobs"][start:end].tolist()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_routed_experts_of_all_tokens(small: Any, marks: Marks, form: dict[str, Any]) -> None:
    """They have values of the prompt's tokens, too, and none of padding, of holes, or of the gaps of indices."""
    rows = []
    for answer in ("It is 5.", "4"):
        rollout = Rollout(ChatEncoder(small), [user("2 + 2?")])
        ids = marks.ids(answer)
        routed = np.ones((len(rollout.prompt_ids) + len(ids), 2, 3), dtype=np.uint8)
        rollout.add_completion(ids, message=assistant(answer), routed=routed)
        rows.append({"sampled": rollout.rows()[0], "tool_errors": {1: "add"}})
    batch = composer(small, per_token=("routed",), **form)(rows)
    is_token = batch["attention_mask"] if "attention_mask" in batch else np.ones(batch["input_ids"].shape)
    for name, expected in (("routed", is_token), ("student_response_routed", batch["response_idx_mask"])):
        assert batch[name].shape[2:] == (2, 3)
        assert batch[name][:, :, 1, 2].tolist() == np.asarray(expected).astype(int).tolist()


def test_verl_takes_rows_as_sampled(small: Any, marks: Marks) -> None:
    rollout = marks.rollout(ChatEncoder(small), TURNS)
    row = {"sampled": rollout.rows()[0], "tool_errors": {1: "add", 3: "say it"}}
    tensors = sdpo_tensors(composer(small), [row, {"turns": failing(recorded(rollout), 3)}])
    responses = [marks.ids("It is 5."), marks.ids("Sorry: 4"), marks.ids("Sorry: 4")]
    assert tensors["responses"].tolist() == responses
    assert [len(ids) for ids in responses] == [9, 9, 9]
    prompts = [
        small.decode(ids[seen[: len(ids)] == 1])
        for ids, seen in zip(tensors["prompts"], tensors["attention_mask"], strict=True)
    ]
    first = "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    second = f"{first}It is 5.<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n"
    assert prompts == [first, second, second]


def failing(messages: list[dict[str, Any]], index: int) -> list[dict[str, Any]]:
    messages[index]["tool_error"] = "no"
    return messages


def test_messages_are_left_out_with_their_numbers(small: Any, marks: Marks) -> None:
    [row] = marks.rollout(ChatEncoder(small), TURNS).rows()
    batch = composer(small, max_length=45)([{"sampled": row, "tool_errors": {3: "say it"}}])
    assert batch["dropped_messages"].tolist() == [2]
    assert_numbers(marks, batch)
    assert marks.said(batch["logprobs"][0].tolist()) == in_loss(small, batch)[0] == "Sorry: 4<|im_end|>"


def test_weights_of_messages_weigh_their_sampled_tokens(small: Any, marks: Marks) -> None:
    messages = recorded(marks.rollout(ChatEncoder(small), TURNS))
    messages[1] |= {"tool_error": "no", "weight": 0.5}
    messages[3]["tool_error"] = "no"
    batch = composer(small)([{"turns": messages}])
    assert batch["sdpo_loss_weight"][batch["sdpo_loss_weight"] > 0].tolist() == [0.5] * 9 + [1.0] * 9


def test_wrong_rows_are_errors_with_their_place(small: Any, marks: Marks) -> None:
    rollout = marks.rollout(ChatEncoder(small), TURNS)
    [row] = rollout.rows()
    pairs = SelfDistillationCollator(small, DistillationConfig(loss_on="turn", per_token=("logprobs",)))
    messages = recorded(rollout)
    other = [*messages[:3], {**messages[3], "token_ids": marks.ids("Sorry: 5")}]
    short = [*messages[:3], {**messages[3], "logprobs": [0.5]}]
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        (pairs, row, TraceError, "trace 'row 0': it has no 'teacher_messages'"),
        (pairs, {"sampled": row.truncate(20), "trace_id": "t"}, TraceError, "trace 't': .*without its messages"),
        (pairs, {"sampled": [row]}, TraceError, "its 'sampled' is list: make one row for each"),
        (
            pairs,
            {"sampled": row, "teacher_messages": rollout.messages, "loss_messages": [2]},
            TraceError,
            "trace 'row 0', turn 2: its 'loss_messages' names message 2, which was not sampled",
        ),
        (
            pairs,
            {"messages": messages, "teacher_messages": other},
            AlignmentError,
            "trace 'row 0', turn 3: its token_ids differ from those in the teacher's message 3",
        ),
        (
            pairs,
            {"messages": short, "teacher_messages": rollout.messages},
            RolloutError,
            r"trace 'row 0', turn 3: message 3 \(assistant\): logprobs has 1 values for the 9 token_ids",
        ),
        (
            composer(small),
            {"sampled": row, "tool_errors": {2: "no"}},
            TraceError,
            "turn 2: its 'tool_errors' names",
        ),
        (composer(small), {"sampled": row, "tool_errors": ["no"]}, TraceError, "'tool_errors' must be a mapping of"),
        (
            composer(small, per_token=("advantages",)),
            {"sampled": row, "tool_errors": {1: "no"}},
            chatspan.RowError,
            "trace 'row 0': per_token names 'advantages', and it has 'logprobs' for its sampled tokens",
        ),
    ]
    for collate, value, error, words in wrong:
        with pytest.raises(error, match=words):
            collate([value])


def test_ids_that_are_not_the_turns_are_refused(small: Any, marks: Marks) -> None:
    messages = [user("Hi"), failed("Ho", token_ids=marks.ids("He"))]
    with pytest.raises(RolloutError, match="trace 't', turn 1: token_ids do not decode to the turn"):
        composer(small, per_token=())([{"turns": messages, "trace_id": "t"}])


def test_a_tokenizer_without_offsets_refuses_what_it_cannot_do(marks: Marks) -> None:
    class Letters:
        pad_token_id = 0

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [ord(letter) for letter in text]}

        def apply_chat_template(self, messages: Any, tokenize: bool = True, **kwargs: Any) -> list[int]:
            return self("".join(f"<{m['content']}>" for m in messages))["input_ids"]

    with pytest.raises(OptionError, match=r"per_token=\('logprobs',\) needs an HF fast tokenizer"):
        ComposerDataCollator(Letters(), config(per_token=("logprobs",)))
    with pytest.raises(
        TokenizerError,
        match="trace 't', turn 1: it has token_ids, which can replace a turn's text only with an HF fast tokenizer",
    ):
        ComposerDataCollator(Letters(), config())([{"turns": [user("a"), failed("b", token_ids=[1])], "trace_id": "t"}])
