"""The moving parts of one running executor, and what they tell each other."""

from __future__ import annotations

import functools
import inspect
import logging
import math
import threading
from collections import Counter, deque
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import anyio

from jockey import _runtime
from jockey._backends import Pools
from jockey._crew import Crew
from jockey._errors import Cancellation, JobTimeoutError, StuckThreadError, WrongThreadError
from jockey._gate import Gate, Gates
from jockey._job import Job, JobState, current_job
from jockey._nesting import Nesting, Wait
from jockey._options import Priority
from jockey._pace import Pace
from jockey._routing import Routing
from jockey._scheduler import Scheduler
from jockey._statistics import Statistics
from jockey._watchdog import Watchdog
from jockey._work import Reports, Starts

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence

    from anyio.abc import TaskGroup

    from jockey._adapter import Adapter
    from jockey._backends._outside import OutsideCall
    from jockey._registry import Registry
    from jockey._runner import Runner

AnyJob = Job[Any]

_BUSY = {JobState.RUNNING, JobState.REPORTING}

_SUCCEEDED = JobState.SUCCEEDED
_NOWHERE = Context()

_log = logging.getLogger("jockey")


@dataclass(frozen=True)
class Settings:
    """The arguments of `Executor`, checked; where there is no cap, it is infinity."""

    max_jobs: float
    max_threads: int | None
    max_processes: int
    max_jobs_per_process: int | None
    max_jobs_per_group: int
    max_backlog: float
    drain_timeout: float | None
    grace: float
    blocked_after: float
    on_error: Callable[[BaseException, Job[Any]], object] | None
    middleware: Sequence[Callable[[Adapter[Any, Any, Any]], Adapter[Any, Any, Any]]]
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]


class Engine:
    """
    Accepts messages, and sees to it that each comes to its one end.

    Attributes:
        pending: How many jobs have been accepted, or wait for room in the backlog, and have not been reported.
        is_closed: Whether the intake is closed: what is scheduled from now on is reported cancelled.
        is_ready: Set when messages can be accepted.
        is_over: Whether it is all over: nothing can be scheduled any more.
        succeeded: How many jobs have succeeded: that is counted apart, since it must cost next to nothing.
        ends: How many jobs have come to each other end, by its name.
        is_boundless: Whether any number of messages may wait.
        gates: Where code waits for changes.
        callback_errors: How many callbacks have raised.
        lingering: What goes on in threads and other places although the jobs were stopped.
        thread: The thread of the event loop.
        fatal: What `run()` has to raise at the end.
        consumers: The scopes of code that takes messages from a source; they end when the intake is closed.
    """

    def __init__(self, registry: Registry[Any, Any, Any], settings: Settings) -> None:
        self.settings = settings
        self.runtime = _runtime.current()
        self.runtime.protect(*_UNINTERRUPTED)
        self.pace = Pace(self.runtime.clock)
        self.watchdog = Watchdog(self.runtime.clock, self._check_deadlines)
        self._tasks: TaskGroup
        self._to_spawn: deque[Callable[[], Coroutine[Any, Any, None]]] = deque()
        self._has_to_spawn = anyio.Event()
        self._spawned: list[Coroutine[Any, Any, None]] = []
        self.blocked_after = settings.blocked_after
        self.callback_grace = math.inf
        self.pending = 0
        self.is_closed = False
        self.is_over = False
        self.ends: dict[str, int] = {}
        self.succeeded = 0
        self.callback_errors = 0
        self.lingering: dict[AnyJob, OutsideCall] = {}
        self.fatal: BaseException | None = None
        self.consumers: dict[anyio.CancelScope, None] = {}
        self.gates = Gates()
        self.scheduler = Scheduler(settings.max_jobs_per_group)
        self.starts = Starts(settings.max_jobs, self.scheduler, self, self)
        self.reports = Reports(self, self)
        self.nesting = Nesting(self, self.scheduler, self._crew_of, self._holders, self.runtime.clock)
        self.pools = Pools(
            self.runtime,
            settings.max_jobs_per_process,
            self._on_abandon,
            initializer=settings.initializer,
            initargs=settings.initargs,
            untimed=self._untimed,
        )
        self.routing = Routing(
            registry,
            self.scheduler,
            self.pools,
            max_threads=settings.max_threads,
            max_processes=settings.max_processes,
            middleware=settings.middleware,
            crash=self.crash,
        )
        self._clock = self.runtime.clock
        self.is_boundless = math.isinf(settings.max_backlog)
        self._route = self.routing.route
        self._push = self.scheduler.push
        self._crew = self.starts.crew
        self._reserved_slots = 0
        self._reserved_room = 0
        self.settled = Gate(self.gates, lambda: self.pending == 0)
        self.pressure = Gate(self.gates, lambda: self.scheduler.backlog <= settings.max_jobs)
        self.slot = Gate(self.gates, self._has_slot, lambda: self.reserve_slot(1), lambda: self.reserve_slot(-1))
        self.room = Gate(self.gates, self.has_room, lambda: self.reserve_room(1), lambda: self.reserve_room(-1))
        self._reason_to_close = ""
        self.is_ready = anyio.Event()
        self._patience_ends = math.inf
        self._is_left = False
        self._finished = anyio.Event()
        self._cancel_body: Callable[[], None]
        self.thread = threading.get_ident()

    # Jobs: what comes in, and what becomes of it

    def accept(self, message: Adapter[Any, Any, Any], priority: Priority | None) -> AnyJob:
        """Take *message*, whatever its state and ours: it comes to an end."""
        job: AnyJob = Job(self, message, copy_context(), self._clock())
        self.pending += 1
        group = self._route(job, priority)
        if job.end is None and not self.is_closed:
            self._push(job, group)
            if not self._crew.looking:
                self.starts.look()
            return job
        if job.end is None:
            job.settle_cancelled(self._reason_to_close)
        self.reports.add(job)
        return job

    def accept_cancelled(self, message: Adapter[Any, Any, Any], reason: str) -> AnyJob:
        """Take *message* only to report that it is cancelled."""
        job: AnyJob = Job(self, message, copy_context(), self.runtime.clock())
        self.pending += 1
        self.routing.route(job, None)
        job.settle_cancelled(reason)
        self.reports.add(job)
        return job

    @contextmanager
    def kept_open(self) -> Generator[None]:
        """See to it that `run()` does not end inside: a message may come in."""
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1

    def cancel(self, job: AnyJob, reason: str | None) -> bool:
        self.check_thread("JobHandle.cancel")
        if job.phase is JobState.QUEUED:
            job.settle_cancelled(reason)
            self.scheduler.drop(job)
            self.starts.look()  # the next one of its group may be ready now
            self.note_start()
            self.reports.add(job)
            return True
        runner = job.runner
        if job.phase is not JobState.RUNNING or runner is None or runner.is_stopped:
            return False
        runner.stop(Cancellation(reason))
        return True

    async def wait_for_start(self, job: AnyJob, on_give_up: Callable[[], object]) -> None:
        """Return when *job*, which has just been accepted, has started, or has ended without."""
        job.on_start = job.on_start or []
        await self._wait(job, job.on_start, on_give_up)

    async def wait_for_end(self, job: AnyJob, on_give_up: Callable[[], object] | None = None) -> None:
        self.check_thread("JobHandle.wait")
        if job.phase is not job.end:
            job.on_end = job.on_end or []
            await self._wait(job, job.on_end, on_give_up)

    async def _wait(
        self, job: AnyJob, listeners: list[Callable[[], object]], on_give_up: Callable[[], object] | None
    ) -> None:
        wait = Wait(job)
        listeners.append(wait.event.set)
        try:
            await self.nesting.wait(wait, on_give_up)
        finally:
            listeners.remove(wait.event.set)

    def note_start(self) -> None:
        self.pressure.poke()
        self.room.poke()
        self.slot.poke()

    def note_end(self, job: AnyJob) -> None:
        end = job.phase = job.end or JobState.NO_HANDLER
        job.runner = None
        job.context = _NOWHERE  # it holds the job as its current one: such a cycle would be left to the collector
        self.pending -= 1
        if end is _SUCCEEDED:
            self.succeeded += 1
        else:
            self.ends[end.name] = self.ends.get(end.name, 0) + 1
        if job.callback_error is not None:
            self.callback_errors += 1
        if job.on_end is not None or job.on_start is not None:
            job.notify_end()
        if self.gates.waiting:
            self.slot.poke()
            self.settled.poke()
        if not self.pending:
            self._note_if_finished()

    async def linger(self, job: AnyJob) -> None:
        call = self.lingering.get(job)
        if call is not None:
            await call.ended.wait()
            del self.lingering[job]
            self.slot.poke()

    # Errors that are not how a job ends

    def on_error(self, error: BaseException, job: AnyJob) -> None:
        """Tell the user; never raises."""
        try:
            if self.settings.on_error is None:
                _log.error("%s of %r: %s", type(error).__name__, job, error, exc_info=error)
            else:
                self.settings.on_error(error, job)
        except Exception:
            _log.exception("on_error raised, when it was told of %r of %r", error, job)

    def on_step(self, job: AnyJob, seconds: float) -> None:
        if seconds <= self.blocked_after:
            return
        _log.warning(
            "%r kept the event loop busy for %.2f seconds; let it run in ExecuteIn.THREAD or PROCESS", job.name, seconds
        )

    def crash(self, error: BaseException) -> None:
        if not isinstance(self.fatal, KeyboardInterrupt | SystemExit):  # these win over an exception of the block
            self.fatal = error
        self.stop(f"the executor was stopped by {error!r}")
        self._cancel_body()

    # The end

    def close(self, reason: str) -> None:
        """Close the intake, and cancel what has not started."""
        if self.is_closed:
            return
        self.is_closed = True
        self._reason_to_close = reason
        self.reports.add_all(self.scheduler.close(), self.scheduler.backlog, reason)
        for gate in (self.pressure, self.room, self.slot):
            gate.poke()
        for consumer in self.consumers:
            consumer.cancel()

    def leave(self) -> None:
        """Learn that nobody is in the block of `run()` any more."""
        self._is_left = True
        self._note_if_finished()

    def stop(self, reason: str) -> None:
        """Close the intake, and cancel all jobs; callbacks get their grace."""
        self.close(reason)
        if math.isfinite(self.callback_grace):
            return
        self.callback_grace = self.settings.grace
        now = self.runtime.clock()
        self._patience_ends = now + self.settings.grace
        self.watchdog.watch(self._patience_ends)
        for runner, job in self._busy_runners():
            if job.phase is not JobState.RUNNING:
                runner.deadline = now + self.callback_grace
                self.watchdog.watch(runner.deadline)
            elif not runner.is_stopped:
                runner.stop(Cancellation(reason))

    async def drain(self, timeout: float | None) -> None:
        """Wait until no job is pending; with a *timeout*, see to it."""
        self.resume()
        if timeout is not None:
            self.close("shutdown")
            with anyio.move_on_after(timeout):
                await self.settled.wait()
            self.stop("shutdown")
        await self.settled.wait()

    async def host(self, cancel_body: Callable[[], None]) -> None:
        """
        Be the task in which all others of the executor live.

        It shields them: a cancellation from outside reaches the body of `run()` alone, which then stops the executor
        in good order.
        """
        self._cancel_body = cancel_body
        with anyio.CancelScope(shield=True):
            try:
                async with anyio.create_task_group() as self._tasks:
                    self._tasks.start_soon(self.watchdog.run)
                    self._tasks.start_soon(self._spawn_on_demand)
                    self.is_ready.set()
                    await self._finished.wait()
                    await self._give_up_on_stuck()
                    self.starts.crew.dismiss()
                    self.reports.crew.dismiss()
                    self._tasks.cancel_scope.cancel()
            finally:
                # asyncio ends a loop by cancelling all tasks in it, also those that have not begun; then nobody ever
                # runs what they were to run, about which Python complains unless it is closed.
                for coroutine in self._spawned:
                    coroutine.close()
                await self.pools.close()  # noqa: ASYNC102 - inside of the shield above

    def spawn(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """
        Have *serve* run in a task of the executor.

        Not at once, but by a task that does nothing else: messages are scheduled from callbacks of the event loop too,
        where no task can be started; and whoever schedules must neither run it, where tasks start eagerly, nor leave
        its context to it.
        """
        self._to_spawn.append(serve)
        self._has_to_spawn.set()

    async def _spawn_on_demand(self) -> None:
        while True:
            await self._has_to_spawn.wait()
            self._has_to_spawn = anyio.Event()
            self._spawned = [one for one in self._spawned if inspect.getcoroutinestate(one) == inspect.CORO_CREATED]
            while self._to_spawn:
                coroutine = self._to_spawn.popleft()()
                self._spawned.append(coroutine)
                self._tasks.start_soon(functools.partial(_itself, coroutine))

    async def _give_up_on_stuck(self) -> None:
        with anyio.move_on_after(self.settings.grace):
            for call in list(self.lingering.values()):
                await call.ended.wait()
        for job, call in [(job, call) for job, call in self.lingering.items() if not call.ended.is_set()]:
            message = f"gave up on {call.where} that still runs {job.name!r}; {call.fate}"
            self.on_error(StuckThreadError(message, call.stack()), job)

    # What it tells

    def statistics(self) -> Statistics:
        """Return the state of now."""
        routes = self.routing.by_key()
        running = Counter(job.route.key for job in self._holders() if job.phase in _BUSY)
        queued = {key: sum(route.queued for route in of_key) for key, of_key in routes.items()}
        since = min((job.since for job in self.scheduler.firsts()), default=None)
        return Statistics(
            queued={
                priority: sum(
                    route.queued for of_key in routes.values() for route in of_key if route.priority is priority
                )
                for priority in Priority
            },
            queued_by_key={key: count for key, count in queued.items() if count},
            running=sum(running.values()),
            running_by_key=dict(running),
            oldest_wait=0.0 if since is None else self.runtime.clock() - since,
            succeeded=self.succeeded,
            failed=self.ends.get("FAILED", 0),
            cancelled=self.ends.get("CANCELLED", 0),
            no_handler=self.ends.get("NO_HANDLER", 0),
            callback_errors=self.callback_errors,
            stuck_threads=tuple(job.name for job in self.lingering),
        )

    def __str__(self) -> str:
        state = "ended" if self.is_over else "closed" if self.is_closed else "paused" if self.is_paused else "open"
        return f"{state}: {self.scheduler.backlog} queued, {len(self._busy_runners())} running, {self.pending} pending"

    # Odds and ends

    @property
    def is_paused(self) -> bool:
        """Whether no job starts for now."""
        return self.starts.is_paused

    def pause(self) -> None:
        """Let no job start."""
        self.starts.is_paused = True

    def resume(self) -> None:
        """Let jobs start again."""
        if self.starts.is_paused:
            self.starts.is_paused = False
            self.starts.crew.call()  # whoever looks for a job hears of rates that have room again, too
            self.slot.poke()

    def check_thread(self, name: str) -> None:
        """Raise `WrongThreadError` if this is not the thread of the event loop."""
        if threading.get_ident() != self.thread:
            raise WrongThreadError(
                f"{name} was called in the thread {threading.current_thread().name!r}, which is not that of the "
                "executor's event loop; use RunningExecutor.schedule_threadsafe there"
            )

    def has_room(self) -> bool:
        """Return whether one more message fits in the backlog."""
        return (
            self.is_boundless
            or self.is_closed
            or self.scheduler.backlog + self._reserved_room < self.settings.max_backlog
        )

    def reserve_slot(self, difference: int) -> None:
        """Count somebody who may schedule one message because a slot is free."""
        self._reserved_slots += difference

    def reserve_room(self, difference: int) -> None:
        """Count somebody who may schedule one message because it fits in the backlog."""
        self._reserved_room += difference

    def free_slots(self) -> float:
        """Return how many more jobs could start now, as far as the slots and the backlog go."""
        used = self.pending + len(self.lingering) + self._reserved_slots
        room = self.settings.max_backlog - self.scheduler.backlog - self._reserved_room
        return min(self.settings.max_jobs - used, room)

    def _has_slot(self) -> bool:
        return self.is_closed or (self.free_slots() > 0 and not self.starts.is_paused)

    def _check_deadlines(self, now: float) -> float:
        if now >= self._patience_ends:
            self._patience_ends = math.inf
            self._name_the_stubborn()
        earliest = self._patience_ends
        for runner, job in self._busy_runners():
            if runner.deadline <= now:
                self._expire(runner, job)
            earliest = min(earliest, runner.deadline)
        alarm = self.scheduler.next_alarm()
        if alarm > now:
            return min(earliest, alarm)
        self.starts.crew.call()  # whoever looks for a job next, hears the alarm
        return earliest

    def _name_the_stubborn(self) -> None:
        names = [job.name for _, job in self._busy_runners() if job.phase is JobState.RUNNING]
        if names:
            _log.warning(
                "waiting for handlers that go on although they were cancelled %g seconds ago: %s",
                self.settings.grace,
                ", ".join(names),
            )

    def _expire(self, runner: Runner, job: AnyJob) -> None:
        runner.deadline = math.inf
        if job.phase is JobState.RUNNING:
            runner.stop(JobTimeoutError(f"{job.name!r} did not end within {job.route.timeout:g} seconds"))
        elif math.isfinite(self.callback_grace):
            runner.stop(None)

    @contextmanager
    def _untimed(self) -> Generator[None]:
        """Do not count the time inside towards the timeout of the job whose code this is."""
        runner = cast("Runner", cast("AnyJob", current_job.get()).runner)  # only running jobs call handlers
        left, runner.deadline = runner.deadline - self._clock(), math.inf
        try:
            yield
        finally:
            if math.isfinite(left) and not runner.is_stopped:
                runner.deadline = self._clock() + left
                self.watchdog.watch(runner.deadline)

    def _crew_of(self, job: AnyJob) -> Crew:
        return self.starts.crew if job.runner in self.starts.crew.runners else self.reports.crew

    def _busy_runners(self) -> list[tuple[Runner, AnyJob]]:
        runners = (*self.starts.crew.runners, *self.reports.crew.runners)
        return [(runner, runner.job) for runner in runners if runner.job is not None]

    def _holders(self) -> Iterable[AnyJob]:
        return [*(runner.job for runner in self.starts.crew.runners if runner.job is not None), *self.lingering]

    def _on_abandon(self, call: OutsideCall) -> None:
        job = cast("AnyJob", current_job.get())  # only jobs call handlers
        self.lingering[job] = call
        message = f"{job.name!r} was stopped, but {call.where} cannot be; it keeps its slot until it ends"
        self.on_error(StuckThreadError(message, call.stack()), job)

    def _note_if_finished(self) -> None:
        if self._is_left and not self.pending:
            self.is_over = True
            self._finished.set()


def _itself(coroutine: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
    return coroutine


_UNINTERRUPTED = (
    Engine.host,
    Engine._spawn_on_demand,  # noqa: SLF001 - of the class above
    Engine.accept,
    Engine.accept_cancelled,
    Engine.cancel,
    Engine.close,
    Engine.stop,
    Engine.leave,
    Crew.serve,
    Watchdog.run,
)
