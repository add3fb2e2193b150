"""The command line: ``chatspan inspect``, ``chatspan audit``, ``chatspan encode``."""

from __future__ import annotations


def main() -> int:
    """Runs the command; returns its exit code: 0, 1 for problems and errors, 2 for wrong usage, 130 when stopped."""
    # Not at the top, so that the commands' modules can be imported by worker processes without a command line.
    from chatspan.cli.app import main as run

    return run()
