"""Fields that the template leaves out: text of the conversation, or ids, names and the like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatspan.audit.findings import Finding
from chatspan.encoding import Encoding
from chatspan.render.jinja.template import ChatTemplate
from chatspan.render.origins import Path, holds_results
from chatspan.view.view import path_pattern

DROPPED = "dropped fields"
IDS = "ids and names that the template does not write"

# Keys whose value is text of the conversation, whatever stands there.
_TEXTS = frozenset({"content", "text", "reasoning_content", "reasoning", "thinking", "thought", "thoughts", "summary"})
_TEXTS |= {"refusal", "answer", "response", "result", "output", "transcript"}
# Keys with values that a model or a tool gave, in which a single word counts too.
_VALUES = frozenset({"arguments", "input", "parameters", "response", "result", "results", "output", "outputs"})
_LABEL = re.compile(
    r"(^|_)(ids?|uuid|index|name|time|timestamp|date|created|updated|url|uri|path|model|signature)(_at)?$"
)
# First keys of what is said about a message, not in it.
_ABOUT = re.compile("meta|info|usage|stat|annotat|label|tag|source|extra|version")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_IDENTIFIER = re.compile(r"[!-~]*")
_WORD = re.compile(r"[^\W\d_]{2,}")
# Thai, Lao, Burmese, Khmer, Japanese, Chinese.
_WITHOUT_BLANKS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]{4}")
_TAGS_ONLY = re.compile(r"(?:\s|</?[\w|]+>|\[/?[A-Z_]+\])*")
_REASONING = re.compile("reason|think|thought")
_THOUGHT_TAG = re.compile(r"[<\[]/?[\w|]*(reason|think|thought)", re.IGNORECASE)


def dropped_fields(
    encoding: Encoding, messages: Sequence[Mapping[str, Any]], kwargs: Mapping[str, Any], template: ChatTemplate
) -> Iterator[Finding]:
    """Fields of which the template left out more than blanks, by the pattern of their path.

    Args:
        kwargs: the row's keywords: tools and documents may be left out, too.
        template: what the row was rendered with.
    """
    for (index, path), text in encoding.unrendered_texts.items():
        role = encoding.roles[index] if 0 <= index < len(encoding.roles) else "row"
        where = f"{role}: {path_pattern(path)}"
        if not is_text_of_conversation(path, text):
            yield Finding(DROPPED, IDS, "note", "", index, text.strip(), detail=where)
        # The template takes the tags away and writes its own.
        elif not _TAGS_ONLY.fullmatch(text):
            kind, advice = _advice(messages[index], path, text, template)
            yield Finding(DROPPED, where + kind, "problem", advice, index, text.strip(), len(text), "characters lost")
    for name in ("tools", "documents"):
        if kwargs.get(name) and name not in template.variables:
            read = f"; this one reads {', '.join(template.keywords)}" if template.keywords else ""
            advice = f"the model never sees them: use a template that reads {name!r}{read}"
            yield Finding(DROPPED, f"row: {name}", "problem", advice, None, f"{len(kwargs[name]):,} of them")


def is_text_of_conversation(path: Path, text: str) -> bool:
    """Whether a field holds what somebody said, or what a call or a tool gave; not an id, a name, a date, a label.

    Example:
        >>> is_text_of_conversation(("tool_call_id",), "call_1"), is_text_of_conversation(("content",), "Hi")
        (False, True)
        >>> is_text_of_conversation(("reasoning_details", 0, "text"), "Hm."), is_text_of_conversation(
        ...     ("tool_calls", 0, "function", "arguments", "user_id"), "mia_li_3668"
        ... )
        (True, True)
    """
    names = [key for key in path if isinstance(key, str)]
    last = names[-1]
    if any(name in _VALUES for name in names[:-1]) or (len(path) > 1 and path[0] == "content" and path[1] == last):
        return True
    if last == "name" and (names[0] in ("tool_calls", "function_call") or names[-2:-1] == ["function"]):
        return True
    if last in _TEXTS or last in _VALUES or holds_results(last):
        return True
    if len(names) > 1 and _ABOUT.search(names[0]):
        return False
    if _LABEL.search(_CAMEL.sub("_", last).lower()) or _IDENTIFIER.fullmatch(text.strip()):
        return False
    return len(_WORD.findall(text)) > 1 or _WITHOUT_BLANKS.search(text) is not None


def _advice(message: Mapping[str, Any], path: Path, text: str, template: ChatTemplate) -> tuple[str, str]:
    """What to add to the field's pattern, and what to do."""
    unseen = "the model never sees this text: "
    first = str(path[0])
    if first in ("tool_calls", "function_call"):
        if path[-1] == "arguments" and "arguments" in template.keys and text.lstrip().startswith("{"):
            parse = 'tool_arguments="parse" (--tool-arguments parse) gives it one'
            return " as JSON text", f"{unseen}the template takes an object, {parse}"
        return "", unseen + "use a template that writes calls"
    is_thought = _THOUGHT_TAG.search(text) is not None
    if is_thought or _REASONING.search(" ".join(key for key in path if isinstance(key, str))):
        kind = " (reasoning)" if first == "content" else ""
        if first in template.keys:
            return kind, (
                "the template leaves it out here, often before the last user's message: give each such turn a row of "
                "its own that ends with it, or use a template that writes it"
            )
        move = "use a template that writes it"
        if first != "reasoning_content":
            move = f"move it to 'reasoning_content' if the template writes that, or {move}"
        return kind, unseen + move
    if first == "content" and message.get("tool_calls"):
        return " beside calls", f"{unseen}put it into a message before the calls, or use a template that writes both"
    if first == "content":
        return "", unseen + "use a template that writes it"
    if message.get("role") != "assistant" or holds_results(first):
        return "", unseen + "move it to 'content', or use a template that writes it"
    return "", unseen + "move it to 'content' or 'reasoning_content', or use a template that writes it"
