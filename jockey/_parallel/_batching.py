"""
How many items travel together. Pure: it is told how long batches took.

A batch costs what one job costs, however many items it has; so tiny items go in big batches. But a big batch is bad for
items that take long: the last one to end keeps all other workers idle.
"""

from __future__ import annotations

from typing import Final, Protocol

TARGET: Final = 0.04
"""Seconds that a batch should take: a thousand times what it costs to send one, and nobody notices the wait."""

MOST: Final = 4096
"""Items in one batch at most: beyond that there is nothing to be gained, and memory to be lost."""

_SHARES: Final = 4
"""Towards the end, when the number of items is known, a batch is no more than such a part of one worker's rest."""

_LEAST: Final = 20
"""But not less than such a part of what takes `TARGET`: below that, sending costs more than the balance is worth."""

_TICK: Final = 1e-6
"""Seconds; nothing takes less, whatever the clock says."""


class Batching(Protocol):
    """Decides on the size of batches."""

    def size(self, remaining: int | None, /) -> int:
        """Return how many items the next batch should have, when so many are left; None is not known."""
        ...

    def note(self, count: int, seconds: float, /) -> None:
        """Learn how long a batch of *count* items took, the way there and back included."""
        ...


class FixedBatching:
    """Batches of the size that the user has chosen."""

    def __init__(self, size: int) -> None:
        self._size = size

    def size(self, _remaining: int | None, /) -> int:
        return self._size

    def note(self, _count: int, _seconds: float, /) -> None:
        """Do nothing: whatever they take."""


class AutoBatching:
    """
    Batches that take about `TARGET` seconds.

    It starts with single items, and at most doubles with each batch that has ended: so the first results come at once,
    and a few quick items at the beginning do not make for a huge batch of slow ones. When items get slower, the very
    next batch is smaller.

    Args:
        workers: How many batches run at once.
        most: How many items a batch may have.
    """

    def __init__(self, workers: int, most: int = MOST) -> None:
        self._workers = workers
        self._most = min(most, MOST)
        self._size = 1

    def size(self, remaining: int | None, /) -> int:
        if remaining is None:
            return self._size
        share = remaining // (_SHARES * self._workers)
        return min(self._size, max(share, self._size // _LEAST, 1))

    def note(self, count: int, seconds: float, /) -> None:
        ideal = count * TARGET / max(seconds, _TICK)
        self._size = max(1, int(min(ideal, 2 * self._size, self._most)))
