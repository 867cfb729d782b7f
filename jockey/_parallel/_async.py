"""
A map for code in an event loop, as an async generator.

Between two results a generator may be left alone for ever, or be closed by another task. So it holds no cancel scope
and no task group while it yields: what must run on meanwhile runs in tasks of its own, which it ends in its `finally`.
"""

from __future__ import annotations

import abc
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import anyio

from jockey import _runtime
from jockey._errors import BacklogFullError, ExecutorClosedError, JobCancelledError
from jockey._nesting import Wait
from jockey._parallel._host import Host
from jockey._parallel._message import BatchMessage
from jockey._parallel._plan import KEY, check_batch, may_batch, workers_in
from jockey._parallel._progress import open_progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable

    from jockey._engine import Engine
    from jockey._parallel._plan import OwnPlan, Plan
    from jockey._parallel._progress import Tell
    from jockey._parallel._source import Source


async def iterate(begin: Callable[[], AsyncMap]) -> AsyncGenerator[Any, None]:
    """Yield the results of the map that *begin* returns."""
    run = begin()
    del begin  # what is no longer needed is let go by the one who needs it
    try:
        await run.open()
        while (results := await run.next()) is not None:
            while results:
                yield results.pop()
    finally:
        with anyio.CancelScope(shield=True):
            await run.close()


class AsyncMap(abc.ABC):
    """
    One map.

    Args:
        choices: What the user wants.
        source: The items.
        total: How many, if that is known.
        workers: How many jobs run at once.
        may_batch: Whether several items may be run in one job, if the user has left that to us.
    """

    def __init__(self, choices: Plan, source: Source, total: int | None, *, workers: int, may_batch: bool) -> None:
        self._choices = choices
        self._source = source
        self._total = total
        self._shown = ExitStack()
        self._tell: Tell | None = None
        self._is_single = choices.is_single(may_batch=may_batch)
        self._window = choices.window_of(workers, total, may_batch=may_batch)
        self._inbox: deque[BatchMessage] = deque()
        self._change = anyio.Event()
        self._engine: Engine
        self._key: Hashable

    async def open(self) -> None:
        """Begin."""
        self._tell = self._shown.enter_context(open_progress(self._choices.progress, self._total))
        self._engine, key = await self._enter()
        self._key = key if self._is_single else self._engine.routing.batch_key(key)
        self._source.start(self._engine.runtime, self._window.wanted, self._note_change)

    async def next(self) -> list[Any] | None:
        """
        Return results to be yielded, the last one first; None at the end.

        Raises:
            BaseException: What has ended the map.
        """
        while True:
            self._collect()
            results = self._window.take()
            has_moved = await self._hand_out()  # one batch for each that is taken, see `SyncMap.next`
            self._source.look()
            if results is not None:
                return results
            if not has_moved:
                if self._window.is_done:
                    return None
                self._check()
                await self._wait()

    async def close(self) -> None:
        """Cancel what is left to do, and return when it has ended."""
        self._shown.close()
        await self._source.close()
        await self._leave()

    @abc.abstractmethod
    async def _enter(self) -> tuple[Engine, Hashable]:
        """Return the executor, and the key of the handler in it."""

    @abc.abstractmethod
    async def _leave(self) -> None:
        """Cancel all jobs, and return when they have ended."""

    @abc.abstractmethod
    def _check(self) -> None:
        """Raise if the executor has ended."""

    @abc.abstractmethod
    def _note_cancelled(self, cancellation: JobCancelledError) -> None:
        """Learn that somebody else than the map has cancelled a job."""

    def _collect(self) -> None:
        while self._inbox:
            message = self._inbox.popleft()
            if message.cancellation is not None:
                self._window.drop(message.batch)
                self._note_cancelled(message.cancellation)
                continue
            self._window.finish(message.batch, message.outcomes, message.seconds)
            if self._tell is not None:
                self._tell(self._window.done, self._total)

    async def _hand_out(self) -> bool:
        """Read a batch and have it run, if one is wanted and there is room for it; return whether that was so."""
        count = self._window.wanted()
        if not count:
            return False
        self._check()
        if not self._engine.has_room():
            if self._window.outstanding:
                return False  # look again when one of these has ended
            await self._wait_for_room()
        items = self._source.read(count)
        if self._source.is_over:
            self._window.end(self._source.error)
        if items:
            self._submit(items)
        return bool(items) or self._source.is_over

    async def _wait_for_room(self) -> None:
        engine = self._engine
        if engine.nesting.waiter() is not None:
            raise BacklogFullError("map() in a handler while the backlog is full: waiting might be for ever")
        await engine.room.wait()
        engine.reserve_room(-1)  # taken at once, by what is handed out now
        self._check()

    def _submit(self, items: list[Any]) -> None:
        batch = self._window.open(items)
        message = BatchMessage(
            batch, self._key, is_single=self._is_single, clock=self._engine.runtime.clock, report=self._report
        )
        batch.job = self._engine.accept(message, None)
        self._engine.room.poke()

    def _report(self, message: BatchMessage) -> None:
        self._inbox.append(message)
        self._note_change()

    def _note_change(self) -> None:
        self._change.set()

    async def _wait(self) -> None:
        """Wait for a change; if this is a handler of the executor, lend its slot meanwhile."""
        oldest = next(iter(self._window.outstanding), None)
        if oldest is None or oldest.job is None:
            self._change = anyio.Event()
            await self._change.wait()
            return
        wait = Wait(oldest.job)
        self._change = wait.event
        await self._engine.nesting.wait(wait)


class OwnMap(AsyncMap):
    """A map with an executor of its own."""

    def __init__(self, plan: OwnPlan, source: Source, total: int | None) -> None:
        super().__init__(plan.choices, source, total, workers=plan.workers, may_batch=plan.may_batch)
        self._host = Host(plan, self._note_change)
        self._is_open = False

    async def _enter(self) -> tuple[Engine, Hashable]:
        self._is_open = True
        _runtime.current().detach(self._host.run)
        while self._host.engine is None:
            self._check()
            await self._wait()
        return self._host.engine, KEY

    async def _leave(self) -> None:
        if self._is_open:
            self._host.stop()
            await self._host.ended.wait()

    def _check(self) -> None:
        if self._host.ended.is_set():
            raise self._host.error or JobCancelledError("the map was cancelled from outside while it was running")

    def _note_cancelled(self, cancellation: JobCancelledError) -> None:
        """Do nothing: the whole executor is about to end, and that will tell why."""


class SharedMap(AsyncMap):
    """
    A map in an executor that does other things too.

    Args:
        choices: What the user wants.
        engine: The executor.
        key: The key of a handler there.
        source: The items.
        total: How many, if that is known.
    """

    def __init__(self, choices: Plan, engine: Engine, key: Hashable, source: Source, total: int | None) -> None:
        route = engine.routing.route_of(key)
        check_batch(choices.batch, route.handler)
        can = may_batch(route.handler) and not engine.settings.middleware
        super().__init__(choices, source, total, workers=workers_in(engine, route), may_batch=can)
        self._shared = engine
        self._own_key = key

    async def _enter(self) -> tuple[Engine, Hashable]:
        self._shared.check_thread("map")
        return self._shared, self._own_key

    async def _leave(self) -> None:
        for job in [batch.job for batch in self._window.outstanding if batch.job is not None]:
            job.cancel("the map was closed")
        while True:
            for message in self._inbox:
                self._window.drop(message.batch)
            self._inbox.clear()
            if not self._window.outstanding or self._shared.is_over:
                return
            self._change = anyio.Event()
            await self._change.wait()

    def _check(self) -> None:
        if self._shared.is_over:
            raise ExecutorClosedError("the executor has ended while map() was running; iterate inside of its block")

    def _note_cancelled(self, cancellation: JobCancelledError) -> None:
        raise cancellation
