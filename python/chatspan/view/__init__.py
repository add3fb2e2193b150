"""Encodings → what a person looks at: for each token its text, field and masks; as blocks, as JSON.

In: an encoding, or a distillation row. Out: a :class:`~chatspan.view.view.View`, which terminal and page draw.
"""
