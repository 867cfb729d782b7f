"""What the tests of workers share: apps on a virtual clock, workers without signals, a broker that fails as told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from jockey.jobs import App, Worker, WorkerCounts
from jockey.jobs._broker import Delivery, Hearing, Settlement
from jockey.jobs.brokers.memory import MemoryBroker


def app_of(broker: Any = None, **options: Any) -> App[Any]:
    """Return an app whose broker lives in memory, on the clock of the event loop."""
    return App(broker or "memory://", clock=anyio.current_time, **options)


async def burst(app: App[Any], **options: Any) -> WorkerCounts:
    """Work until nothing is ready."""
    return await Worker(app, burst=True, handle_signals=(), **options).run()


@asynccontextmanager
async def working(app: App[Any], **options: Any) -> AsyncGenerator[Worker[Any]]:
    """Have a worker in the block; it is cancelled at the end."""
    worker = Worker(app, handle_signals=(), **options)
    async with app, anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run)
        yield worker
        tasks.cancel_scope.cancel()


def adds_up(counts: WorkerCounts) -> bool:
    """Tell whether every delivery that was taken has come to one end."""
    ends = (counts.succeeded, counts.retried, counts.dead, counts.cancelled, counts.released, counts.lost)
    return counts.taken == sum(ends)


class Faulty:
    """
    A broker in memory whose sources and store raise what they are told to.

    Attributes:
        takes: What the next calls of `take` raise, None for those that do not.
        settles: The same for each delivery that is settled.
        arrivals: The same for `arrive`.
        settled: The settlements that were done.
        hearing: What the worker wants to be told.
        sources: Where workers took from.
        deliveries: What was taken.
    """

    def __init__(self) -> None:
        self.inner = MemoryBroker(clock=anyio.current_time)
        self.features = self.inner.features
        self.takes: list[Exception | None] = []
        self.settles: list[Exception | None] = []
        self.arrivals: list[Exception | None] = []
        self.settled: list[Settlement] = []
        self.deliveries: list[Delivery] = []
        self.hearing: Hearing | None = None
        self.sources: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @asynccontextmanager
    async def consume(self, queues: Sequence[str], hearing: Hearing, **terms: Any) -> AsyncGenerator[FaultySource]:
        self.hearing = hearing
        async with self.inner.consume(queues, hearing, **terms) as source:
            self.sources.append(source)
            yield FaultySource(self, source)

    async def arrive(self, *arguments: Any) -> Any:
        self._fail(self.arrivals)
        return await self.inner.arrive(*arguments)

    def _fail(self, faults: list[Exception | None]) -> None:
        error = faults.pop(0) if faults else None
        if error is not None:
            raise error


class FaultySource:
    def __init__(self, broker: Faulty, source: Any) -> None:
        self._broker = broker
        self._source = source

    async def take(self, count: int) -> Sequence[Delivery]:
        self._broker._fail(self._broker.takes)
        taken: Sequence[Delivery] = await self._source.take(count)
        self._broker.deliveries += taken
        return taken

    async def settle_many(self, ends: Sequence[tuple[Delivery, Settlement]]) -> list[bool | Exception]:
        return [await self._settle(delivery, settlement) for delivery, settlement in ends]

    async def _settle(self, delivery: Delivery, settlement: Settlement) -> bool | Exception:
        try:
            self._broker._fail(self._broker.settles)
        except Exception as error:
            return error
        [is_done] = await self._source.settle_many([(delivery, settlement)])
        self._broker.settled.append(settlement)
        return bool(is_done)
