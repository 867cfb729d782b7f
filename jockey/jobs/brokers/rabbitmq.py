"""
`amqp://`: jobs in RabbitMQ, from 3.10 to 4.x.

All that talks to RabbitMQ lives in a thread with an event loop of its own. So heartbeats go on while a handler blocks
the event loop of the worker, and trio can use it as well.

A queue of ours is six of RabbitMQ's, all quorum queues: one for each priority, one for what was released, one for what
was lost with a worker, and one for the dead letters. What comes later waits in buckets, see
`rabbitmq_topology.bucket_arguments`.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from jockey.jobs._broker import Features, Published, QueueInfo
from jockey.jobs._errors import BrokerUnavailableError, JobsError, QueueNotDeclaredError, UnsupportedError
from jockey.jobs.brokers._embedded import undeclared
from jockey.jobs.brokers.rabbitmq_client import Arrival, Connection, address_of, connect
from jockey.jobs.brokers.rabbitmq_intake import Ending, Intake
from jockey.jobs.brokers.rabbitmq_messages import (
    RabbitDelivery,
    dead_record_of,
    delivery_of,
    died_at,
    given_back,
    not_before_of,
    parcel_of,
    parcels_of,
    record_of,
    replayed,
)
from jockey.jobs.brokers.rabbitmq_removal import exhumation, removal
from jockey.jobs.brokers.rabbitmq_sender import Sender
from jockey.jobs.brokers.rabbitmq_shelf import Shelf
from jockey.jobs.brokers.rabbitmq_thread import LoopThread, Reply
from jockey.jobs.brokers.rabbitmq_topology import (
    DEAD,
    DELIVERY_LIMIT,
    check_characters,
    check_name,
    pushed_from,
    waiting_in,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence

    from jockey.jobs._broker import Delivery, Hearing, Record, Settlement, Source, WorkerInfo
    from jockey.jobs._carrier import Choose, Removed, Tell
    from jockey.jobs._message import Message
    from jockey.jobs.brokers.rabbitmq_client import Channel, Parcel

T = TypeVar("T")

HEARTBEAT: Final = 10
"""Seconds of silence after which one asks whether the other one is there; after three times that it is not."""


class RabbitBroker:
    """
    Carries jobs through RabbitMQ.

    Args:
        url: ``amqp://user:password@host:port/vhost``, or ``amqps://`` for TLS.
        delays: The name of an exchange, and the beginning of the names of the queues in which jobs wait for their time.
        clock: Seconds since the epoch.

    Raises:
        UnsupportedError: *url* cannot be read, or names no host.
    """

    features = Features(uniqueness=False, groups="worker", cancellation=False, is_store=False)

    def __init__(self, url: str, *, delays: str = "jockey.delays", clock: Callable[[], float] = time.time) -> None:
        address_of(url)  # what is wrong with it is told where it is written
        self._url = url
        self._delays = delays
        self._clock = clock
        self._queues: dict[str, None] = {}
        self._open: _Open | None = None

    async def open(self) -> None:
        thread = LoopThread("jockey-rabbitmq")
        try:
            self._open = await thread.call(lambda: self._begin(thread))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await thread.stop()
            raise

    async def close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            with anyio.CancelScope(shield=True):
                await opened.thread.call(opened.sender.close)
                await opened.thread.stop()

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        for message in messages:
            check_name(message.queue)
        parcels = [parcel_of(message) for message in messages]
        queues = dict.fromkeys(message.queue for message in messages)
        # A missing queue refuses all its messages alike. Beside others, and behind a delay, it must be looked for.
        to_check = queues if len(queues) > 1 or any(parcel.not_before for parcel in parcels) else ()
        await self._publish(parcels, to_check)
        self._queues |= queues
        return [Published(message.id) for message in messages]

    @asynccontextmanager
    async def consume(
        self, queues: Sequence[str], hearing: Hearing, *, worker: str, lease: float, max_crashes: int
    ) -> AsyncGenerator[Source]:
        if max_crashes > DELIVERY_LIMIT:
            raise UnsupportedError(f"max_crashes must be at most {DELIVERY_LIMIT} on RabbitMQ, got {max_crashes!r}")
        for queue in queues:
            check_characters(queue)
        opened = self._opened()
        # A worker is lost after three heartbeats that nobody answers.
        heartbeat = max(1, min(int(lease / 3), HEARTBEAT))
        source = RabbitSource(opened.thread, self._clock)
        source.intake = Intake(
            opened.thread,
            lambda: self._connect(worker, heartbeat),
            opened.sender,
            source.shelf,
            queues,
            on_arrival=source.ring,
            hearing=hearing,
            worker=worker,
            max_crashes=max_crashes,
            clock=self._clock,
        )
        try:
            await source.open()
            self._queues |= dict.fromkeys(queues)
            yield source
        finally:
            with anyio.CancelScope(shield=True):
                await source.close()

    async def declare(self, queue: str) -> None:
        check_name(queue)
        await self._call(lambda sender: sender.declare(queue))
        self._queues[queue] = None

    async def info(self, queue: str | None = None) -> Sequence[QueueInfo]:
        """
        Return what is ready and what is dead; RabbitMQ tells nobody how much of a queue runs or waits for its time.

        All queues are those that this broker has declared, consumed or published to.
        """
        if queue is not None:
            check_characters(queue)
            try:
                return [await self._control(lambda channel: _info(channel, queue))]
            except QueueNotDeclaredError:
                raise undeclared(queue, self._queues.keys() - {queue}) from None
        found: list[QueueInfo] = []
        for name in list(self._queues):
            try:
                found += await self.info(name)
            except QueueNotDeclaredError:  # deleted by somebody else
                self._queues.pop(name)
        return found

    async def workers(self) -> Sequence[WorkerInfo]:
        """Raise `UnsupportedError`: RabbitMQ tells how many workers take from a queue, and not which."""
        raise UnsupportedError(
            "RabbitMQ tells how many workers take from a queue, and not which; "
            "give the app a store, which knows those that run jobs: App(..., results='sqlite:///results.db')"
        )

    async def peek(self, queue: str, count: int) -> Sequence[Record]:
        """
        Return the first *count* waiting jobs.

        To look at them AMQP has to take them; they are given back to their old places, ahead of the queue. Jobs that
        were lost with a worker are left out: taking those is counted.
        """
        check_characters(queue)
        seen = await self._call(lambda sender: _peek(sender, queue, count))
        return [record_of(delivery.arrival, queue, delivery.crashes) for delivery in seen]

    async def purge(self, queue: str) -> int:
        """Remove all that is ready in the queue; what waits for its time stays."""
        check_characters(queue)

        async def purge(channel: Channel) -> int:
            return sum([await channel.purge(place) for place in waiting_in(queue)])

        return await self._control(purge)

    async def take_out(self, queue: str, tell: Tell) -> int:
        """Remove all that is ready in the queue, and tell what it was; see `Carrier.take_out`."""
        check_characters(queue)
        opened = self._opened()
        removing = removal(opened.sender, queue)

        async def take() -> list[Removed]:
            return await anext(removing, nothing)

        nothing: list[Removed] = []
        number = 0
        try:
            while removed := await opened.thread.complete(take):
                await tell(removed)
                number += len(removed)
        finally:
            await opened.thread.complete(removing.aclose)  # noqa: ASYNC102 - shielded in there
        return number

    async def delete(self, queue: str) -> None:
        """Remove the queue with its dead letters; what waits for its time stays, and comes if it is declared again."""
        check_characters(queue)

        async def delete(channel: Channel) -> None:
            for place in [*waiting_in(queue), queue + DEAD]:
                await channel.delete(place)

        await self._control(delete)
        self._queues.pop(queue, None)

    async def dead(self, queue: str | None = None, *, count: int = 100) -> Sequence[Record]:
        found: list[Record] = []
        for name in await self._names(queue):
            arrivals = await self._control(partial(_newest, place=name + DEAD, count=count))
            found += [dead_record_of(arrival, name) for arrival in arrivals]
        return sorted(found, key=lambda record: record.finished_at or 0.0, reverse=True)[:count]

    async def replay(self, ids: Sequence[str]) -> int:
        return await self.put_back(ids, _all)

    async def put_back(self, ids: Sequence[str], choose: Choose) -> int:
        """Replay those that are chosen; see `Carrier.put_back`."""
        return await self._take_dead(ids, choose, replayed)

    async def drop(self, ids: Sequence[str]) -> int:
        return await self._take_dead(ids, _all, None)

    async def _take_dead(
        self, ids: Sequence[str], choose: Choose, turn_into: Callable[[Arrival, str], Parcel] | None
    ) -> int:
        sender, wanted = self._opened().sender, set(ids)
        return sum(
            [
                await self._exhume(exhumation(sender, queue, wanted, turn_into), choose)
                for queue in await self._names(None)
            ]
        )

    async def _exhume(self, letters: AsyncGenerator[list[Record], Collection[str]], choose: Choose) -> int:
        thread = self._opened().thread

        async def find() -> list[Record]:
            return await anext(letters)

        try:
            chosen = await choose(await thread.complete(find))
            return len(await thread.complete(lambda: letters.asend(chosen)))
        finally:
            await thread.complete(letters.aclose)  # noqa: ASYNC102 - as above

    async def _names(self, queue: str | None) -> list[str]:
        return [info.name for info in await self.info(queue)]

    async def _begin(self, thread: LoopThread) -> _Open:
        sender = Sender(lambda: self._connect("jockey", HEARTBEAT), delays=self._delays, clock=self._clock)
        await sender.open()
        return _Open(thread, sender)

    async def _connect(self, name: str, heartbeat: int) -> Connection:
        return await connect(self._url, heartbeat=heartbeat, name=name)

    async def _call(self, function: Callable[[Sender], Coroutine[None, None, T]]) -> T:
        opened = self._opened()
        return await opened.thread.call(lambda: function(opened.sender))

    async def _publish(self, parcels: Sequence[Parcel], to_check: Collection[str]) -> None:
        opened = self._opened()
        reply = Reply[None](opened.thread.home)

        def begin() -> None:
            if not to_check and opened.sender.is_ready_for(parcels):
                opened.sender.post(parcels, reply.end)
            else:
                opened.thread.answer(lambda: _publish(opened.sender, parcels, to_check), reply)

        opened.thread.post(begin)
        await reply.event.wait()
        return reply.result()

    async def _control(self, function: Callable[[Channel], Coroutine[None, None, T]]) -> T:
        async def control(sender: Sender) -> T:
            async with sender.control() as channel:
                return await function(channel)

        return await self._call(control)

    def _opened(self) -> _Open:
        if self._open is None:
            raise BrokerUnavailableError("the broker is not open: await its open() first")
        return self._open


@dataclass(frozen=True, slots=True)
class _Open:
    """What an open broker has."""

    thread: LoopThread
    sender: Sender


class RabbitSource:
    """Where a worker takes from: its side of the thread."""

    intake: Intake

    def __init__(self, thread: LoopThread, clock: Callable[[], float]) -> None:
        self.shelf = Shelf()
        self._thread = thread
        self._clock = clock
        self._bell = anyio.Event()

    async def open(self) -> None:
        await self._thread.call(self.intake.open)

    async def close(self) -> None:
        await self._thread.call(self.intake.close)

    def ring(self) -> None:
        """Tell that there is something on the shelf."""
        self._bell.set()

    async def take(self, count: int) -> Sequence[Delivery]:
        """Wait until there is something to do; while RabbitMQ cannot be reached, that means to wait."""
        try:
            return await self._take(count)
        except BaseException:
            self.shelf.wanted = 0
            raise

    async def _take(self, count: int) -> Sequence[Delivery]:
        while True:
            if self._bell.is_set():
                self._bell = anyio.Event()
            bell = self._bell
            if self.shelf.may_fetch:
                await self._thread.call(lambda: self.intake.fetch(count))
            if taken := self.shelf.take(count):
                return taken
            self._thread.post(self.intake.want)
            await bell.wait()

    async def settle_many(self, ends: Sequence[tuple[Delivery, Settlement]]) -> Sequence[bool | Exception]:
        now = self._clock()
        answers = [_ending_of(delivery, settlement, now) for delivery, settlement in ends]
        if endings := [ending for ending in answers if isinstance(ending, Ending)]:
            reply = Reply[list[bool | Exception]](self._thread.home)
            self._thread.post(lambda: self.intake.settle(endings, reply))
            with anyio.CancelScope(shield=True):
                await reply.event.wait()
            done = iter(reply.result())
            return [next(done) if isinstance(answer, Ending) else answer for answer in answers]
        return [answer for answer in answers if isinstance(answer, Exception)]


def _ending_of(delivery: Delivery, settlement: Settlement, now: float) -> Ending | JobsError:
    """Return how it is settled, or why it cannot be settled so."""
    if not isinstance(delivery, RabbitDelivery):
        return UnsupportedError(f"{delivery!r} comes from another broker: settle it there")
    try:
        parcels = parcels_of(delivery, settlement, now)
    except JobsError as error:
        return error
    return Ending(delivery, parcels, {message.queue for message in getattr(settlement, "successors", ())})


async def _publish(sender: Sender, parcels: Sequence[Parcel], queues: Collection[str]) -> None:
    if queues:
        await sender.check(queues)
    await sender.send(parcels)


async def _info(channel: Channel, queue: str) -> QueueInfo:
    ready = sum([await channel.size(place) for place in waiting_in(queue)])
    workers = await channel.consumers(queue)
    return QueueInfo(queue, ready=ready, dead=await channel.size(queue + DEAD), workers=workers)


async def _peek(sender: Sender, queue: str, count: int) -> list[RabbitDelivery]:
    returned, *places = pushed_from(queue)
    async with sender.control() as channel:
        # All that was returned before: what is put back comes behind the rest of it.
        seen = await _get(channel, queue, returned, None)
        for priority, place in enumerate(places):
            missing = count - sum(delivery.priority <= priority for delivery in seen)
            seen += await _get(channel, queue, place, missing)
        seen.sort(key=lambda delivery: delivery.priority)
        await sender.send([given_back(delivery, not_before=not_before_of(delivery.arrival)) for delivery in seen])
        if seen:
            channel.ack([delivery.arrival.tag for delivery in seen])
    return seen[:count]


async def _get(channel: Channel, queue: str, place: str, count: int | None) -> list[RabbitDelivery]:
    """Take at most *count*, or all, of what is in *place*."""
    got: list[RabbitDelivery] = []
    while (count is None or len(got) < count) and (arrival := await channel.get(place)):
        got.append(delivery_of(arrival, queue, place, channel, 0))
    return got


async def _newest(channel: Channel, *, place: str, count: int) -> list[Arrival]:
    """Return the last ones, the newest first."""
    newest: list[tuple[float, int, Arrival]] = []
    while arrival := await channel.get(place):
        heappush(newest, (died_at(arrival), arrival.tag, arrival))
        if len(newest) > count:
            heappop(newest)
    await channel.give_back(place)
    return [arrival for _, _, arrival in sorted(newest, reverse=True)]


async def _all(letters: Sequence[Record]) -> Collection[str]:
    return {letter.id for letter in letters}
