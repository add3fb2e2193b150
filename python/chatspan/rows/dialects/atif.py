"""Harbor's Agent Trajectory Interchange Format (ATIF), versions 1.0 to 1.7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatspan.rows.dialects.calls import decoded, json_text, tools_of
from chatspan.rows.dialects.found import DialectError, Found, Message, listed, mapping, shown
from chatspan.rows.notes import Note

_ROLES = {"system": "system", "user": "user", "agent": "assistant"}
_IDS = ("prompt_token_ids", "completion_token_ids")


def is_atif(row: Mapping[str, Any]) -> bool:
    """Whether a row is a trajectory: it has ``steps``, and an ATIF version or an agent."""
    version = row.get("schema_version")
    is_named = isinstance(version, str) and version.upper().startswith("ATIF")
    return "steps" in row and (is_named or isinstance(decoded(row.get("agent")), Mapping))


def of_atif(row: Mapping[str, Any]) -> Found:
    """The messages and the tools of a trajectory.

    A step is a message; the results of its observation follow it: with ``source_call_id`` as messages of the role
    ``tool``, else as a user's message, which is how agents without tool calls are shown their feedback. Observations
    of system steps are events of the runtime and are dropped. Steps that no model wrote in this trajectory
    (``is_copied_context``, ``llm_call_count`` of 0) get ``"train": False``. Sampled token ids are left out: they stand
    for the text only together with the prompt that was shown.

    Raises:
        DialectError: a step is of the wrong form.
    """
    steps = listed(decoded(row.get("steps")), "'steps'")
    reader = _Reader()
    for index, step in enumerate(steps):
        reader.step(mapping(step, f"step {index}"), index)
    agent = decoded(row.get("agent"))
    tools = tools_of(agent.get("tool_definitions")) if isinstance(agent, Mapping) else None
    if row.get("subagent_trajectories"):
        reader.note("subagents_unread", "trajectories of subagents inside this one are not read", "")
    return Found(
        reader.messages,
        tools=tools,
        columns=frozenset({"schema_version", "steps", "agent"}.intersection(row)),
        notes=reader.notes,
    )


class _Reader:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.notes: list[Note] = []
        self._has_ids = False

    def note(self, code: str, message: str, place: str) -> None:
        self.notes.append(Note(code, message, place))

    def step(self, step: Mapping[str, Any], index: int) -> None:
        source = step.get("source")
        role = _ROLES.get(source) if isinstance(source, str) else None
        if role is None:
            raise DialectError(f"step {index} must have a 'source' of system, user or agent, got {shown(source)}")
        content = _content(step.get("message"), f"'message' of step {index}")
        names: dict[Any, str] = {}
        if role == "assistant":
            self._agent(step, content, index, names)
        elif content:
            self.messages.append({"role": role, "content": content})
        self._observe(step.get("observation"), role, index, names)

    def _agent(self, step: Mapping[str, Any], content: Any, index: int, names: dict[Any, str]) -> None:
        message: Message = {"role": "assistant", "content": content}
        if step.get("reasoning_content"):
            message["reasoning_content"] = step["reasoning_content"]
        calls = step.get("tool_calls")
        if calls:
            message["tool_calls"] = [
                _call(mapping(call, f"call {number} of step {index}"), index, names)
                for number, call in enumerate(listed(calls, f"'tool_calls' of step {index}"))
            ]
        if step.get("is_copied_context") is True or step.get("llm_call_count") == 0:
            message["train"] = False
            self.note("not_sampled", "steps that no model wrote here are not trained", f"step {index}")
        metrics = step.get("metrics")
        if isinstance(metrics, Mapping) and any(metrics.get(key) for key in _IDS) and not self._has_ids:
            self._has_ids = True
            self.note("token_ids_dropped", "sampled token ids are left out, the text is tokenized", "")
        if content or len(message) > 2:
            self.messages.append(message)

    def _observe(self, observation: Any, role: str, index: int, names: Mapping[Any, str]) -> None:
        if observation is None:
            return
        results = mapping(observation, f"'observation' of step {index}").get("results")
        results = listed(results, f"'results' of step {index}'s 'observation'") if results else []
        for number, result in enumerate(results):
            place = f"result {number} of step {index}"
            result = mapping(result, place)
            call_id = result.get("source_call_id")
            content = _content(result.get("content"), f"'content' of {place}")
            if result.get("subagent_trajectory_ref"):
                self.note("subagent_unread", "the trajectory of a subagent is not read", f"step {index}")
            if call_id is not None:
                name = {"name": names[call_id]} if call_id in names else {}
                self.messages.append({"role": "tool", "content": content, "tool_call_id": call_id, **name})
            elif role == "system":
                self.note("system_event_dropped", "an observation of a system step was dropped", f"step {index}")
            elif content:
                self.messages.append({"role": "user", "content": content})


def _call(call: Mapping[str, Any], index: int, names: dict[Any, str]) -> dict[str, Any]:
    name = call.get("function_name")
    if not isinstance(name, str):
        raise DialectError(f"a call of step {index} must have a 'function_name', got {shown(dict(call))}")
    head: dict[str, Any] = {"type": "function"}
    if call.get("tool_call_id") is not None:
        head["id"] = call["tool_call_id"]
        names[head["id"]] = name
    arguments = call.get("arguments")
    return {**head, "function": {"name": name, "arguments": {} if arguments is None else arguments}}


def _content(value: Any, what: str) -> Any:
    """A text; of parts that are all text, a line break between two."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        parts = [dict(mapping(part, f"a part of {what}")) for part in value]
        if all(part.get("type", "text") == "text" and isinstance(part.get("text"), str) for part in parts):
            return "\n".join(part["text"] for part in parts)
        return parts
    if isinstance(value, Mapping):
        return json_text(value)
    raise DialectError(f"{what} must be text or a list of parts, got {shown(value)}")
