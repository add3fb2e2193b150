"""``python -m chatspan``, the same as the command ``chatspan``."""

from __future__ import annotations

import sys

from chatspan.cli import main

if __name__ == "__main__":
    sys.exit(main())
