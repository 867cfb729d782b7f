"""The states of a job, and which may follow which."""

from __future__ import annotations

import enum
from typing import Final


class State(enum.Enum):
    """What has become of a job."""

    SCHEDULED = "scheduled"
    """It waits for its time."""

    QUEUED = "queued"
    """It waits for a worker."""

    RUNNING = "running"
    """A worker has it."""

    FAILED = "failed"
    """A try has failed; it waits for the next one."""

    SUCCEEDED = "succeeded"
    """It has ended with a result."""

    DEAD = "dead"
    """It has ended without a result, and is among the dead letters."""

    CANCELLED = "cancelled"
    """It was cancelled."""


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.SCHEDULED: frozenset({State.QUEUED, State.RUNNING, State.CANCELLED}),
    State.QUEUED: frozenset({State.RUNNING, State.DEAD, State.CANCELLED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.DEAD, State.CANCELLED, State.QUEUED}),
    State.FAILED: frozenset({State.QUEUED, State.RUNNING, State.DEAD, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.DEAD: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset(),
}
"""From each state to those that may follow; running to queued is a release, or a lease that has expired."""

WAITING: Final = frozenset({State.SCHEDULED, State.QUEUED, State.FAILED})
ENDED: Final = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED})
