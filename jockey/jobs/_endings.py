"""Settlements beside the slots: while the broker writes down how jobs ended, the next ones run already."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from jockey.jobs._outage import pause

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from jockey.jobs._outage import Outage
    from jockey.jobs._settler import Ending, Settler

GRACE: Final = 4.0
"""Seconds that the broker gets to be told how jobs ended when a worker is stopped, besides its time to shut down."""


class Endings:
    """
    Deliveries that have ended, and of which the broker is still to be told.

    One task tells it of all that have gathered while it was being told of those before them. So the more jobs end, the
    less each of them costs.

    Args:
        settler: Tells the broker.
        outage: Knows whether the broker can be reached.
        most: How many there may be. When there are more, nobody has to remember them: slots stay taken.
    """

    def __init__(self, settler: Settler, outage: Outage, most: int) -> None:
        self._settler = settler
        self._outage = outage
        self._most = most
        self._gathered: list[Ending] = []
        self._told: list[Ending] = []
        self._news: anyio.Event | None = None  # the task waits for it
        self._quiet: anyio.Event | None = None
        self._is_left = False
        self._scope = anyio.CancelScope(shield=True)  # no cancellation cuts them, but the end of their time

    def add(self, ending: Ending) -> bool:
        """Have the broker told of it; return whether there are few enough for its slot to be freed before that."""
        self._gathered.append(ending)
        if self._news is not None:
            self._tell_news()
        return len(self._gathered) + len(self._told) <= self._most

    async def drain(self, timeout: float = math.inf) -> None:  # noqa: ASYNC109 - not only a timeout: what happens differs
        """Wait until the broker has been told of all; they are cut some time after *timeout* seconds."""
        with anyio.move_on_after(timeout):
            while self._gathered or self._told:
                self._quiet = self._quiet or anyio.Event()
                await self._quiet.wait()
            return
        self._limit()

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Tell the broker while the block lasts; leaving it waits for all, but not for long."""
        failure: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tell)
            try:
                yield
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # raised below: here it would end in a group
                failure = error
            finally:
                self._is_left = True
                self._tell_news()
                self._limit()
        if failure is not None:
            raise failure

    def _limit(self) -> None:
        self._scope.deadline = min(self._scope.deadline, anyio.current_time() + GRACE)

    async def _tell(self) -> None:
        with self._scope:
            await self._tell_until_left()
        for ending in (*self._told, *self._gathered):
            ending.end_lost()
        self._told, self._gathered = [], []
        self._note_quiet()

    async def _tell_until_left(self) -> None:
        tries = 0
        while self._gathered or not self._is_left:
            if not self._gathered:
                self._note_quiet()
                self._news = anyio.Event()
                await self._news.wait()
                continue
            self._told, self._gathered = self._gathered, []
            left = await self._settler.settle(self._told)
            self._told, self._gathered = [], left + self._gathered
            tries = tries + 1 if left and self._outage.is_on else 0
            if tries:
                await anyio.sleep(pause(tries - 1))

    def _tell_news(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    def _note_quiet(self) -> None:
        if self._quiet is not None:
            self._quiet.set()
            self._quiet = None
