"""The end that consumes: it stays connected, keeps what has arrived until it is settled, and tells what is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from jockey.jobs._errors import BrokerUnavailableError, JobsError
from jockey.jobs._message import Trouble
from jockey.jobs.brokers.rabbitmq_messages import (
    FETCHED,
    RabbitDelivery,
    copy_of,
    dead_letter,
    delivery_of,
    given_back,
    identified,
    not_before_of,
    parcel_of,
)
from jockey.jobs.brokers.rabbitmq_thread import tell
from jockey.jobs.brokers.rabbitmq_topology import LOST, RETURNED, pushed_from, waiting_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence

    from jockey.jobs._broker import Hearing
    from jockey.jobs.brokers.rabbitmq_client import Arrival, Channel, Connection, Parcel
    from jockey.jobs.brokers.rabbitmq_sender import Sender
    from jockey.jobs.brokers.rabbitmq_shelf import Shelf
    from jockey.jobs.brokers.rabbitmq_thread import LoopThread, Reply

    OnEnd: TypeAlias = Callable[[bool | Exception], object]

logger = logging.getLogger("jockey")

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
"""Seconds between two tries to connect, before chance makes them a little longer."""

MOMENT: Final = 0.01
"""Seconds that the worker gets to settle what it has just done, before its consumers are made anew to let more come."""

PATIENCE: Final = 1.0
"""Seconds for which a message may wait here for a worker that is busy; then others shall have it."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks for what other workers have lost."""

_LOST: Final = False
"""The answer for a delivery that is somebody else's."""

LAST_WORDS: Final = 5.0
"""Seconds for giving back what is left at the end; then the connection is closed, which gives it back too."""


class Intake:
    """
    One source, in the thread.

    Args:
        thread: That thread.
        connect: Makes a connection.
        sender: Publishes what follows from what was consumed.
        shelf: Where the worker takes from.
        queues: Those to consume from.
        on_arrival: Called in the event loop of the worker when there is something on the shelf.
        hearing: Told of what is lost, in the event loop of the worker.
        worker: Its name.
        max_crashes: Who was delivered and lost so often is dead.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        thread: LoopThread,
        connect: Callable[[], Awaitable[Connection]],
        sender: Sender,
        shelf: Shelf,
        queues: Sequence[str],
        *,
        on_arrival: Callable[[], object],
        hearing: Hearing,
        worker: str,
        max_crashes: int,
        clock: Callable[[], float],
    ) -> None:
        self._thread = thread
        self._connect = connect
        self._sender = sender
        self._shelf = shelf
        self._queues = queues
        self._on_arrival = on_arrival
        self._hearing = hearing
        self._worker = worker
        self._max_crashes = max_crashes
        self._clock = clock
        self._channel: Channel | None = None
        self._consumers: list[tuple[Channel, str]] = []
        self._unsettled: dict[int, RabbitDelivery] = {}
        self._work = set[asyncio.Task[None]]()
        self._is_growing = False
        self._takings = 0
        self._timer: asyncio.TimerHandle | None = None
        self._renewing = asyncio.Lock()
        self._life: asyncio.Task[None] | None = None
        self._is_closing = False

    async def open(self) -> None:
        """
        Connect, and stay connected from now on.

        Raises:
            BrokerUnavailableError: It cannot be reached.
            QueueNotDeclaredError: One of the queues is missing.
        """
        await self._sender.check(place for queue in self._queues for place in waiting_in(queue))
        connection = await self._connect()
        if self._is_closing:
            await connection.close()
        else:
            self._life = self._thread.spawn(self._stay_connected(connection))

    async def close(self) -> None:
        """Give back all that is not settled, and disconnect."""
        if self._life is None:
            self._is_closing = True  # whoever opens it has stopped to wait for that, or it has failed
            return
        with contextlib.suppress(JobsError):
            async with self._renewing:
                self._is_closing = True
                await self._stop_consuming()
        # What had been given back before goes first again.
        self._give_back(*sorted(self._unsettled.values(), key=is_new))
        if self._work:
            await asyncio.wait(self._work, timeout=LAST_WORDS)
        self._life.cancel()
        await asyncio.wait([self._life])

    # Connecting

    async def _stay_connected(self, connection: Connection | None) -> None:
        pause = FIRST_PAUSE
        while True:
            begun = self._thread.time()
            try:
                await self._consume_on(connection or await self._connect())
                logger.warning("%s has lost its connection to RabbitMQ, and connects again", self._worker)
            except JobsError as error:
                logger.warning("%s tries again to consume from RabbitMQ: %s", self._worker, error)
            connection = None
            # What held for a while was no failure to connect.
            pause = FIRST_PAUSE if self._thread.time() - begun > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(1.0, 1.25))  # noqa: S311 - so that not all come at once

    async def _consume_on(self, connection: Connection) -> None:
        """Consume until the channel is lost."""
        look: asyncio.Task[None] | None = None
        try:
            self._channel = channel = await connection.channel()
            ended = asyncio.ensure_future(channel.ended())
            async with self._renewing:
                await self._renew(max(self._shelf.allowance, self._shelf.wanted))
            look = self._thread.spawn(self._look_for_lost(channel))
            await ended
        finally:
            if look is not None:
                look.cancel()
            self._lose_all()
            await connection.close()  # noqa: ASYNC102 - in our own thread, where no user cancels

    def _lose_all(self) -> None:
        """Forget what was delivered: only in the channel that it came by could it be settled."""
        self._channel = None
        self._consumers.clear()
        untaken = set(self._shelf.clear())
        lost, self._unsettled = self._unsettled, {}
        for delivery in lost.values():
            if delivery not in untaken and not delivery.is_settled:
                tell(self._thread.home, partial(self._hearing.on_lost, delivery))

    # How much may come

    def want(self) -> None:
        """Let more come, if the worker wants more than can come."""
        if self._channel is not None and not self._is_growing and not self._shelf.has_room():
            self._is_growing = True
            self._do(self._grow())

    async def _grow(self) -> None:
        try:
            # While that goes on, the worker may have taken what has come, and want more.
            while self._channel is not None and not await self._gets_room():
                async with self._renewing:
                    await self._renew(max(self._shelf.allowance, self._shelf.wanted))
        except JobsError as error:
            # The channel goes with it, and comes again.
            logger.warning("%s could not consume from RabbitMQ: %s", self._worker, error)
        finally:
            self._is_growing = False

    async def _gets_room(self) -> bool:
        """Tell whether what is wanted can come, once the worker has settled what it has just done."""
        if self._shelf.allowance and not self._shelf.has_room():
            await asyncio.sleep(MOMENT)
        return self._shelf.has_room()

    async def _renew(self, allowance: int) -> None:
        """Make the consumers anew, each with that allowance."""
        await self._stop_consuming()
        self._shelf.renew(allowance)
        if (channel := self._channel) is None or not allowance:
            return
        for queue in self._queues:
            for place in pushed_from(queue):
                arrive = partial(self._arrive, channel, queue, place, self._shelf.consumers)
                self._consumers.append((channel, await channel.consume(place, allowance, arrive)))
        # Not earlier: the most urgent may come last.
        tell(self._thread.home, self._on_arrival)

    async def _stop_consuming(self) -> None:
        while self._consumers:
            channel, consumer = self._consumers.pop()
            await channel.cancel(consumer)

    def _look_whether_taken(self) -> None:
        """Give what is on the shelf to others, if the worker has not asked for anything for a while."""
        self._timer = None
        if not len(self._shelf):
            return
        if self._takings != self._shelf.takings:
            self._start_timer()
        else:
            self._do(self._stand_back())

    def _start_timer(self) -> None:
        if self._timer is None:
            self._takings = self._shelf.takings
            self._timer = self._thread.call_later(PATIENCE, self._look_whether_taken)

    async def _stand_back(self) -> None:
        """Take nothing any more, until the worker asks for something: which it may have done just now."""
        try:
            async with self._renewing:
                await self._renew(0)
        except JobsError:
            return  # the channel goes, and all that it has brought
        self._give_back(*self._shelf.clear())
        self.want()

    # What was lost

    async def _look_for_lost(self, channel: Channel) -> None:
        """Notice what other workers have lost, or put back when they were asked to stop."""
        with contextlib.suppress(JobsError):  # the channel goes with it, and comes again
            while True:
                sizes = [await channel.size(queue + LOST) for queue in self._queues]
                if any(sizes):
                    self._notice_lost()
                await asyncio.sleep(LOOK_EVERY)

    def _notice_lost(self) -> None:
        self._shelf.may_fetch = True
        tell(self._thread.home, self._on_arrival)

    async def fetch(self, count: int) -> None:
        """Put at most *count* of what was lost before on the shelf, for a worker that starts so many now."""
        self._shelf.may_fetch = False
        with contextlib.suppress(JobsError):  # as above
            async with self._renewing:
                for queue in self._queues:
                    count -= await self._fetch(queue, count)
        if not count:
            self._shelf.may_fetch = True  # there may be more

    async def _fetch(self, queue: str, count: int) -> int:
        place, number = queue + LOST, 0
        while number < count and (channel := self._channel) is not None and not self._is_closing:
            if (arrival := await channel.get(place)) is None:
                break
            self._arrive(channel, queue, place, FETCHED, [arrival])
            number += 1
        return number

    # What comes

    def _arrive(self, channel: Channel, queue: str, place: str, consumers: int, arrivals: Sequence[Arrival]) -> None:
        if channel is not self._channel:
            return
        deliveries = [delivery_of(arrival, queue, place, channel, consumers) for arrival in arrivals]
        for delivery in deliveries:
            self._unsettled[delivery.arrival.tag] = delivery
            self._shelf.count(delivery, 1)
        if not (to_take := [delivery for delivery in deliveries if self._is_to_be_taken(delivery)]):
            return
        self._shelf.put(to_take)
        self._start_timer()
        if not self._renewing.locked():
            tell(self._thread.home, self._on_arrival)

    def _is_to_be_taken(self, delivery: RabbitDelivery) -> bool:
        """Tell whether it is for the worker; else put it where it belongs."""
        if (not_before := not_before_of(delivery.arrival)) > self._clock():
            later = copy_of(delivery, delivery.place, not_before=not_before)
            self._settle([(Ending(delivery, [later]), _note_refusal)])
        elif delivery.has_crashed(self._max_crashes):
            self._bury(delivery)
        elif delivery.crashes and not delivery.is_fetched:
            self._give_back(delivery)
        elif self._hearing.wants_ids and (named := identified(delivery)):
            self._settle([(Ending(delivery, [named]), _note_refusal)])
        else:
            return True
        return False

    def _bury(self, delivery: RabbitDelivery) -> None:
        error = Trouble(
            message=f"{delivery.crashes} workers were lost while they had this job",
            at=self._clock(),
            worker=self._worker,
        )
        message = delivery.message
        successors = self._hearing.on_crashed(message, error) if message else ()
        parcels = [*map(parcel_of, successors), dead_letter(delivery, error, now=error.at)]
        self._settle([(Ending(delivery, parcels, {successor.queue for successor in successors}), _note_refusal)])

    def _give_back(self, *deliveries: RabbitDelivery) -> None:
        self._settle([(Ending(delivery, [given_back(delivery)]), _note_refusal) for delivery in deliveries])

    # Settling

    def settle(self, endings: Sequence[Ending], reply: Reply[list[bool | Exception]]) -> None:
        """Do what they say, and answer with what `Source.settle_many` returns."""
        answers: dict[int, bool | Exception] = {}

        def answer(place: int, result: bool | Exception) -> None:  # noqa: FBT001 - one of the answers
            answers[place] = result
            if len(answers) == len(endings):
                reply.succeed([answers[place] for place in range(len(endings))])

        self._settle([(ending, partial(answer, place)) for place, ending in enumerate(endings)])

    def _settle(self, endings: Iterable[tuple[Ending, OnEnd]]) -> None:
        to_publish: list[tuple[Ending, OnEnd]] = []
        done: list[tuple[RabbitDelivery, OnEnd]] = []
        for ending, on_end in endings:
            delivery = ending.delivery
            if delivery.is_settled or not self._holds(delivery):
                on_end(_LOST)
                continue
            delivery.is_settled = True
            self._shelf.count(delivery, -1)
            if ending.parcels:
                to_publish.append((ending, on_end))
            else:
                done.append((delivery, on_end))
        self._ack(done)
        if to_publish:
            self._do(self._publish_and_ack(to_publish))

    def _holds(self, delivery: RabbitDelivery) -> bool:
        return self._unsettled.get(delivery.arrival.tag) is delivery

    async def _publish_and_ack(self, endings: Sequence[tuple[Ending, OnEnd]]) -> None:
        """Acknowledge together what has become safe, and try the rest again."""
        pause = FIRST_PAUSE
        while left := self._still_held(endings):
            errors = await asyncio.gather(*(self._publish(ending) for ending, _ in left))
            ends = list(zip(left, errors, strict=True))
            self._conclude([end for end, error in ends if error is None])
            for (ending, on_end), error in ends:
                if error is not None and not isinstance(error, BrokerUnavailableError):
                    self._refuse(ending.delivery, on_end, error)
            if endings := [end for end, error in ends if isinstance(error, BrokerUnavailableError)]:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def _still_held(self, endings: Sequence[tuple[Ending, OnEnd]]) -> list[tuple[Ending, OnEnd]]:
        for ending, on_end in endings:
            if not self._holds(ending.delivery):
                on_end(_LOST)
        return [(ending, on_end) for ending, on_end in endings if self._holds(ending.delivery)]

    async def _publish(self, ending: Ending) -> Exception | None:
        """Publish what must be safe first; return why that could not be done, if it could not."""
        try:
            await self._sender.ensure(ending.follow)
            await self._sender.send(ending.parcels)
        except Exception as error:  # whatever it is: somebody waits for the answer
            return error
        return None

    def _refuse(self, delivery: RabbitDelivery, on_end: OnEnd, error: Exception) -> None:
        delivery.is_settled = False
        self._shelf.count(delivery, 1)
        on_end(error)

    def _conclude(self, published: Sequence[tuple[Ending, OnEnd]]) -> None:
        self._ack([(ending.delivery, on_end) for ending, on_end in published])
        if any(parcel.place.endswith(LOST) for ending, _ in published for parcel in ending.parcels):
            self._notice_lost()

    def _ack(self, done: Sequence[tuple[RabbitDelivery, OnEnd]]) -> None:
        """Acknowledge those that are still here."""
        ours = {delivery for delivery, _ in done if self._holds(delivery)}
        for delivery in ours:
            del self._unsettled[delivery.arrival.tag]
        is_done = _is_acked(ours)
        for delivery, on_end in done:
            on_end(is_done and delivery in ours)

    def _do(self, coroutine: Coroutine[None, None, None]) -> None:
        task = self._thread.spawn(coroutine)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


@dataclass(frozen=True, slots=True)
class Ending:
    """
    How a delivery is settled.

    Attributes:
        parcels: What must be safe before it is acknowledged.
        follow: The queues of ours to which some of them go, and which may have to be declared.
    """

    delivery: RabbitDelivery
    parcels: Sequence[Parcel] = ()
    follow: Collection[str] = ()


def is_new(delivery: RabbitDelivery) -> bool:
    """Tell whether nobody has given it back before."""
    return not delivery.place.endswith(RETURNED)


def _is_acked(deliveries: Collection[RabbitDelivery]) -> bool:
    """Acknowledge them, all of which have come over one channel; return whether that is possible."""
    try:
        for channel in {delivery.channel for delivery in deliveries}:
            channel.ack([delivery.arrival.tag for delivery in deliveries])
    except BrokerUnavailableError:
        return False
    return True


def _note_refusal(answer: bool | Exception) -> None:  # noqa: FBT001 - as above
    if isinstance(answer, Exception):
        logger.error("a message could not be put elsewhere, and waits in this worker: %s", answer)
