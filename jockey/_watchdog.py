"""One timer for a whole executor: it sleeps until the earliest of all deadlines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_ONCE = 0.001
"""Deadlines that are no more than this apart, in seconds, are served together; so a look at all is not too frequent."""


class Watchdog:
    """
    Calls *check* when the earliest deadline that it was told has come.

    A timer per job would cost more than most jobs. Deadlines are never taken back: when a job ends early, the dog
    wakes once for nothing.

    Args:
        clock: The seconds that deadlines count.
        check: Deals with all deadlines up to the given time, and returns the earliest one that is left.

    Attributes:
        wakes_at: The earliest deadline known.
    """

    def __init__(self, clock: Callable[[], float], check: Callable[[float], float]) -> None:
        self.wakes_at = math.inf
        self._clock = clock
        self._check = check
        self._earlier = anyio.Event()

    def watch(self, deadline: float) -> None:
        """Wake no later than at *deadline*."""
        if deadline < self.wakes_at:
            self.wakes_at = deadline
            self._earlier.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._earlier = anyio.Event()
            with anyio.move_on_after(self.wakes_at - self._clock()):
                await self._earlier.wait()
            now = self._clock()
            if now >= self.wakes_at:
                self.wakes_at = math.inf
                self.watch(max(self._check(now), now + _AT_ONCE))
