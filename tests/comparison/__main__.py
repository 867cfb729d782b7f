"""Compare `jockey.map` with other libraries, feature by feature: `python tests/comparison`; `--help` tells more."""

from __future__ import annotations

import sys
from pathlib import Path

# Run by its path, Python looks for modules here, but not where `tests` is.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.comparison.command import main

if __name__ == "__main__":
    main()
