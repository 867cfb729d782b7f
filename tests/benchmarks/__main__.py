"""Measure jockey next to its peers: `python tests/benchmarks`, or `python -m tests.benchmarks`; `--help` tells more."""

from __future__ import annotations

import sys
from pathlib import Path

# Run by its path, Python looks for modules here, but not where `tests` is.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.command import main

if __name__ == "__main__":
    main()
