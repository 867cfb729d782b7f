"""Rows of measurements as a Markdown table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Row:
    """One line of the table; all texts are ready to be read."""

    what: str
    """What was measured."""

    ours: str
    """What it gave with jockey."""

    other: str = ""
    """What it gave with that which jockey is compared with."""

    ratio: str = ""
    """One by the other."""

    target: str = ""
    """What the ratio, or else the figure, is meant to be. Shown, never enforced: machines differ."""


def header() -> Iterator[str]:
    """Yield the lines above the first row."""
    yield line(Row("what", "jockey", "compared with", "ratio", "target"))
    yield "|---|---|---|---|---|"


def line(row: Row) -> str:
    """Return the row as one line of the table."""
    return f"| {row.what} | {row.ours} | {row.other} | {row.ratio} | {row.target} |"


def count(number: int) -> str:
    """Return the number with a space between thousands."""
    return f"{number:,}".replace(",", " ")


def microseconds(seconds: float) -> str:
    """Return seconds as microseconds with three digits that mean something."""
    value = seconds * 1e6
    return f"{value:.2f} µs" if value < 10 else f"{value:.1f} µs" if value < 100 else f"{value:.0f} µs"


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds."""
    return f"{seconds * 1e3:.0f} ms"
