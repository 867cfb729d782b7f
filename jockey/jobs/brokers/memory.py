"""A broker in memory: for tests, and for jobs that may be lost when the process ends."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from jockey.jobs._broker import Features, Released, WorkerInfo
from jockey.jobs._errors import ResultUnavailableError
from jockey.jobs._state import ENDED
from jockey.jobs.brokers._embedded import Terms
from jockey.jobs.brokers._memory_ledger import LedgerJobs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from jockey.jobs._broker import Delivery, Hearing, Published, QueueInfo, Record, Settlement
    from jockey.jobs._message import Join, Message
    from jockey.jobs._state import State
    from jockey.jobs.brokers._memory_entry import Entry, InMemory
    from jockey.jobs.brokers._memory_jobs import Jobs

_A_TURN: Final = 100
"""So many jobs are published at most before the event loop has its turn."""

_log = logging.getLogger("jockey")


class MemoryBroker:
    """
    Keep all jobs in this process, for any number of workers in one event loop.

    It behaves like the broker for SQLite in all but one: what has not ended when it is closed is lost. A warning says
    so, and `close` returns it.

    Args:
        clock: Seconds since the epoch.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._before_turn = _A_TURN
        self._news: anyio.Event | None = None  # somebody waits for it
        self._ends: dict[str, anyio.Event] = {}  # by id of the job whose end somebody waits for
        self._jobs = self._no_jobs()
        self._sources: dict[Terms, MemorySource] = {}

    features = Features()

    async def open(self) -> None:
        await checkpoint()

    async def close(self) -> Sequence[Message]:
        lost = self._jobs.unfinished()
        if lost:
            names = ", ".join(sorted({message.name for message in lost}))
            jobs = "1 job was" if len(lost) == 1 else f"{len(lost)} jobs were"
            _log.warning("%s lost with the broker in memory (%s)", jobs, names)
        self._jobs = self._no_jobs()
        for id_ in tuple(self._ends):
            self._tell_end(id_)
        await checkpoint()
        return lost

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        # A turn of the event loop costs more than all the rest; whoever does nothing but publish must give it some.
        self._before_turn -= len(messages)
        if self._before_turn < 0:
            self._before_turn = _A_TURN
            await checkpoint()
        return self._jobs.publish(messages)

    def consume(
        self, queues: Sequence[str], hearing: Hearing, *, worker: str, lease: float, max_crashes: int
    ) -> AbstractAsyncContextManager[MemorySource]:
        return self._consume(Terms(tuple(queues), worker, lease, max_crashes, hearing))

    async def declare(self, queue: str) -> None:
        await checkpoint()
        self._jobs.declare(queue)

    async def info(self, queue: str | None = None) -> Sequence[QueueInfo]:
        await checkpoint()
        infos = self._jobs.info() if queue is None else [self._jobs.info_of(queue)]
        workers = Counter(name for terms in self._sources for name in terms.queues)
        return [replace(info, workers=workers[info.name]) for info in infos]

    async def workers(self) -> Sequence[WorkerInfo]:
        await checkpoint()
        found = [WorkerInfo(terms.worker, tuple(terms.queues), source.count) for terms, source in self._sources.items()]
        return sorted(found, key=lambda worker: worker.name)

    async def peek(self, queue: str, count: int) -> Sequence[Record]:
        await checkpoint()
        self._jobs.info_of(queue)
        return self._jobs.peek(queue, count)

    async def purge(self, queue: str) -> int:
        await checkpoint()
        self._jobs.info_of(queue)
        return self._jobs.purge(queue)

    async def delete(self, queue: str) -> None:
        await checkpoint()
        self._jobs.delete(queue)

    async def dead(self, queue: str | None = None, *, count: int = 100) -> Sequence[Record]:
        await checkpoint()
        if queue is not None:
            self._jobs.info_of(queue)
        return self._jobs.dead(queue, count)

    async def replay(self, ids: Sequence[str]) -> int:
        await checkpoint()
        return self._jobs.replay(ids)

    async def drop(self, ids: Sequence[str]) -> int:
        await checkpoint()
        return self._jobs.drop(ids)

    async def record(self, id: str) -> Record | None:  # noqa: A002 - the protocol's name
        await checkpoint()
        return self._jobs.record(id)

    async def wait(self, id: str) -> Record:  # noqa: A002 - the protocol's name
        """
        Return the record of a job as soon as it has ended.

        Raises:
            ResultUnavailableError: Nothing is known of it, or nothing is kept of it now that it has ended.
        """
        await checkpoint()
        while (record := self._jobs.record(id)) is not None and record.state not in ENDED:
            await self._ends.setdefault(id, anyio.Event()).wait()
        if record is None:
            raise ResultUnavailableError(f"nothing is known of the job {id!r}, or nothing is kept of it")
        return record

    async def records(self, *, queue: str | None = None, state: State | None = None) -> AsyncIterator[Record]:
        await checkpoint()
        for record in self._jobs.records(queue, state):
            yield record

    async def remove(self, id: str) -> bool:  # noqa: A002 - the protocol's name
        await checkpoint()
        return self._jobs.remove(id)

    async def arrive(self, join: Join, result: bytes) -> Sequence[bytes] | None:
        await checkpoint()
        return self._jobs.arrive(join, result)

    async def cancel(self, id: str, reason: str) -> Record | None:  # noqa: A002 - the protocol's name
        await checkpoint()
        return self._jobs.cancel(id, reason)

    async def enter(self, messages: Sequence[Message]) -> Sequence[Published]:
        await checkpoint()
        return self._jobs.enter(messages)

    async def withdraw(self, ids: Sequence[str]) -> None:
        await checkpoint()
        self._jobs.withdraw(ids)

    async def begin(self, message: Message, *, worker: str, crashes: int) -> Record:
        await checkpoint()
        return self._jobs.begin(message, worker, crashes)

    async def end(self, id: str, settlement: Settlement) -> None:  # noqa: A002 - the protocol's name
        await checkpoint()
        self._jobs.end(id, settlement)

    async def cancelled(self, ids: Sequence[str]) -> dict[str, str]:
        await checkpoint()
        return self._jobs.cancelled(ids)

    @asynccontextmanager
    async def _consume(self, terms: Terms) -> AsyncGenerator[MemorySource]:
        source = MemorySource(self, terms, self._jobs)
        self._sources[terms] = source
        try:
            yield source
        finally:
            del self._sources[terms]
            source.release()

    async def wait_for_news(self) -> None:
        """Return when there may be something to take; or, just so, without a reason."""
        if self._news is None:
            self._news = anyio.Event()
        change = self._jobs.next_change()
        with anyio.move_on_after(None if change is None else max(0.0, change - self._clock())):
            await self._news.wait()

    def _no_jobs(self) -> LedgerJobs:
        return LedgerJobs(self._clock, on_news=self._tell_news, on_end=self._tell_end, on_cancel=self._tell_cancel)

    def _tell_news(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    def _tell_end(self, id_: str) -> None:
        if self._ends and (event := self._ends.pop(id_, None)) is not None:
            event.set()

    def _tell_cancel(self, entry: Entry) -> None:
        if entry.terms is not None and (source := self._sources.get(entry.terms)) is not None:
            source.tell_cancel(entry)


class MemorySource:
    """Where one worker in this event loop takes deliveries from."""

    def __init__(self, broker: MemoryBroker, terms: Terms, jobs: Jobs) -> None:
        self._broker = broker
        self._terms = terms
        self._jobs = jobs
        self._held: dict[Delivery, Entry] = {}

    @property
    def count(self) -> int:
        """How many jobs this worker has in its hands."""
        return len(self._held)

    async def take(self, count: int) -> Sequence[InMemory]:
        await checkpoint_if_cancelled()
        while not (taken := self.poll(count)):
            await self._broker.wait_for_news()
        return taken

    def poll(self, count: int) -> list[InMemory]:
        """Take what there is now, and do not wait for more."""
        taken = self._jobs.claim(self._terms, count)
        for delivery in taken:
            self._held[delivery] = delivery.entry
        return taken

    async def settle_many(self, ends: Sequence[tuple[Delivery, Settlement]]) -> list[bool | Exception]:
        let_go = self._held.pop
        held = [(let_go(delivery, None), settlement) for delivery, settlement in ends]
        self._jobs.settle((entry, settlement) for entry, settlement in held if entry is not None)
        return [entry is not None for entry, _ in held]

    def release(self) -> None:
        """Give all back that has not been settled."""
        self._jobs.settle((entry, Released()) for entry in self._held.values())
        self._held.clear()

    def vanish(self) -> None:
        """Behave as if the process of this worker were killed right now: its leases run out."""
        for entry in self._held.values():
            self._jobs.vanish(entry, self._terms.lease)
        self._held.clear()

    def tell_cancel(self, entry: Entry) -> None:
        """Tell the worker that one of its jobs shall be cancelled."""
        delivery = next((delivery for delivery, held in self._held.items() if held is entry), None)
        if delivery is not None and entry.cancel is not None:
            self._terms.hearing.on_cancel(delivery, entry.cancel)
