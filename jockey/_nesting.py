"""
Code that waits for a job, and what it means when that code is itself a job of the same executor.

Such a job lends its slot while it waits, and takes one again before it goes on: so waiting for a job never keeps that
job from starting, however few slots there are. Its other caps it keeps. If the job that it waits for needs one of
these, or is behind it in its group, neither could ever go on; that is found and raised as `DeadlockError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from jockey._errors import DeadlockError
from jockey._job import Job, JobState, current_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jockey._crew import Crew
    from jockey._job import Owner
    from jockey._scheduler import Scheduler

AnyJob = Job[Any]


class Wait:
    """Something that waits for *target*, until `event` is set."""

    def __init__(self, target: AnyJob) -> None:
        self.target = target
        self.event = anyio.Event()
        self.is_deadlocked = False


class Nesting:
    """
    Which running jobs wait for which jobs.

    Args:
        owner: The owner of these jobs.
        scheduler: Knows why a job cannot start.
        crew_of: Returns the crew that runs a job; it gets the slot of a job that waits.
        holders: Returns the jobs that hold caps.
        clock: Seconds.
    """

    def __init__(
        self,
        owner: Owner,
        scheduler: Scheduler,
        crew_of: Callable[[AnyJob], Crew],
        holders: Callable[[], Iterable[AnyJob]],
        clock: Callable[[], float],
    ) -> None:
        self._owner = owner
        self._scheduler = scheduler
        self._crew_of = crew_of
        self._holders = holders
        self._clock = clock
        self._waits: dict[AnyJob, list[Wait]] = {}

    def waiter(self) -> AnyJob | None:
        """Return the running job of this executor whose code calls this, if any."""
        job = current_job.get()
        is_ours = job is not None and job.owner is self._owner and job.runner is not None and job.runner.job is job
        return job if is_ours else None

    async def wait(self, wait: Wait, on_give_up: Callable[[], object] | None = None) -> None:
        """
        Wait until the event of *wait* is set.

        Args:
            wait: What is waited for.
            on_give_up: Called when the waiting code is cancelled, before that needs a slot to go on.

        Raises:
            DeadlockError: The code that waits is a job without whose end the target could never start or end.
        """
        waiter = self.waiter()
        if waiter is not None:
            self.begin(waiter, wait)
        try:
            await wait.event.wait()
        except BaseException:
            if on_give_up is not None:
                on_give_up()
            raise
        finally:
            if waiter is not None and self.end(waiter, wait):
                await self._take_back_slot(waiter)  # noqa: ASYNC102 - shielded in there
        if wait.is_deadlocked and waiter is not None:
            raise DeadlockError(_explain(waiter, wait))

    async def _take_back_slot(self, waiter: AnyJob) -> None:
        crew = self._crew_of(waiter)
        if waiter.runner is None or waiter.runner.is_stopped:
            crew.seize_slot()  # all it does is clean up, and what has the slot now may go on for ever
            return
        with anyio.CancelScope(shield=True):  # who gives up waiting, and goes on, needs a slot for that
            await crew.take_back_slot()

    def begin(self, waiter: AnyJob, wait: Wait) -> None:
        """Note that *waiter* waits, and lend its slot; or raise `DeadlockError`."""
        waits = self._waits.setdefault(waiter, [])
        waits.append(wait)
        if self._is_deadlocked(waiter):
            self._forget(waiter, wait)
            raise DeadlockError(_explain(waiter, wait))
        if len(waits) == 1:
            self._crew_of(waiter).lend_slot()

    def end(self, waiter: AnyJob, wait: Wait) -> bool:
        """Note that *waiter* waits no more for that; return whether it waits for nothing else."""
        self._forget(waiter, wait)
        others = self._waits.get(waiter)
        if not others:
            return True
        if self._is_deadlocked(waiter):
            others[0].is_deadlocked = True
            others[0].event.set()
        return False

    def _forget(self, waiter: AnyJob, wait: Wait) -> None:
        self._waits[waiter].remove(wait)
        if not self._waits[waiter]:
            del self._waits[waiter]

    def _is_deadlocked(self, start: AnyJob) -> bool:
        # The largest set of jobs none of which can go on before another one of the set does: begin with all that
        # matter, and take out what can go on until nothing more can.
        reasons = self._reasons(start)
        stuck = set(reasons)
        while free := {job for job in stuck if not any(stuck.issuperset(reason) for reason in reasons[job])}:
            stuck -= free
        return start in stuck

    def _reasons(self, start: AnyJob) -> dict[AnyJob, list[list[AnyJob]]]:
        """Return, for *start* and all it depends on, sets of jobs: if all of one set are stuck, so is the job."""
        found: dict[AnyJob, list[list[AnyJob]]] = {}
        unseen = [start]
        while unseen:
            job = unseen.pop()
            if job not in found:
                found[job] = self._reasons_of(job)
                unseen.extend(other for reason in found[job] for other in reason)
        return found

    def _reasons_of(self, job: AnyJob) -> list[list[AnyJob]]:
        if job.phase is not JobState.QUEUED:
            waits = self._waits.get(job)
            return [[wait.target for wait in waits]] if waits else []
        full, is_group_full = self._scheduler.blockers(job, self._clock())
        holders = list(self._holders())
        reasons = [[holder for holder in holders if cap in holder.route.line.caps] for cap in full]
        if is_group_full:
            reasons.append([holder for holder in holders if holder.group == job.group])
        return reasons


def _explain(waiter: AnyJob, wait: Wait) -> str:
    if wait.target is waiter:
        return f"{waiter.name!r} waits for the end of the very job that it is; it could never come"
    return (
        f"{waiter.name!r} waits for a job of {wait.target.name!r} that cannot go on before {waiter.name!r} has ended: "
        "they need the same cap or the same group; use schedule() there and do not wait, or raise that cap"
    )
