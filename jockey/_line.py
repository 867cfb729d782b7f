"""Jobs that wait for the same caps at the same priority."""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TYPE_CHECKING, Any

from jockey._job import Job, JobState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jockey._caps import Cap
    from jockey._options import Priority

AnyJob = Job[Any]

# Removing a job from the middle of a deque is slow, so a job that was cancelled stays until it comes to the front; the
# deque is made anew when most of it is such, which costs each cancelled job a constant.
_FEW = 64
_QUEUED = JobState.QUEUED


class Line:
    """
    A line of jobs, in the order in which they were scheduled.

    Most jobs join at the end. A job that had to wait for others of its group joins when they are done, at the place
    that its number gives it: such are kept in a heap beside the deque.

    Attributes:
        caps: What the first job needs, all at once, to start.
        priority: The priority of all of them.
        key: The number under which the line stands in the scheduler's heap; never more than that of its first job.
        is_ready: Whether it stands in the scheduler's heap of lines to look at.
        parked_at: The cap it waits for, if any.
        fresh: The jobs that joined at the end.
        late: A heap of those that joined at another place, by number.
    """

    __slots__ = ("_dropped", "caps", "fresh", "is_ready", "key", "late", "parked_at", "priority")

    def __init__(self, caps: tuple[Cap, ...], priority: Priority) -> None:
        self.caps = caps
        self.priority = priority
        self.key: float = math.inf
        self.is_ready = False
        self.parked_at: Cap | None = None
        self.fresh: deque[AnyJob] = deque()
        self.late: list[tuple[int, AnyJob]] = []
        self._dropped = 0

    def join(self, job: AnyJob) -> None:
        """Add *job* at its place."""
        fresh = self.fresh
        if fresh and fresh[-1].number > job.number:
            heapq.heappush(self.late, (job.number, job))
        else:
            fresh.append(job)

    def first(self) -> AnyJob | None:
        """Return the job whose turn it is."""
        fresh = self.fresh
        while fresh and fresh[0].phase is not _QUEUED:
            fresh.popleft()
            self._dropped -= 1
        if not self.late:
            return fresh[0] if fresh else None
        return self._first_of_both()

    def pop(self) -> AnyJob:
        """Remove and return the job that `first` has just returned."""
        late, fresh = self.late, self.fresh
        if late and not (fresh and fresh[0].number < late[0][0]):
            return heapq.heappop(late)[1]
        return fresh.popleft()

    def drop(self) -> None:
        """Learn that some job of the line waits no more."""
        self._dropped += 1
        if self._dropped > _FEW and self._dropped * 2 > len(self.fresh) + len(self.late):
            self.fresh = deque(job for job in self.fresh if job.phase is _QUEUED)
            self.late = [entry for entry in self.late if entry[1].phase is _QUEUED]
            heapq.heapify(self.late)
            self._dropped = 0

    def _first_of_both(self) -> AnyJob | None:
        late, fresh = self.late, self.fresh
        while late and late[0][1].phase is not _QUEUED:
            heapq.heappop(late)
            self._dropped -= 1
        if late and not (fresh and fresh[0].number < late[0][0]):
            return late[0][1]
        return fresh[0] if fresh else None

    def __iter__(self) -> Iterator[AnyJob]:
        return iter((*self.fresh, *(job for _, job in self.late)))

    def __repr__(self) -> str:
        return f"<line of {len(self.fresh) + len(self.late)} jobs at {self.priority.name}>"
