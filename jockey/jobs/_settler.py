"""Tells the broker how deliveries ended, whatever happens to the broker meanwhile."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, TypeVar

import anyio

from jockey.jobs._errors import BrokerUnavailableError, LeaseLostError, UnsupportedError
from jockey.jobs._outage import pause
from jockey.jobs._settle import after_refusal, trouble_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from jockey.jobs._broker import Delivery, Settlement, Source, Store
    from jockey.jobs._message import Join, Message
    from jockey.jobs._outage import Outage

_Answer = TypeVar("_Answer")

_log = logging.getLogger("jockey.jobs")


class Settler:
    """
    What stands between the end of a try and the broker.

    While the broker cannot be reached it asks again and again, for as long as the delivery is this worker's: the
    source keeps its lease, and the slot of the job stays taken, so nothing piles up here.

    Args:
        source: Where the deliveries come from.
        store: Where the results of groups meet; None if there is none.
        outage: Is told whether the broker can be reached.
        clock: Seconds since the epoch.
    """

    def __init__(self, source: Source, store: Store | None, outage: Outage, clock: Callable[[], float]) -> None:
        self._source = source
        self._store = store
        self._outage = outage
        self._clock = clock

    async def arrive(self, join: Join, result: bytes, is_lost: Callable[[], bool]) -> Sequence[bytes] | None:
        """
        Note the result of one job of a group; return all of them if it was the last one that was missing.

        Raises:
            LeaseLostError: The delivery is no longer this worker's.
            UnsupportedError: There is no store.
        """
        store = self._store
        if store is None:
            raise UnsupportedError(
                "the results of a group need a store, and this app has none; give it one: App(..., results=...)"
            )
        return await self._insist(lambda: store.arrive(join, result), is_lost)

    async def settle(
        self, delivery: Delivery, message: Message | None, settlement: Settlement, is_lost: Callable[[], bool]
    ) -> Settlement:
        """
        Have *settlement* done, or what comes nearest to it if the broker refuses it for good; return what was done.

        Raises:
            LeaseLostError: The delivery is no longer this worker's, or the broker has refused everything.
        """
        settle = self._source.settle
        while True:
            try:
                try:
                    is_done = await settle(delivery, settlement)
                except BrokerUnavailableError as error:
                    self._outage.begin(error)
                    await anyio.sleep(pause(0))
                    is_done = await self._insist(functools.partial(settle, delivery, settlement), is_lost)
            except LeaseLostError:
                raise
            except Exception as error:
                settlement = self._instead(message, settlement, error)
            else:
                if is_done:
                    return settlement
                raise LeaseLostError("the broker has given the job to somebody else")

    async def _insist(self, ask: Callable[[], Awaitable[_Answer]], is_lost: Callable[[], bool]) -> _Answer:
        tries = 0
        while not is_lost():
            try:
                answer = await ask()
            except BrokerUnavailableError as error:
                self._outage.begin(error)
                tries += 1
                await anyio.sleep(pause(tries))
            else:
                self._outage.end()
                return answer
        raise LeaseLostError("the lease was lost while the broker could not be told how the job ended")

    def _instead(self, message: Message | None, settlement: Settlement, error: Exception) -> Settlement:
        name = "a message that could not be read" if message is None else f"{message.name}[{message.id}]"
        _log.error("%s: the broker has refused %s", name, type(settlement).__name__, exc_info=error)
        trouble = trouble_of(error, worker=self._outage.worker, now=self._clock())
        other = after_refusal(message, settlement, error, trouble)
        if other is None:
            raise LeaseLostError("the broker has refused everything that could be told of the job") from error
        return other
