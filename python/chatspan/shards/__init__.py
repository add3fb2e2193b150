"""A data set, encoded, in files: shards of fixed rows, written whole or not at all, rejected rows beside them.

And a teacher's top-k of its in-loss tokens: ``teacher_store.py``.
"""
