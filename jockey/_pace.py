"""How long jobs that never suspend may keep the event loop from everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

SLICE = 0.005
"""After so many seconds of jobs that never suspend, the event loop gets a turn."""


class Pace:
    """
    One slice of time for all the runners of an executor together.

    A slice for each would add up: with sixteen of them a turn of the loop would take sixteen slices.

    Attributes:
        ends: When the slice is used up, on the executor's clock.
    """

    __slots__ = ("_clock", "_is_yielding", "ends")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.ends = clock() + SLICE
        self._clock = clock
        self._is_yielding = False

    def loop_has_turned(self, now: float) -> None:
        """Learn that the loop had its turn anyway, and begin a new slice if the old one is long over."""
        if now >= self.ends + SLICE:
            self.ends = now + SLICE

    async def let_loop_turn(self) -> None:
        """Let the loop turn until there is time again: the first runner that waits here begins the new slice."""
        while self._clock() >= self.ends:
            is_first = not self._is_yielding
            self._is_yielding = True
            try:
                await checkpoint()
            finally:
                if is_first:
                    self._is_yielding = False
            if is_first:
                self.ends = self._clock() + SLICE
