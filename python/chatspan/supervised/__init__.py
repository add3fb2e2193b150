"""Rows → labels for supervised fine-tuning: :class:`chatspan.ChatCollator`, ``ChatEncoder.as_map_fn``.

In: rows. Out: ids and labels, as tensors of a batch or as columns. Imports ``rows``, ``encode``, ``rollout`` and
``batch``; the front door hands over to ``map_fn.py``, and nothing here knows the front door.
"""
