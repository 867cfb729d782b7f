"""
The seam between the jobs layer and what carries the jobs: all that brokers, stores and the worker share.

A broker keeps messages and hands them out, each to one source at a time, for as long as that source keeps its lease. A
store keeps what is known of each job. The embedded brokers are both at once, so that what settles a job (its result,
its successors, the end of its lease) is one transaction there; for others `settle_many` takes the steps in an order in
which a crash between two of them repeats work, and never loses any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from jockey.jobs._message import Join, Message, Trouble
    from jockey.jobs._state import State


class Published(msgspec.Struct, frozen=True):
    """
    What became of a message that was to be published.

    Attributes:
        id: The id of the job: its own, or that of the one that it duplicates.
        is_new: Whether it was enqueued; False means that the job *id* was there already, and nothing was done.
    """

    id: str
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    """
    What is known of a job.

    Attributes:
        message: As it stands now, with its failures; None if what arrived could not be read.
        started_at: When the last try began, in seconds since the epoch; None before the first.
        finished_at: When it ended.
        attempt: The number of the try that runs or ran last; 0 before the first.
        crashes: How many tries ended with the worker that had them.
        worker: The name of the worker that has or had it.
        error: Why it failed, is dead or was cancelled.
        result: JSON; None as long as there is none (the result None is ``b"null"``).
        body: What travelled, if it could not be read.
    """

    id: str
    name: str
    queue: str
    state: State
    message: Message | None = None
    enqueued_at: float = 0.0
    not_before: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    attempt: int = 0
    crashes: int = 0
    worker: str = ""
    error: Trouble | None = None
    result: bytes | None = None
    body: bytes | None = None


class Succeeded(msgspec.Struct, frozen=True):
    """The work is done: keep *result* for *ttl* seconds (None: not at all), publish *successors*, and forget it."""

    result: bytes
    ttl: float | None = None
    successors: Sequence[Message] = ()


class Retried(msgspec.Struct, frozen=True):
    """A try has failed: *message* (with one attempt more, and the failure) comes again after *delay* seconds."""

    message: Message
    delay: float


class Died(msgspec.Struct, frozen=True):
    """It cannot succeed: keep it among the dead letters, and publish *successors*."""

    error: Trouble
    message: Message | None = None
    successors: Sequence[Message] = ()


class Cancelled(msgspec.Struct, frozen=True):
    """Somebody cancelled it: it never comes again."""

    reason: str
    ttl: float | None = None


class Released(msgspec.Struct, frozen=True):
    """It was not done, and nobody is to blame: it comes again at once, in its old place, with no attempt spent."""


Settlement = Succeeded | Retried | Died | Cancelled | Released


class Delivery(Protocol):
    """
    One message, in the hands of one source until it is settled or its lease is lost.

    Attributes:
        body: What travelled.
        queue: Where it waited.
        crashes: How many times before it was delivered to a worker that then died or lost it.
        message: What the broker has read already; None: *body* is to be decoded.
    """

    @property
    def body(self) -> bytes: ...
    @property
    def queue(self) -> str: ...
    @property
    def crashes(self) -> int: ...
    @property
    def message(self) -> Message | None: ...


class Source(Protocol):
    """Where one worker takes deliveries from; it keeps the leases of all that were taken until they are settled."""

    async def take(self, count: int) -> Sequence[Delivery]:
        """
        Wait until there is something to do, and return at most *count* deliveries, the most urgent first.

        A cancelled `take` loses nothing: what it had taken already is released.

        Raises:
            BrokerUnavailableError: The broker cannot be reached; the source goes on trying, and so may the caller.
        """
        ...

    async def settle_many(self, ends: Sequence[tuple[Delivery, Settlement]]) -> Sequence[bool | Exception]:
        """
        End the leases of these deliveries, each as told; durable when this returns. Not interrupted by a cancellation.

        What befalls one of them is nothing to the others. A worker has one call of it under way at a time, with all
        that has gathered meanwhile.

        Returns:
            For each of them, in their order: True; False if its lease was not held any more (nothing was done, and
            somebody else has or had the job); or the error for which it was not settled, while the lease goes on:
            `BrokerUnavailableError` to be asked again, any other one if that settlement is refused for good.

        Raises:
            BrokerUnavailableError: The same for all of them.
        """
        ...


def nothing_follows(_message: Message, _error: Trouble, /) -> Sequence[Message]:
    """Publish nothing when a message is dead."""
    return ()


@dataclass(frozen=True, slots=True)
class Hearing:
    """
    What a source tells its worker, in the event loop of the worker.

    Attributes:
        on_cancel: The job of that delivery shall be cancelled, for that reason.
        on_lost: The lease of that delivery is lost: stop, whatever comes out is not wanted.
        on_crashed: Returns what is published when that message dies for that reason because of *max_crashes*. This one
            is called from any thread, and only computes.
        wants_ids: Whether each message must have an id that stays, whoever gets it: somebody keeps records by it.
    """

    on_cancel: Callable[[Delivery, str], object]
    on_lost: Callable[[Delivery], object]
    on_crashed: Callable[[Message, Trouble], Sequence[Message]] = nothing_follows
    wants_ids: bool = False


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """
    What is in a queue.

    Attributes:
        ready: How many jobs could run now.
        delayed: How many wait for their time.
        running: How many are in the hands of workers.
        dead: How many are dead letters.
        oldest_wait: Seconds since the oldest one that is ready could have run.
        workers: How many workers take from it, busy or idle.
    """

    name: str
    ready: int = 0
    delayed: int = 0
    running: int = 0
    dead: int = 0
    oldest_wait: float = 0.0
    workers: int = 0


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """
    A worker that is there.

    Attributes:
        queues: The names of those it takes from; empty if that is not known.
        running: How many jobs are in its hands.
    """

    name: str
    queues: tuple[str, ...] = ()
    running: int = 0


@dataclass(frozen=True, slots=True)
class Features:
    """
    What a broker can do of what not all can; what it cannot is refused when a job asks for it.

    Attributes:
        delays: Jobs that come later.
        priorities: Jobs that overtake others.
        uniqueness: Duplicates are found, by id and by key.
        groups: "everywhere": jobs of one group run in order across all workers; "worker": within each worker.
        cancellation: Jobs can be cancelled, queued or running.
        is_store: The broker is a store too, and settles in one transaction with it.
    """

    delays: bool = True
    priorities: bool = True
    uniqueness: bool = True
    groups: str = "everywhere"
    cancellation: bool = True
    is_store: bool = True


class Broker(Protocol):
    """Keeps messages and hands them out. All methods raise `BrokerUnavailableError` when it cannot be reached."""

    @property
    def features(self) -> Features: ...

    async def open(self) -> None:
        """Connect; called once, before all else."""
        ...

    async def close(self) -> Sequence[Message] | None:
        """Let go of all that `open` and the others took; return the jobs that had not ended and are lost with it."""
        ...

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        """
        Enqueue all of *messages*; durable when this returns, all or (where the broker can) none of them.

        Raises:
            QueueNotDeclaredError: There is no such queue; nothing was published.
        """
        ...

    def consume(
        self, queues: Sequence[str], hearing: Hearing, *, worker: str, lease: float, max_crashes: int
    ) -> AbstractAsyncContextManager[Source]:
        """
        Be a worker: take what is in *queues*.

        Leaving the block releases what was taken and not settled.

        Args:
            queues: Their names.
            hearing: Who is told of what happens to deliveries.
            worker: A name for the records.
            lease: Seconds after which a delivery whose worker is silent comes again.
            max_crashes: A message that was delivered and lost so often is dead, and not delivered any more.
        """
        ...

    async def declare(self, queue: str) -> None:
        """See to it that there is a queue of that name; what is in it stays."""
        ...

    async def info(self, queue: str | None = None) -> Sequence[QueueInfo]:
        """
        Return the state of one queue, or of all.

        Raises:
            QueueNotDeclaredError: The queue was not declared, and nothing is in it.
        """
        ...

    async def workers(self) -> Sequence[WorkerInfo]:
        """
        Return the workers that are there, by name.

        Raises:
            UnsupportedError: The broker does not know them.
        """
        ...

    async def peek(self, queue: str, count: int) -> Sequence[Record]:
        """
        Return the first *count* waiting jobs, without taking them.

        Raises:
            QueueNotDeclaredError: As in `info`.
        """
        ...

    async def purge(self, queue: str) -> int:
        """
        Remove all that waits in the queue; return how many.

        Raises:
            QueueNotDeclaredError: As in `info`.
        """
        ...

    async def delete(self, queue: str) -> None:
        """Remove the queue, with all that waits in it; it need not be there."""
        ...

    async def dead(self, queue: str | None = None, *, count: int = 100) -> Sequence[Record]:
        """
        Return dead letters, the newest first.

        Raises:
            QueueNotDeclaredError: As in `info`.
        """
        ...

    async def replay(self, ids: Sequence[str]) -> int:
        """Put dead letters back in their queues, with no attempts spent; return how many."""
        ...

    async def drop(self, ids: Sequence[str]) -> int:
        """Remove dead letters for good; return how many."""
        ...


class Store(Protocol):
    """Keeps what is known of each job."""

    async def record(self, id: str) -> Record | None:  # noqa: A002 - the field's name
        """Return what is known of a job; None if nothing is (any more)."""
        ...

    async def wait(self, id: str) -> Record:  # noqa: A002 - the field's name
        """Return the record of a job as soon as it has ended; event-driven where the store can."""
        ...

    def records(self, *, queue: str | None = None, state: State | None = None) -> AsyncIterator[Record]:
        """Return the records of many jobs, the newest first."""
        ...

    async def remove(self, id: str) -> bool:  # noqa: A002 - the field's name
        """Forget an ended job; return whether there was one."""
        ...

    async def arrive(self, join: Join, result: bytes) -> Sequence[bytes] | None:
        """
        Note the result of one job of a group; noting it again changes nothing.

        Returns:
            All results in their order if none is missing any more; again whenever it is asked after that.
        """
        ...

    async def cancel(self, id: str, reason: str) -> Record | None:  # noqa: A002 - the field's name
        """
        Cancel a job: at once if it waits; if it runs its worker hears of it within a second.

        Returns:
            The record after that; None if nothing is known of the job.
        """
        ...


class Ledger(Store, Protocol):
    """
    A store that can also keep the records of jobs which another broker carries; both embedded brokers can.

    It never hands out such jobs itself. `Store.cancel` works for them as for its own: at once while they wait, by
    `cancelled` while they run.
    """

    async def enter(self, messages: Sequence[Message]) -> Sequence[Published]:
        """Record new jobs as waiting, each unless it is a duplicate, by its id or its key, of one that is there."""
        ...

    async def withdraw(self, ids: Sequence[str]) -> None:
        """Forget jobs that were entered, and then could not be published; those that have started stay."""
        ...

    async def begin(self, message: Message, *, worker: str, crashes: int) -> Record:
        """
        Note that a try begins, of a job that may be unknown (foreign producers enter nothing).

        Returns:
            The record: of the state running, if it has begun; if it has ended before, or a later try of it is under
            way (its attempt is greater than that of *message*), the record as it stays.
        """
        ...

    async def end(self, id: str, settlement: Settlement) -> None:  # noqa: A002 - the field's name
        """Note how a try ended; all but the successors, which are published already. An ended record stays as it is."""
        ...

    async def cancelled(self, ids: Sequence[str]) -> dict[str, str]:
        """Return which of these running jobs shall be cancelled, and why."""
        ...


class Held(msgspec.Struct, frozen=True, eq=False):
    """A delivery as the embedded brokers make it: *token* fences its settlement."""

    id: str
    body: bytes
    queue: str
    token: int
    crashes: int = 0
    message: Message | None = None
