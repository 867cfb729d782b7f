"""The command `jockey`, which is also `python -m jockey`; what it does is in `jockey.jobs`, and comes as an extra."""

from __future__ import annotations

import importlib.util
import sys
from typing import Final

_NEEDED: Final = ("click", "msgspec", "rich", "watchfiles")


def main() -> None:
    """Run the command, or say what is to be installed for it."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(f"jockey: this command needs {', '.join(missing)}; run: pip install 'jockey[cli]'\n")
        sys.exit(2)
    try:
        from jockey.jobs._cli import jockey  # noqa: PLC0415 - an extra
    except KeyboardInterrupt:  # it takes a moment; later, click sees to it in the same way
        sys.stderr.write("Aborted!\n")
        sys.exit(1)

    jockey()


if __name__ == "__main__":
    main()
