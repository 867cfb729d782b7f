"""AMQP as the other files want it: the one that knows the client library, and turns its errors into ours."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

try:
    import aiormq
    from aiormq.exceptions import (
        AMQPError,
        AuthenticationError,
        ChannelInvalidStateError,
        ChannelNotFoundEntity,
        ConnectionNotAllowed,
        IncompatibleProtocolError,
        InvalidFrameError,
        ProbableAuthenticationError,
        PublishError,
    )
    from pamqp.commands import Basic
    from yarl import URL
except ImportError as error:
    raise ImportError(f"amqp:// needs more than jockey itself: pip install 'jockey[rabbitmq]' ({error})") from error

from jockey.jobs._errors import BrokerUnavailableError, QueueNotDeclaredError
from jockey.jobs.brokers.rabbitmq_topology import queue_at

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence

    from aiormq.abc import AbstractConnection, DeliveredMessage
    from aiormq.channel import Channel as Underlay

CONNECT_TIMEOUT: Final = 10.0
"""Seconds until a connection that is being opened counts as failed."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for saying goodbye; then the connection is dropped."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """
    What is to be published.

    Attributes:
        place: The queue of RabbitMQ in which it ends up.
        not_before: Seconds since the epoch; until then it waits elsewhere. 0 is at once.
        id: Of the job, if it has one.
        name: Of the task.
    """

    body: bytes
    place: str
    headers: dict[str, Any] = field(default_factory=dict[str, Any])  # AMQP's tables hold nearly anything
    not_before: float = 0.0
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """What was delivered; *tag* is its number in the channel."""

    tag: int
    body: bytes
    headers: Mapping[str, Any]  # as above
    id: str | None
    name: str | None


REFUSALS: Final = (
    AuthenticationError,
    ConnectionNotAllowed,
    IncompatibleProtocolError,
    ProbableAuthenticationError,
)
"""Errors of connections that somebody has answered; to wait does not help."""


class Connection:
    """A connection to RabbitMQ, until it is closed by somebody."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def channel(self, *, confirms: bool = False) -> Channel:
        with translated():
            return Channel(cast("Underlay", await self._connection.channel(publisher_confirms=confirms)))

    @asynccontextmanager
    async def borrowed(self) -> AsyncGenerator[Channel]:
        """Open a channel for the block: some errors close it, and it is the block's alone."""
        channel = await self.channel()
        try:
            yield channel
        finally:
            await channel.close()  # noqa: ASYNC102 - in our own thread, where no user cancels

    @property
    def is_closed(self) -> bool:
        return self._connection.is_closed

    async def close(self) -> None:
        await _within(CLOSE_TIMEOUT, self._connection.close)


async def connect(url: str, *, heartbeat: int, name: str) -> Connection:
    """
    Connect to RabbitMQ.

    Args:
        url: Of it; what it says of the heartbeat goes before *heartbeat*.
        heartbeat: Seconds after which either side asks whether the other one is still there.
        name: Tells those who look at the server's list whose connection it is.

    Raises:
        BrokerUnavailableError: There is no connection.
    """
    address = URL(url)
    address = address.update_query({"heartbeat": str(heartbeat), "name": name, **address.query})
    with translated():
        async with asyncio.timeout(CONNECT_TIMEOUT):
            return Connection(await _connect(address))


async def _connect(address: URL) -> AbstractConnection:
    try:
        return await aiormq.connect(address)
    except InvalidFrameError as error:
        if "OpenOk" not in str(error):
            raise
        # What RabbitMQ answers to that step is not read.
        raise AMQPError(
            f"it does not open the virtual host of {address.path!r}: see that it exists, and that the user may use it"
        ) from error


class Channel:
    """One conversation within a connection; many errors end it."""

    def __init__(self, channel: Underlay) -> None:
        self._channel = channel

    @property
    def is_closed(self) -> bool:
        return self._channel.is_closed

    async def ended(self) -> None:
        """Wait until the channel is closed for whatever reason, or RabbitMQ ends a consumer: its queue was deleted."""
        lost = asyncio.Event()
        self._channel.on_consumer_cancel_callbacks.add(lambda _frame: lost.set())
        # Not by closing the channel when a consumer is lost: that may take its time, or not come to an end.
        waiting = asyncio.ensure_future(lost.wait())
        ends: list[Any] = [self._channel.closing, waiting]  # pyright: ignore[reportUnknownMemberType] - of any result
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def close(self) -> None:
        await _within(CLOSE_TIMEOUT, self._channel.close)

    async def publish(self, parcel: Parcel, *, exchange: str = "") -> None:
        """
        Send a message; it is safe when this returns, if the channel was opened with *confirms*.

        Raises:
            QueueNotDeclaredError: There is no such queue.
            BrokerUnavailableError: Nobody knows whether it has arrived.
        """
        properties = Basic.Properties(
            content_type="application/json",
            delivery_mode=2,
            headers=parcel.headers,
            message_id=parcel.id,
            message_type=parcel.name,
        )
        with translated():
            # Without waiting for the socket: the confirmation comes later anyway.
            await self._channel.basic_publish(
                parcel.body,
                exchange=exchange,
                routing_key=parcel.place,
                properties=properties,
                mandatory=True,
                wait=False,
            )

    async def ack(self, tags: Sequence[int]) -> None:
        """Settle what has arrived; it is on its way when this returns."""
        with translated():
            for tag in tags[:-1]:
                await self._channel.basic_ack(tag, wait=False)
            await self._channel.basic_ack(tags[-1])

    async def get(self, queue: str) -> Arrival | None:
        """Return what comes next in *queue*, if there is anything."""
        with translated(queue):
            message = await self._channel.basic_get(queue)
        return _arrival(message) if isinstance(message.delivery, Basic.GetOk) else None

    async def give_back(self, queue: str) -> None:
        """Put back all that was got from *queue* and not acknowledged; the next one who looks will find it."""
        with translated(queue):
            await self._channel.basic_nack(0, multiple=True, requeue=True)
            # Else one who asks over another channel may be faster; and closing the channel does it later still.
            await self._channel.queue_declare(queue, passive=True)

    async def consume(self, queue: str, prefetch: int, on_arrival: Callable[[Arrival], object]) -> str:
        """Have *on_arrival* called for what is in *queue*, with at most *prefetch* unsettled; return the consumer."""

        async def consumer(message: DeliveredMessage) -> None:
            on_arrival(_arrival(message))

        with translated():
            await self._channel.basic_qos(prefetch_count=prefetch)
            begun = await self._channel.basic_consume(queue, consumer)
        return begun.consumer_tag or ""

    async def cancel(self, consumer: str) -> None:
        with translated():
            await self._channel.basic_cancel(consumer)

    async def declare(self, queue: str, arguments: dict[str, Any]) -> None:
        with translated():
            await self._channel.queue_declare(queue, durable=True, arguments=arguments)

    async def declare_headers_exchange(self, exchange: str) -> None:
        with translated():
            await self._channel.exchange_declare(exchange, exchange_type="headers", durable=True)

    async def bind(self, queue: str, exchange: str, headers: dict[str, Any]) -> None:
        with translated():
            await self._channel.queue_bind(queue, exchange, arguments={"x-match": "all", **headers})

    async def size(self, queue: str) -> int:
        """
        Return how many messages are ready in *queue*.

        Raises:
            QueueNotDeclaredError: There is none; this channel is closed.
        """
        with translated(queue):
            return (await self._channel.queue_declare(queue, passive=True)).message_count or 0

    async def consumers(self, queue: str) -> int:
        """
        Return how many consume from *queue*.

        Raises:
            QueueNotDeclaredError: As `size`.
        """
        with translated(queue):
            return (await self._channel.queue_declare(queue, passive=True)).consumer_count or 0

    async def purge(self, queue: str) -> int:
        with translated(queue):
            return (await self._channel.queue_purge(queue)).message_count or 0

    async def delete(self, queue: str) -> None:
        with translated():
            await self._channel.queue_delete(queue)


def _arrival(message: DeliveredMessage) -> Arrival:
    properties = message.header.properties
    tag = message.delivery_tag or 0
    return Arrival(tag, message.body, properties.headers or {}, properties.message_id, properties.message_type)


@contextmanager
def translated(queue: str | None = None) -> Generator[None]:
    """Turn the errors of the client library into ours."""
    try:
        yield
    except PublishError as error:
        place = error.frame.routing_key if isinstance(error.frame, Basic.Return) else ""
        raise not_declared(queue_at(place or "")) from error
    except ChannelNotFoundEntity as error:
        if queue is None:
            raise BrokerUnavailableError(f"RabbitMQ misses something: {error}") from error
        raise not_declared(queue_at(queue)) from error
    except (AMQPError, ChannelInvalidStateError, OSError, RuntimeError) as error:
        reason = str(error) or repr(type(error))
        message = f"RabbitMQ cannot be reached, or refuses: {reason}"
        raise BrokerUnavailableError(message, is_away=_is_away(error)) from error
    except asyncio.CancelledError as error:
        # The library cancels what it owns when a connection ends; that is no wish of ours to stop.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailableError("the connection to RabbitMQ was closed", is_away=True) from error


def _is_away(error: Exception) -> bool:
    """Tell whether nobody answers, or not any more; otherwise what answers refuses something."""
    if isinstance(error.__cause__, ssl.SSLError):
        # No TLS is spoken there, or with another certificate; unless the end came while it was being agreed on.
        return isinstance(error.__cause__, ssl.SSLEOFError)
    return isinstance(error, OSError | RuntimeError) and not isinstance(error, REFUSALS)


def not_declared(queue: str) -> QueueNotDeclaredError:
    """Return the error for a queue that is missing."""
    return QueueNotDeclaredError(
        f"there is no queue {queue!r} on RabbitMQ: declare it, or start a worker for it, before a job is enqueued"
    )


async def _within(seconds: float, close: Callable[[], Coroutine[Any, Any, None]]) -> None:  # whatever it waits for
    """Close something that may be broken already; how that ends does not matter."""
    task = asyncio.ensure_future(close())
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
    await asyncio.wait([task], timeout=seconds)
