"""What a chat template writes for a turn, learned from renders of small messages.

In: a renderer and a prompt. Out: :class:`chatspan.rollout.parse.learn.forms.Forms`. The steps: ``probes`` are rendered,
``forms`` takes the turns apart, ``calls`` and ``arguments`` what is inside of calls; ``marks`` and ``notation`` find
again what was learned.
"""
