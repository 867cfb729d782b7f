"""From the broker to the executor: never more deliveries than can run, and never more than were asked for."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.lowlevel import checkpoint

from jockey._options import Priority
from jockey.jobs._broker import Hearing
from jockey.jobs._delivery import DeliveryAdapter
from jockey.jobs._errors import BrokerUnavailableError, QueueNotDeclaredError
from jockey.jobs._outage import pause
from jockey.jobs._settle import death

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jockey._running import RunningExecutor
    from jockey.jobs._broker import Broker, Delivery, Source
    from jockey.jobs._delivery import Desk
    from jockey.jobs._message import Message, Trouble
    from jockey.jobs._outage import Outage
    from jockey.jobs._task import Task

_PATIENCE: Final = 0.1
"""Seconds without a delivery after which a worker in a burst asks whether there is anything left."""

_PRIORITIES: Final = tuple(Priority)


class InHand:
    """
    The deliveries that a worker has, and what their source says of them meanwhile.

    Args:
        tasks: All that are known here, by name.
        clock: Seconds since the epoch.
    """

    def __init__(self, tasks: Mapping[str, Task[..., Any]], clock: Callable[[], float]) -> None:
        self._tasks = tasks
        self._clock = clock
        self._adapters: dict[Delivery, DeliveryAdapter] = {}
        self._early: dict[Delivery, Callable[[DeliveryAdapter], object]] = {}

    def hearing(self) -> Hearing:
        """Return what the source is to call."""
        return Hearing(
            on_cancel=lambda delivery, reason: self._tell(delivery, lambda adapter: adapter.cancel(reason)),
            on_lost=lambda delivery: self._tell(delivery, DeliveryAdapter.lose),
            on_crashed=self._after_crash,
        )

    def expect(self) -> None:
        """Learn that deliveries are about to be taken; the source may know more of them before they are here."""
        self._early.clear()

    def add(self, adapter: DeliveryAdapter) -> None:
        """Take one more."""
        self._adapters[adapter.delivery] = adapter
        if self._early:
            self._early.pop(adapter.delivery, _nothing)(adapter)

    def drop(self, adapter: DeliveryAdapter) -> None:
        """Forget one that has ended."""
        del self._adapters[adapter.delivery]

    def _tell(self, delivery: Delivery, tell: Callable[[DeliveryAdapter], object]) -> None:
        adapter = self._adapters.get(delivery)
        if adapter is None:
            self._early[delivery] = tell  # not here yet; or not any more, and then it does no harm
        else:
            tell(adapter)

    def _after_crash(self, message: Message, trouble: Trouble) -> Sequence[Message]:
        task = self._tasks.get(message.name)
        return death(message, trouble, task, now=self._clock(), tasks=self._tasks).successors


class Intake:
    """
    Takes deliveries and has them run.

    Args:
        source: Where they come from.
        running: Runs them.
        desk: What they share.
        in_hand: Knows those that are here.
        outage: Is told whether the broker can be reached.
        limit: How many to take; infinity is no limit.
    """

    def __init__(
        self,
        source: Source,
        running: RunningExecutor[Any, Any, Any],
        desk: Desk,
        *,
        in_hand: InHand,
        outage: Outage,
        limit: float,
    ) -> None:
        self._source = source
        self._running = running
        self._desk = desk
        self._in_hand = in_hand
        self._outage = outage
        self._limit = limit

    async def take_all(self) -> None:
        """Take deliveries until there were enough, or until cancelled."""
        await self._until_enough(self._take)

    async def take_burst(self, broker: Broker, queues: Sequence[str]) -> None:
        """Take deliveries until there were enough, or nothing is ready in these queues."""

        async def take(count: int) -> bool:
            with anyio.move_on_after(_PATIENCE):
                return await self._take(count)
            return await self._is_anything_left(broker, queues)

        await self._until_enough(take)

    async def _until_enough(self, take: Callable[[int], Any]) -> None:  # an awaitable bool: whether to go on
        goes_on, tries = True, 0
        while goes_on and (left := self._limit - self._desk.tally.taken) > 0:
            await self._running.free_slots()
            await checkpoint()  # where one job has ended others do so in the same turn: take for all of them at once
            count = await self._running.free_slots()
            try:
                goes_on = await take(int(min(count, left))) if count else False
            except BrokerUnavailableError as error:
                self._outage.begin(error)
                await anyio.sleep(pause(tries))
                tries += 1
            else:
                self._outage.end()
                tries = 0

    async def _take(self, count: int) -> bool:
        self._in_hand.expect()
        for delivery in await self._source.take(count):
            self._schedule(delivery)
        return True

    async def _is_anything_left(self, broker: Broker, queues: Sequence[str]) -> bool:
        # First what is here, then what is there: what ends here meanwhile may enqueue what comes after it.
        tally = self._desk.tally
        is_busy = tally.settled < tally.taken
        tally.changed = changed = anyio.Event()
        for queue in queues:
            with contextlib.suppress(QueueNotDeclaredError):  # then nothing is in it
                if any(info.ready for info in await broker.info(queue)):
                    return True
        if is_busy:
            await changed.wait()
        return is_busy

    def _schedule(self, delivery: Delivery) -> None:
        adapter = DeliveryAdapter(delivery, self._desk)
        message = adapter.message
        if message is None:
            adapter.handle = self._running.schedule(adapter)
        else:
            # 0 is no limit where it travels, and infinity is here.
            timeout = message.timeout if message.timeout is None else message.timeout or math.inf
            priority = _PRIORITIES[message.priority]
            adapter.handle = self._running.schedule(adapter, priority=priority, job_timeout=timeout)
        self._desk.tally.taken += 1
        self._in_hand.add(adapter)


def _nothing(_: DeliveryAdapter) -> None:
    """Do nothing with a delivery of which nothing is known."""
