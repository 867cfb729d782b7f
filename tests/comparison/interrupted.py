"""A program that runs for hours: `python -m tests.comparison.interrupted LIBRARY FOLDER`."""

from __future__ import annotations

import importlib
import sys

from tests.comparison import work
from tests.comparison.library import Library


def main() -> None:
    name, folder = sys.argv[1:]
    library: Library = importlib.import_module(f"tests.comparison.libraries.{name}").LIBRARY
    for _ in library.in_order(work.hang_always, [(folder, number) for number in range(8)]):
        pass


if __name__ == "__main__":
    main()
