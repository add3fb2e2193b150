"""Roles that are not in the order in which templates and models expect them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatspan.audit.findings import Finding, Severity
from chatspan.options import ROLES as ROLE_NAMES
from chatspan.options import near_role

ROLES = "roles out of order"

_SYSTEM = ("system", "developer")
_TOOL = ("tool", "function", "ipython", "tool_response")
_KNOWN = (*_SYSTEM, *_TOOL, "user", "assistant")


def role_findings(messages: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """What is odd about the roles of a conversation.

    Example:
        >>> [finding.what for finding in role_findings([{"role": "user"}, {"role": "user"}])]
        ['two user messages in a row', 'the last message is not an assistant’s']
    """
    roles = [str(message.get("role")) for message in messages]

    def found(what: str, severity: Severity, advice: str, index: int) -> Finding:
        return Finding(ROLES, what, severity, advice, index, _quote(messages[index]))

    for index, role in enumerate(roles):
        before = roles[index - 1] if index else None
        if role not in _KNOWN:
            # The template writes it, else the reader had refused it, which also tells of near misses.
            if role not in ROLE_NAMES and near_role(role) is None:
                yield found(f"an unknown role, {role!r}", "note", "check that it is intended", index)
        elif role in _SYSTEM and index and before not in _SYSTEM:
            yield found(f"a {role} message that is not first", "problem", "templates drop, move or refuse these", index)
        elif role in _TOOL:
            yield from (found(*finding, index) for finding in _tool_findings(messages, roles, index))
        elif role == before:
            yield found(f"two {role} messages in a row", "note", "merge them, unless this is intended", index)
        elif role == "assistant" and all(earlier in _SYSTEM for earlier in roles[:index]):
            yield found(
                "an assistant message before any user message", "note", "check that a message is not missing", index
            )
    if roles and roles[-1] != "assistant":
        advice = "its text is only context: nothing after the last assistant message is trained"
        yield found("the last message is not an assistant’s", "note", advice, len(roles) - 1)


def _tool_findings(
    messages: Sequence[Mapping[str, Any]], roles: Sequence[str], index: int
) -> Iterator[tuple[str, Severity, str]]:
    asks = next((i for i in range(index - 1, -1, -1) if roles[i] not in _TOOL), None)
    if asks is None or roles[asks] != "assistant":
        advice = "the assistant message with the call is missing"
        yield "a tool result without an assistant message before it", "problem", advice
    elif not messages[asks].get("tool_calls") and not messages[asks].get("function_call"):
        advice = "check that calls are where the template reads them; they may be in the content"
        yield "a tool result after an assistant message without tool_calls", "note", advice


def _quote(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else "" if content is None else repr(content)
