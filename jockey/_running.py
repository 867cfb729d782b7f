"""An executor that runs: what users schedule messages with."""

from __future__ import annotations

import math
import sys
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, NoReturn, overload

import anyio

from jockey import _validation
from jockey._adapter import Adapter
from jockey._errors import (
    BacklogFullError,
    DeadlockError,
    ExecutorClosedError,
    NoHandlerError,
    RegistrationError,
)
from jockey._handler import check_priority
from jockey._options import Priority, WaitFor
from jockey._parallel._async import SharedMap, iterate
from jockey._parallel._plan import Plan
from jockey._parallel._source import source_of, total_of
from jockey._threadsafe import schedule_from_thread
from jockey._types import Key, Payload, Result

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable
    from typing import Literal

    from jockey._engine import Engine
    from jockey._job import Job, JobHandle
    from jockey._outcome import Outcome
    from jockey._parallel._plan import BatchSize
    from jockey._parallel._progress import Tell
    from jockey._parallel._window import OnError
    from jockey._statistics import Statistics
    from jockey._validation import Seconds


class RunningExecutor(Generic[Payload, Key, Result]):
    """
    What `async with executor.run()` gives: schedule messages with it.

    All methods but `schedule_threadsafe` are for the thread of the event loop.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def schedule(
        self,
        message: Adapter[Payload, Key, Result],
        *,
        priority: Priority | None = None,
        job_timeout: Seconds | None = None,
    ) -> JobHandle[Result]:
        """
        Accept *message* and return at once; its handler never starts inside this call.

        Args:
            message: From now on the executor owns it: exactly one of its final callbacks will be called.
            priority: Takes the place of the handler's own.
            job_timeout: Seconds that take the place of the handler's own timeout; `math.inf` is no limit.

        Raises:
            BacklogFullError: `max_backlog` messages wait already; *message* was not accepted.
            ExecutorClosedError: The executor has ended; *message* was not accepted.
            RegistrationError: *priority* or *job_timeout* makes no sense; *message* was not accepted.
            WrongThreadError: Not called in the thread of the event loop: there, use `schedule_threadsafe`.
        """
        if priority is not None:
            check_priority(priority)
        engine = self._engine
        if job_timeout is not None:
            job_timeout = _check_timeout(job_timeout)
        if get_ident() != engine.thread or engine.is_over or not (engine.is_boundless or engine.has_room()):
            self._refuse("schedule")
        job = engine.accept(message, priority)
        if job_timeout is not None:
            _limit(job, job_timeout)
        return job

    def schedule_threadsafe(
        self,
        message: Adapter[Payload, Key, Result],
        *,
        priority: Priority | None = None,
        job_timeout: Seconds | None = None,
    ) -> concurrent.futures.Future[Outcome[Result]]:
        """
        Accept *message* from whatever thread, and return at once.

        The future gets the outcome, or what the callback raised, or the error for which `schedule` would not have
        accepted the message. Cancelling the future cancels the job. A handler in a thread may wait for it.

        Raises:
            ExecutorClosedError: The executor has ended.
        """
        if priority is not None:
            check_priority(priority)
        timeout = _check_timeout(job_timeout)
        return schedule_from_thread(self._engine, lambda: self._schedule(message, priority, timeout))

    async def execute(
        self,
        message: Adapter[Payload, Key, Result],
        *,
        wait_for: WaitFor = WaitFor.FINISH,
        priority: Priority | None = None,
        job_timeout: Seconds | None = None,
    ) -> JobHandle[Result]:
        """
        Accept *message*, and wait.

        When the waiting code is cancelled, so is the job. Inside a handler of the same executor the handler's slot is
        lent to other jobs meanwhile, `WaitFor.NO_PRESSURE` does not wait (it would wait for itself), and a full
        backlog is an error at once.

        Args:
            message: From now on the executor owns it, even if the waiting code is cancelled at once.
            wait_for: For what; the default is the end of the job, its callback included.
            priority: Takes the place of the handler's own.
            job_timeout: Seconds that take the place of the handler's own timeout; `math.inf` is no limit.

        Raises:
            DeadlockError: The waiting code is a handler without whose end the job cannot start.
            BacklogFullError: In a handler only: the backlog is full.
            ExecutorClosedError: The executor has ended.
            Exception: What the callback raised, if the end was waited for.
        """
        self._check_open("execute")
        if priority is not None:
            check_priority(priority)
        if not isinstance(wait_for, WaitFor):
            raise RegistrationError(f"wait_for must be a member of jockey.WaitFor, got {wait_for!r}")
        timeout = _check_timeout(job_timeout)
        job = await self._accept(message, priority)
        _limit(job, timeout)
        await self._wait(job, wait_for)
        return job

    def submit(
        self, key: Key, payload: Payload, *, priority: Priority | None = None, job_timeout: Seconds | None = None
    ) -> JobHandle[Result]:
        """
        Run the handler for *key* with *payload*, without an adapter; the handle has the result.

        Priority and timeout are those of the handler unless they are given, see `schedule`.

        Raises:
            NoHandlerError: *key* has no handler.
            BacklogFullError: `max_backlog` messages wait already.
            ExecutorClosedError: The executor has ended.
            WrongThreadError: Not called in the thread of the event loop.
        """
        self._check_open("submit")
        self._check_key(key)
        return self.schedule(_Submission(key, payload), priority=priority, job_timeout=job_timeout)

    async def consume(self, messages: AsyncIterable[Adapter[Payload, Key, Result]]) -> None:
        """
        Schedule all *messages*; take each only when a slot is free for it.

        Returns when there are no more messages (the last ones may still run), or when the intake is closed by
        `drain` with a timeout; then the source is cancelled while it waits for its next message. However it ends, a
        source that is an async generator is closed.

        Raises:
            DeadlockError: Called in a handler of this executor.
            ExecutorClosedError: The executor has ended.
        """
        self._check_open("consume")
        self._refuse_in_handler("consume")
        source = aiter(messages)
        with anyio.CancelScope() as scope:
            self._engine.consumers[scope] = None
            try:
                while await self._take_one(source):
                    pass
            finally:
                del self._engine.consumers[scope]
                await self._close(source)  # noqa: ASYNC102 - shielded in there

    @overload
    def map(
        self,
        key: Key,
        payloads: Iterable[Payload] | AsyncIterable[Payload],
        *,
        ordered: bool = True,
        batch: BatchSize = "auto",
        on_error: Literal["return"],
        window: int | None = None,
        progress: bool | Tell | None = None,
    ) -> AsyncGenerator[Result | Exception, None]: ...
    @overload
    def map(
        self,
        key: Key,
        payloads: Iterable[Payload] | AsyncIterable[Payload],
        *,
        ordered: bool = True,
        batch: BatchSize = "auto",
        on_error: Literal["raise", "skip"] = "raise",
        window: int | None = None,
        progress: bool | Tell | None = None,
    ) -> AsyncGenerator[Result, None]: ...
    def map(
        self,
        key: Key,
        payloads: Iterable[Payload] | AsyncIterable[Payload],
        *,
        ordered: bool = True,
        batch: BatchSize = "auto",
        on_error: OnError = "raise",
        window: int | None = None,
        progress: bool | Tell | None = None,
    ) -> AsyncGenerator[Result | Exception, None]:
        """
        Run the handler for *key* with each of *payloads*, many at once, and yield the results.

        The arguments are those of `jockey.amap`. Caps, priority and timeout are those of the handler. For them a batch
        counts as one job; "auto" makes none where that would change what they mean: with a timeout, pulses, limits or
        middleware, and for what is async or runs in MAIN. Inside a handler of this executor its slot is lent to other
        jobs while it waits for results.

        Raises:
            NoHandlerError: *key* has no handler. Raised by the call itself, as the next three are.
            RegistrationError: An argument makes no sense.
            ExecutorClosedError: The executor has ended.
            WrongThreadError: Not called in the thread of the event loop.
            JobCancelledError: Somebody else has cancelled a job of the map, whatever *on_error* says.
            BacklogFullError: In a handler of this executor only: the backlog is full.
            DeadlockError: The waiting code is a handler without whose end no job of the map can start.
            Exception: What an item failed with, or what *payloads* or *progress* raised.
        """
        self._check_open("map")
        self._check_key(key)
        choices = Plan(ordered, batch, on_error, window, progress)
        shared = SharedMap(choices, self._engine, key, source_of(payloads), total_of(payloads))
        return iterate(lambda: shared)

    async def free_slots(self) -> int:
        """
        Wait until at least one more job could start at once, and return how many could.

        For code that takes messages from somewhere, several at a time, and only as many as can be run. Nothing is
        reserved: schedule what was taken before anybody else does. With no cap it returns `sys.maxsize`. Jobs that
        wait for a cap of their own or for their group count as if they ran.

        Returns:
            0 if the intake is closed, by `drain` with a timeout: nothing will be started any more.

        Raises:
            DeadlockError: Called in a handler of this executor.
            ExecutorClosedError: The executor has ended.
        """
        self._check_open("free_slots")
        self._refuse_in_handler("free_slots")
        engine = self._engine
        await engine.slot.wait()
        engine.reserve_slot(-1)
        count = 0 if engine.is_closed else int(min(engine.free_slots(), sys.maxsize))
        engine.slot.poke()  # nothing is reserved: the slot may do for the next one who waits
        return count

    async def drain(self, timeout: Seconds | None = None) -> None:  # noqa: ASYNC109 - not only a timeout: what happens differs
        """
        Wait until no job is queued or running, those scheduled meanwhile included.

        Args:
            timeout:
                None waits, and changes nothing. A number of seconds shuts down: no message is accepted any more (what
                is scheduled is reported cancelled), jobs that have not started are cancelled, the others are cancelled
                when the time is over; `Cancellation.reason` is "shutdown".

        Raises:
            DeadlockError: Called in a handler of this executor.
        """
        self._engine.check_thread("drain")
        self._refuse_in_handler("drain")
        await self._engine.drain(_validation.optional_seconds("timeout", timeout, zero=True))

    def pause(self) -> None:
        """Let no job start until `resume`; running jobs go on, and messages are accepted."""
        self._engine.check_thread("pause")
        self._engine.pause()

    def resume(self) -> None:
        """Let jobs start again. `drain`, and leaving `run()`, do that too."""
        self._engine.check_thread("resume")
        self._engine.resume()

    def statistics(self) -> Statistics:
        """Return what the executor is doing; the cost grows with the number of handlers, not of jobs."""
        self._engine.check_thread("statistics")
        return self._engine.statistics()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._engine}>"

    def _schedule(
        self, message: Adapter[Payload, Key, Result], priority: Priority | None, timeout: float | None
    ) -> Job[Result]:
        if self._engine.is_over or not self._engine.has_room():
            self._refuse("schedule_threadsafe")
        job: Job[Result] = self._engine.accept(message, priority)
        _limit(job, timeout)
        return job

    def _refuse(self, name: str) -> NoReturn:
        self._check_open(name)
        raise BacklogFullError(self._full())

    async def _accept(self, message: Adapter[Payload, Key, Result], priority: Priority | None) -> Job[Result]:
        engine = self._engine
        if engine.has_room():
            return engine.accept(message, priority)
        if engine.nesting.waiter() is not None:
            raise BacklogFullError(self._full())
        with engine.kept_open():  # the message is ours already
            try:
                await engine.room.wait()
            except BaseException:
                engine.accept_cancelled(message, "the code that waited for room in the backlog was cancelled")
                raise
            engine.reserve_room(-1)
            job = engine.accept(message, priority)
        engine.room.poke()  # it may need no room after all, if it has no handler
        return job

    async def _wait(self, job: Job[Result], wait_for: WaitFor) -> None:
        def give_up() -> None:
            engine.cancel(job, "the code that waited for it was cancelled")

        engine = self._engine
        try:
            if wait_for is WaitFor.FINISH:
                await engine.wait_for_end(job, give_up)
            elif wait_for is WaitFor.START:
                await engine.wait_for_start(job, give_up)
            elif wait_for is WaitFor.NO_PRESSURE and engine.nesting.waiter() is None:
                await engine.pressure.wait()
        except BaseException:
            give_up()
            raise
        if wait_for is WaitFor.FINISH:
            job.raise_callback_error()

    async def _take_one(self, source: Any) -> bool:
        engine = self._engine
        await engine.slot.wait()
        try:
            if engine.is_closed:
                return False
            message = await anext(source, None)
            if message is not None:
                engine.accept(message, None)
            return message is not None
        finally:
            engine.reserve_slot(-1)
            engine.slot.poke()

    async def _close(self, source: Any) -> None:
        # A generator may hold a connection to a broker: that must not wait for the garbage collector.
        close = getattr(source, "aclose", None)
        if close is not None:
            with anyio.move_on_after(self._engine.settings.grace, shield=True):
                await close()

    def _check_open(self, name: str) -> None:
        self._engine.check_thread(name)
        if self._engine.is_over:
            raise ExecutorClosedError(f"{name}() after the executor has ended; call it inside the block of `run()`")

    def _check_key(self, key: Key) -> None:
        if not self._engine.routing.find(key):
            raise NoHandlerError(f"the key {key!r} has no handler; add one with Registry.add")

    def _refuse_in_handler(self, name: str) -> None:
        waiter = self._engine.nesting.waiter()
        if waiter is not None:
            raise DeadlockError(
                f"{name}() in {waiter.name!r} would wait for that very handler; call it outside of handlers"
            )

    def _full(self) -> str:
        waiting, most = self._engine.scheduler.backlog, self._engine.settings.max_backlog
        return f"{waiting} messages wait, and max_backlog is {most:g}; use execute(), which waits for room, or raise it"


def _check_timeout(timeout: Seconds | None) -> float | None:
    return math.inf if timeout == math.inf else _validation.optional_seconds("job_timeout", timeout)


def _limit(job: Job[Any], timeout: float | None) -> None:
    # A job never starts inside of the call that accepts it.
    if timeout is not None and job.end is None:
        job.route = job.route.timed(timeout)


class _Submission(Adapter[Payload, Key, Result]):
    """A key and a payload as a message; only the handle tells how it ends."""

    __slots__ = ("_key", "_payload")

    def __init__(self, key: Key, payload: Payload) -> None:
        self._key = key
        self._payload = payload

    def get_keys(self) -> Iterable[Key]:
        return (self._key,)

    async def get_payload(self) -> Payload:
        return self._payload

    async def on_success(self, result: Result, /) -> None:
        pass

    async def on_failure(self, exc: Exception, /) -> None:
        pass

    async def on_cancel(self, exc: asyncio.CancelledError, /) -> None:
        pass

    def __repr__(self) -> str:
        return f"submit({self._key!r}, {self._payload!r})"
