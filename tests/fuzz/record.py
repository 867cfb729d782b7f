"""What is known of one message that a program made."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import anyio

from jockey import JobHandle
from tests.fuzz import program


@dataclass(eq=False)
class Record:
    number: int
    job: program.Job
    key: str | None
    """Of the handler that it is for, if any."""
    group: Hashable

    is_silent: bool = False
    """Submitted without an adapter: only the handle tells how it ends."""
    accepted: bool = False
    turn: int = 0
    """The order of acceptance among all jobs."""
    handle: JobHandle[Any] | None = None
    cancel_asked: bool = False
    patience: anyio.CancelScope | None = None
    """Of the code that executes it: when that is cancelled so is the job, at once, and the code goes on later."""
    cancelled_task: bool = False
    """Whether one of its own steps natively cancelled the task that ran it."""
    is_stubborn: bool = False
    """Whether one of its steps was slow to obey, or refused."""
    lookup_raised: BaseException | None = None

    started_at: float | None = None
    """When its payload was asked for."""
    handler_started_at: float | None = None
    handler_ended_at: float | None = None
    returned: bool = False
    raised: BaseException | None = None
    """By `get_payload` or the handler."""
    waits: int = 0
    """How many of its steps wait for other jobs now."""
    is_cut: bool = False
    """
    Whether it was cancelled while it waited, and has not gone on since.

    Then it only cleans up, and does so at once, in the slot of somebody else.
    """
    has_waited: bool = False
    """Whether it has lent its slot: to go on it first had to get one again, and that may have taken its time."""

    pulses: list[tuple[float, float | None]] = field(default_factory=list)
    pulse_is_slow: bool = False
    ends: list[str] = field(default_factory=list)
    value: Any = None
    end_started_at: float | None = None
    end_is_done: bool = False
    end_raised: BaseException | None = None
    active: bool = False
    """From the payload to the end of the last callback."""

    @property
    def is_queued(self) -> bool:
        """Whether it is known to wait for its start."""
        is_known = self.accepted and self.turn > 0 and self.lookup_raised is None and self.job.unhashable is None
        return is_known and self.may_start

    @property
    def may_start(self) -> bool:
        """Whether it has neither started nor been given up."""
        is_given_up = self.cancel_asked or (self.patience is not None and self.patience.cancel_called)
        return self.started_at is None and not self.ends and not is_given_up

    def __str__(self) -> str:
        return f"job {self.number} ({self.key!r}, group {self.group!r})"
