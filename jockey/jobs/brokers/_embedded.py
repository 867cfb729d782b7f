"""What the two embedded brokers have in common: the phases of a job, and the rules that need no storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from jockey.jobs._broker import Died
from jockey.jobs._errors import QueueNotDeclaredError
from jockey.jobs._message import Message, Trouble
from jockey.jobs._state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jockey.jobs._broker import Hearing

# In a file of SQLite these numbers are data, and the order matters: what waits for a time, what waits for a worker,
# what runs, what has ended.
SCHEDULED: Final = 0
FAILED: Final = 1
READY: Final = 2
BLOCKED: Final = 3
RUNNING: Final = 4
SUCCEEDED: Final = 5
CANCELLED: Final = 6
DEAD: Final = 7

# Of jobs that another broker carries, of which there is only the record here: nothing of this broker looks at them but
# what is asked by id.
SCHEDULED_ELSEWHERE: Final = 8
FAILED_ELSEWHERE: Final = 9
QUEUED_ELSEWHERE: Final = 10
RUNNING_ELSEWHERE: Final = 11
DEAD_ELSEWHERE: Final = 12

WAITING: Final = frozenset({SCHEDULED, FAILED, READY, BLOCKED, SCHEDULED_ELSEWHERE, FAILED_ELSEWHERE, QUEUED_ELSEWHERE})
ENDED: Final = frozenset({SUCCEEDED, CANCELLED, DEAD, DEAD_ELSEWHERE})

STATES: Final = (
    State.SCHEDULED,
    State.FAILED,
    State.QUEUED,
    State.QUEUED,  # blocked by an earlier job of its group
    State.RUNNING,
    State.SUCCEEDED,
    State.CANCELLED,
    State.DEAD,
    State.SCHEDULED,
    State.FAILED,
    State.QUEUED,
    State.RUNNING,
    State.DEAD,
)
"""By phase, the state that the world sees."""

PHASES: Final = {state: tuple(phase for phase, of in enumerate(STATES) if of is state) for state in State}
"""By state, the phases in which a job may be."""

CANCELLED_KEPT: Final = 86_400.0
"""Seconds for which the record of a job that was cancelled while it waited is kept, unless its message says more."""

ID_KEPT: Final = 86_400.0
"""
Seconds for which the id of a successor is known after all else of it is forgotten.

Its parent may have lost its lease, and publish it once more when it has run again.
"""

JOIN_KEPT: Final = 90 * 86_400.0
"""Seconds after the last news of a group for which the results of its jobs are kept."""

UNIQUE_WHILE_QUEUED: Final = "queued"
UNIQUE_WHILE_UNFINISHED: Final = "unfinished"


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """
    On which terms a worker takes deliveries.

    Attributes:
        queues: From where.
        worker: A name for the records.
        lease: Seconds for which they are its own without a sign of life.
        max_crashes: A message that was lost so often is dead.
        hearing: Whom to ask, and to tell.
    """

    queues: Sequence[str]
    worker: str
    lease: float
    max_crashes: int
    hearing: Hearing


def crashed(message: Message | None, crashes: int, worker: str, terms: Terms, now: float) -> Died:
    """Return the end of a message whose workers have died again and again; *worker* was the last one."""
    error = Trouble(
        type="jockey.jobs.WorkerCrashed",
        message=f"its worker died, or was silent for longer than its lease, {crashes} times; the last was {worker!r}",
        at=now,
        worker=worker,
    )
    return Died(error, successors=() if message is None else terms.hearing.on_crashed(message, error))


def renewed(message: Message, now: float) -> Message:
    """Return what a dead message is when it is replayed: as on the first day, with its failures for the record."""
    return msgspec.structs.replace(message, attempt=0, enqueued_at=now, not_before=0.0)


def lock_ends(message: Message, now: float) -> float | None:
    """Return until when its unique key is taken, whatever becomes of a new message; None: while it waits or runs."""
    if message.unique is None or message.unique_for is None or isinstance(message.unique_for, str):
        return None
    return now + message.unique_for


def last_trouble(message: Message) -> Trouble | None:
    """Return the failure of its last try."""
    return message.troubles[-1] if message.troubles else None


def undeclared(queue: str, declared: Iterable[str]) -> QueueNotDeclaredError:
    """Return the error for a queue that is not there."""
    known = ", ".join(repr(name) for name in sorted(declared)) or "none"
    return QueueNotDeclaredError(
        f"there is no queue {queue!r} (declared: {known}); declare it first, or start a worker for it"
    )


def cancelled_ttl(message: Message | None, ready_at: float, now: float) -> float:
    """Return for how long the record of a job is kept that was cancelled while it waited."""
    asked = None if message is None else message.result_ttl
    # Another broker cannot be told: the record must still be there when it delivers the job.
    return max(0.0, ready_at - now) + (CANCELLED_KEPT if asked is None else asked)
