"""Attacks on chatspan: seeded fuzzers, each in a process of its own, and one table of what came of them.

The way: ``attacks.py`` says what there is and ``run.py`` divides the time; ``watch.py`` starts ``worker.py`` for each,
in which a module of ``fuzzers`` makes its tries; ``table.py`` prints. Conversations and checks are those of the tests.
"""
