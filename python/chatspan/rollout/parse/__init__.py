"""Completion → message: the chat template inverted.

In: the messages of a prompt, and what a model wrote behind it. Out: :class:`ParsedCompletion`. What a template writes
for reasoning, contents and calls is learned from renders (``learn/``); a completion is read in these forms (``read``,
``read_calls``), and a reading holds if its message renders back (``accept``). ``choose`` takes the best.
"""
