"""Jobs of one group: in order, and only so many at once."""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from jockey._job import Job, JobState

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

AnyJob = Job[Any]


_QUEUED = JobState.QUEUED


class Group:
    """
    One group that has a job.

    Attributes:
        key: What the user calls it.
        running: How many jobs run.
        head: The one job that may start next; it stands in its line. Jobs start in order, so there is only one.
        waiting: The jobs behind it.
    """

    __slots__ = ("head", "key", "running", "waiting")

    def __init__(self, key: Hashable, head: AnyJob) -> None:
        self.key = key
        self.running = 0
        self.head: AnyJob | None = head
        self.waiting: deque[AnyJob] | None = None


class Groups:
    """All groups that have a job; nothing is kept of the others."""

    def __init__(self, max_running: int) -> None:
        self._max_running = max_running
        self._groups: dict[Hashable, Group] = {}

    def admit(self, job: AnyJob, key: Hashable) -> bool:
        """Put *job* into its group; return whether it may join its line now, or else is kept until its turn comes."""
        group = self._groups.get(key)
        if group is None:
            self._groups[key] = job.group = Group(key, job)
            return True
        job.group = group
        if group.head is None and not group.waiting and group.running < self._max_running:
            group.head = job
            return True
        if group.waiting is None:
            group.waiting = deque()
        group.waiting.append(job)
        return False

    def start(self, group: Group) -> AnyJob | None:
        """Learn that the head of *group* starts; return the job that may join its line now."""
        group.head = None
        group.running += 1
        return self._advance(group) if group.running < self._max_running else None

    def end(self, group: Group) -> AnyJob | None:
        """Learn that a job of *group*, which had started, has ended; return the job that may join its line now."""
        group.running -= 1
        if group.head is not None:
            return None
        if group.waiting and (job := group.waiting.popleft()).phase is _QUEUED:
            group.head = job
            return job
        return self._advance(group)

    def drop(self, group: Group, job: AnyJob) -> tuple[bool, AnyJob | None]:
        """Learn that *job* waits no more; return whether it stood in its line, and the job that may join now."""
        if group.head is not job:
            self._forget_dropped(group)
            return False, None
        group.head = None
        return True, self._advance(group) if group.running < self._max_running else None

    def ahead(self, group: Group, job: AnyJob) -> list[AnyJob]:
        """Return the queued jobs of *group* that must start before *job*."""
        before = takewhile(lambda other: other is not job, (group.head, *(group.waiting or ())))
        return [other for other in before if other is not None and other.phase is _QUEUED]

    def is_full(self, group: Group) -> bool:
        """Return whether no more jobs of *group* may run."""
        return group.running >= self._max_running

    def pop_waiting(self) -> Iterator[AnyJob]:
        """Remove, one by one, all jobs that wait for others of their group."""
        for group in list(self._groups.values()):
            while group.waiting:
                job = group.waiting.popleft()
                if job.phase is _QUEUED:
                    yield job

    def _advance(self, group: Group) -> AnyJob | None:
        while group.waiting:
            job = group.waiting.popleft()
            if job.phase is _QUEUED:
                group.head = job
                return job
        if not group.running:
            del self._groups[group.key]
        return None

    def _forget_dropped(self, group: Group) -> None:
        # A job that was cancelled stays where it is until it comes to the front; those at the end can go at once.
        while group.waiting and group.waiting[-1].phase is not _QUEUED:
            group.waiting.pop()

    def __len__(self) -> int:
        return len(self._groups)
