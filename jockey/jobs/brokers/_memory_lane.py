"""Jobs of one queue that are ready to run, in memory."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from jockey.jobs.brokers._embedded import READY
from jockey.jobs.brokers._memory_entry import place_of

if TYPE_CHECKING:
    from jockey.jobs.brokers._memory_entry import Entry, Place


class Lane:
    """
    The jobs of one queue, in the order in which they are to run.

    Most come in that order; these are in a deque, where neither to come nor to go needs a comparison with many. Others
    are in a heap beside it. Jobs that went elsewhere are passed over when their turn comes.
    """

    __slots__ = ("_fresh", "_late", "_newest")

    def __init__(self) -> None:
        self._fresh: deque[Entry] = deque()
        self._late: list[tuple[Place, Entry]] = []
        self._newest: Place = (0, 0.0, 0)  # of the last one in the deque

    def add(self, entry: Entry) -> None:
        """Take one more job, which is ready."""
        place = place_of(entry)
        fresh = self._fresh
        if not fresh or self._newest < place:
            fresh.append(entry)
            self._newest = place
        else:
            heapq.heappush(self._late, (place, entry))

    def first(self) -> Place | None:
        """Return the place of the job whose turn it is."""
        fresh, late = self._fresh, self._late
        while fresh and fresh[0].phase != READY:
            fresh.popleft()
        while late and late[0][1].phase != READY:
            heapq.heappop(late)
        if late and self._is_late_first():
            return late[0][0]
        return place_of(fresh[0]) if fresh else None

    def pop(self, count: int) -> list[Entry]:
        """Remove and return the jobs whose turn it is, at most so many."""
        fresh, late = self._fresh, self._late
        popped: list[Entry] = []
        while len(popped) < count and (fresh or late):
            entry = heapq.heappop(late)[1] if late and self._is_late_first() else fresh.popleft()
            if entry.phase == READY:
                popped.append(entry)
        return popped

    def clear(self) -> None:
        """Forget all."""
        self._fresh.clear()
        self._late.clear()

    def _is_late_first(self) -> bool:
        return not self._fresh or self._late[0][0] < place_of(self._fresh[0])
