"""Text → ids, and the characters that each stands for.

In: renders, or pieces of them. Out: :class:`~chatspan.tokenize.tokens.Tokens`, the same as transformers'. Imports the
types of ``render``; ``backends.py`` decides which tokenizer works.
"""
