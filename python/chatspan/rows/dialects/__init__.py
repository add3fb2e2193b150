"""One module a dialect: a row as some project writes it → messages in OpenAI's shape, as chat templates take them.

In: rows of plain Python data. Out: :class:`~chatspan.rows.dialects.found.Found`. Dialects import each other's helpers
in one direction, and nothing above ``rows``.
"""
