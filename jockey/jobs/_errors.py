"""What the jobs layer raises, by what happened."""

from __future__ import annotations

from jockey._errors import JockeyError
from jockey.jobs._message import Trouble


class JobsError(JockeyError):
    """The base of all errors of the jobs layer."""


class ArgumentsError(JobsError, TypeError):
    """The arguments do not fit the task, or have no place in JSON; nothing was enqueued."""


class ResultError(JobsError, TypeError):
    """What a task has returned has no place in JSON."""


class DecodeError(JobsError, ValueError):
    """What travelled cannot be read."""


class UnknownTaskError(JobsError, LookupError):
    """There is no task of that name here."""


class AppClosedError(JobsError):
    """The app is not open, or the task is in no app: put the call inside of ``async with app:``."""


class QueueNotDeclaredError(JobsError, LookupError):
    """The broker has no such queue; nothing was done."""


class BrokerUnavailableError(JobsError, ConnectionError):
    """
    The broker cannot be reached, or cannot do its work now; trying again later may help.

    Attributes:
        is_away: Nobody answers there now, so that all one can do is wait, as a worker does. Otherwise something should
            be set right: what answers refuses, or it is not said.
    """

    def __init__(self, message: str = "", *, is_away: bool = False) -> None:
        super().__init__(message)
        self.is_away = is_away


class UnsupportedError(JobsError):
    """The broker cannot do what was asked of it; trying again does not help."""


class JobFailedError(JobsError):
    """
    The job whose result was asked for is dead.

    Attributes:
        trouble: How its last try failed; its fields are empty where that is not known.
    """

    def __init__(self, message: str, trouble: Trouble | None = None) -> None:
        super().__init__(message)
        self.trouble = trouble or Trouble()

    def __reduce__(self) -> tuple[type[JobFailedError], tuple[str, Trouble]]:
        return (type(self), (str(self), self.trouble))


class ResultTimeoutError(JobsError, TimeoutError):
    """The job had not ended when the time to wait for it was over; it goes on."""


class ResultUnavailableError(JobsError, LookupError):
    """There is no result: no store that keeps it, no such job, or its time to live is over."""


class LeaseLostError(JobsError):
    """The job is no longer this worker's; somebody else has or had it."""


class CommandFailedError(JobsError):
    """
    An external program could not be started, ended with an exit code that is not 0, or wrote no JSON.

    Attributes:
        exit_code: As `subprocess` tells it: negative is the number of the signal; None if it did not start.
        stderr: The end of what it wrote to its standard error.
    """

    def __init__(self, message: str, exit_code: int | None = None, stderr: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stderr = stderr

    def __reduce__(self) -> tuple[type[CommandFailedError], tuple[str, int | None, str]]:
        return (type(self), (str(self), self.exit_code, self.stderr))


# As those of the core: tracebacks, records and dead letters show the names that users import.
for _error in [thing for thing in vars().values() if isinstance(thing, type) and thing.__module__ == __name__]:
    _error.__module__ = "jockey.jobs"
