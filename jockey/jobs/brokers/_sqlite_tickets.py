"""What an event loop asks of the thread that writes, and how it hears the answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jockey._runtime import Event, Runtime
    from jockey.jobs._broker import Held, Published
    from jockey.jobs.brokers._embedded import Terms
    from jockey.jobs.brokers._sqlite_ledger import LedgerTables
    from jockey.jobs.brokers._sqlite_rows import Row
    from jockey.jobs.brokers._sqlite_tables import Parcel

Answer = TypeVar("Answer")

Key = tuple[str, int]
"""The id and the token of a delivery."""


class Ticket(Generic[Answer]):
    """
    One request, and its answer.

    Args:
        runtime: Of the event loop that asks.
        work: What is to be done, in a transaction; it may be done again if that fails.
        is_write: Whether it changes anything.
        is_durable: Whether what it changes must survive a power cut.
        patience: Seconds for which it is tried again when the file cannot be written.
    """

    answer: Answer

    def __init__(
        self,
        runtime: Runtime,
        work: Callable[[LedgerTables], Answer],
        *,
        is_write: bool = True,
        is_durable: bool = True,
        patience: float = 0.0,
    ) -> None:
        self.runtime = runtime
        self.work = work
        self.is_write = is_write
        self.is_durable = is_durable
        self.patience = patience
        self.gives_up_at: float | None = None  # once it has failed
        self.error: BaseException | None = None
        self.event = runtime.event()


class Publication(Ticket["list[Published]"]):
    """Messages to be published, together with those of others who publish at the same time."""

    answer: list[Published]

    def __init__(self, runtime: Runtime, parcels: Sequence[Parcel]) -> None:
        super().__init__(runtime, methodcaller("publish", parcels))
        self.parcels = parcels


class Take(Ticket["list[Held]"]):
    """A worker waits for something to do."""

    def __init__(self, runtime: Runtime, holder: Holder, count: int) -> None:
        super().__init__(runtime, partial(claim, holder, count))
        self.holder = holder
        self.answer = []


class Wait(Ticket["Row | None"]):
    """Somebody waits for the end of a job."""

    def __init__(self, runtime: Runtime, id_: str, work: Callable[[LedgerTables], Row | None]) -> None:
        super().__init__(runtime, work, is_write=False)
        self.id = id_


class Close(Ticket[None]):
    """The file is not needed any more."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime, nothing)
        self.answer = None


@dataclass(eq=False)
class Holder:
    """
    A worker, as the writer sees it.

    Attributes:
        held: What it has taken and not settled, by id and token, with the number of the job.
        renew_at: When the leases are to be renewed, in seconds since the epoch.
        sign_at: When it is to be noted again that it is there, as above.
        told: The tokens and numbers of the jobs that it was told to cancel.
    """

    terms: Terms
    runtime: Runtime
    held: dict[Key, tuple[int, Held]] = field(default_factory=dict)
    renew_at: float = 0.0
    sign_at: float = 0.0
    told: set[tuple[int, int]] = field(default_factory=set)


def nothing(_tables: LedgerTables) -> None:
    """Do nothing: the answer alone matters."""


def claim(holder: Holder, count: int, tables: LedgerTables) -> list[Held]:
    """Take at most so many jobs for *holder*."""
    claimed = tables.claim(holder.terms, count)
    if claimed:
        tables.committed.append(partial(_hold, holder, claimed, tables.now))
    return [held for _, held in claimed]


def _hold(holder: Holder, claimed: list[tuple[int, Held]], now: float) -> None:
    if not holder.held:
        holder.renew_at = now + holder.terms.lease / 3
    holder.held.update(((held.id, held.token), (seq, held)) for seq, held in claimed)


def tell(runtime: Runtime, function: Callable[[], object]) -> bool:
    """Have *function* called in that event loop; return whether it still runs."""
    try:
        runtime.call_soon_threadsafe(function)
    except RuntimeError:
        return False
    return True


def answer(tickets: Iterable[Ticket[Any]]) -> list[Ticket[Any]]:
    """Wake those who wait for an answer, all of a loop at once; return the tickets of loops that have ended."""
    by_runtime: dict[Runtime, list[Ticket[Any]]] = {}
    for ticket in tickets:
        by_runtime.setdefault(ticket.runtime, []).append(ticket)
    return [
        ticket
        for runtime, answered in by_runtime.items()
        if not tell(runtime, partial(_wake, answered))
        for ticket in answered
    ]


def _wake(tickets: list[Ticket[Any]]) -> None:
    for ticket in tickets:
        ticket.event.set()


async def outlast(event: Event) -> None:
    """
    Wait for *event*, even if the scope that this is in is cancelled meanwhile.

    That is what a shield is for; but nearly always nobody cancels anything, and then this costs nothing.
    """
    try:
        await event.wait()
    except anyio.get_cancelled_exc_class():
        if anyio.current_effective_deadline() > -math.inf:  # asyncio's own cancellation: it pierces any shield
            raise
        with anyio.CancelScope(shield=True):
            await event.wait()


def do(tickets: Iterable[Ticket[Any]], tables: LedgerTables) -> None:
    """Do what they ask for, in their order; those that publish one after the other do so together."""
    for kind, group in groupby(tickets, type):
        if kind is Publication:
            _publish_together([ticket for ticket in group if isinstance(ticket, Publication)], tables)
        else:
            for ticket in group:
                ticket.answer = ticket.work(tables)


def _publish_together(tickets: list[Publication], tables: LedgerTables) -> None:
    published = iter(tables.publish([parcel for ticket in tickets for parcel in ticket.parcels]))
    for ticket in tickets:
        ticket.answer = list(islice(published, len(ticket.parcels)))
