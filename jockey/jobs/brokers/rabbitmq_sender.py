"""The end that publishes: a connection that comes when it is needed, and confirmations for all that goes out."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from jockey.jobs._errors import JobsError, QueueNotDeclaredError
from jockey.jobs.brokers.rabbitmq_topology import (
    DEAD,
    bucket_arguments,
    bucket_for,
    dead_arguments,
    waiting_in,
    work_arguments,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

    from jockey.jobs.brokers.rabbitmq_client import Channel, Connection, Parcel

AT_ONCE: Final = 1_000
"""How many messages may be on their way without a confirmation."""

BUCKET: Final = "jockey-delay"


class Sender:
    """
    Publishes, and looks after queues. Lives in the thread.

    It has a connection of its own: RabbitMQ stops to read from those that publish when it is short of memory, and then
    it could not hear what is acknowledged either.

    Args:
        connect: Makes a connection.
        delays: The name of the exchange before the buckets in which messages wait for their time.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], *, delays: str, clock: Callable[[], float]
    ) -> None:
        self._connect = connect
        self._delays = delays
        self._clock = clock
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._buckets = set[int]()
        self._declared = set[str]()
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        await self._confirming()

    async def close(self) -> None:
        await cast("Connection", self._connection).close()
        cast("Channel", self._channel).give_up()

    def is_ready_for(self, parcels: Sequence[Parcel]) -> bool:
        """Tell whether `post` can send them: all at once, at once, and over a connection that is there."""
        is_open = self._channel is not None and not self._channel.is_closed
        return is_open and 0 < len(parcels) <= AT_ONCE and not any(parcel.not_before for parcel in parcels)

    def post(self, parcels: Sequence[Parcel], on_end: Callable[[Exception | None], object]) -> None:
        """
        Publish all of *parcels*, if it `is_ready_for` them; call *on_end* when they are safe, or with the error.

        The errors are those of `send`.
        """
        self._publish([(parcel, "") for parcel in parcels], on_end)

    async def send(self, parcels: Sequence[Parcel]) -> None:
        """
        Publish all of *parcels*, in their order; they are safe when this returns.

        Raises:
            QueueNotDeclaredError: There is no such queue.
            BrokerUnavailableError: They may be published, or not.
            UnsupportedError: RabbitMQ cannot carry one of them.
        """
        await self._confirming()
        for start in range(0, len(parcels), AT_ONCE):
            some = [await self._way_of(parcel) for parcel in parcels[start : start + AT_ONCE]]
            ended = asyncio.get_running_loop().create_future()
            self._publish(some, partial(_settle, ended))
            await ended

    def _publish(self, parcels: Sequence[tuple[Parcel, str]], on_end: Callable[[Exception | None], object]) -> None:
        def end(error: Exception | None) -> None:
            if isinstance(error, QueueNotDeclaredError):
                self._declared.clear()  # somebody has deleted what was declared
            on_end(error)

        try:
            cast("Channel", self._channel).publish(parcels, end)
        except JobsError as error:
            on_end(error)

    async def check(self, queues: Iterable[str]) -> None:
        """
        Do nothing if all these queues are there.

        Raises:
            QueueNotDeclaredError: One is missing.
        """
        async with self.control() as channel:
            for queue in queues:
                await channel.size(queue)

    async def declare(self, queue: str) -> None:
        """See to it that *queue* is there, with all that belongs to it."""
        async with self.control() as channel:
            for place in waiting_in(queue):
                await channel.declare(place, work_arguments(queue))
            await channel.declare(queue + DEAD, dead_arguments())
        self._declared.add(queue)

    async def ensure(self, queues: Iterable[str]) -> None:
        """Declare those of *queues* that were not declared over this connection."""
        for queue in queues:
            if queue not in self._declared:
                await self.declare(queue)

    @asynccontextmanager
    async def control(self) -> AsyncGenerator[Channel]:
        """Open a channel to look after queues with; an error may close it."""
        await self._confirming()
        connection = cast("Connection", self._connection)
        async with connection.borrowed() as channel:
            yield channel

    async def _confirming(self) -> Channel:
        async with self._lock:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._open_channel()
            return self._channel

    async def _open_channel(self) -> Channel:
        self._buckets.clear()
        self._declared.clear()
        if self._connection is None or self._connection.is_closed:
            self._connection = await self._connect()
        return await self._connection.channel(confirms=True)

    async def _way_of(self, parcel: Parcel) -> tuple[Parcel, str]:
        """Return what is to be published, and to which exchange."""
        bucket = bucket_for(parcel.not_before - self._clock()) if parcel.not_before else None
        if bucket is None:
            return parcel, ""
        if bucket not in self._buckets:
            await self._make_bucket(bucket)
        return replace(parcel, headers={**parcel.headers, BUCKET: bucket}), self._delays

    async def _make_bucket(self, bucket: int) -> None:
        name = f"{self._delays}.{bucket}"
        async with self.control() as channel:
            await channel.declare_headers_exchange(self._delays)
            await channel.declare(name, bucket_arguments(bucket))
            await channel.bind(name, self._delays, {BUCKET: bucket})
        self._buckets.add(bucket)


def _settle(ended: asyncio.Future[None], error: Exception | None) -> None:
    if ended.done():
        return  # nobody waits any more
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)
