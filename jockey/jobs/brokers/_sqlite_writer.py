"""
The one thread of a process that uses the file: it does what all event loops ask, and keeps the leases of all workers.

What is asked while a transaction is made durable goes together into the next one. The leases are renewed here, so that
a handler that blocks its event loop does not lose its job.
"""

from __future__ import annotations

import os
import queue
import random
import sqlite3
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from jockey.jobs._broker import Released
from jockey.jobs._errors import BrokerUnavailableError
from jockey.jobs.brokers import _sqlite_queries as queries
from jockey.jobs.brokers._sqlite_errors import PATIENCE, is_busy, is_full, unavailable
from jockey.jobs.brokers._sqlite_inbox import has_post
from jockey.jobs.brokers._sqlite_ledger import LedgerTables
from jockey.jobs.brokers._sqlite_schema import connect
from jockey.jobs.brokers._sqlite_tickets import Answer, Close, Holder, Take, Ticket, Wait, answer, do, tell
from jockey.jobs.brokers._sqlite_workers import sign

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCH: Final = 1_000
"""How many requests go at most into one transaction."""

POLL_FIRST: Final = 0.05
POLL_LAST: Final = 0.2
"""Seconds between looks for changes by other processes, right after one and at last; only while somebody waits."""

QUIET: Final = 1.0
"""Seconds without a change after which the write-ahead log is emptied."""

RETRY: Final = 0.25
"""Seconds until what has failed, and may be tried again, is."""


class Writer:
    """
    One file, and the thread that uses it.

    Args:
        path: Of the file.
        synchronous: As SQLite's pragma has it.
        clock: Seconds since the epoch.
    """

    def __init__(self, path: str, synchronous: str, clock: Callable[[], float]) -> None:
        self.path = path
        self.pid = os.getpid()
        self.users = 0
        self.connection: sqlite3.Connection | None = None  # kept here for a fork: there nobody may close it
        self._synchronous = self._is_synchronous = synchronous  # what is asked for, and what is set now
        self._clock = clock
        self._inbox: queue.SimpleQueue[Ticket[Any]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._end: BaseException | None = None  # why nothing more is accepted
        self._closing: list[Ticket[Any]] = []
        self._turning: list[Ticket[Any]] = []
        self._holders: set[Holder] = set()
        self._takes: list[Take] = []
        self._waits: dict[str, list[Wait]] = {}
        self._again: list[Ticket[Any]] = []
        self._again_at = 0.0
        self._poll_at = 0.0
        self._poll_every = POLL_FIRST
        self._version = 0
        self._change_at: float | None = None
        self._quiet_at: float | None = None
        self._file: tuple[int, int] = (0, 0)
        self._thread = threading.Thread(target=self._run, name=f"jockey: {path}", daemon=True)
        self._thread.start()

    # For the event loops

    def submit(self, ticket: Ticket[Any]) -> None:
        """
        Have the thread do it; its event is set in its event loop when it is done.

        Raises:
            BrokerUnavailableError: The file could not be opened, or is closed, or this is a child of the process.
        """
        if os.getpid() != self.pid:
            raise BrokerUnavailableError(
                f"{self.path!r} was opened by process {self.pid}, this is its child {os.getpid()}; "
                "open a broker of its own after the fork"
            )
        with self._lock:
            if self._end is None:
                self._inbox.put(ticket)
                return
        raise self._end

    # For the work of tickets: in the thread

    def join(self, holder: Holder) -> None:
        """Keep the leases of a worker from now on."""
        self._holders.add(holder)

    def leave(self, holder: Holder) -> None:
        """Keep them no more."""
        self._holders.discard(holder)
        holder.held.clear()

    def is_waiting(self, take: Take) -> bool:
        """Tell whether a worker still waits, and let it wait no more."""
        if take not in self._takes:
            return False
        self._takes.remove(take)
        return True

    def forget(self, wait: Wait) -> None:
        """Let somebody wait no more for the end of a job."""
        others = [other for other in self._waits.pop(wait.id, []) if other is not wait]
        if others:
            self._waits[wait.id] = others

    # The thread

    def _run(self) -> None:
        end: BaseException = BrokerUnavailableError(f"{self.path!r} is closed; open the broker again")
        try:
            tables = LedgerTables(self._connect(), self._clock)
            while not self._closing:
                self._gather()
                self._turn(tables, self._turning)
        except BrokerUnavailableError as error:
            end = error
        except BaseException as error:  # noqa: ASYNC103 - a thread, and whoever waits is told
            end = BrokerUnavailableError(f"the thread that writes {self.path!r} has failed: {error!r}")
            end.__cause__ = error
        if self.connection is not None:
            self.connection.close()
        self._refuse(end)
        answer(self._closing)

    def _refuse(self, end: BaseException) -> None:
        with self._lock:
            self._end = end
        tickets: list[Ticket[Any]] = [*self._takes, *self._again, *self._turning]
        tickets += [wait for waits in self._waits.values() for wait in waits]
        while not self._inbox.empty():
            tickets.append(self._inbox.get())
        for ticket in tickets:
            ticket.error = end
        answer(tickets)

    def _connect(self) -> sqlite3.Connection:
        give_up_at = time.monotonic() + PATIENCE
        while self.connection is None:
            try:
                self.connection = connect(self.path, self._synchronous)
            except sqlite3.Error as error:
                if not is_busy(error) or time.monotonic() > give_up_at:
                    raise unavailable(self.path, error) from error
                _pause()
        self._file = self._identity()
        self._version = queries.version(self.connection)
        return self.connection

    def _gather(self) -> None:
        """Wait for what is asked, but no longer than until something else is to be done."""
        timeout = self._timeout()
        try:
            self._turning.append(self._inbox.get(timeout is None or timeout > 0, timeout))
            while len(self._turning) < BATCH:
                self._turning.append(self._inbox.get_nowait())
        except queue.Empty:
            pass

    def _timeout(self) -> float | None:
        """Return the seconds until there is something to do even if nobody asks."""
        times: list[float] = []
        now = time.monotonic()
        if self._is_watching():
            times.append(self._poll_at - now)
        if self._again:
            times.append(self._again_at - now)
        if self._quiet_at is not None:
            times.append(self._quiet_at - now)
        now = self._clock()
        times += [holder.renew_at - now for holder in self._holders if holder.held]
        times += [holder.sign_at - now for holder in self._holders]
        if self._takes and self._change_at is not None:
            times.append(self._change_at - now)
        return max(0.0, min(times)) if times else None

    def _is_watching(self) -> bool:
        return bool(self._takes or self._waits or any(holder.held for holder in self._holders))

    def _turn(self, tables: LedgerTables, tickets: list[Ticket[Any]]) -> None:
        """Do what was asked and what is due."""
        has_changed = self._look()
        if self._again and time.monotonic() >= self._again_at:
            tickets += self._again
            self._again.clear()
        reads: list[Ticket[Any]] = []
        writes: list[Ticket[Any]] = []
        for ticket in tickets:
            if isinstance(ticket, Close):
                self._closing.append(ticket)
            elif isinstance(ticket, Take):
                self._takes.append(ticket)
            else:
                (writes if ticket.is_write else reads).append(ticket)
        self._answer_all(tables, reads)
        has_taker = any(isinstance(ticket, Take) for ticket in tickets)
        wants_claim = self._wants_claim(has_changed=has_changed or has_taker)
        if wants_claim:
            # Who takes need not wait for the disk: what is taken runs while the rest is written there.
            self._write(tables, [], wants_claim=True)
        if writes or self._wants_renewal():
            self._write(tables, writes)
        if has_changed:
            self._tell_ended(tables, list(self._waits))
            self._tell_cancels()
        tickets.clear()
        self._rest()

    def _look(self) -> bool:
        """Return whether another process has changed anything since the last look."""
        now = time.monotonic()
        if now < self._poll_at or not self._is_watching():
            return False
        version = self._ask(queries.version, self._version)
        has_changed = version != self._version
        self._version = version
        self._poll_every = POLL_FIRST if has_changed else min(POLL_LAST, self._poll_every * 1.25)
        self._poll_at = now + self._poll_every
        return has_changed

    def _ask(self, question: Callable[[sqlite3.Connection], Answer], otherwise: Answer) -> Answer:
        """Ask about the rows; if they cannot be read, whoever waits is told by the next try to change them."""
        try:
            return question(self._use())
        except sqlite3.Error:
            return otherwise

    def _answer_all(self, tables: LedgerTables, reads: Sequence[Ticket[Any]]) -> None:
        wants_post = bool(reads) and self._ask(has_post, otherwise=False)
        if wants_post:
            self._write(tables, [])  # who put something into the inbox may be the one who asks for it now
        for ticket in reads:
            self._read(tables, ticket)

    def _read(self, tables: LedgerTables, ticket: Ticket[Any]) -> None:
        tables.begin()
        try:
            if isinstance(ticket, Wait) and not queries.has_ended(self._use(), [ticket.id]):
                self._waits.setdefault(ticket.id, []).append(ticket)
                return
            ticket.answer = ticket.work(tables)
        except sqlite3.Error as error:
            ticket.error = unavailable(self.path, error)
        except Exception as error:
            ticket.error = error
        answer([ticket])

    def _wants_claim(self, *, has_changed: bool) -> bool:
        """Tell whether there is something for those who wait."""
        if not self._takes:
            return False
        if has_changed:
            self._change_at = self._ask(queries.next_change, None)
        if self._change_at is not None and self._change_at <= self._clock():
            return True
        queues = {name for take in self._takes for name in take.holder.terms.queues}
        return has_changed and self._ask(partial(queries.has_ready, queues=list(queues)), otherwise=True)

    def _wants_renewal(self) -> bool:
        now = self._clock()
        return any(holder.sign_at <= now or (holder.held and holder.renew_at <= now) for holder in self._holders)

    def _write(self, tables: LedgerTables, tickets: list[Ticket[Any]], *, wants_claim: bool = False) -> None:
        """Do it all in one transaction; if that fails, each for itself."""
        try:
            self._transact(tables, tickets, wants_claim=wants_claim)
        except Exception as error:
            if isinstance(error, BrokerUnavailableError) or len(tickets) < 2:  # noqa: PLR2004 - nothing to part
                self._fail([*tickets, *self._taking(wants_claim=wants_claim)], error)
                return
            for ticket in tickets:
                self._write(tables, [ticket])

    def _taking(self, *, wants_claim: bool) -> list[Take]:
        takes = self._takes if wants_claim else []
        if wants_claim:
            self._takes = []
        return takes

    def _transact(self, tables: LedgerTables, tickets: Sequence[Ticket[Any]], *, wants_claim: bool) -> None:
        # A power cut that takes a claim or a lease with it takes the worker too: nobody needs to wait for the disk.
        self._begin(is_durable=any(ticket.is_durable for ticket in tickets))
        done: list[Ticket[Any]] = list(tickets)
        try:
            tables.begin()
            tables.advance()
            self._renew(tables)
            do(tickets, tables)
            if wants_claim or (tables.has_news and self._takes):
                for take in self._takes:
                    take.answer = take.work(tables)
                done += [take for take in self._takes if take.answer]
                self._change_at = queries.next_change(self._use())
            self._use().execute("COMMIT")
        except BaseException as error:
            for take in self._takes:
                take.answer = []  # it got nothing, and goes on waiting
            self._change_at = self._clock()  # what it would have got may be there still
            self._roll_back(error)
            raise
        self._quiet_at = time.monotonic() + QUIET
        for function in tables.committed:
            function()
        self._takes = [take for take in self._takes if not take.answer]
        self._tell(tables, done)

    def _begin(self, *, is_durable: bool) -> None:
        give_up_at = time.monotonic() + PATIENCE
        if self._identity() != self._file:
            raise BrokerUnavailableError(
                f"the file {self.path!r} was removed or replaced while it was in use; put it back, or restart"
            )
        while True:
            try:
                self._set_synchronous(self._synchronous if is_durable else "normal")
                self._use().execute("BEGIN IMMEDIATE")
                return
            except sqlite3.Error as error:
                if not is_busy(error) or time.monotonic() > give_up_at:
                    raise unavailable(self.path, error) from error
                _pause()

    def _set_synchronous(self, value: str) -> None:
        if value != self._is_synchronous:
            self._use().execute(f"PRAGMA synchronous = {value}")
            self._is_synchronous = value

    def _roll_back(self, error: BaseException) -> None:
        connection = self._use()
        if connection.in_transaction:  # some errors have ended it already
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error) and is_full(error):
            # What is in the log goes into the file, then the log can be used again from its start, without more space.
            self._checkpoint("RESTART")

    def _renew(self, tables: LedgerTables) -> None:
        for holder in self._holders:
            if holder.sign_at <= tables.now:
                sign(tables.connection, holder, tables.now)
            if holder.held and holder.renew_at <= tables.now:
                lease = holder.terms.lease
                # Should this fail, the next try comes soon.
                holder.renew_at = tables.now + min(RETRY, lease / 10)
                keys = {seq: key for key, (seq, _) in holder.held.items()}
                lost = tables.renew(((seq, token) for seq, (_, token) in keys.items()), lease)
                next_at = tables.now + lease / 3
                tables.committed.append(partial(self._renewed, holder, next_at, [keys[seq] for seq in lost]))

    def _renewed(self, holder: Holder, next_at: float, lost: list[tuple[str, int]]) -> None:
        holder.renew_at = next_at
        is_there = tell(holder.runtime, _nothing)
        for key in lost:
            _, held = holder.held.pop(key)
            tell(holder.runtime, partial(holder.terms.hearing.on_lost, held))
        if not is_there:
            self._abandon(holder)

    def _abandon(self, holder: Holder) -> None:
        """Give back what a worker has whose event loop has ended."""
        held = [(seq, held.token) for seq, held in holder.held.values()]
        self.leave(holder)
        self._inbox.put(Ticket(holder.runtime, partial(release, held)))

    def _tell(self, tables: LedgerTables, done: list[Ticket[Any]]) -> None:
        for ticket in answer(done):
            if isinstance(ticket, Take):
                self._abandon(ticket.holder)
        if tables.ended and self._waits:
            self._tell_ended(tables, [id_ for id_ in tables.ended if id_ in self._waits])
        if tables.has_cancels:
            self._tell_cancels()

    def _tell_ended(self, tables: LedgerTables, ids: list[str]) -> None:
        if ids:
            none: set[str] = set()
            for id_ in self._ask(partial(queries.has_ended, ids=ids), none):
                for wait in self._waits.pop(id_, ()):
                    self._read(tables, wait)

    def _tell_cancels(self) -> None:
        none: list[tuple[int, int, str]] = []
        wanted = {(seq, token): reason for seq, token, reason in self._ask(queries.cancels, none)}
        for holder in self._holders if wanted else ():
            for seq, held in holder.held.values():
                key = (seq, held.token)
                if key in wanted and key not in holder.told:
                    holder.told.add(key)
                    tell(holder.runtime, partial(holder.terms.hearing.on_cancel, held, wanted[key]))

    def _fail(self, tickets: Sequence[Ticket[Any]], error: Exception) -> None:
        ours = unavailable(self.path, error) if isinstance(error, sqlite3.Error) else error
        now = time.monotonic()
        failed: list[Ticket[Any]] = []
        for ticket in tickets:
            ticket.gives_up_at = ticket.gives_up_at or now + ticket.patience
            if isinstance(ours, BrokerUnavailableError) and now < ticket.gives_up_at:
                self._again.append(ticket)
                self._again_at = now + RETRY
            else:
                ticket.error = ours
                failed.append(ticket)
        answer(failed)

    def _rest(self) -> None:
        """Empty the log when nothing has happened for a while: it would be read by whoever opens the file next."""
        if self._quiet_at is not None and time.monotonic() >= self._quiet_at:
            self._quiet_at = None
            self._checkpoint("TRUNCATE")

    def _checkpoint(self, mode: str) -> None:
        try:
            self._use().execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        except sqlite3.Error:
            return  # another process is at it, or the disk is full; it is only tidying up

    def _use(self) -> sqlite3.Connection:
        assert self.connection is not None  # noqa: S101 - for the type checkers: the thread opens it first
        return self.connection

    def _identity(self) -> tuple[int, int]:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - called for each transaction
        except OSError:
            return (0, 0)
        return (status.st_dev, status.st_ino)


def release(held: Sequence[tuple[int, int]], tables: LedgerTables) -> None:
    """Give jobs back that are told by number and token."""
    tables.settle_many([(seq, token, Released()) for seq, token in held])


def _pause() -> None:
    """Let another process end its transaction; all at other times, so that none of them is always late."""
    time.sleep(random.uniform(0.001, 0.01))  # noqa: S311 - not a secret


def _nothing() -> None:
    """Do nothing, in an event loop that shall show that it is there."""
