"""The tasks that run jobs: only as many as there are slots, however many jobs wait."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from jockey._execution import REPORTED, STOPPED, Surroundings, go_on, work_off
from jockey._job import Job, JobState
from jockey._runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from jockey._pace import Pace
    from jockey._runtime import Runtime
    from jockey._watchdog import Watchdog

AnyJob = Job[Any]


class Work(Protocol):
    """Where a crew gets its jobs from, and who hears of their ends."""

    def take(self, now: float, /) -> AnyJob | None:
        """Return the next job, or None if there is none to run now."""
        ...

    def look(self) -> None:
        """Wake a runner if there is something to do for it."""
        ...

    def end(self, job: AnyJob, /) -> None:
        """Learn that the callback of *job* has returned."""
        ...

    async def linger(self, job: AnyJob, /) -> None:
        """Return when the work of *job*, which was stopped, has really ended."""
        ...

    def release(self, job: AnyJob, now: float, /) -> None:
        """Give back what *job* held."""
        ...


class Shop(Protocol):
    """What the crews of an executor share."""

    runtime: Runtime
    pace: Pace
    watchdog: Watchdog
    blocked_after: float
    """Seconds."""
    callback_grace: float
    """Seconds that a callback gets from now on."""

    def spawn(self, serve: Callable[[], Coroutine[Any, Any, None]], /) -> None:
        """Have *serve* run in a task of the executor."""
        ...

    def on_error(self, error: BaseException, job: AnyJob, /) -> None:
        """Tell the user of an error that is not how *job* ends."""
        ...

    def on_step(self, job: AnyJob, seconds: float, /) -> None:
        """Learn that *job* kept the event loop busy for so long."""
        ...

    def crash(self, error: BaseException, /) -> None:
        """Stop the executor, which then raises *error*."""
        ...


_RUNNING = JobState.RUNNING


class Crew:
    """
    At most `size` runners; they start on demand, and stay.

    A new job wakes one of them, if none is about to look for work; and a runner whose job suspends wakes two others if
    there is more to do. So jobs that never suspend, however many, cost no wake-up; and when they do suspend, the number
    of runners doubles with each turn of the loop.

    Attributes:
        size: How many may be awake. May change: when it shrinks, the next runners that finish a job rest.
        awake: How many have a job, or are about to look for one.
        looking: How many are about to look for work.
        runners: All of them.
    """

    def __init__(self, size: float, work: Work, shop: Shop) -> None:
        self.size = size
        self.awake = 0
        self.looking = 0
        self.runners: dict[Runner, None] = {}  # a set that keeps the order: what happens must not depend on hashes
        self._work = work
        self._shop = shop
        self._resting: list[Runner] = []
        self._returning: deque[anyio.Event] = deque()
        self._is_dismissed = False

    def call(self) -> None:
        """Have one more runner look for work, if there is a slot for it."""
        if self.awake >= self.size:
            return
        self.awake += 1
        self.looking += 1
        if self._resting:
            self._resting.pop().wake.set()
        else:
            self._shop.spawn(self.serve)

    def dismiss(self) -> None:
        """Let all go that have no job."""
        self._is_dismissed = True
        for runner in self._resting:
            runner.wake.set()
        self.awake += len(self._resting)
        self._resting.clear()

    def lend_slot(self) -> None:
        """Let another one have the slot of a runner whose job waits."""
        self.size += 1
        if not self._give_back_slot():
            self.call()

    async def take_back_slot(self) -> None:
        """Wait until a runner that had lent its slot has one again."""
        self.seize_slot()
        if self.awake - len(self._returning) <= self.size:
            return
        turn = anyio.Event()
        self._returning.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if not turn.is_set():
                self._returning.remove(turn)
            raise

    def seize_slot(self) -> None:
        """Take back a slot that was lent, in use or not: then one runner rests as soon as it has finished its job."""
        self.size -= 1

    async def serve(self) -> None:
        """Be a runner: run jobs until dismissed."""
        self.looking -= 1
        runner = Runner()
        self.runners[runner] = None
        shop = self._shop
        around = Surroundings(
            stray_cancels=shop.runtime.stray_cancels(),
            absorb_stray_cancels=shop.runtime.absorb_stray_cancels,
            crash=shop.crash,
            on_error=shop.on_error,
        )
        work = work_off(runner, around)
        work.send(None)
        stopped_job: AnyJob | None = None
        while True:
            with anyio.CancelScope() as scope:
                runner.renew(scope)
                while True:
                    stopped_job = await self._run_jobs(runner, work, stopped_job)
                    if stopped_job is not None or runner.is_stopped or around.stray_cancels():
                        break
                    if not await self._rest(runner):
                        return
            if around.stray_cancels():
                await around.absorb_stray_cancels()

    async def _run_jobs(  # noqa: C901 - the hot path
        self, runner: Runner, work: Generator[Any, Any, None], stopped_job: AnyJob | None
    ) -> AnyJob | None:
        """
        Run jobs until there are no more, or until the scope of *runner* is cancelled.

        Returns:
            The job that was running when the scope was cancelled; in a fresh scope it is the next *stopped_job*, whose
            end is to be reported.
        """
        source, shop, send = self._work, self._shop, work.send
        pace, clock, blocked_after = shop.pace, shop.runtime.clock, shop.blocked_after
        now = clock()
        job = stopped_job or source.take(now)
        while job is not None:
            runner.job = job
            job.runner = runner
            if job.end is not None:
                runner.deadline = now + shop.callback_grace
                shop.watchdog.watch(runner.deadline)
            else:
                job.phase = _RUNNING
                if job.on_start is not None:
                    job.notify_start()
                timeout = job.route.timeout
                if timeout is not None:
                    runner.deadline = now + timeout
                    if runner.deadline < shop.watchdog.wakes_at:
                        shop.watchdog.watch(runner.deadline)
            mark = job.context.run(send, job)
            started, now = now, clock()
            if now - started > blocked_after:
                shop.on_step(job, now - started)
            if mark is not REPORTED and mark is not STOPPED:
                source.look()
                source.look()
                mark = await go_on(work, mark, job, clock, shop.on_step)
                now = clock()
                pace.loop_has_turned(now)
            runner.deadline = math.inf
            if mark is STOPPED:
                return job
            runner.job = None
            source.end(job)
            if job is stopped_job:
                await source.linger(job)
                now = clock()  # that may have taken long, and it is not the next job that has
            source.release(job, now)
            if runner.is_stopped:
                return None
            if now >= pace.ends:
                await pace.let_loop_turn()
                now = clock()
            job = source.take(now)
        return None

    def _give_back_slot(self) -> bool:
        is_free = bool(self._returning) and self.awake - len(self._returning) < self.size
        if is_free:
            self._returning.popleft().set()
        return is_free

    async def _rest(self, runner: Runner) -> bool:
        self.awake -= 1
        self._give_back_slot()
        if not self._is_dismissed:
            runner.wake = anyio.Event()
            self._resting.append(runner)
            await runner.wake.wait()
            if not self._is_dismissed:
                self.looking -= 1
                return True
            self.awake -= 1
        del self.runners[runner]
        return False
