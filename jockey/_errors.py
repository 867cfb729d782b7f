"""Everything that jockey raises, or hands to a callback, by what happened."""

from __future__ import annotations

import asyncio


class JockeyError(Exception):
    """The base of all errors of this library."""


class RegistrationError(JockeyError):
    """A handler, a key or an option makes no sense; the message tells the rule, the value and the way out."""


class ExecutorClosedError(JockeyError):
    """
    The executor has ended, or has not started: it accepts no messages.

    A job fails with it if it was to run in an executor of `concurrent.futures` that takes no work.
    """


class BacklogFullError(JockeyError):
    """As many jobs wait as `max_backlog` allows; the message was not accepted."""


class WrongThreadError(JockeyError):
    """A method of a running executor was called from a thread that is not its event loop's."""


class DeadlockError(JockeyError):
    """A handler waits for a job that cannot start before that very handler has ended."""


class NoHandlerError(JockeyError):
    """None of the keys of a message has a handler."""


class JobTimeoutError(JockeyError, TimeoutError):
    """The job ran longer than its `job_timeout`; never raised for a `TimeoutError` of the handler's own."""


class JobCancelledError(JockeyError):
    """The job whose result was asked for has been cancelled."""


class CallbackTimeoutError(JockeyError):
    """A callback was still running when the `grace` of an executor that was being stopped was over; it was cut."""


class HandlerCrashedError(JockeyError):
    """The handler raised what is no `Exception` (`SystemExit`, a stray `CancelledError`); that is the `__cause__`."""


class WorkerDiedError(JockeyError):
    """
    The worker process of this job ended before the handler did.

    Or one of an executor of `concurrent.futures`, which may have taken the other jobs there with it.

    Attributes:
        exit_code: As `subprocess` tells it: negative is the number of the signal. None when it is not known.
    """

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type[WorkerDiedError], tuple[str, int | None]]:
        return (type(self), (str(self), self.exit_code))


class InitializerError(JockeyError):
    """The `initializer` raised in a worker; the `__cause__` has the traceback."""


class TransferError(JockeyError):
    """A payload, a result or an exception cannot be sent to or from a worker process."""


class StuckThreadError(JockeyError):
    """
    A thread goes on although its job has timed out or was cancelled; it keeps the slot until it ends.

    Or something else that cannot be stopped: an interpreter, or an executor of `concurrent.futures`.

    Attributes:
        stack: Where the thread was when that was noticed, as text; empty for what is no thread of ours, and
            while this process has more than one interpreter.
    """

    def __init__(self, message: str, stack: str = "") -> None:
        super().__init__(message)
        self.stack = stack


class Cancellation(asyncio.CancelledError):
    """
    Why a job was cancelled: what `Adapter.on_cancel` is given, on every async backend.

    Attributes:
        reason: The reason given to `JobHandle.cancel`, or why the executor itself cancelled the job.
    """

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


# Tracebacks, records and dead letters show the names that users import. Classes that are not raised keep their module:
# what reads their annotations and their source looks there.
for _error in [thing for thing in vars().values() if isinstance(thing, type) and thing.__module__ == __name__]:
    _error.__module__ = "jockey"
