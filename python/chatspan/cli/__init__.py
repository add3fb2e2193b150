"""The command line: ``chatspan inspect``, ``chatspan audit``, ``chatspan encode``. Asks and prints, and nothing else.

Commands import what they work with inside of their functions: torch, transformers and jinja2 take seconds to load,
which ``--help`` and a wrong option must not take.
"""

from __future__ import annotations


def main() -> int:
    """Runs the command; returns its exit code: 0, 1 for problems and errors, 2 for wrong usage, 130 when stopped."""
    # Not at the top, so that the commands' modules can be imported by worker processes without a command line.
    from chatspan.cli.app import main as run

    return run()
