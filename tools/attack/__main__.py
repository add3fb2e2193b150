"""``python tools/attack``: the attacks, or the process of one of them."""

from __future__ import annotations

import sys
from pathlib import Path

_REPO = Path(__file__).parents[2]
# In place of this folder: its modules are those of a package, and the tests' helpers are used.
sys.path[:1] = [str(_REPO / name) for name in ("tools", "tests", "tests/rows", "tests/render", "tests/tokenize")]

if sys.argv[1:2] == ["worker"]:
    from attack.worker import main as work

    del sys.argv[1]
    work()
else:
    from attack.run import main

    sys.exit(main(sys.argv[1:]))
