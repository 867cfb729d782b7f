"""Which unique keys are taken, and by which jobs. In memory."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from jockey.jobs.brokers._embedded import UNIQUE_WHILE_QUEUED, WAITING, lock_ends

if TYPE_CHECKING:
    from jockey.jobs.brokers._memory_entry import Entry


class Keys:
    """
    The keys of all jobs.

    Attributes:
        unlocking: When keys that are taken for a time are free again, the earliest first.
    """

    def __init__(self) -> None:
        self._holders: dict[str, list[Entry]] = {}  # not ended
        self._locks: dict[str, tuple[str, float]] = {}
        self.unlocking: list[tuple[float, str]] = []

    def holder(self, key: str, now: float) -> str | None:
        """Return the id of the job that has the key; None if nobody has."""
        id_, ends = self._locks.get(key, ("", now))
        if ends > now:
            return id_
        for entry in sorted(self._holders.get(key, ()), key=_arrival):
            if entry.phase in WAITING or entry.message.unique_for != UNIQUE_WHILE_QUEUED:
                return entry.message.id
        return None

    def take(self, entry: Entry, key: str, now: float) -> None:
        """Learn that a new job has the key: for a time, or until its end."""
        ends = lock_ends(entry.message, now)
        if ends is None:
            self.take_again(entry)
        else:
            self._locks[key] = (entry.message.id, ends)
            heapq.heappush(self.unlocking, (ends, key))

    def take_again(self, entry: Entry) -> None:
        """Learn that a job that had ended goes on: its key is taken, if it is not one that is taken for a time."""
        message = entry.message
        if message.unique is not None and lock_ends(message, 0.0) is None:
            self._holders.setdefault(message.unique, []).append(entry)

    def release(self, entry: Entry, key: str) -> None:
        """Learn that the job has ended."""
        holders = self._holders.get(key)
        if holders is not None and entry in holders:
            holders.remove(entry)
            if not holders:
                del self._holders[key]

    def withdraw(self, entry: Entry) -> None:
        """Forget a job that was not enqueued after all, with what it had taken for a time."""
        message = entry.message
        if message.unique is not None:
            self.release(entry, message.unique)
        self._locks = {key: lock for key, lock in self._locks.items() if lock[0] != message.id}

    def unlock(self, now: float) -> None:
        """Free what was taken for a time that is over."""
        while self.unlocking and self.unlocking[0][0] <= now:
            key = heapq.heappop(self.unlocking)[1]
            if key in self._locks and self._locks[key][1] <= now:  # else it was withdrawn, or is another one's by now
                del self._locks[key]


def _arrival(entry: Entry) -> int:
    return entry.arrival
