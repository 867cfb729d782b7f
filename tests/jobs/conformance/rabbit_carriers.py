"""RabbitMQ for the conformance suite: alone, and with a store beside it. Its time is real, and its crashes are cuts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from jockey.jobs._broker import Delivery, Hearing, Source
from jockey.jobs._errors import JobsError
from jockey.jobs._stored import Stored
from jockey.jobs.brokers.memory import MemoryBroker
from jockey.jobs.brokers.rabbitmq_intake import Intake
from jockey.jobs.brokers.sqlite import SqliteBroker
from tests.jobs.conformance.carriers import Profile
from tests.jobs.rabbit import Proxy, Rabbit

# At this pace a delay of 15 seconds sits in two buckets and more, the first of which ends 0.18 seconds early.
ALONE = Profile(is_durable=True, has_records=False, has_clock=False, keeps_order=False, pace=0.029, max_crashes=3)
MOMENT = 0.02
"""Seconds for what might come and need not."""


class RabbitCarrier:
    """
    Workers with connections of their own, which can be cut, as the death of a process does.

    Args:
        rabbit: Names the queues, and cleans up.
        number: Of this history.
        ledger: Makes the store beside it; None: there is none.
        profile: What can be expected.
    """

    def __init__(self, rabbit: Rabbit, number: int, ledger: Callable[[], Any] | None, profile: Profile) -> None:
        self.profile = profile
        self._rabbit = rabbit
        self._number = number
        self._ledger = ledger
        self._proxies: dict[int, Proxy] = {}
        self._held: list[Any] = []

    def connect(self, url: str | None = None) -> Any:
        broker = self._rabbit.broker(url)
        return broker if self._ledger is None else Stored(broker, self._ledger())

    def place(self, queue: str) -> str:
        return f"{self._rabbit.name}-{self._number}-{queue}"

    def now(self) -> float:
        return time.time()

    async def advance(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    @asynccontextmanager
    async def worker(self, _: object, queues: Sequence[str], hearing: Hearing, **terms: Any) -> AsyncGenerator[Source]:
        """Be a process of its own, for all that RabbitMQ knows."""
        with Proxy(self._rabbit.url) as proxy:
            broker = self.connect(proxy.url)
            await broker.open()
            try:
                async with broker.consume(queues, hearing, **terms) as source:
                    self._proxies[id(source)] = proxy
                    self._held.append(source)
                    yield source
            finally:
                with anyio.CancelScope(shield=True):
                    await broker.close()

    async def poll(self, source: Source, count: int, *, sure: int) -> Sequence[Delivery]:
        """Take at most *count*; wait for so many of them that are sure to come, and a moment for the others."""
        taken: list[Delivery] = []
        while len(taken) < sure:
            taken += await source.take(sure - len(taken))
        with anyio.move_on_after(MOMENT):
            while len(taken) < count:
                taken += await source.take(count - len(taken))
        return taken

    async def crash(self, source: Any) -> None:
        # Not in the middle of moving a job elsewhere, after which it may come twice. (The connection is cut there as
        # well, but by other tests.)
        inner, proxy = getattr(source, "inner", source), self._proxies[id(source)]
        await inner._thread.call(lambda: cut_when_idle(inner.intake, proxy.refuse))
        # Until it knows, it would tell the store that it has released them: no process that is dead does that.
        while getattr(source, "_running", None):
            await anyio.sleep(0.01)


async def cut_when_idle(intake: Intake, cut: Callable[[], object]) -> None:
    """Cut the connections when all that was sent to RabbitMQ has arrived."""
    await all_has_arrived(intake)
    while intake._work:
        await asyncio.wait(intake._work)
        await all_has_arrived(intake)
    cut()


async def all_has_arrived(intake: Intake) -> None:
    """Ask RabbitMQ something, which answers in order."""
    if intake._channel is not None:
        with contextlib.suppress(JobsError):
            await intake._channel.size(intake._queues[0])


class Shared:
    """A store in memory that outlives those who open and close it."""

    def __init__(self) -> None:
        self._broker = MemoryBroker()

    def __call__(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def rabbit_carrier(rabbit: Rabbit, kind: str, number: int, directory: Path) -> RabbitCarrier:
    """Return RabbitMQ "alone", with one worker "in order", or with a store in "memory" or in "sqlite"."""
    if kind == "alone":
        return RabbitCarrier(rabbit, number, None, ALONE)
    if kind == "in order":
        return RabbitCarrier(rabbit, number, None, replace(ALONE, keeps_order=True, crew=(("a", "b"),)))
    stored = replace(ALONE, has_records=True, is_durable=kind == "sqlite")
    if kind == "memory":
        return RabbitCarrier(rabbit, number, Shared(), stored)
    return RabbitCarrier(
        rabbit, number, lambda: SqliteBroker(str(directory / "records.db"), synchronous="normal"), stored
    )
