"""What the tests with RabbitMQ need: queues of their own, a broker in a box, and a proxy that breaks connections."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import anyio

from jockey.jobs._broker import Delivery, Hearing, Settlement, Source
from jockey.jobs._codec import decode
from jockey.jobs._message import Message
from jockey.jobs.brokers.rabbitmq import RabbitBroker

_numbers = itertools.count(1)


def new(queue: str, name: str = "task", **fields: Any) -> Message:
    return Message(**{"id": f"job-{next(_numbers)}", "name": name, "queue": queue} | fields)


def read(delivery: Delivery) -> Message:
    return decode(delivery.body, delivery.queue)


class Rabbit:
    """RabbitMQ, with one queue for this test alone, which is gone afterwards."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = f"jockey-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.queue = self.name
        self.queues = [self.queue]
        self.buckets = set[int]()
        self.lost: list[str] = []
        self.has_lost = anyio.Event()

    def broker(self, url: str | None = None, **options: Any) -> RabbitBroker:
        return RabbitBroker(url or self.url, delays=f"{self.name}-delays", **options)

    @asynccontextmanager
    async def open(self, url: str | None = None, **options: Any) -> AsyncIterator[RabbitBroker]:
        broker = self.broker(url, **options)
        await broker.open()
        opened = broker._open
        try:
            yield broker
        finally:
            self.buckets |= opened.sender._buckets if opened else set()
            await broker.close()

    def consume(self, broker: RabbitBroker, *queues: str, **terms: Any) -> AbstractAsyncContextManager[Source]:
        terms = {"worker": "w1", "lease": 30.0, "max_crashes": 3} | terms
        hearing = terms.pop("hearing", Hearing(on_cancel=print, on_lost=self.note_lost))
        return broker.consume(queues or [self.queue], hearing, **terms)

    def note_lost(self, delivery: Delivery) -> None:
        self.lost.append(read(delivery).name)
        self.has_lost.set()

    async def clean(self) -> None:
        """Delete all that the test has made."""
        async with self.open() as broker:
            for queue in self.queues:
                await broker.delete(queue)

            async def delete(channel: Any) -> None:
                for bucket in self.buckets:
                    await channel.delete(f"{self.name}-delays.{bucket}")
                await channel._channel.exchange_delete(f"{self.name}-delays")

            if self.buckets:
                await broker._control(delete)


async def take(source: Source, count: int) -> list[Delivery]:
    """Take until that many have come."""
    taken: list[Delivery] = []
    while len(taken) < count:
        taken += await source.take(count - len(taken))
    return taken


async def settle(source: Source, delivery: Delivery, settlement: Settlement) -> bool:
    """Settle one; return whether it was held, or raise what is to be told of it."""
    [answer] = await source.settle_many([(delivery, settlement)])
    if isinstance(answer, Exception):
        raise answer
    return answer


async def names(source: Source, count: int) -> list[str]:
    return [read(delivery).name for delivery in await take(source, count)]


Rule = Callable[[str, bytes], bool]


class Proxy:
    """
    A TCP proxy in a thread of its own, which understands just enough of AMQP to break connections at a chosen step.

    Attributes:
        url: Where it is reached.
        breaks: Told of each frame before it is passed on ("->" to the server, "<-" from it, and the class and method,
            as two numbers of 16 bits); True breaks the connection right there.
        how: "cut" closes both sides, "stall" passes nothing on any more, "half" closes the side of the server, and
            swallows what the client sends without a word.
        steps: All steps that were seen.
        beats: How many heartbeats went to the server.
    """

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._loop = asyncio.new_event_loop()
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stalled: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self.breaks: Rule = lambda direction, method: False
        self.how = "cut"
        self.steps: list[tuple[str, bytes]] = []
        self.connections = 0
        self.beats = 0
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        credentials = self._target.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._target._replace(netloc=f"{credentials}@127.0.0.1:{self.port}"))
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Close all connections now."""
        self._do(self._cut())

    def refuse(self) -> None:
        """Be away: no new connections, and none of the old ones."""
        self._do(self._refuse())

    def accept(self) -> None:
        """Be back, at the same place."""
        self._server = self._do(asyncio.start_server(self._connected, "127.0.0.1", self.port))

    def stall(self) -> None:
        """Pass nothing on any more of what is connected now; new connections are well."""
        self._do(self._stall())

    def drop(self) -> None:
        """Close what was stalled."""
        self._do(self._drop())

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there = await asyncio.open_connection(self._target.hostname, self._target.port or 5672)
        except OSError:
            writer.close()
            return
        pair = (writer, there[1])
        self._pairs.append(pair)
        for direction, source, sink in (("->", reader, there[1]), ("<-", there[0], writer)):
            task = asyncio.ensure_future(self._pass_on(direction, source, sink, pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, direction: str, source: Any, sink: Any, pair: Any) -> None:
        try:
            async for method, data in frames(direction, source):
                self.beats += (direction, data[0]) == ("->", 8)
                if pair in self._pairs and method and self._shall_break(direction, method):
                    self._break(pair)
                if pair in self._pairs:
                    sink.write(data)
                    await sink.drain()
                elif self.how != "half":
                    await asyncio.Event().wait()
        except (OSError, asyncio.IncompleteReadError):
            if pair in self._pairs:
                close(pair)

    def _shall_break(self, direction: str, method: bytes) -> bool:
        self.steps.append((direction, method))
        return self.breaks(direction, method)

    def _break(self, pair: Any) -> None:
        self._pairs.remove(pair)
        if self.how == "cut":
            close(pair)
        else:
            self._stalled.append(pair)
        if self.how == "half":
            close(pair[1:])

    async def _cut(self) -> None:
        while self._pairs:
            close(self._pairs.pop())

    async def _stall(self) -> None:
        self._stalled += self._pairs
        self._pairs.clear()

    async def _drop(self) -> None:
        while self._stalled:
            close(self._stalled.pop())

    async def _refuse(self) -> None:
        self._server.close()
        await self._cut()

    async def _end(self) -> None:
        await self._refuse()
        await self._drop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # The transports that are closing get a turn.
        await asyncio.sleep(0.01)


async def frames(direction: str, source: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    """Read one after the other: class and method, if it has them, and all of it; first the header of a connection."""
    if direction == "->":
        header = await source.readexactly(8)
        yield header[:4], header
    while True:
        head = await source.readexactly(7)
        rest = await source.readexactly(int.from_bytes(head[3:7]) + 1)
        yield rest[:4] if head[0] == 1 else b"", head + rest


def close(pair: Iterable[asyncio.StreamWriter]) -> None:
    for writer in pair:
        writer.transport.abort()


class Nth:
    """A rule: break at the n-th time of one step."""

    def __init__(self, direction: str, method: tuple[int, int], number: int = 1) -> None:
        self.step = (direction, b"".join(part.to_bytes(2) for part in method))
        self.left = number

    def __call__(self, direction: str, method: bytes) -> bool:
        self.left -= (direction, method) == self.step
        return (direction, method) == self.step and self.left == 0
