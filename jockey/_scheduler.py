"""
Which job starts next. Pure: no await, no clock of its own, no I/O.

Jobs that need the same caps at the same priority stand in one line. A line whose first job could start, as far as is
known, is *ready*: it stands in the heap of its priority, by the number of its first job. When it turns out that a cap
of it is full, the line is *parked* at that one cap; it takes nothing while it waits. What keeps this live is one rule:
of the lines parked at a cap with room, the first one of each priority is made ready. So each start and each end looks
at a constant number of lines, however long they are.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any

from jockey._caps import Cap, RateCap
from jockey._groups import Groups
from jockey._job import Job, JobState
from jockey._line import Line

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from jockey._options import Priority

AnyJob = Job[Any]

_QUEUED = JobState.QUEUED

STARVATION_BOUND = 32
"""Of so many starts in a row at least one is of the job that has waited longest of all that could start."""


class Scheduler:
    """
    The backlog of one running executor.

    Attributes:
        backlog: How many jobs wait.
        alarms: When rates that lines wait for have room again, earliest first.
    """

    def __init__(self, max_jobs_per_group: int = 1) -> None:
        self.backlog = 0
        self._number = 0
        self._passed_over = 0  # how many starts in a row have left out somebody who waits at a lower priority
        self._passes_over = False  # whether the line that was chosen last leaves out somebody
        self._only: Line | None = None  # the one line that is ready, if it is known to be the only one
        self._groups = Groups(max_jobs_per_group)
        self._lines: dict[tuple[tuple[Cap, ...], Priority], Line] = {}
        self._ready: tuple[list[tuple[float, Line]], ...] = ([], [], [])
        self.alarms: list[tuple[float, int, RateCap]] = []

    def line(self, caps: tuple[Cap, ...], priority: Priority) -> Line:
        """Return the line for jobs that need *caps*."""
        return self._lines.setdefault((caps, priority), Line(caps, priority))

    def push(self, job: AnyJob, group: Hashable = None) -> None:
        """Take *job*, which has its route, into the backlog."""
        self._number = number = job.number = self._number + 1
        self.backlog += 1
        route = job.route
        route.queued += 1
        if group is None or self._groups.admit(job, group):
            line = route.line
            line.fresh.append(job)  # its number is the highest of all
            if line.key > number:
                self._make_known(line, number)

    def take(self, now: float) -> AnyJob | None:
        """Remove and return the job to start now; its caps are counted as taken until `release`."""
        if self.alarms:
            self._ring(now)
        while True:
            line = self._only
            if line is None or line.late or not line.fresh or line.fresh[0].phase is not _QUEUED:
                line = self._choose(now)
                if line is None:
                    return None
            if line.caps and (full := _full_cap(line, now)) is not None:
                self._park(line, full, now)
                continue
            job = line.pop() if line.late else line.fresh.popleft()
            self.backlog -= 1
            job.route.queued -= 1
            if self._passes_over:
                self._passed_over += 1
            elif self._passed_over:
                self._passed_over = 0
            if line.caps:
                self._take_caps(line, now)
            if job.group is not None and (following := self._groups.start(job.group)) is not None:
                self._join(following)
            return job

    def release(self, job: AnyJob, now: float) -> None:
        """Give back what `take` counted for *job*."""
        caps = job.route.line.caps
        if caps:
            for cap in caps:
                cap.release()
                if cap.is_wanted:
                    self._offer(cap, now)
        if job.group is not None and (following := self._groups.end(job.group)) is not None:
            self._join(following)

    def drop(self, job: AnyJob) -> None:
        """Forget *job*, which waits no more: its phase says so already."""
        self._forget(job)
        stood_in_line = True
        if job.group is not None:
            stood_in_line, following = self._groups.drop(job.group, job)
            if following is not None:
                self._join(following)
        if stood_in_line:
            job.route.line.drop()

    def close(self) -> Iterator[AnyJob]:
        """Let nothing start any more; return an iterator that removes all jobs that wait, one by one, at any pace."""
        self._only = None
        for ready in self._ready:
            ready.clear()
        for line in self._lines.values():
            line.key = -math.inf  # lower than any number, so no job that joins brings the line back into a heap
        return self._remove_all()

    def _remove_all(self) -> Iterator[AnyJob]:
        while self.backlog:
            for line in self._lines.values():
                while line.first() is not None:
                    yield self._forget(line.pop())
            for job in self._groups.pop_waiting():
                yield self._forget(job)

    def next_alarm(self) -> float:
        """Return when `take` is worth another try although nothing has ended: infinity if never."""
        return self.alarms[0][0] if self.alarms else math.inf

    def has_ready(self) -> bool:
        """Return whether `take` is worth a try; it may still find nothing."""
        high, normal, low = self._ready
        return self.backlog > 0 and bool(high or normal or low)

    def firsts(self) -> Iterator[AnyJob]:
        """Return the first job of each line."""
        return (job for line in self._lines.values() if (job := line.first()) is not None)

    def blockers(self, job: AnyJob, now: float) -> tuple[list[Cap], bool]:
        """Return why *job* waits: full caps, its own and those of jobs ahead in its group, and if its group is full."""
        group = job.group
        ahead = () if group is None else self._groups.ahead(group, job)
        caps = dict.fromkeys(cap for each in (job, *ahead) for cap in each.route.line.caps)
        full = [cap for cap in caps if cap.free_at(now) == math.inf]
        return full, group is not None and self._groups.is_full(group)

    def _choose(self, now: float) -> Line | None:
        high, normal, low = self._ready
        if high:
            ready, passes_over = high, normal or low
        elif normal:
            ready, passes_over = normal, low
        else:
            ready, passes_over = low, None
        self._passes_over = bool(passes_over)
        if passes_over and self._passed_over >= STARVATION_BOUND - 1:
            self._passes_over = False
            return self._oldest(now)
        line = self._front(ready, now)
        if line is None:
            return self._choose(now) if passes_over else None
        if not passes_over and len(ready) == 1:
            self._only = line
        return line

    def _oldest(self, now: float) -> Line | None:
        fronts = [line for ready in self._ready if (line := self._front(ready, now)) is not None]
        return min(fronts, key=_first_number, default=None)

    def _front(self, ready: list[tuple[float, Line]], now: float) -> Line | None:
        self._only = None
        while ready:
            key, line = ready[0]
            if not line.is_ready or line.key != key:
                heapq.heappop(ready)  # left over from a time when the line had another first job
                continue
            job = line.first()
            if job is None:
                heapq.heappop(ready)
                line.is_ready, line.key = False, math.inf
                self._offer_all(line, now)
            elif job.number > key and len(ready) > 1:
                line.key = job.number
                heapq.heapreplace(ready, (line.key, line))
            else:
                return line
        return None

    def _take_caps(self, line: Line, now: float) -> None:
        for cap in line.caps:
            cap.take(now)
        self._offer_all(line, now)

    def _park(self, line: Line, full: Cap, now: float) -> None:
        self._only = None
        heapq.heappop(self._ready[line.priority])
        line.is_ready, line.parked_at = False, full
        heapq.heappush(full.parked[line.priority], (line.key, line))
        full.is_wanted = True
        self._offer_all(line, now)

    def _offer_all(self, line: Line, now: float) -> None:
        # The line may have been made ready for a cap that it does not take after all: somebody else may want it.
        for cap in line.caps:
            if cap.is_wanted:
                self._offer(cap, now)

    def _offer(self, cap: Cap, now: float) -> None:
        free_at = cap.free_at(now)
        if free_at > now:
            self._set_alarm(cap, free_at)
            return
        for parked in cap.parked:
            self._make_one_ready(cap, parked)
        cap.is_wanted = any(cap.parked)

    def _make_one_ready(self, cap: Cap, parked: list[tuple[float, Line]]) -> None:
        while parked:
            key, line = heapq.heappop(parked)
            if line.parked_at is not cap or line.key != key:
                continue  # left over from a time when the line had another first job
            job = line.first()
            if job is None:
                line.parked_at, line.key = None, math.inf
            elif job.number != key:
                line.key = job.number
                heapq.heappush(parked, (line.key, line))
            else:
                self._only = None
                line.is_ready, line.parked_at = True, None
                heapq.heappush(self._ready[line.priority], (key, line))
                return

    def _set_alarm(self, cap: Cap, when: float) -> None:
        if isinstance(cap, RateCap) and not cap.has_alarm:
            cap.has_alarm = True
            heapq.heappush(self.alarms, (when, id(cap), cap))

    def _ring(self, now: float) -> None:
        while self.alarms and self.alarms[0][0] <= now:
            cap = heapq.heappop(self.alarms)[2]
            cap.has_alarm = False
            self._offer(cap, now)

    def _join(self, job: AnyJob) -> None:
        line = job.route.line
        line.join(job)
        if line.key > job.number:
            self._make_known(line, job.number)

    def _make_known(self, line: Line, number: int) -> None:
        line.key = number
        if line.parked_at is not None:
            heapq.heappush(line.parked_at.parked[line.priority], (number, line))
        else:
            self._only = None
            line.is_ready = True
            heapq.heappush(self._ready[line.priority], (number, line))

    def _forget(self, job: AnyJob) -> AnyJob:
        self.backlog -= 1
        job.route.queued -= 1
        return job


def _full_cap(line: Line, now: float) -> Cap | None:
    for cap in line.caps:
        if cap.free_at(now) > now:
            return cap
    return None


def _first_number(line: Line) -> int:
    job = line.first()
    return job.number if job else 0
