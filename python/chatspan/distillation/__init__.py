"""Rows and traces → the batch of a self-distillation loss. The steps, in the order in which they run:

``examples/`` (student, teacher, hints) → ``chats/`` (both sides encoded) → ``pairs/`` (the same tokens on both sides)
→ ``layouts.py`` (their columns) → ``batches.py`` (arrays) → ``collator.py``, ``composer.py`` (tensors). ``prompts/``
is for trainers that sample the response themselves, ``teachers/`` for teachers that are servers.
Imports ``rows``, ``encode``, ``rollout`` and ``batch``.
"""
