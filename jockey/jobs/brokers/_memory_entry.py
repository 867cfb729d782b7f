"""One job in memory, and how it is handed out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from jockey.jobs._broker import Record
from jockey.jobs._codec import encode
from jockey.jobs.brokers._embedded import SCHEDULED, STATES

if TYPE_CHECKING:
    from jockey.jobs._message import Message, Trouble
    from jockey.jobs.brokers._embedded import Terms

Place = tuple[int, float, int]
"""Priority, time and number: whose place is lower runs first."""


class Entry(msgspec.Struct, eq=False, gc=False):
    """
    One job.

    Attributes:
        arrival: Jobs that are equal in all else keep this order.
        ready_at: Since when, or from when, it may run.
        terms: Of the worker that has it.
        cancel: Why it shall be cancelled, once somebody has asked for it while it ran.
    """

    message: Message
    arrival: int
    ready_at: float
    enqueued_at: float
    phase: int = SCHEDULED
    attempt: int = 0
    crashes: int = 0
    worker: str = ""
    terms: Terms | None = None
    started_at: float | None = None
    finished_at: float | None = None
    error: Trouble | None = None
    result: bytes | None = None
    cancel: str | None = None

    def record(self) -> Record:
        """Return what is known of it."""
        return Record(
            id=self.message.id,
            name=self.message.name,
            queue=self.message.queue,
            state=STATES[self.phase],
            message=self.message,
            enqueued_at=self.enqueued_at,
            not_before=self.ready_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            attempt=self.attempt,
            crashes=self.crashes,
            worker=self.worker,
            error=self.error,
            result=self.result,
        )


class InMemory(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A delivery of a broker in memory: nothing is encoded unless somebody asks for it."""

    entry: Entry
    message: Message
    crashes: int

    @property
    def body(self) -> bytes:
        return encode(self.message)

    @property
    def queue(self) -> str:
        return self.message.queue


def place_of(entry: Entry) -> Place:
    """Return its place among those of its queue that are ready."""
    return entry.message.priority, entry.ready_at, entry.arrival
