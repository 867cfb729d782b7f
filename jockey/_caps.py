"""Live caps: each counts what runs, or when the next one may start, and keeps the lines that wait for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from jockey import _validation
from jockey._limits import Limit, Rate

if TYPE_CHECKING:
    from jockey._line import Line


Parked = tuple[list[tuple[float, "Line"]], ...]
"""For each priority a heap of the lines that wait for a cap, by the numbers of their first jobs."""


class SlotCap:
    """
    At most `size` jobs at once.

    Attributes:
        size: How many.
        used: How many there are.
        parked: The lines that wait for it.
        is_wanted: Whether there may be any.
    """

    __slots__ = ("is_wanted", "parked", "size", "used")

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.parked: Parked = ([], [], [])
        self.is_wanted = False

    def free_at(self, now: float) -> float:
        """Return *now* if one more job may start, else infinity: only the end of a job can tell."""
        return now if self.used < self.size else math.inf

    def take(self, _now: float) -> None:
        """Count one more job."""
        self.used += 1

    def release(self) -> None:
        """Count one job less."""
        self.used -= 1

    def __repr__(self) -> str:
        return f"<{self.used} of {self.size} slots used, {sum(map(len, self.parked))} lines wait>"


class RateCap:
    """
    One start each `interval` seconds, and up to `burst` at once after a pause (GCRA, see `Rate`).

    Attributes:
        parked: The lines that wait for it.
        is_wanted: Whether there may be any.
        has_alarm: Whether the scheduler knows when it has room again.
    """

    __slots__ = ("_due", "_interval", "_slack", "has_alarm", "is_wanted", "parked")

    def __init__(self, rate: Rate) -> None:
        self._interval = _validation.seconds("per", rate.per) / rate.starts
        self._slack = self._interval * (rate.burst - 1)
        self._due = -math.inf  # the "theoretical arrival time" of the next start
        self.parked: Parked = ([], [], [])
        self.is_wanted = False
        self.has_alarm = False

    def free_at(self, now: float) -> float:
        """Return when one more job may start: *now* if it may at once."""
        return max(now, self._due - self._slack)

    def take(self, now: float) -> None:
        """Count one more start."""
        self._due = max(self._due, now) + self._interval

    def release(self) -> None:
        """Do nothing: a rate counts starts only."""

    def __repr__(self) -> str:
        return f"<one start each {self._interval:g} s, {sum(map(len, self.parked))} lines wait>"


Cap = SlotCap | RateCap


def cap_of(limit: Limit | Rate) -> Cap:
    """Return the live cap for what a user declared."""
    return RateCap(limit) if isinstance(limit, Rate) else SlotCap(limit.max_jobs)
