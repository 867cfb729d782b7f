"""A broker that cannot be reached: one line in the log per change, and pauses between the tries."""

from __future__ import annotations

import logging
import random
from typing import Final

_FIRST: Final = 0.05
_LONGEST: Final = 2.0
"""Seconds. No longer: when the broker is back, work goes on soon after."""

_log = logging.getLogger("jockey.jobs")


class Outage:
    """
    Whether the broker can be reached, as far as is known.

    Attributes:
        worker: The name of the worker, for the log.
        is_on: Whether it is away.
    """

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.is_on = False

    def begin(self, error: Exception) -> None:
        """Learn that it cannot."""
        if not self.is_on:
            self.is_on = True
            _log.warning("worker %s: the broker is away, what runs goes on meanwhile: %s", self.worker, error)

    def end(self) -> None:
        """Learn that it can."""
        if self.is_on:
            self.is_on = False
            _log.info("worker %s: the broker is back", self.worker)


def pause(tries: int) -> float:
    """Return the seconds to wait after so many tries in vain, from 0: doubled each time, half of it at random."""
    longest = min(_FIRST * 2.0 ** min(tries, 30), _LONGEST)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - so that workers do not come back all at once
