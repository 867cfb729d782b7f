"""Runs one program on an executor, and notes what happens."""

from __future__ import annotations

import asyncio
import math
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

import jockey
from jockey import JobState, WaitFor
from jockey.testing import Backend
from tests.fuzz import program
from tests.fuzz.record import Record

END_OF_TIME = 100.0
"""When everything that lingers, ends: later than all else that a program can do by itself."""

_TOLERANCE = 0.01
"""Seconds; the executor may serve deadlines together that are closer to each other."""

_scheduled_as: ContextVar[int] = ContextVar("_scheduled_as", default=0)
_handler_note: ContextVar[int] = ContextVar("_handler_note", default=0)


class ViolationError(Exception):
    """A law was broken while the program ran, or at its end."""


class FuzzError(Exception):
    """An ordinary error of a handler or a callback."""


class FuzzTimeoutError(TimeoutError):
    """A timeout of a handler's own."""


class FuzzCrash(BaseException):
    """What is no `Exception`."""


class StrayCancel(asyncio.CancelledError):
    """A cancellation that nobody asked for."""


class FuzzExit(SystemExit):
    """What stops the executor."""


class FuzzGroup(BaseExceptionGroup[BaseException]):
    """Several at once."""


class BodyError(Exception):
    """Raised in the block of `run()`."""


class BodyCrash(BaseException):
    """Raised in the block of `run()`, and no `Exception`."""


THROWN = (FuzzError, FuzzTimeoutError, FuzzCrash, StrayCancel, FuzzExit, FuzzGroup)
"""What programs raise in handlers and callbacks."""


def make_error(name: program.ErrorName) -> BaseException:
    match name:
        case "error":
            return FuzzError("an error")
        case "timeout":
            return FuzzTimeoutError("a timeout")
        case "crash":
            return FuzzCrash("a crash")
        case "stray cancel":
            return StrayCancel("a stray cancel")
        case "group":
            return FuzzGroup("a group", [FuzzCrash("one of a group")])
        case "exit":
            return FuzzExit("an exit")


class World:
    """
    One run of one program.

    Attributes:
        violations: The laws that were broken, in words.
    """

    def __init__(self, plan: program.Program, backend: Backend, *, is_eager: bool = False) -> None:
        self.plan = plan
        self.backend = backend
        self.is_eager = is_eager
        self.violations: list[str] = []
        self.records: list[Record] = []
        self.log: list[str] = []
        self.exits: list[BaseException] = []
        self.errors_heard: list[BaseException] = []
        self.handles: list[tuple[Record, jockey.JobHandle[Any]]] = []
        self.running: jockey.RunningExecutor[Record, Hashable, int]
        self.is_stopping = False
        self.is_over = False
        self.block_is_left = False
        self.is_paused = False
        self.shuts_down = plan.settings.drain_timeout is not None
        self.accepted = 0
        self.body_error: BaseException | None = None
        self.cancel_sent = False
        self._ripe = anyio.Event()
        self._resumers: Any = None
        self._handlers = {handler.key: handler for handler in plan.handlers}

    # The program as a whole

    async def live(self) -> None:
        """Run the program; `violations` tells what went wrong."""
        before = _living_tasks()
        if self.is_eager and sys.version_info >= (3, 12):
            self.note("tasks start eagerly")
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        async with anyio.create_task_group() as tasks:
            self._resumers = tasks
            tasks.start_soon(self._end_time)
            tasks.start_soon(self._look_for_idleness)
            for steps in self.plan.strangers:
                tasks.start_soon(self._perform_all, steps, None)
            await self._run_block(tasks)
            self.note("run() has ended")
            self.is_over = True
            self._check_all_ended()
            await self._check_closed()
            await anyio.sleep(END_OF_TIME * 2)  # whoever still does something, shows it
            tasks.cancel_scope.cancel()
        for _ in range(5):
            await checkpoint()
        after = _living_tasks()
        if after > before:
            self.violate(f"{after - before} tasks are left over")

    async def _run_block(self, tasks: anyio.abc.TaskGroup) -> None:
        if self.plan.ending == "native cancel" and self.backend == "asyncio":
            await self._run_block_in_native_task(tasks)
            return
        ended = None
        with anyio.CancelScope() as scope:
            if self.plan.ending in {"cancel", "native cancel"}:
                tasks.start_soon(self._later, self.plan.cancel_after, scope.cancel)
            ended = await self._guarded_block()
        if not scope.cancelled_caught:
            self._check_exit(ended)

    async def _run_block_in_native_task(self, tasks: anyio.abc.TaskGroup) -> None:
        block = asyncio.create_task(self._guarded_block())
        was_cancelled: list[bool] = []
        tasks.start_soon(self._later, self.plan.cancel_after, lambda: was_cancelled.append(block.cancel()))
        await asyncio.wait([block])
        if not block.cancelled():
            self._check_exit(block.result())
            if any(was_cancelled) and self.body_error is None and not self.exits:
                self.violate("a native cancellation of the block was swallowed")

    async def _later(self, seconds: float, call: Callable[[], object]) -> None:
        await anyio.sleep(seconds)
        if not self.is_over:
            self.cancel_sent = self.is_stopping = True
            self.note("the block is cancelled")
            call()

    async def _guarded_block(self) -> BaseException | None:
        """Run the block; return what came out of it, unless that is a cancellation."""
        try:
            await self._block()
        except (BodyError, BodyCrash, FuzzExit) as error:
            return error
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:
            self.violate(f"{error!r} left run()")
            return error
        return None

    async def _block(self) -> None:
        async with self._executor().run() as self.running:
            async with anyio.create_task_group() as clients:
                for steps in self.plan.clients:
                    clients.start_soon(self._perform_all, steps, None)
                await self._perform_all(self.plan.body, None)
                if self.plan.ending in {"raise", "crash"}:
                    clients.cancel_scope.cancel()
            if self.plan.ending == "raise":
                self.body_error = BodyError()
            elif self.plan.ending == "crash":
                self.body_error = BodyCrash()
            if self.body_error is not None:
                self.is_stopping = True
                raise self.body_error
            self.block_is_left = True
            self.is_paused = False
            self.note("the block is left")

    def _check_exit(self, ended: BaseException | None) -> None:
        expected = {id(error) for error in self.exits}
        if self.body_error is not None:
            expected.add(id(self.body_error))
        if expected and id(ended) not in expected:
            self.violate(f"run() ended with {ended!r} instead of {self.body_error or self.exits[0]!r}")
        if not expected and ended is not None:
            self.violate(f"run() ended with {ended!r}")

    def _executor(self) -> jockey.Executor[Record, Hashable, int]:
        settings = self.plan.settings
        middleware = [jockey.Middleware] if settings.has_middleware else []
        return jockey.Executor(
            self._registry(),
            max_jobs=settings.max_jobs,
            max_jobs_per_group=settings.max_jobs_per_group,
            max_backlog=settings.max_backlog,
            drain_timeout=settings.drain_timeout,
            grace=settings.grace,
            blocked_after=None,
            on_error=self._on_error,
            middleware=middleware,
        )

    def _registry(self) -> jockey.Registry[Record, Hashable, int]:
        registry = jockey.Registry[Record, Hashable, int]()
        limits = {limit.name: _limit(limit) for limit in self.plan.limits}
        for handler in self.plan.handlers:
            registry.add(
                handler.key,
                max_jobs=handler.max_jobs,
                job_timeout=handler.job_timeout,
                pulse_every=handler.pulse_every,
                priority=handler.priority,
                limits=[limits[name] for name in handler.limits if name in limits],
            )(self._handle if handler.is_async else self._handle_now)
        return registry

    async def _end_time(self) -> None:
        await anyio.sleep(END_OF_TIME)
        self._ripe.set()

    async def _look_for_idleness(self) -> None:
        # At times when nothing else is due, so everything that can happen has happened.
        await anyio.sleep(0.125)
        for _ in range(16):
            self._check_idleness()
            await anyio.sleep(0.5)

    def _on_error(self, error: BaseException, handle: jockey.JobHandle[Any]) -> None:
        self.errors_heard.append(error)

    # Handlers

    async def _handle(self, record: Record) -> int:
        self._begin_handler(record)
        try:
            await self._perform_steps(record.job.script, record)
        except BaseException as error:
            self._fail(record, error)
            raise
        return self._finish_handler(record)

    def _handle_now(self, record: Record) -> int:
        self._begin_handler(record)
        try:
            self._perform_now(record.job.script, record)
        except BaseException as error:
            self._fail(record, error)
            raise
        return self._finish_handler(record)

    def _begin_handler(self, record: Record) -> None:
        self.note("handler starts", record)
        if record.is_silent:
            self._start(record)
        if record.ends:
            self.violate(f"the handler of {record} starts after {record.ends}")
        if record.handler_started_at is not None:
            self.violate(f"the handler of {record} starts twice")
        if _scheduled_as.get() != record.number:
            self.violate(f"the handler of {record} has the context of job {_scheduled_as.get()}")
        if _handler_note.get() == record.number:
            self.violate(f"{record} shares its context")
        _handler_note.set(record.number)
        record.handler_started_at = self.now()

    def _finish_handler(self, record: Record) -> int:
        self.note("handler returns", record)
        if _handler_note.get() != record.number:
            self.violate(f"{record} lost its context")
        record.handler_ended_at = self.now()
        record.returned = True
        if record.is_silent:
            record.active = False
        return record.number * 10

    def _fail(self, record: Record, error: BaseException) -> None:
        self.note(f"raises {type(error).__name__}", record)
        record.handler_ended_at = self.now()
        record.raised = error
        if record.is_silent:
            record.active = False

    def _start(self, record: Record) -> None:
        self.note("starts", record)
        if record.started_at is not None:
            self.violate(f"{record} starts twice")
        if not record.accepted:
            self.violate(f"{record} starts although it was not accepted")
        if self.is_over:
            self.violate(f"{record} starts after the end")
        record.started_at = self.now()
        record.active = True
        self._check_order_in_group(record)
        self._check_caps(record)

    # Steps

    async def _perform_all(self, steps: Iterable[program.Step], owner: Record | None) -> None:
        """Do what a client does; errors of jobs are its own business."""
        for step in steps:
            with suppress(*THROWN):
                await self._perform(step, owner)

    async def _perform_steps(self, steps: Iterable[program.Step], owner: Record) -> None:
        for step in steps:
            await self._perform(step, owner)

    async def _perform(self, step: program.Step, owner: Record | None) -> None:
        match step:
            case program.Sleep(seconds):
                await anyio.sleep(seconds)
            case program.Turn():
                await checkpoint()
            case program.Linger():
                await self._ripe.wait()
            case program.Stubborn():
                await self._be_stubborn(step, owner)
            case program.CancelTask():
                self._cancel_task(owner)
            case program.Child(steps):
                await self._have_child(steps, owner)
            case program.Execute():
                await self._execute(step, owner)
            case program.Wait():
                await self._wait(step, owner)
            case program.Consume():
                await self._consume(step)
            case program.Drain(timeout):
                await self._drain(timeout)
            case _:
                self._perform_now((step,), owner)

    def _perform_now(self, steps: Iterable[program.Step], owner: Record | None) -> None:
        for step in steps:
            match step:
                case program.Raise(name):
                    self._raise(name, owner)
                case program.Schedule(job, priority):
                    self._schedule(job, priority)
                case program.Submit(job):
                    self._submit(job)
                case program.Cancel(number):
                    self._cancel(number)
                case program.Pause(seconds):
                    self._pause(seconds)
                case program.Look():
                    self._look()
                case _:
                    pass  # a plain function cannot wait

    def _raise(self, name: program.ErrorName, owner: Record | None) -> None:
        error = make_error(name)
        if isinstance(error, FuzzExit):
            self.exits.append(error)
            self.is_stopping = True
        raise error

    async def _be_stubborn(self, step: program.Stubborn, owner: Record | None) -> None:
        try:
            await anyio.sleep(step.seconds)
        except anyio.get_cancelled_exc_class():
            if owner is not None:
                owner.is_stubborn = True
            with anyio.CancelScope(shield=True):
                await anyio.sleep(step.cleanup)
            if not step.swallows:
                raise

    def _cancel_task(self, owner: Record | None) -> None:
        if self.backend != "asyncio" or owner is None:
            return
        task = asyncio.current_task()
        if task is not None:
            owner.cancelled_task = True
            task.cancel()

    async def _have_child(self, steps: Iterable[program.Step], owner: Record | None) -> None:
        async def child() -> None:
            with suppress(*THROWN):
                for step in steps:
                    if not isinstance(step, program.CancelTask | program.Raise):
                        await self._perform(step, owner)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)

    # Steps that make jobs

    def _new_record(self, job: program.Job, *, is_silent: bool = False) -> Record:
        key = next((key for key in job.keys if key in self._handlers), None)
        record = Record(len(self.records) + 1, job, key, job.group, is_silent=is_silent)
        self.records.append(record)
        return record

    def _schedule(self, job: program.Job, priority: jockey.Priority | None) -> None:
        record = self._new_record(job)
        try:
            record.accepted = True
            with _marked(record):
                handle = self.running.schedule(Message(self, record), priority=priority)
        except jockey.ExecutorClosedError:
            self._refuse(record, must_be_over=True)
        except jockey.BacklogFullError:
            self._refuse(record, must_be_over=False)
        except AttributeError:  # a stranger that came before run()
            self._refuse(record, must_be_over=False)
        else:
            self._keep(record, handle)

    def _submit(self, job: program.Job) -> None:
        record = self._new_record(job, is_silent=True)
        try:
            record.accepted = True
            with _marked(record):
                handle = self.running.submit(job.keys[0], record)
        except (jockey.BacklogFullError, jockey.NoHandlerError, AttributeError):
            self._refuse(record, must_be_over=False)
        except jockey.ExecutorClosedError:
            self._refuse(record, must_be_over=True)
        else:
            self._keep(record, handle)

    async def _execute(self, step: program.Execute, owner: Record | None) -> None:
        record = self._new_record(step.job)
        if step.natively and owner is None and step.give_up_after is not None and self.backend == "asyncio":
            await self._execute_in_native_task(step, record, step.give_up_after)
            return
        with anyio.move_on_after(math.inf if step.give_up_after is None else step.give_up_after) as scope:
            record.patience = scope
            with _marked(record):
                await self._execute_and_wait(step, record, owner)
        record.patience = None  # if the deadline comes only now, nothing is given up
        if scope.cancelled_caught:
            record.cancel_asked = True
            self._go_on(owner)

    def _go_on(self, owner: Record | None) -> None:
        if owner is not None and not owner.ends:
            owner.is_cut = False
            self._check_caps(owner)

    async def _execute_and_wait(self, step: program.Execute, record: Record, owner: Record | None) -> None:
        record.accepted = True
        try:
            if owner is not None and step.wait_for in {WaitFor.START, WaitFor.FINISH}:
                handle = await self._waiting(owner, self.running.execute, record, step)
            else:
                handle = await self.running.execute(
                    Message(self, record), wait_for=step.wait_for, priority=step.priority
                )
        except jockey.ExecutorClosedError:
            self._refuse(record, must_be_over=True)
        except jockey.BacklogFullError:
            if owner is None:
                self.violate(f"execute of {record} was refused because of a full backlog")
            self._refuse(record, must_be_over=False)
        except jockey.DeadlockError:
            record.cancel_asked = True
            if owner is None:
                self.violate(f"a client heard of a deadlock that {record} is in")
        except jockey.CallbackTimeoutError:
            pass
        except jockey.HandlerCrashedError as error:
            if error.__cause__ is not record.end_raised:
                self.violate(f"execute of {record} raised {error!r} instead of {record.end_raised!r}")
        except AttributeError:
            self._refuse(record, must_be_over=False)
        except THROWN as error:
            if error is not record.end_raised:
                self.violate(f"execute of {record} raised {error!r} instead of {record.end_raised!r}")
        except BaseException:
            record.cancel_asked = True
            raise
        else:
            self._keep(record, handle)
            self._check_waited_for(record, step.wait_for)

    def _check_waited_for(self, record: Record, wait_for: WaitFor) -> None:
        assert record.handle is not None
        if wait_for is WaitFor.FINISH and not record.end_is_done:
            self.violate(f"execute of {record} returned before the end")
        if wait_for is WaitFor.START and record.handle.state is JobState.QUEUED:
            self.violate(f"execute of {record} returned before the start")

    async def _execute_in_native_task(self, step: program.Execute, record: Record, seconds: float) -> None:
        with _marked(record):
            task = asyncio.create_task(self._execute_and_wait(step, record, None))
        try:
            await asyncio.wait([task], timeout=seconds)
        finally:
            was_cancelled = task.cancel()
            if was_cancelled:
                record.cancel_asked = True
        await asyncio.wait([task])
        if was_cancelled and not task.cancelled() and not task.exception():
            self.violate(f"a native cancellation of the code that waited for {record} was swallowed")

    async def _wait(self, step: program.Wait, owner: Record | None) -> None:
        if not self.handles:
            return
        record, handle = self.handles[step.number % len(self.handles)]
        with anyio.move_on_after(math.inf if step.give_up_after is None else step.give_up_after) as scope:
            try:
                if owner is None:
                    told = await (handle.result() if step.for_result else handle.wait())
                else:
                    told = await self._waiting(owner, handle.result if step.for_result else handle.wait)
            except jockey.DeadlockError:
                if owner is None:
                    self.violate(f"a client heard of a deadlock that {record} is in")
            except (jockey.JockeyError, *THROWN, TypeError):
                if not self._has_ended(record):
                    self.violate(f"waiting for {record} raised before its end")
            else:
                self._check_told(record, told, for_result=step.for_result)
        if scope.cancelled_caught:
            self._go_on(owner)

    def _check_told(self, record: Record, told: Any, *, for_result: bool) -> None:
        if not self._has_ended(record):
            self.violate(f"waiting for {record} returned before its end")
        if for_result and told != record.number * 10:
            self.violate(f"the result of {record} is {told!r}")
        if not for_result and not record.is_silent and record.ends != [_end_of(told)]:
            self.violate(f"waiting for {record} told {told!r}, but its callback was {record.ends}")

    async def _waiting(
        self, owner: Record, wait: Any, record: Record | None = None, step: program.Execute | None = None
    ) -> Any:
        owner.waits += 1
        owner.has_waited = True
        try:
            if record is not None and step is not None:
                return await wait(Message(self, record), wait_for=step.wait_for, priority=step.priority)
            return await wait()
        finally:
            owner.waits -= 1
            owner.is_cut |= anyio.current_effective_deadline() == -math.inf
            self._check_caps(owner)

    def _has_ended(self, record: Record) -> bool:
        return record.end_is_done if not record.is_silent else not record.active

    def _keep(self, record: Record, handle: jockey.JobHandle[Any]) -> None:
        record.handle = handle
        self.handles.append((record, handle))

    def _refuse(self, record: Record, *, must_be_over: bool) -> None:
        self.note("refused", record)
        record.accepted = False
        if record.ends or record.started_at is not None:
            self.violate(f"{record} was refused but runs")
        if must_be_over and not self.is_over and not self.is_stopping and not self.block_is_left:
            self.violate(f"{record} was refused before the end")

    # Other steps

    def _cancel(self, number: int) -> None:
        if not self.handles or self.is_over:
            return
        record, handle = self.handles[number % len(self.handles)]
        ended = bool(record.ends)
        if handle.cancel("a step"):
            self.note("is cancelled by a step", record)
            record.cancel_asked = True
            if ended:
                self.violate(f"{record} could be cancelled after its end")

    def _pause(self, seconds: float) -> None:
        if hasattr(self, "running") and not self.is_over:
            self.note("pause")
            self.is_paused = True
            self.running.pause()
            self._resumers.start_soon(self._resume_later, seconds)

    async def _resume_later(self, seconds: float) -> None:
        await anyio.sleep(seconds)
        self.note("resume")
        self.is_paused = False
        self.running.resume()

    async def _drain(self, timeout: float | None) -> None:
        if not hasattr(self, "running") or self.is_over:
            return
        self.shuts_down |= timeout is not None
        was_paused, self.is_paused = self.is_paused, False
        accepted = [record for record in self.records if record.accepted and record.turn]
        try:
            await self.running.drain(timeout)
        except jockey.DeadlockError:  # in a handler
            self.is_paused = was_paused
            return
        for record in accepted:
            if record.accepted and not record.end_is_done:
                self.violate(f"drain returned before the end of {record}")

    async def _consume(self, step: program.Consume) -> None:
        if hasattr(self, "running"):
            with suppress(jockey.ExecutorClosedError):
                await self.running.consume(_Source(self, step))

    def _look(self) -> None:
        if not hasattr(self, "running") or self.is_over:
            return
        statistics = self.running.statistics()
        repr(self.running)
        limit = self.plan.settings.max_jobs
        running = sum(record.active for record in self.records)
        if statistics.running < 0 or (limit is None and statistics.running > len(self.records)):
            self.violate(f"statistics tell of {statistics.running} running, but {running} are")
        if sum(statistics.queued.values()) != sum(statistics.queued_by_key.values()):
            self.violate(f"the queued do not add up: {statistics}")
        if any(count < 0 for count in (*statistics.queued.values(), *statistics.queued_by_key.values())):
            self.violate(f"fewer than none are queued: {statistics}")

    # Laws that are checked while the program runs

    def _check_caps(self, record: Record) -> None:
        active = [other for other in self.records if other.active]
        self._check_cap(
            "the executor", self.plan.settings.max_jobs, [r for r in active if not r.waits and not r.is_cut], record
        )
        for key, handler in self._handlers.items():
            self._check_cap(f"handler {key!r}", handler.max_jobs, [r for r in active if r.key == key], record)
        for limit in self.plan.limits:
            if isinstance(limit.size, int):
                sharers = [r for r in active if r.key and limit.name in self._handlers[r.key].limits]
                self._check_cap(f"limit {limit.name!r}", limit.size, sharers, record)
        for group, count in Counter(r.group for r in active if r.group is not None).items():
            members = [r for r in active if r.group == group]
            self._check_cap(f"group {group!r} with {count}", self.plan.settings.max_jobs_per_group, members, record)

    def _check_cap(self, name: str, cap: int | None, active: list[Record], record: Record) -> None:
        if cap is not None and len(active) > cap and record in active:
            self.violate(f"{name} runs {len(active)} jobs, {', '.join(map(str, active))}, the cap is {cap}")

    def _check_order_in_group(self, record: Record) -> None:
        if record.group is None or record.turn == 0:
            return
        for other in self.records:
            is_before = other.group == record.group and 0 < other.turn < record.turn
            if is_before and other.may_start and other.accepted and not self.is_stopping and not self.shuts_down:
                self.violate(f"{record} overtakes {other} of the same group")

    def _check_idleness(self) -> None:
        active = [record for record in self.records if record.active]
        max_jobs = self.plan.settings.max_jobs
        is_full = max_jobs is not None and len(active) >= max_jobs
        # How many slots are free is hard to tell while some are lent.
        is_unclear = any(record.has_waited for record in active)
        if is_full or is_unclear or self.is_paused or self.is_stopping or self.shuts_down:
            return
        for record in self.records:
            if record.is_queued and not self._has_rate(record) and self._is_free(record, active):
                self.violate(f"{record} waits although it could start")

    def _has_rate(self, record: Record) -> bool:
        rates = {limit.name for limit in self.plan.limits if isinstance(limit.size, program.Rate)}
        return not rates.isdisjoint(self.plan_of(record).limits)

    def _is_free(self, record: Record, active: list[Record]) -> bool:
        plan = self.plan_of(record)
        if plan.max_jobs is not None and sum(other.key == record.key for other in active) >= plan.max_jobs:
            return False
        for limit in self.plan.limits:
            sharers = [other for other in active if other.key and limit.name in self._handlers[other.key].limits]
            if limit.name in plan.limits and isinstance(limit.size, int) and len(sharers) >= limit.size:
                return False
        if record.group is None:
            return True
        is_first = not any(
            other.is_queued and other.group == record.group and other.turn < record.turn for other in self.records
        )
        running = sum(other.group == record.group for other in active)
        return is_first and running < self.plan.settings.max_jobs_per_group

    # Laws that are checked at the end

    def _check_all_ended(self) -> None:
        for record in self.records:
            if record.accepted:
                self._check_ended(record)

    def _check_ended(self, record: Record) -> None:
        if record.is_silent:
            if record.handle is not None and record.handle.state.value in {"queued", "running", "reporting"}:
                self.violate(f"{record} is {record.handle.state} at the end")
        elif len(record.ends) != 1:
            self.violate(f"{record} has the ends {record.ends} when run() has ended")
        elif not record.end_is_done:
            self.violate(f"{record.ends[0]} of {record} is not complete when run() has ended")

    async def _check_closed(self) -> None:
        if not hasattr(self, "running"):
            return
        self._schedule(program.Job(("a",)), None)
        if self.records[-1].accepted:
            self.violate("schedule() accepts a message after the end")

    # Means

    def plan_of(self, record: Record) -> program.Handler:
        assert record.key is not None
        return self._handlers[record.key]

    def now(self) -> float:
        return anyio.current_time()

    def note(self, what: str, record: Record | None = None) -> None:
        self.log.append(f"{what}" if record is None else f"job {record.number} {what}")

    def violate(self, law: str) -> None:
        self.log.append(f"VIOLATION: {law}")
        self.violations.append(law)


class Message(jockey.Adapter[Record, Hashable, int]):
    """An adapter that does in each callback what the program says."""

    def __init__(self, world: World, record: Record) -> None:
        self._world = world
        self._record = record
        self._plans = {on.callback: on.steps for on in record.job.callbacks}

    def get_keys(self) -> Iterable[Hashable]:
        self._do_now("get_keys")
        if self._record.job.unhashable == "key":
            return ([],)  # type: ignore[return-value]
        return self._record.job.keys

    def get_group(self) -> Hashable:
        self._do_now("get_group")
        if self._record.job.unhashable == "group":
            return []  # type: ignore[return-value]
        self._world.accepted += 1
        self._record.turn = self._world.accepted
        return self._record.group

    async def get_payload(self) -> Record:
        self._world._start(self._record)
        try:
            await self._do("get_payload")
        except BaseException as error:
            self._world._fail(self._record, error)
            raise
        return self._record

    async def on_success(self, result: int, /) -> None:
        await self._end("on_success", result)

    async def on_failure(self, exc: Exception, /) -> None:
        await self._end("on_failure", exc)

    async def on_cancel(self, exc: asyncio.CancelledError, /) -> None:
        await self._end("on_cancel", exc)

    async def on_no_handler(self) -> None:
        await self._end("on_no_handler", None)

    async def on_pulse(self) -> None:
        world, record = self._world, self._record
        world.note("pulse", record)
        index = len(record.pulses)
        if record.handler_started_at is None or record.handler_ended_at is not None or record.ends:
            world.violate(f"{record} has a pulse while its handler does not run")
        record.pulses.append((world.now(), None))
        try:
            await self._do("on_pulse")
        finally:
            record.pulses[index] = (record.pulses[index][0], world.now())
            record.pulse_is_slow |= world.now() > record.pulses[index][0]
            if record.ends:
                world.violate(f"a pulse of {record} lasts longer than its handler")

    async def _end(self, name: program.Callback, value: Any) -> None:
        world, record = self._world, self._record
        world.note(f"{name} starts with {value!r}", record)
        record.ends.append(name)
        record.value = value
        record.end_started_at = world.now()
        if len(record.ends) > 1:
            world.violate(f"{record} has {record.ends}")
        if world.is_over:
            world.violate(f"{name} of {record} starts after the end")
        try:
            await self._do(name)
        except BaseException as error:
            record.end_raised = error
            raise
        finally:
            world.note(f"{name} ends", record)
            record.end_is_done = True
            record.active = False

    async def _do(self, callback: program.Callback) -> None:
        for step in self._plans.get(callback, ()):
            await self._world._perform(step, self._record)

    def _do_now(self, callback: program.Callback) -> None:
        try:
            self._world._perform_now(self._plans.get(callback, ()), self._record)
        except BaseException as error:
            self._record.lookup_raised = error
            raise

    def __repr__(self) -> str:
        return f"<message {self._record.number}>"


class _Source:
    """Messages one after the other, with pauses."""

    def __init__(self, world: World, step: program.Consume) -> None:
        self._world = world
        self._jobs = iter(step.jobs)
        self._pause = step.pause

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        await anyio.sleep(self._pause)
        for job in self._jobs:
            record = self._world._new_record(job)
            record.accepted = True
            _scheduled_as.set(record.number)
            return Message(self._world, record)
        raise StopAsyncIteration


@contextmanager
def _marked(record: Record) -> Iterator[None]:
    """Let *record* be told by the context that a job is scheduled in."""
    token = _scheduled_as.set(record.number)
    try:
        yield
    finally:
        _scheduled_as.reset(token)


def _limit(limit: program.Limit) -> jockey.Limit | jockey.Rate:
    size = limit.size
    if isinstance(size, int):
        return jockey.Limit(limit.name, size)
    return jockey.Rate(limit.name, size.starts, per=size.per, burst=size.burst)


def _end_of(outcome: jockey.Outcome[Any]) -> str:
    match outcome:
        case jockey.Success():
            return "on_success"
        case jockey.Failure():
            return "on_failure"
        case jockey.Cancelled():
            return "on_cancel"
        case jockey.NoHandler():
            return "on_no_handler"


def _living_tasks() -> int:
    loop = asyncio._get_running_loop()
    if loop is not None:
        return len(asyncio.all_tasks(loop))
    import trio

    return trio.lowlevel.current_statistics().tasks_living
