"""Conversations → encodings: the rooms before it in one pass, for batches.

In: requests. Out: :class:`~chatspan.Encoding`, each with all that is known of its tokens. ``pipeline.py`` is what the
front door, the collators and Ray share.
"""
