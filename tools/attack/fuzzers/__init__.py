"""The fuzzers: each module has a ``start``, which takes a setting and gives what makes the try of a number."""
