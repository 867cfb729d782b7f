"""Tells the broker how deliveries ended, whatever happens to the broker meanwhile."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol, TypeVar

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


class Ending(Protocol):
    """A delivery that has ended, and of which the broker is to be told."""

    @property
    def delivery(self) -> Delivery: ...
    @property
    def message(self) -> Message | None: ...

    settlement: Settlement
    """What the broker is to be told."""

    is_lost: bool
    """Whether it is no longer this worker's."""

    def end(self) -> None:
        """Learn that the broker has done that."""
        ...

    def end_lost(self, error: Exception | None = None) -> None:
        """Learn that the broker will not be told."""
        ...


class Settler:
    """
    What stands between the end of a try and the broker.

    While the broker cannot be reached it is asked again and again, for as long as the delivery is this worker's: the
    source keeps its lease, and there are only so many `Endings`, so nothing piles up here.

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

    async def settle(self, endings: Sequence[Ending]) -> list[Ending]:
        """
        Have what they say done; return those of which the broker is to be told again.

        The broker may be away; or it has refused a settlement for good, and is to be told what comes nearest to it.
        """
        held = [ending for ending in endings if not ending.is_lost]
        lost = [] if len(held) == len(endings) else [ending for ending in endings if ending.is_lost]
        try:
            answers = await self._source.settle_many([(ending.delivery, ending.settlement) for ending in held])
        except Exception as error:
            answers = [error] * len(held)
        # Not before that: whoever cuts it ends them all.
        for ending in lost:
            ending.end_lost()
        away: BrokerUnavailableError | None = None
        left: list[Ending] = []
        for ending, answer in zip(held, answers, strict=True):
            if answer is True:
                ending.end()
            elif isinstance(answer, BrokerUnavailableError):
                away = answer
                left.append(ending)
            elif not self._is_over(ending, answer):
                left.append(ending)
        if away is None:
            self._outage.end()
        else:
            self._outage.begin(away)
        return left

    def _is_over(self, ending: Ending, answer: bool | Exception) -> bool:  # noqa: FBT001 - what the broker says
        if not isinstance(answer, Exception):
            answer = LeaseLostError("the broker has given the job to somebody else")
        if isinstance(answer, LeaseLostError):
            ending.end_lost(answer)
            return True
        try:
            ending.settlement = self._instead(ending.message, ending.settlement, answer)
        except LeaseLostError as error:
            ending.end_lost(error)
            return True
        return False

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
