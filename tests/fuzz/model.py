"""What an executor should do, said as simply as possible: the model that the real one is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

from jockey import JobState, Priority, WaitFor

TIMEOUT = 5.0
"""Seconds that the handler "slow" may run."""

KEYS = ("plain", "single", "slow", "limited", "limited too", "nobody's")
"""The handlers: uncapped; max_jobs=1; max_jobs=1 with a timeout; two that share a limit of one; and none."""

CAPS = {"single": "single", "slow": "slow", "limited": "limit", "limited too": "limit"}
"""Of which cap, that lets one job run at a time, a handler's jobs need a part."""


@dataclass(eq=False)
class ModelJob:
    number: int
    key: str
    priority: Priority
    group: str | None
    state: JobState = JobState.QUEUED
    ends_at: float | None = None
    """When it is timed out, if it runs that long."""
    wait_for: WaitFor | None = None
    """What the code that waits in `execute` waits for; None if it was scheduled, or nobody waits any more."""


@dataclass(frozen=True)
class Snapshot:
    """What the model was like at one moment."""

    states: tuple[JobState, ...]
    """Of the jobs so far."""
    waiting: tuple[int, ...]
    """The jobs whose `execute` has not returned."""
    drains: int
    is_over: bool


@dataclass
class Model:
    max_jobs: int
    max_jobs_per_group: int
    now: float = 0.0
    is_paused: bool = False
    is_closed: bool = False
    is_over: bool = False
    cancels_at: float | None = None
    """When a drain runs out of time."""
    drains: int = 0
    """Barriers that wait for the executor to be idle."""
    jobs: list[ModelJob] = field(default_factory=list)

    # What can be done

    def accept(self, key: str, priority: Priority, group: str | None, wait_for: WaitFor | None) -> None:
        job = ModelJob(len(self.jobs), key, priority, group, wait_for=wait_for)
        self.jobs.append(job)
        if key not in KEYS[:-1]:
            job.state = JobState.NO_HANDLER
        elif self.is_closed:
            job.state = JobState.CANCELLED
        self._settle()

    def end(self, number: int, state: JobState) -> None:
        self.jobs[number].state = state
        self._settle()

    def cancel_waiter(self, number: int) -> None:
        job = self.jobs[number]
        job.wait_for = None
        if job.state in {JobState.QUEUED, JobState.RUNNING}:
            job.state = JobState.CANCELLED
        self._settle()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while (deadline := self._next_deadline()) <= end:
            self.now = deadline
            self._expire()
            self._settle()
        self.now = end

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        self._settle()

    def drain(self) -> None:
        self.drains += 1
        self.resume()

    def close(self, timeout: float) -> None:
        self.is_closed = True
        self.is_paused = False
        deadline = self.now + timeout
        self.cancels_at = deadline if self.cancels_at is None else min(deadline, self.cancels_at)
        self._cancel(JobState.QUEUED)
        self._settle()
        self.advance(0)

    def abort(self) -> None:
        self.is_over = self.is_closed = True
        self._cancel(JobState.QUEUED)
        self._cancel(JobState.RUNNING)
        self._settle()

    # What it is like

    def of_state(self, state: JobState) -> list[ModelJob]:
        return [job for job in self.jobs if job.state is state]

    def waiting(self) -> list[int]:
        """Return the jobs whose `execute` has not returned."""
        return [job.number for job in self.jobs if job.wait_for is not None]

    def snapshot(self) -> Snapshot:
        return Snapshot(tuple(job.state for job in self.jobs), tuple(self.waiting()), self.drains, self.is_over)

    # What happens by itself

    def _settle(self) -> None:
        while not self.is_paused and len(self.of_state(JobState.RUNNING)) < self.max_jobs:
            able = [job for job in self.of_state(JobState.QUEUED) if self._can_start(job)]
            if not able:
                break
            self._start(min(able, key=lambda job: (job.priority, job.number)))
        for job in self.jobs:
            if job.wait_for is not None and self._has_come(job, job.wait_for):
                job.wait_for = None
        if not self.of_state(JobState.QUEUED) and not self.of_state(JobState.RUNNING):
            self.drains = 0

    def _can_start(self, job: ModelJob) -> bool:
        running = self.of_state(JobState.RUNNING)
        if any(CAPS[job.key] == CAPS.get(other.key) for other in running if job.key in CAPS):
            return False
        if job.group is None:
            return True
        fellows = sum(other.group == job.group for other in running)
        first = next(other for other in self.of_state(JobState.QUEUED) if other.group == job.group)
        return first is job and fellows < self.max_jobs_per_group

    def _start(self, job: ModelJob) -> None:
        job.state = JobState.RUNNING
        if job.key == "slow":
            job.ends_at = self.now + TIMEOUT

    def _has_come(self, job: ModelJob, wait_for: WaitFor) -> bool:
        match wait_for:
            case WaitFor.NOTHING:
                return True
            case WaitFor.NO_PRESSURE:
                return len(self.of_state(JobState.QUEUED)) <= self.max_jobs
            case WaitFor.START:
                return job.state is not JobState.QUEUED
            case WaitFor.FINISH:
                return job.state not in {JobState.QUEUED, JobState.RUNNING}

    def _next_deadline(self) -> float:
        timeouts = [job.ends_at for job in self.of_state(JobState.RUNNING) if job.ends_at is not None]
        return min([*timeouts, *([] if self.cancels_at is None else [self.cancels_at])], default=float("inf"))

    def _expire(self) -> None:
        for job in self.of_state(JobState.RUNNING):
            if job.ends_at is not None and job.ends_at <= self.now:
                job.state = JobState.FAILED
        if self.cancels_at is not None and self.cancels_at <= self.now:
            self.cancels_at = None
            self._cancel(JobState.RUNNING)

    def _cancel(self, state: JobState) -> None:
        for job in self.of_state(state):
            job.state = JobState.CANCELLED
