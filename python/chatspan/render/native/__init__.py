"""Templates that the core evaluates: a syntax tree becomes a program, a program and an input become a render.

In: Jinja2's syntax tree, then requests. Out: renders, or what of them the core lacks. Knows nothing of ``jinja/``.
"""
