"""What a running executor knows of a handler at one priority."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jockey._handler import Handler
    from jockey._line import Line
    from jockey._options import Priority


class Route:
    """
    Where the jobs of one handler and one priority wait, and how they are run.

    Attributes:
        key: The first key the handler was registered for.
        handler: The function and its options.
        priority: The priority of these jobs.
        line: The line they wait in; routes with the same caps and priority share one.
        call: Runs the function, in the place where it is to run.
        timeout: Seconds a job may run, or None.
        pulse_every: Seconds between pulses, or None.
        queued: How many jobs wait.
    """

    __slots__ = ("call", "handler", "key", "line", "priority", "pulse_every", "queued", "timeout")

    def __init__(
        self,
        key: object,
        handler: Handler[Any, Any],
        priority: Priority,
        line: Line,
        call: Callable[[Any], Awaitable[Any]],
    ) -> None:
        self.key = key
        self.handler = handler
        self.priority = priority
        self.line = line
        self.call = call
        self.timeout = handler.options.job_timeout
        self.pulse_every = handler.options.pulse_every
        self.queued = 0

    def timed(self, timeout: float) -> Route:
        """Return the same route with another *timeout*; infinity is none. Its jobs are counted here."""
        return _TimedRoute(self, timeout)


class _TimedRoute(Route):
    """The route of a single job with a timeout of its own; one for each, since nobody knows how many there will be."""

    __slots__ = ("_original",)

    def __init__(self, original: Route, timeout: float) -> None:
        # Not `super().__init__`: it would set the count back, which is that of the original.
        self._original = original
        self.key = original.key
        self.handler = original.handler
        self.priority = original.priority
        self.line = original.line
        self.call = original.call
        self.timeout = None if math.isinf(timeout) else timeout
        self.pulse_every = original.pulse_every

    @property
    def queued(self) -> int:
        return self._original.queued

    @queued.setter
    def queued(self, value: int) -> None:
        self._original.queued = value
