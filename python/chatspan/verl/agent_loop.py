"""verl's tool agent with chatspan's tokens, for a file that ``agent_loop_config_path`` names. Imports verl.

In: ``[{name: tool_agent, _target_: chatspan.verl.agent_loop.ChatspanToolAgentLoop}]``. Out: verl's ``AgentLoopOutput``.
"""

from __future__ import annotations

from typing import Any

from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop

from chatspan.verl.token_builder import TokenBuilder


class ChatspanToolAgentLoop(ToolAgentLoop):  # type: ignore[misc]
    """verl's ``ToolAgentLoop``, whose tokens are made by a :class:`chatspan.verl.TokenBuilder`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.continuous_token_builder = TokenBuilder(
            self.tokenizer, chat_template_kwargs=self.apply_chat_template_kwargs
        )
