"""Harbor's trajectories."""

from __future__ import annotations

from typing import Any

import pytest
from chatspan.rows.dialects.atif import is_atif, of_atif
from chatspan.rows.dialects.found import DialectError

CALLS = [
    {"tool_call_id": "c1", "function_name": "search", "arguments": {"q": "Bern"}},
    {"tool_call_id": "c2", "function_name": "read", "arguments": {}},
]
OPENAI_CALLS = [
    {"type": "function", "id": "c1", "function": {"name": "search", "arguments": {"q": "Bern"}}},
    {"type": "function", "id": "c2", "function": {"name": "read", "arguments": {}}},
]
USER_STEP = {"step_id": 1, "source": "user", "message": "Where is Bern?"}
USER = {"role": "user", "content": "Where is Bern?"}


def trajectory(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    agent = {"name": "harbor-agent", "version": "1.0.0", **more.pop("agent", {})}
    return {"schema_version": "ATIF-v1.6", "session_id": "s1", "agent": agent, "steps": list(steps), **more}


def agent_step(message: Any = "", results: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    observation = {} if results is None else {"observation": {"results": results}}
    return {"step_id": 2, "source": "agent", "message": message, **observation, **more}


def test_calls_and_their_results() -> None:
    tool = {"type": "function", "function": {"name": "search", "parameters": {}}}
    results = [
        {"source_call_id": "c1", "content": "In Switzerland."},
        {"source_call_id": "c2", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    step = agent_step("Let me see.", results, reasoning_content="Two calls.", tool_calls=CALLS, model_name="m")
    system = {"step_id": 0, "source": "system", "message": "Be brief."}
    row = trajectory(system, USER_STEP, step, agent_step("Here."), agent={"tool_definitions": [tool]})
    assert is_atif(row)
    found = of_atif(row)
    assert found.messages == [
        {"role": "system", "content": "Be brief."},
        USER,
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "Two calls.",
            "tool_calls": OPENAI_CALLS,
        },
        {"role": "tool", "content": "In Switzerland.", "tool_call_id": "c1", "name": "search"},
        {"role": "tool", "content": "a\nb", "tool_call_id": "c2", "name": "read"},
        {"role": "assistant", "content": "Here."},
    ]
    assert found.tools == [tool]
    assert not found.notes


def test_feedback_without_calls_is_a_users_message() -> None:
    """As in mini-swe-agent, whose commands stand in the text."""
    found = of_atif(trajectory(USER_STEP, agent_step("```\nls\n```", [{"content": "a.py"}]), agent_step("Done.")))
    assert found.messages[1:] == [
        {"role": "assistant", "content": "```\nls\n```"},
        {"role": "user", "content": "a.py"},
        {"role": "assistant", "content": "Done."},
    ]


def test_pictures_stay_parts() -> None:
    parts = [{"type": "text", "text": "See"}, {"type": "image", "source": {"media_type": "image/png", "path": "a.png"}}]
    found = of_atif(trajectory({**USER_STEP, "message": parts}, agent_step("A cat.")))
    assert found.messages[0] == {"role": "user", "content": parts}


def test_what_is_left_out_is_told() -> None:
    event = {"step_id": 3, "source": "system", "message": "", "observation": {"results": [{"content": "reset"}]}}
    reference = [{"source_call_id": "c1", "subagent_trajectory_ref": [{"session_id": "s2"}]}]
    steps = [
        USER_STEP,
        agent_step("Old.", is_copied_context=True),
        agent_step("", reference, tool_calls=CALLS[:1], metrics={"completion_token_ids": [1, 2]}),
        event,
        agent_step("Sent.", llm_call_count=0),
        agent_step("Done.", metrics={"completion_token_ids": [3]}, llm_call_count=1),
    ]
    found = of_atif(trajectory(*steps, subagent_trajectories=[{}]))
    assert found.messages[1:] == [
        {"role": "assistant", "content": "Old.", "train": False},
        {"role": "assistant", "content": "", "tool_calls": OPENAI_CALLS[:1]},
        {"role": "tool", "content": "", "tool_call_id": "c1", "name": "search"},
        {"role": "assistant", "content": "Sent.", "train": False},
        {"role": "assistant", "content": "Done."},
    ]
    assert [note.code for note in found.notes] == [
        "not_sampled",
        "token_ids_dropped",
        "subagent_unread",
        "system_event_dropped",
        "not_sampled",
        "subagents_unread",
    ]


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([], "'steps' must be a list with at least one item, got list []"),
        (["x"], "step 0 must be a dict, got str 'x'"),
        ([{"source": "robot", "message": ""}], "step 0 must have a 'source' of system, user or agent, got str 'robot'"),
        ([{"source": "user", "message": 3}], "'message' of step 0 must be text or a list of parts, got int 3"),
        ([agent_step(tool_calls="ls")], "'tool_calls' of step 0 must be a list with at least one item, got str 'ls'"),
        ([agent_step(tool_calls=[{}])], "a call of step 0 must have a 'function_name', got dict {}"),
        ([agent_step("", ["x"])], "result 0 of step 0 must be a dict, got str 'x'"),
    ],
)
def test_broken_steps(steps: list[Any], error: str) -> None:
    with pytest.raises(DialectError) as raised:
        of_atif(trajectory(*steps))
    assert error in str(raised.value)


def test_detection() -> None:
    assert is_atif({"steps": [], "agent": {}})
    assert not is_atif({"steps": [], "goal": "x"})
    assert not is_atif({"messages": []})
