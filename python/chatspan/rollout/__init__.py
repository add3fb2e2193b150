"""What a model sampled: in, a prompt and the ids of a completion; out, messages.

May import what makes and reads encodings: ``encode``, ``attribute``, ``tokenize``, ``render``, ``rows``.
"""
