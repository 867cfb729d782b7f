"""What makes an error tell which item it is about."""

from __future__ import annotations

import contextlib
import reprlib


def name_item(error: Exception, index: int, item: object) -> None:
    """Add to *error* a note that names the item."""
    # An error that cannot be changed, such as a frozen dataclass, stays as it is.
    with contextlib.suppress(Exception):
        error.add_note(f"item {index} of jockey.map: {_short(item)}")


def _short(item: object) -> str:
    try:
        return reprlib.repr(item)
    except Exception:  # of a class that only looks like one that reprlib knows
        return object.__repr__(item)
