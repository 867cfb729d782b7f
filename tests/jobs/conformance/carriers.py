"""What the conformance suite needs of each kind of broker beside its methods: a clock, crashes and restarts."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jockey.jobs._broker import Broker, Delivery, Hearing, Ledger, Settlement, Source
from jockey.jobs._codec import decode
from jockey.jobs._message import Message
from jockey.jobs.brokers.memory import MemoryBroker
from jockey.jobs.brokers.sqlite import SqliteBroker

LEASE = 30.0
MAX_CRASHES = 2
_numbers = itertools.count(1)


class BrokerAndStore(Broker, Ledger, Protocol):
    """What the embedded brokers are."""


@dataclass(frozen=True)
class Profile:
    """
    What a kind of broker is by nature, besides its `Features`; the model expects what this says.

    Attributes:
        is_durable: The jobs survive a restart.
        has_records: It can be asked what became of a job.
        has_clock: Its clock is turned by hand, and its sources say at once what there is. So what comes is known to the
            job, with its place and its crashes. Otherwise time passes: what is due comes sooner or later, nothing else
            comes at all, and a crash may be counted to jobs that the worker had not begun.
        keeps_order: Of one queue and one priority, what was not moved by delays, releases and crashes comes in order.
            With a clock all comes in order.
        pace: How long one second of a history is.
        crew: The queues of each worker.
        max_crashes: So many kill a job; more where some may be counted to a job that it had no part in.
    """

    is_durable: bool = False
    has_records: bool = True
    has_clock: bool = True
    keeps_order: bool = True
    pace: float = 1.0
    crew: tuple[tuple[str, ...], ...] = (("a", "b"), ("a",))
    max_crashes: int = MAX_CRASHES


class Carrier(Protocol):
    """One kind of broker, with storage of its own."""

    profile: Profile

    def connect(self) -> BrokerAndStore:
        """Return a broker, to be opened, on the same storage each time."""
        ...

    def now(self) -> float:
        """Return the time of the broker's clock."""
        ...

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        ...

    async def poll(self, source: Source, count: int) -> Sequence[Delivery]:
        """Take what is there now, without waiting for more."""
        ...

    def place(self, queue: str) -> str:
        """Return the name that a queue has there."""
        ...

    def worker(
        self, broker: BrokerAndStore, queues: Sequence[str], hearing: Hearing, **terms: Any
    ) -> AbstractAsyncContextManager[Source]:
        """Be a worker with a source of its own."""
        ...

    async def crash(self, source: Source) -> None:
        """Let the worker die that takes from *source*, in the middle of everything."""
        ...


class Embedded:
    """A broker whose clock is turned by hand, and whose sources can say at once that there is nothing."""

    profile = Profile()

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.time = 1_000_000.0

    def place(self, queue: str) -> str:
        return queue

    def worker(
        self, broker: BrokerAndStore, queues: Sequence[str], hearing: Hearing, **terms: Any
    ) -> AbstractAsyncContextManager[Source]:
        return broker.consume(queues, hearing, **terms)

    def now(self) -> float:
        return self.time

    async def advance(self, seconds: float) -> None:
        self.time += seconds


class MemoryCarrier(Embedded):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.broker = MemoryBroker(clock=self.now)

    def connect(self) -> BrokerAndStore:
        return self.broker

    async def poll(self, source: Any, count: int) -> Sequence[Delivery]:
        return source.poll(count)

    async def crash(self, source: Any) -> None:
        source.vanish()


class SqliteCarrier(Embedded):
    profile = Profile(is_durable=True)

    def connect(self) -> BrokerAndStore:
        return SqliteBroker(str(self.directory / "jobs.db"), synchronous="normal", clock=self.now)

    async def poll(self, source: Any, count: int) -> Sequence[Delivery]:
        return await source.poll(count)

    async def crash(self, source: Any) -> None:
        await source.vanish()


CARRIERS: dict[str, Callable[[Path], Carrier]] = {"memory": MemoryCarrier, "sqlite": SqliteCarrier}


def new(name: str = "task", **fields: Any) -> Message:
    """Return a message with an id of its own."""
    return Message(**{"id": f"job-{next(_numbers)}", "name": name} | fields)


def read(delivery: Delivery) -> Message:
    """Return what was delivered."""
    return decode(delivery.body, queue=delivery.queue)


async def settle(source: Source, delivery: Delivery, settlement: Settlement) -> bool:
    """Settle one delivery; return whether it was still held, or raise the error of it."""
    [answer] = await source.settle_many([(delivery, settlement)])
    if isinstance(answer, Exception):
        raise answer
    return answer


class Heard:
    """What a worker was told."""

    def __init__(self) -> None:
        self.cancelled: list[tuple[str, str]] = []
        self.lost: list[str] = []
        self.hearing = Hearing(
            on_cancel=lambda delivery, reason: self.cancelled.append((read(delivery).id, reason)),
            on_lost=lambda delivery: self.lost.append(read(delivery).id),
        )


class Bench:
    """One open broker of a carrier, with shorthands."""

    def __init__(self, carrier: Carrier, broker: BrokerAndStore) -> None:
        self.carrier = carrier
        self.broker = broker
        self.heard = Heard()

    @asynccontextmanager
    async def worker(self, *queues: str, hearing: Hearing | None = None, **terms: Any) -> AsyncIterator[Worker]:
        """Be a worker on *queues*, or on the one that all messages go to."""
        terms = {"worker": "w1", "lease": LEASE, "max_crashes": 3} | terms
        async with self.broker.consume(queues or ("default",), hearing or self.heard.hearing, **terms) as source:
            yield Worker(self.carrier, source)

    async def publish(self, *messages: Message) -> Sequence[Any]:
        return await self.broker.publish(messages)


class Worker:
    """A source with shorthands."""

    def __init__(self, carrier: Carrier, source: Source) -> None:
        self.carrier = carrier
        self.source = source
        self.take = source.take

    async def settle(self, delivery: Delivery, settlement: Settlement) -> bool:
        return await settle(self.source, delivery, settlement)

    async def poll(self, count: int = 100) -> Sequence[Delivery]:
        return await self.carrier.poll(self.source, count)

    async def names(self, count: int = 100) -> list[str]:
        """Take all there is, and return the names of the tasks."""
        return [read(delivery).name for delivery in await self.poll(count)]

    async def one(self) -> Delivery:
        """Take the one delivery that there must be."""
        [delivery] = await self.poll(1)
        return delivery

    async def crash(self) -> None:
        await self.carrier.crash(self.source)
