"""How objects look: short reprs, tables of tokens, and HTML for notebooks, self-contained and without scripts.

In: tokens, their texts and what is known of them. Out: text, HTML, tables. It imports only errors and kinds.
"""
