"""AMQP as the other files want it: the one that knows the client library, and turns its errors into ours."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import ssl
import uuid
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

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
    )
    from pamqp.decode import field_table as decoded_table
    from pamqp.encode import field_table as encoded_table
    from yarl import URL
except ImportError as error:
    raise ImportError(f"amqp:// needs more than jockey itself: pip install 'jockey[rabbitmq]' ({error})") from error

from jockey.jobs._errors import BrokerUnavailableError, JobsError, QueueNotDeclaredError, UnsupportedError
from jockey.jobs.brokers._urls import shown
from jockey.jobs.brokers.rabbitmq_confirms import Batch, Confirms
from jockey.jobs.brokers.rabbitmq_frames import (
    AROUND,
    EMPTY_TABLE,
    ChannelFrames,
    Confirmation,
    Content,
    Nothing,
    acknowledged,
    asked_for,
    published,
    written_properties,
)
from jockey.jobs.brokers.rabbitmq_stream import Outlet, Sieve
from jockey.jobs.brokers.rabbitmq_topology import queue_at

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence

    from aiormq.abc import AbstractConnection
    from aiormq.channel import Channel as Underlay

PORTS: Final = {"amqp": 5672, "amqps": 5671}
"""Where RabbitMQ is if the URL does not say, by scheme."""

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


class Arrival(NamedTuple):
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


class Line(aiormq.TransportFactory):
    """
    Makes the socket of a connection, of which the library gets what is not ours.

    Attributes:
        sieve: What comes.
        outlet: What goes.
    """

    sieve: Sieve
    outlet: Outlet

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        contexts = kwargs.pop("ssl_context_provider")
        kwargs["ssl"] = await contexts.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        self.sieve = Sieve()
        protocol = asyncio.StreamReaderProtocol(self.sieve)
        transport, _ = await loop.create_connection(lambda: protocol, url.host or "", url.port or 0, **kwargs)
        self.outlet = Outlet(transport)
        return self.sieve, asyncio.StreamWriter(transport, protocol, self.sieve, loop)


class Connection:
    """A connection to RabbitMQ, until it is closed by somebody."""

    def __init__(self, connection: AbstractConnection, line: Line) -> None:
        self._connection = connection
        self._line = line

    async def channel(self, *, confirms: bool = False) -> Channel:
        with translated():
            channel = cast("Underlay", await self._connection.channel(publisher_confirms=False))
            if confirms:
                await channel.confirm_delivery()
            return Channel(channel, self._line)

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
        self._line.outlet.flush()
        await _within(CLOSE_TIMEOUT, self._connection.close)


def address_of(url: str) -> URL:
    """
    Read the URL of RabbitMQ.

    Raises:
        UnsupportedError: It cannot be read, or names no host.
    """
    with contextlib.suppress(ValueError):  # not as the cause: its words may have the password in them
        if (address := URL(url)).host:
            return address
    raise UnsupportedError(
        "the URL must be like 'amqp://user:password@host:5672/vhost', with a host and a port of at most 65535, "
        f"got {shown(url)}; in a user and a password write %2F, %23, %3F and %40 instead of '/', '#', '?' and '@'"
    )


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
    address = address_of(url)
    address = address.update_query({"heartbeat": str(heartbeat), "name": name, **address.query})
    line = Line()
    where = f" at {address.host}:{address.port or PORTS[address.scheme]}"
    with translated(where=where):
        async with asyncio.timeout(CONNECT_TIMEOUT):
            return Connection(await _connect(address, line), line)


async def _connect(address: URL, line: Line) -> AbstractConnection:
    try:
        return await aiormq.connect(address, transport_factory=line)
    except InvalidFrameError as error:
        if "OpenOk" not in str(error):
            raise
        # What RabbitMQ answers to that step is not read.
        raise AMQPError(
            f"it does not open the virtual host of {address.path!r}: see that it exists, and that the user may use it"
        ) from error


class Channel:
    """One conversation within a connection; many errors end it."""

    def __init__(self, channel: Underlay, line: Line) -> None:
        self._channel = channel
        self._outlet = line.outlet
        self._longest = channel.connection.connection_tune.frame_max - AROUND
        self._confirms = Confirms()
        self._consumers: dict[bytes, Callable[[list[Arrival]], object]] = {}
        self._numbers = itertools.count(1)
        self._held = set[int]()  # the tags of what was delivered, and not settled
        self._asked = deque[tuple[str, asyncio.Future[Arrival | None]]]()
        # It stays there until another channel gets the number.
        self._frames = line.sieve.channels[channel.number] = ChannelFrames(self._on_come)
        _closing(channel).add_done_callback(self._end)

    @property
    def is_closed(self) -> bool:
        return self._frames.is_closing or self._channel.is_closed or self._outlet.is_closing

    async def ended(self) -> None:
        """Wait until the channel is closed for whatever reason, or RabbitMQ ends a consumer: its queue was deleted."""
        lost = asyncio.Event()
        self._channel.on_consumer_cancel_callbacks.add(lambda _frame: lost.set())
        # Not by closing the channel when a consumer is lost: that may take its time, or not come to an end.
        waiting = asyncio.ensure_future(lost.wait())
        await asyncio.wait([_closing(self._channel), waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def close(self) -> None:
        self._outlet.flush()
        await _within(CLOSE_TIMEOUT, self._channel.close)

    def give_up(self) -> None:
        """Tell those who wait for what they have published that they will never know."""
        self._confirms.end(BrokerUnavailableError("the broker was closed meanwhile"))

    def publish(self, parcels: Sequence[tuple[Parcel, str]], on_end: Callable[[Exception | None], object]) -> None:
        """
        Send messages, each to an exchange; call *on_end* when they are safe.

        The channel must have been opened with *confirms*. What *on_end* gets is `QueueNotDeclaredError` if there is no
        such queue, and `BrokerUnavailableError` if nobody knows whether it has arrived.

        Raises:
            BrokerUnavailableError: The channel is closed; nothing was sent.
            UnsupportedError: AMQP cannot carry it; nothing was sent.
        """
        self._check()
        ids = [parcel.id or uuid.uuid4().hex for parcel, _ in parcels]
        frames = [self._encoded(parcel, exchange, id_) for (parcel, exchange), id_ in zip(parcels, ids, strict=True)]
        batch = Batch(len(parcels), on_end)
        for (parcel, _), id_ in zip(parcels, ids, strict=True):
            self._confirms.expect(id_, parcel.place, batch)
        self._outlet.write(frames)

    def _encoded(self, parcel: Parcel, exchange: str, id_: str) -> bytes:
        table = encoded_table(parcel.headers) if parcel.headers else EMPTY_TABLE
        place, number = parcel.place, self._channel.number
        properties = written_properties(table, id_, parcel.name)
        return published(number, exchange, place, properties, parcel.body, longest=self._longest)

    def ack(self, tags: Sequence[int]) -> None:
        """
        Settle what has arrived; it is on its way when this returns.

        Raises:
            BrokerUnavailableError: The channel is closed.
        """
        self._check()
        self._held.difference_update(tags)
        oldest = min(self._held, default=math.inf)
        done = [tag for tag in tags if tag < oldest]
        number = self._channel.number
        frames = [acknowledged(number, max(done), multiple=True)] if done else []
        frames += [acknowledged(number, tag) for tag in tags if tag >= oldest]
        self._outlet.send(frames)

    def _check(self) -> None:
        if self.is_closed:
            raise BrokerUnavailableError("the connection to RabbitMQ was closed")

    def _on_come(self, come: Sequence[Content | Confirmation | Nothing]) -> None:
        """Hand out what has come; exceptions in here end the connection."""
        arrived: dict[bytes, list[Arrival]] = {}
        for each in come:
            if isinstance(each, Confirmation):
                error = None if each.is_done else BrokerUnavailableError("RabbitMQ has not taken the message")
                self._confirms.settle(each.tag, multiple=each.multiple, error=error)
            elif isinstance(each, Nothing):
                self._answer(None)
            elif each.is_returned:
                place = each.place()
                self._confirms.give_up(each.id or "", place, not_declared(queue_at(place)))
            elif each.is_asked_for:
                self._answer(self._arrived(each.got(), each))
            else:
                consumer, tag = each.delivered()
                arrived.setdefault(consumer, []).append(self._arrived(tag, each))
        for consumer, arrivals in arrived.items():
            self._consumers.get(consumer, _ignore)(arrivals)

    def _arrived(self, tag: int, content: Content) -> Arrival:
        self._held.add(tag)
        headers = _headers_in(content.table) if content.table not in {b"", EMPTY_TABLE} else {}
        return Arrival(tag, content.body, headers, content.id, content.name)

    async def get(self, queue: str) -> Arrival | None:
        """
        Return what comes next in *queue*, if there is anything; who asks several times at once is answered in order.

        Raises:
            QueueNotDeclaredError: There is no such queue; this channel is closed.
        """
        self._check()
        answer: asyncio.Future[Arrival | None] = asyncio.get_running_loop().create_future()
        self._asked.append((queue, answer))
        self._outlet.write([asked_for(self._channel.number, queue)])
        return await answer

    def _answer(self, arrival: Arrival | None) -> None:
        _, answer = self._asked.popleft()
        if not answer.done():  # else nobody waits any more
            answer.set_result(arrival)

    def _end(self, ended: asyncio.Future[Any]) -> None:  # whatever its result
        self._confirms.end(_reason(ended))
        for queue, answer in self._asked:
            if not answer.done():
                answer.set_exception(_reason(ended, queue))

    async def give_back(self, queue: str) -> None:
        """Put back all that was got from *queue* and not acknowledged; the next one who looks will find it."""
        with translated(queue):
            self._held.clear()
            self._outlet.flush()
            await self._channel.basic_nack(0, multiple=True, requeue=True)
            # Else one who asks over another channel may be faster; and closing the channel does it later still.
            await self._channel.queue_declare(queue, passive=True)

    async def consume(self, queue: str, prefetch: int, on_arrivals: Callable[[list[Arrival]], object]) -> str:
        """Have *on_arrivals* called for what is in *queue*, with at most *prefetch* unsettled; return the consumer."""
        consumer = f"jockey.{next(self._numbers)}"
        self._consumers[consumer.encode()] = on_arrivals
        with translated():
            await self._channel.basic_qos(prefetch_count=prefetch)
            await self._channel.basic_consume(queue, _never, consumer_tag=consumer)
        return consumer

    async def cancel(self, consumer: str) -> None:
        """Have nothing more come to *consumer*; all that was on its way has come when this returns."""
        with translated():
            await self._channel.basic_cancel(consumer)
        del self._consumers[consumer.encode()]

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


def _closing(channel: Underlay) -> asyncio.Future[Any]:
    """Return what ends with the channel, with whatever result."""
    return channel.closing  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _headers_in(table: bytes) -> dict[str, Any]:  # AMQP's tables hold nearly anything
    """Return the headers as far as the library can read them and write them again: other programs send anything."""
    try:
        headers = decoded_table(table)[1]
    except Exception:  # a time in milliseconds, which the library takes for seconds; a name that is no text
        return {}
    return {name: value for name, value in headers.items() if _can_be_written(name, value)}


def _can_be_written(name: str, value: object) -> bool:
    try:
        encoded_table({name: cast("Any", value)})
    except Exception:  # a text that is none, for instance, is read as bytes
        return False
    return True


async def _never(message: object) -> None:
    """Take what the library takes for a delivery: nothing, for they are ours."""
    raise AssertionError(message)  # pragma: no cover


def _ignore(arrivals: list[Arrival]) -> None:
    """Leave alone what comes for a consumer that is no more; it comes again when the channel is closed."""


@contextmanager
def translated(queue: str | None = None, where: str = "") -> Generator[None]:
    """Turn the errors of the client library into ours, which tell of what queue, and where RabbitMQ was looked for."""
    try:
        yield
    except (AMQPError, ChannelInvalidStateError, OSError, RuntimeError) as error:
        raise _ours(error, queue, where) from error
    except asyncio.CancelledError as error:
        # The library cancels what it owns when a connection ends; that is no wish of ours to stop.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailableError("the connection to RabbitMQ was closed", is_away=True) from error


def _is_away(error: BaseException) -> bool:
    """Tell whether nobody answers, or not any more; otherwise what answers refuses something."""
    for cause in (error, error.__cause__):
        if isinstance(cause, ssl.SSLError):
            # No TLS is spoken there, or with another certificate; unless the end came while it was being agreed on.
            return isinstance(cause, ssl.SSLEOFError)
    return isinstance(error, OSError | RuntimeError) and not isinstance(error, REFUSALS)


def _ours(error: BaseException, queue: str | None = None, where: str = "") -> JobsError:
    if isinstance(error, ChannelNotFoundEntity):
        if queue is not None:
            return not_declared(queue_at(queue))
        return BrokerUnavailableError(f"RabbitMQ misses something: {error}")
    reason = str(error) or repr(type(error))
    return BrokerUnavailableError(f"RabbitMQ cannot be reached{where}, or refuses: {reason}", is_away=_is_away(error))


def _reason(ended: asyncio.Future[Any], queue: str | None = None) -> JobsError:  # as above
    """Return why a channel has ended, for those who wait for it, or for what they have asked of *queue*."""
    error = None if ended.cancelled() else ended.exception()
    if error is None or isinstance(error, asyncio.CancelledError):
        return BrokerUnavailableError("the connection to RabbitMQ was closed", is_away=True)
    ours = _ours(error, queue)
    ours.__cause__ = error
    return ours


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
