"""What the jobs of all contenders do: they note when the first one began and the last one ended."""

from __future__ import annotations

import threading
import time

_WAIT = 60.0
"""Seconds after which jobs that do not come are an error."""


class Marks:
    """
    Count the jobs of one round, in any thread.

    Args:
        jobs: How many there are.
    """

    def __init__(self, jobs: int) -> None:
        self._left = jobs
        self._first = 0.0
        self._last = 0.0
        self._lock = threading.Lock()
        self._all_done = threading.Event()

    def note(self) -> None:
        """Note that one more job has run."""
        with self._lock:
            self._first = self._first or time.perf_counter()
            self._left -= 1
            if not self._left:
                self._last = time.perf_counter()
                self._all_done.set()

    @property
    def is_done(self) -> bool:
        """Whether all jobs have run."""
        return self._all_done.is_set()

    @property
    def seconds(self) -> float:
        """Seconds from the first job to the last one: however a worker starts and ends, that is not in it."""
        return self._last - self._first

    def wait(self) -> None:
        """
        Block until all jobs have run.

        Raises:
            TimeoutError: They do not come.
        """
        if not self._all_done.wait(_WAIT):
            raise TimeoutError(f"{self._left} jobs have not come")
