"""The two kinds of work: jobs to run, and jobs whose end is settled although they never ran."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from jockey._crew import Crew
from jockey._job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jockey._crew import Shop
    from jockey._gate import Gates
    from jockey._scheduler import Scheduler

AnyJob = Job[Any]

_REPORTERS = 16
"""So many callbacks of jobs that never ran may run at once. They need no slot: waiting for one could take for ever."""


class Ledger(Protocol):
    """Who counts the jobs."""

    gates: Gates
    """Where code waits for the backlog to become shorter, or jobs to end."""

    def note_start(self) -> None:
        """Learn that the backlog has become shorter."""
        ...

    def note_end(self, job: AnyJob, /) -> None:
        """Learn that the callback of *job* has returned."""
        ...

    async def linger(self, job: AnyJob, /) -> None:
        """Return when the work of *job*, which was stopped, has really ended."""
        ...


class Starts:
    """Runs the jobs that the scheduler lets start."""

    def __init__(self, size: float, scheduler: Scheduler, ledger: Ledger, shop: Shop) -> None:
        self.crew = Crew(size, self, shop)
        self.is_paused = False
        self.linger = ledger.linger
        self.end = ledger.note_end
        self._scheduler = scheduler
        self._note_start = ledger.note_start
        self._ledger = ledger
        self._shop = shop

    def look(self) -> None:
        """Wake a runner if a job could start."""
        if self.crew.awake < self.crew.size and not self.is_paused and self._scheduler.has_ready():
            self.crew.call()

    def take(self, now: float) -> AnyJob | None:
        crew, scheduler = self.crew, self._scheduler
        if self.is_paused or crew.awake > crew.size:
            return None
        job = scheduler.take(now)
        if scheduler.alarms:
            self._shop.watchdog.watch(scheduler.next_alarm())
        if job is not None and self._ledger.gates.waiting:
            self._note_start()
        return job

    def release(self, job: AnyJob, now: float) -> None:
        if job.group is not None or job.route.line.caps:
            self._scheduler.release(job, now)
            if not self.crew.looking:
                self.look()


class Reports:
    """Calls the callbacks of jobs that never ran: cancelled while they waited, or not to be routed."""

    def __init__(self, ledger: Ledger, shop: Shop) -> None:
        self.crew = Crew(_REPORTERS, self, shop)
        self.linger = ledger.linger
        self.end = ledger.note_end
        self._note_start = ledger.note_start
        self._jobs: deque[AnyJob] = deque()
        self._dropped: Iterator[AnyJob] = iter(())
        self._reason = ""
        self._is_dropping = False

    def add(self, job: AnyJob) -> None:
        """Have the end of *job* reported, which is settled."""
        self._jobs.append(job)
        if not self.crew.looking:
            self.crew.call()

    def add_all(self, jobs: Iterator[AnyJob], count: int, reason: str) -> None:
        """Cancel *jobs*, each when its turn to be reported comes: there may be a million."""
        self._dropped = jobs
        self._reason = reason
        self._is_dropping = count > 0
        if count:
            self.crew.call()

    def look(self) -> None:
        if self._jobs or self._is_dropping:
            self.crew.call()

    def take(self, _now: float) -> AnyJob | None:
        if self._jobs:
            return self._jobs.popleft()
        job = next(self._dropped, None)
        if job is None:
            self._is_dropping = False
        else:
            job.settle_cancelled(self._reason)
            self._note_start()
        return job

    def release(self, _job: AnyJob, _now: float) -> None:
        """Do nothing: it held nothing."""
