"""Prompts and completions of many turns: rows as the model met them, the way from a completion to the next prompt, and
what a completion says.

In: conversations, or sampled ids turn by turn. Out: :class:`SampledRow`, messages. It may import the rooms up to
``encode``.
"""
