"""The experiment: the same small model trained in several ways on the same recordings, seed by seed.

In the order of the data: ``settings.py``; ``task.py``, what is asked, and what was recorded; ``model.py``;
``start.py``, what all arms begin with; ``sampling.py``; ``arms/``, the ways to train; ``evaluate.py``; ``results.py``,
``intervals.py``, ``report.py``, ``plot.py``. ``run.py`` runs it: ``make experiment``, or
``python -m experiments --help``.
"""
