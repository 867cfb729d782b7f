"""What a task is told of the job that it works on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from jockey.jobs._message import Message

StateOut = TypeVar("StateOut", covariant=True, default=object)

_log = logging.getLogger("jockey.jobs.task")


class Context(Generic[StateOut]):
    """
    The first parameter of a task that wants to know more than its arguments; it is not one of those of `Task.enqueue`.

    For tasks in the event loop and in threads; what runs in another process cannot have it.
    """

    __slots__ = ("_is_last_attempt", "_is_over", "_job", "_state")

    def __init__(self, state: StateOut, job: Message, *, is_last_attempt: bool, is_over: Callable[[], bool]) -> None:
        self._state = state
        self._job = job
        self._is_last_attempt = is_last_attempt
        self._is_over = is_over

    @property
    def state(self) -> StateOut:
        """What the lifespan of the app yielded to this worker; None if the app has none."""
        return self._state

    @property
    def job(self) -> Message:
        """The job, as it has travelled: `id`, `name`, `queue`, `troubles` (the failures of earlier tries)..."""
        return self._job

    @property
    def attempt(self) -> int:
        """The number of this try, from 1; those that took their worker along, or were released, do not count."""
        return self._job.attempt + 1

    @property
    def is_last_attempt(self) -> bool:
        """Whether the job is dead if this try fails."""
        return self._is_last_attempt

    @property
    def cancelled(self) -> bool:
        """
        Whether nobody waits for the outcome any more: cancelled, timed out, or the worker shuts down.

        An async task gets a cancellation, too. A thread cannot be stopped: there it is good manners to ask this now
        and then, and to return.
        """
        return self._is_over()

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """
        The logger "jockey.jobs.task", bound to the job.

        Its lines begin with the name and the id, and its records have the attributes `job_id`, `task`, `queue` and
        `attempt`.
        """
        return _JobLogger(_log, facts(self._job))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._job.name} {self._job.id}, attempt {self.attempt}>"


class _JobLogger(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        bound: Any = self.extra
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **bound}
        # What is in a name must not be taken for a place to fill in.
        label = f"{bound['task']}[{bound['job_id']}] ".replace("%", "%%")
        return f"{label}{msg}", kwargs


def facts(message: Message) -> dict[str, object]:
    """Return the attributes of log records about a job."""
    return {"job_id": message.id, "task": message.name, "queue": message.queue, "attempt": message.attempt + 1}
