"""A broker in a file of SQLite: for any number of processes on one machine, and nothing to install or to run."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from jockey import _runtime
from jockey.jobs._broker import Features, Held, Released
from jockey.jobs._codec import encode
from jockey.jobs._errors import BrokerUnavailableError, ResultUnavailableError, UnsupportedError
from jockey.jobs._together import together
from jockey.jobs.brokers import _sqlite_queries as queries
from jockey.jobs.brokers._embedded import PHASES, STATES, Terms, undeclared
from jockey.jobs.brokers._sqlite_errors import PATIENCE
from jockey.jobs.brokers._sqlite_files import FILES
from jockey.jobs.brokers._sqlite_inbox import cleared
from jockey.jobs.brokers._sqlite_rows import record_of
from jockey.jobs.brokers._sqlite_tickets import (
    Close,
    Holder,
    Key,
    Publication,
    Take,
    Ticket,
    Wait,
    claim,
    nothing,
    outlast,
)
from jockey.jobs.brokers._sqlite_workers import sign, sign_off, workers
from jockey.jobs.brokers._sqlite_writer import release

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from jockey._runtime import Runtime
    from jockey.jobs._broker import Delivery, Hearing, Published, QueueInfo, Record, Settlement, WorkerInfo
    from jockey.jobs._message import Join, Message
    from jockey.jobs._state import State
    from jockey.jobs.brokers._sqlite_ledger import LedgerTables
    from jockey.jobs.brokers._sqlite_rows import Row
    from jockey.jobs.brokers._sqlite_writer import Writer

Answer = TypeVar("Answer")

AT_ONCE: Final = 10_000
"""How many messages at most are published in one transaction: other processes wait for as long."""

_log = logging.getLogger("jockey")


class SqliteBroker:
    """
    Keep all jobs in one file, for any number of processes of one machine.

    What `publish` and `settle` have done is on the disk when they return. A process that is killed at any moment loses
    nothing; its jobs come again when their leases end. Many requests at the same time share one transaction, so it is
    their number at a time that makes it fast.

    The file must be on a disk of this machine: the locks of network file systems do not keep what they promise.

    Args:
        path: Of the file; it is made if there is none, its directory is not.
        synchronous:
            `"full"`: what is done survives a power cut. `"normal"`: it survives the end of any process, but after a
            power cut the last seconds may be missing; several times as fast where few requests come at a time.
        clock: Seconds since the epoch.

    Raises:
        UnsupportedError: *synchronous* is neither, or *path* is `":memory:"`.
    """

    def __init__(self, path: str, *, synchronous: str = "full", clock: Callable[[], float] = time.time) -> None:
        if synchronous not in {"full", "normal"}:
            raise UnsupportedError(f"synchronous must be 'full' or 'normal', got {synchronous!r}")
        if path == ":memory:":  # SQLite's name for no file; each connection would have jobs of its own
            raise UnsupportedError("jobs are kept in a file, got the path ':memory:'; use 'memory://' to keep none")
        self.path = path
        self._synchronous = synchronous
        self._clock = clock
        self._opened: tuple[Writer, Runtime] | None = None

    @classmethod
    def from_url(cls, url: str, *, clock: Callable[[], float] = time.time) -> SqliteBroker:
        """
        Return the broker for ``sqlite:///path?synchronous=normal``.

        Raises:
            UnsupportedError: The URL has a host, no path, or options that there are not.
        """
        parts = urlsplit(url)
        path = unquote(parts.path.removeprefix("/"))
        if parts.netloc or not path:
            raise UnsupportedError(
                f"the URL must be like 'sqlite:///jobs.db', with three slashes and a path, got {url!r}"
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        synchronous = options.pop("synchronous", "full")
        if options:
            raise UnsupportedError(f"sqlite has no option {next(iter(options))!r}, only 'synchronous', got {url!r}")
        return cls(path, synchronous=synchronous, clock=clock)

    @property
    def features(self) -> Features:
        return Features()

    async def open(self) -> None:
        """
        Open the file, or make it, and bring its tables to the version of this library.

        Raises:
            BrokerUnavailableError: That is not possible; the message tells why, and the cause is SQLite's error.
        """
        self._opened = FILES.acquire(self.path, self._synchronous, self._clock), _runtime.current()
        try:
            await self.ask(nothing, is_durable=False)
        except BaseException:
            with anyio.move_on_after(PATIENCE, shield=True):
                await self.close()
            raise

    async def close(self) -> None:
        if self._opened is None:
            return
        writer, _ = self._opened
        if FILES.release(writer):
            try:
                await self._answer(Close(_runtime.current()))
            except BrokerUnavailableError:
                _log.debug("%s was closed already", self.path)
        self._opened = None

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        """
        Enqueue *messages*: all of them or none, up to 10 000; more go in several such steps.

        Raises:
            QueueNotDeclaredError: There is no such queue.
            BrokerUnavailableError: The file cannot be written.
        """
        published: list[Published] = []
        for first in range(0, len(messages), AT_ONCE):
            parcels = [(message, encode(message)) for message in messages[first : first + AT_ONCE]]
            added: list[Published] = await self._insist(Publication(self._use()[1], parcels))
            published += added
        return published

    def consume(
        self, queues: Sequence[str], hearing: Hearing, *, worker: str, lease: float, max_crashes: int
    ) -> AbstractAsyncContextManager[SqliteSource]:
        return self._consume(Terms(tuple(queues), worker, lease, max_crashes, hearing))

    async def declare(self, queue: str) -> None:
        await self.ask(lambda tables: tables.declare(queue))

    async def info(self, queue: str | None = None) -> Sequence[QueueInfo]:
        await self.ask(nothing, is_durable=False)
        found = await self.look(lambda tables: queries.info(tables.connection, tables.now))
        if queue is None:
            return found
        for info in found:
            if info.name == queue:
                return [info]
        raise undeclared(queue, [info.name for info in found])

    async def workers(self) -> Sequence[WorkerInfo]:
        """
        Return the workers that are there.

        One that was killed is seen for 45 seconds more, or until the leases of its jobs end.
        """
        return await self.look(lambda tables: workers(tables.connection, tables.now))

    async def peek(self, queue: str, count: int) -> Sequence[Record]:
        await self.ask(nothing, is_durable=False)
        rows = await self.look(lambda tables: queries.peek(tables.connection, queue, count))
        if not rows:
            await self.info(queue)  # it may not be there
        return [record_of(row) for row in rows]

    async def purge(self, queue: str) -> int:
        """
        Remove all that waits in the queue, in small steps; return how many. What is published meanwhile stays.

        Raises:
            QueueNotDeclaredError: There is no such queue.
            BrokerUnavailableError: The file cannot be written.
        """
        total = await self._purge(queue)
        if not total:
            await self.info(queue)  # it may not be there
        return total

    async def _purge(self, queue: str) -> int:
        total = await self.ask(lambda tables: cleared(tables.connection, queue))
        last = await self.look(lambda tables: queries.last(tables.connection))
        while count := await self.ask(lambda tables: tables.purge(queue, last)):
            total += count
        return total

    async def delete(self, queue: str) -> None:
        await self.ask(lambda tables: tables.undeclare(queue))
        await self._purge(queue)

    async def dead(self, queue: str | None = None, *, count: int = 100) -> Sequence[Record]:
        rows = await self.look(lambda tables: queries.dead(tables.connection, queue, count))
        if not rows and queue is not None:
            await self.info(queue)  # it may not be there
        return [record_of(row) for row in rows]

    async def replay(self, ids: Sequence[str]) -> int:
        return await self.ask(lambda tables: tables.replay(ids))

    async def drop(self, ids: Sequence[str]) -> int:
        return await self.ask(lambda tables: tables.drop(ids))

    async def record(self, id: str) -> Record | None:  # noqa: A002 - the protocol's name
        row = await self.look(partial(_record, id))
        return None if row is None else record_of(row)

    async def wait(self, id: str) -> Record:  # noqa: A002 - the protocol's name
        """
        Return the record of a job as soon as it has ended; at once if this process ends it, else within 0.2 seconds.

        Raises:
            ResultUnavailableError: Nothing is known of it, or nothing is kept of it now that it has ended.
            BrokerUnavailableError: The file cannot be read.
        """
        writer, runtime = self._use()
        wait = Wait(runtime, id, partial(_record, id))
        try:
            row = await self._answer(wait)
        finally:
            if not wait.event.is_set():
                writer.submit(Ticket(runtime, lambda _: writer.forget(wait), is_write=False))
        if row is None:
            raise ResultUnavailableError(f"nothing is known of the job {id!r}, or nothing is kept of it")
        return record_of(row)

    async def records(self, *, queue: str | None = None, state: State | None = None) -> AsyncIterator[Record]:
        phases = tuple(range(len(STATES))) if state is None else PHASES[state]
        upto = await self.look(lambda tables: queries.last(tables.connection))
        while upto > 0:
            found = await self.look(partial(_records, upto, queue, phases))
            for row in found:
                yield record_of(row)
            upto -= queries.WINDOW

    async def remove(self, id: str) -> bool:  # noqa: A002 - the protocol's name
        return await self.ask(lambda tables: tables.remove(id))

    async def arrive(self, join: Join, result: bytes) -> Sequence[bytes] | None:
        return await self.ask(lambda tables: tables.arrive(join, result))

    async def cancel(self, id: str, reason: str) -> Record | None:  # noqa: A002 - the protocol's name
        await self.ask(lambda tables: tables.cancel(id, reason))
        return await self.record(id)

    async def enter(self, messages: Sequence[Message]) -> Sequence[Published]:
        parcels = [(message, encode(message)) for message in messages]
        return await self.ask(lambda tables: tables.enter(parcels))

    async def withdraw(self, ids: Sequence[str]) -> None:
        await self.ask(lambda tables: tables.withdraw(ids))

    async def begin(self, message: Message, *, worker: str, crashes: int) -> Record:
        return record_of(await self.ask(lambda tables: tables.begin_try(message, worker, crashes)))

    async def end(self, id: str, settlement: Settlement) -> None:  # noqa: A002 - the protocol's name
        await self.ask(lambda tables: tables.end_try(id, settlement))

    async def cancelled(self, ids: Sequence[str]) -> dict[str, str]:
        return await self.look(lambda tables: tables.cancelled(ids))

    async def ask(
        self, work: Callable[[LedgerTables], Answer], *, is_durable: bool = True, patience: float = 0.0
    ) -> Answer:
        """Have *work* done in a transaction, and return what it returns when that is (durably, if asked for) done."""
        _, runtime = self._use()
        return await self._insist(Ticket(runtime, work, is_durable=is_durable, patience=patience))

    async def look(self, work: Callable[[LedgerTables], Answer]) -> Answer:
        """Have *work* done, which changes nothing, and return what it returns."""
        _, runtime = self._use()
        return await self._answer(Ticket(runtime, work, is_write=False))

    async def take(self, holder: Holder, count: int) -> list[Held]:
        """Wait until there is something for *holder*."""
        writer, runtime = self._use()
        take = Take(runtime, holder, count)
        try:
            return await self._answer(take)
        except BaseException:
            writer.submit(Ticket(runtime, partial(_give_back, writer, take)))
            raise

    async def _insist(self, ticket: Ticket[Answer]) -> Answer:
        await checkpoint_if_cancelled()
        # Once it is submitted it will be done; not to wait for it would only hide that.
        return await self._answer(ticket, is_certain=True)

    async def _answer(self, ticket: Ticket[Answer], *, is_certain: bool = False) -> Answer:
        writer, _ = self._use()
        writer.submit(ticket)
        ticket.runtime.note_outside(1)  # a virtual clock waits for the answer
        try:
            await (outlast(ticket.event) if is_certain else ticket.event.wait())
        finally:
            ticket.runtime.note_outside(-1)
        if ticket.error is not None:
            raise ticket.error
        return ticket.answer

    def _use(self) -> tuple[Writer, Runtime]:
        if self._opened is None:
            raise BrokerUnavailableError(f"the broker for {self.path!r} is not open; open it first")
        return self._opened

    @asynccontextmanager
    async def _consume(self, terms: Terms) -> AsyncGenerator[SqliteSource]:
        writer, runtime = self._use()
        holder = Holder(terms, runtime)
        await self.ask(partial(_join, writer, holder), is_durable=False)
        try:
            yield SqliteSource(self, holder)
        finally:
            with anyio.CancelScope(shield=True):
                await self._leave(writer, holder)

    async def _leave(self, writer: Writer, holder: Holder) -> None:
        try:
            await self.ask(partial(_leave, writer, holder))
        except BrokerUnavailableError as error:
            _log.warning("jobs of %s come again when their leases end: %s", holder.terms.worker, error)
            await self.look(lambda _: writer.leave(holder))


class SqliteSource:
    """Where one worker takes deliveries from."""

    def __init__(self, broker: SqliteBroker, holder: Holder) -> None:
        self._broker = broker
        self._holder = holder

    async def take(self, count: int) -> Sequence[Held]:
        return await self._broker.take(self._holder, count)

    async def poll(self, count: int) -> list[Held]:
        """Take what there is now, and do not wait for more."""
        return await self._broker.ask(partial(claim, self._holder, count), is_durable=False)

    async def settle_many(self, ends: Sequence[tuple[Delivery, Settlement]]) -> list[bool | Exception]:
        """
        End the leases of all of them in one transaction, or each in one of its own if that fails.

        A file that cannot be written is tried again and again for as long as the leases would last; then the jobs come
        again.
        """
        keyed = [(_key(delivery), settlement) for delivery, settlement in ends]
        with anyio.CancelScope(shield=True):
            try:
                return [*await self._broker.ask(partial(_settle, self._holder, keyed))]
            except Exception:
                return await together(partial(self._settle_alone, key, settlement) for key, settlement in keyed)
        raise AssertionError  # pragma: no cover - for type checkers: a scope may leave its block early

    async def _settle_alone(self, key: Key, settlement: Settlement) -> bool:
        try:
            [is_done] = await self._broker.ask(
                partial(_settle, self._holder, [(key, settlement)]), patience=self._holder.terms.lease
            )
        except BrokerUnavailableError:
            with anyio.move_on_after(PATIENCE, shield=True):
                await self._broker.look(lambda _: self._holder.held.pop(key, None))
            raise
        return is_done

    async def vanish(self) -> None:
        """Behave as if the process of this worker were killed right after a sign of life: its leases run out."""
        await self._broker.ask(partial(_vanish, self._holder), is_durable=False)


def _record(id_: str, tables: LedgerTables) -> Row | None:
    return queries.record(tables.connection, id_, tables.now)


def _records(upto: int, queue: str | None, phases: tuple[int, ...], tables: LedgerTables) -> list[Row]:
    return queries.records(tables.connection, upto, queue, phases, tables.now)


def _key(delivery: Delivery) -> Key:
    assert isinstance(delivery, Held)  # noqa: S101 - for the type checkers: it comes from `take`
    return delivery.id, delivery.token


def _settle(holder: Holder, ends: list[tuple[Key, Settlement]], tables: LedgerTables) -> list[bool]:
    tables.committed.append(partial(_let_go, holder, [key for key, _ in ends]))
    # What it does not hold any more has a number that there is not.
    return tables.settle_many(
        [(holder.held[key][0] if key in holder.held else 0, key[1], settlement) for key, settlement in ends]
    )


def _let_go(holder: Holder, keys: list[Key]) -> None:
    for key in keys:
        holder.held.pop(key, None)


def _give_back(writer: Writer, take: Take, tables: LedgerTables) -> None:
    """Release what was taken for somebody who waits no more."""
    if not writer.is_waiting(take):
        _settle(take.holder, [(_key(held), Released()) for held in take.answer], tables)


def _join(writer: Writer, holder: Holder, tables: LedgerTables) -> None:
    sign(tables.connection, holder, tables.now)
    writer.join(holder)


def _leave(writer: Writer, holder: Holder, tables: LedgerTables) -> None:
    release([(seq, held.token) for seq, held in holder.held.values()], tables)
    sign_off(tables.connection, holder)
    tables.committed.append(partial(writer.leave, holder))


def _vanish(holder: Holder, tables: LedgerTables) -> None:
    tables.renew([(seq, held.token) for seq, held in holder.held.values()], holder.terms.lease)
    tables.committed.append(holder.held.clear)
