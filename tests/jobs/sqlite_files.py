"""Files of SQLite for tests: brokers on them, as if in several processes, and looks at what is in them."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread

from jockey.jobs.brokers.sqlite import SqliteBroker, SqliteSource
from tests.jobs.conformance.carriers import LEASE, Heard


class Clock:
    """A clock of its own gives a broker a writer of its own, with a connection of its own: as in another process."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Stopped(Clock):
    """A clock on which it is always the same moment."""

    def __init__(self) -> None:
        super().__init__()
        self._moment = time.time()

    def __call__(self) -> float:
        return self._moment + self.ahead


@contextlib.asynccontextmanager
async def opened(path: Path, clock: Clock | None = None, **options: Any) -> AsyncIterator[SqliteBroker]:
    """Return an open broker that nobody shares, with a queue."""
    broker = SqliteBroker(str(path), clock=clock or Clock(), **options)
    await broker.open()
    try:
        await broker.declare("default")
        yield broker
    finally:
        await broker.close()


@contextlib.asynccontextmanager
async def working(
    broker: SqliteBroker, heard: Heard | None = None, lease: float = LEASE
) -> AsyncIterator[SqliteSource]:
    """Be a worker."""
    hearing = (heard or Heard()).hearing
    async with broker.consume(["default"], hearing, worker="w", lease=lease, max_crashes=3) as source:
        yield source


@contextlib.contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """Return a connection that is none of ours."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let another process be in the middle of a transaction."""
    with raw(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


class Held:
    """Holds up the thread that writes, so that what is asked meanwhile comes at once."""

    def __init__(self) -> None:
        self.is_there = threading.Event()
        self.may_go = threading.Event()

    def __call__(self, _tables: object) -> None:
        self.is_there.set()
        self.may_go.wait()

    async def wait(self) -> None:
        """Return when the thread is held up."""
        await anyio.to_thread.run_sync(self.is_there.wait)


async def traced(broker: SqliteBroker) -> list[str]:
    """Return a list to which each statement is added that this broker's connection runs from now on."""
    statements: list[str] = []
    await broker.look(lambda tables: tables.connection.set_trace_callback(statements.append))
    return statements
