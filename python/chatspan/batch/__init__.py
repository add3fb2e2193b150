"""Sequences of different lengths → arrays and tensors of a batch: who pads, packs and groups.

In: ids, masks, labels of single rows. Out: numpy arrays, then torch tensors, which only ``tensors.py`` and
``context_parallel.py``, the part of a batch that one process works on, import.
Imports options, errors and the side arrays of ``rollout``; both kinds of collators use it.
"""
