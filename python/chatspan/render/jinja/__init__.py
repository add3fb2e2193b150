"""Templates that Jinja2 evaluates, on strings that remember their field: the slow twin, and the way out.

In: a template's source, then requests. Out: renders. Knows nothing of ``native/``.
"""
