"""Examples at the end of a command's help."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """Return them as the epilog of a command, each on a line of its own."""
    # Click fills paragraphs up, but not those that begin with this mark.
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))
