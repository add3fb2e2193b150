"""Data as people have it → messages as chat templates take them.

In: files, hub data sets, rows of any dialect. Out: :class:`~chatspan.rows.conversations.Chat`, in order and with its
place. Imports options and errors only; nothing here knows of templates or tokenizers.
"""
