"""What a worker has done, in numbers that add up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import anyio

    from jockey.jobs._message import Message


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """
    What a worker has done: each delivery that it took has come to one of the ends, so they add up to `taken`.

    Tries are counted, and not jobs: a job that fails once and then succeeds is one `retried` and one `succeeded`.
    """

    taken: int = 0
    """How many deliveries it took."""

    succeeded: int = 0
    """Of these, how many succeeded."""

    retried: int = 0
    """...failed, and will be tried again."""

    dead: int = 0
    """...failed and are among the dead letters now, unreadable ones included."""

    cancelled: int = 0
    """...were cancelled by somebody."""

    released: int = 0
    """...were given back, at the end of the worker: they come again, and no try was spent."""

    lost: int = 0
    """...were no longer this worker's in the end (or the broker could not be told): they come again elsewhere."""

    left: Sequence[Message] = field(default=(), repr=False, compare=False)
    """
    Jobs that had not ended when the worker closed the app, as the last one that used it, and that are lost with a
    broker in memory: in the order of their arrival. Always empty with other brokers.
    """

    @property
    def failed(self) -> int:
        """How many tries failed."""
        return self.retried + self.dead

    @property
    def processed(self) -> int:
        """How many tries came to an end of their own, good or bad."""
        return self.succeeded + self.failed


@dataclass(slots=True)
class Tally:
    """
    The counts while they grow.

    Attributes:
        taken: How many deliveries were taken.
        settled: How many of them have come to an end.
        ends: How many to which end, by the names of the fields of `WorkerCounts`.
        changed: Set at the next end, if somebody waits for that.
    """

    taken: int = 0
    settled: int = 0
    ends: dict[str, int] = field(default_factory=dict[str, int])
    changed: anyio.Event | None = None

    def note(self, end: str) -> None:
        """Count that a delivery has come to that end."""
        self.settled += 1
        self.ends[end] = self.ends.get(end, 0) + 1
        if self.changed is not None:
            self.changed.set()

    def counts(self, left: Sequence[Message] = ()) -> WorkerCounts:
        """Return the counts of now."""
        return WorkerCounts(taken=self.taken, left=left, **self.ends)
