"""Prompts and completions of many turns: rows as the model met them, and the way from a completion to the next prompt.

In: conversations, or sampled ids turn by turn. Out: :class:`SampledRow`. It may import the rooms up to ``encode``.
"""
