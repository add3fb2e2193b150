"""What a token is in its message."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """The kind of a token: that of its first character.

    Example:
        >>> from chatspan import Kind
        >>> Kind(1).name
        'CONTENT'
    """

    SCAFFOLD = 0
    """Written by the template: headers, separators, the name of a role."""
    CONTENT = 1
    """Of a message's ``content``, wherever the template puts it; not of a tool's message."""
    REASONING = 2
    """Of a message's reasoning, with the tags around it; also where both are part of the content."""
    TOOL_CALL = 3
    """Of a message's ``tool_calls``, with the wrapper around them, in that message itself."""
    END_OF_TURN = 4
    """What ends a message."""
    GENERATION_PROMPT = 5
    """What ``add_generation_prompt`` adds."""
    TOOLS = 6
    """Of ``tools``."""
    DOCUMENTS = 7
    """Of ``documents``."""
    OTHER_FIELD = 8
    """Of another field: ``name``, ``tool_call_id``, a keyword; a tool call's text outside of its own message."""
    TOOL_RESULT = 9
    """What a runtime wrote: a tool's result, wherever it stands, and what announces it in an assistant's message."""
    MEDIA = 10
    """What a processor makes of an image, a video or audio."""
