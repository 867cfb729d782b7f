"""One slot: a task that runs jobs, one at a time, and the means to stop the one it runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from jockey._errors import Cancellation, JobTimeoutError
    from jockey._job import Job


class Runner:
    """
    What others see of a task that runs jobs.

    Its cancel scope serves many jobs, since a scope for each would cost more than most jobs; it is renewed after it
    was cancelled.

    Attributes:
        job: The job it works for now, if any.
        verdict: Why that job is being stopped; None as long as it is not.
        is_stopped: Whether the scope has been cancelled.
        is_gone: Whether the event loop has abandoned the task.
        deadline: When the job has to be stopped, on the executor's clock.
        wake: Set when there may be something to do again.
    """

    __slots__ = ("deadline", "is_gone", "is_stopped", "job", "scope", "verdict", "wake")

    def __init__(self) -> None:
        self.job: Job[Any] | None = None
        self.verdict: Cancellation | JobTimeoutError | None = None
        self.is_stopped = False
        self.is_gone = False
        self.deadline = math.inf
        self.scope = anyio.CancelScope()
        self.wake = anyio.Event()

    def renew(self, scope: anyio.CancelScope) -> None:
        """Begin with a new scope."""
        self.scope = scope
        self.is_stopped = False
        self.verdict = None

    def stop(self, verdict: Cancellation | JobTimeoutError | None) -> None:
        """Cancel what it does now: the handler, or the callback if that has used up its grace."""
        self.verdict = verdict
        self.is_stopped = True
        self.deadline = math.inf
        self.scope.cancel()
