"""One execution of one handler for one message: the handle that users see, and the record behind it."""

from __future__ import annotations

import abc
import enum
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, Protocol

from jockey._errors import Cancellation, HandlerCrashedError, JobCancelledError, NoHandlerError
from jockey._outcome import Cancelled, Failure, NoHandler, Outcome, Success
from jockey._types import Result, ResultOut

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from jockey._adapter import Adapter
    from jockey._groups import Group
    from jockey._route import Route
    from jockey._runner import Runner


class JobState(enum.Enum):
    """What becomes of a job, in this order; the last four are ends."""

    QUEUED = "queued"
    """It waits for a slot."""

    RUNNING = "running"
    """Its payload is being made, or its handler runs."""

    REPORTING = "reporting"
    """How it ends is settled; its callback is about to run or runs."""

    SUCCEEDED = "succeeded"
    """The handler returned, and `Adapter.on_success` is done."""

    FAILED = "failed"
    """It failed, and `Adapter.on_failure` is done."""

    CANCELLED = "cancelled"
    """It was cancelled, and `Adapter.on_cancel` is done."""

    NO_HANDLER = "no handler"
    """No key has a handler, and `Adapter.on_no_handler` is done."""


class JobHandle(abc.ABC, Generic[ResultOut]):
    """A job that was accepted. Keep the handle, or drop it: that changes nothing for the job."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def state(self) -> JobState:
        """What has become of the job."""

    @abc.abstractmethod
    def cancel(self, reason: str | None = None) -> bool:
        """
        Cancel the job: a queued one never starts, a running one is stopped.

        A handler in a thread cannot be stopped: the job ends at once, its slot stays taken until the thread ends.
        A handler in a process ends with the process.

        Args:
            reason: What `Adapter.on_cancel` finds in `Cancellation.reason`.

        Returns:
            False if it is too late: how the job ends is settled.

        Raises:
            WrongThreadError: Not called in the thread of the executor's event loop.
        """

    @abc.abstractmethod
    async def wait(self) -> Outcome[ResultOut]:
        """
        Wait for the end of the job, its callback included, and return how it ended.

        Cancelling the waiting task does not cancel the job.

        Raises:
            DeadlockError: The waiting code is a handler without whose end this job cannot start.
            Exception: What the callback raised, if it did.
        """

    async def result(self) -> ResultOut:
        """
        Wait for the end of the job and return the result of its handler.

        Raises:
            JobCancelledError: The job was cancelled.
            NoHandlerError: No key of the message has a handler.
            Exception: What `Adapter.on_failure` was given, or what the callback raised; or see `wait`.
        """
        return unwrap(await self.wait())


def unwrap(outcome: Outcome[Result]) -> Result:
    """Return the result of a success, and raise everything else."""
    match outcome:
        case Success(result):
            return result
        case Failure(error):
            raise error
        case Cancelled(error):
            raise JobCancelledError(f"the job was cancelled: {error.reason or 'no reason given'}") from error
        case _:
            raise NoHandlerError("no key of the message has a handler; add one with Registry.add")


current_job: ContextVar[Job[Any] | None] = ContextVar("current_job", default=None)
"""The job whose payload, handler or callback runs in this context, whoever its executor is."""


def as_exception(error: BaseException, culprit: str) -> Exception:
    """Return *error*, wrapped if it is no `Exception`."""
    if isinstance(error, Exception):
        return error
    crash = HandlerCrashedError(f"{culprit} raised {error!r}, which is no Exception")
    crash.__cause__ = error
    return crash


class Owner(Protocol):
    """What a job needs of the executor that runs it."""

    def cancel(self, job: Job[Any], reason: str | None, /) -> bool:
        """Cancel *job* if it is not too late."""
        ...

    async def wait_for_end(self, job: Job[Any], /) -> None:
        """Return when *job* has ended."""
        ...


class Job(JobHandle[Result]):
    """
    The record of a job. One object serves as record and handle, since a backlog may hold a million of them.

    Attributes:
        owner: The running executor.
        message: What is told how the job ends.
        context: The copy of the `contextvars` of the code that scheduled it.
        route: The handler and the line to wait in; not set if the message never got that far.
        group: Its group, while it has one.
        number: Counts the jobs in the order in which they were scheduled.
        since: When it was scheduled.
        phase: What has become of it.
        end: Which end it will come to, once that is settled.
        value: The result or the error it ends with; None until then.
        callback_error: What its callback raised.
        runner: The task that runs it or calls its callback, meanwhile.
        on_start: Called when it starts or has ended without.
        on_end: Called when it has ended.
    """

    __slots__ = (
        "callback_error",
        "context",
        "end",
        "group",
        "message",
        "number",
        "on_end",
        "on_start",
        "owner",
        "phase",
        "route",
        "runner",
        "since",
        "value",
    )

    route: Route

    def __init__(self, owner: Owner, message: Adapter[Any, Any, Result], context: Context, since: float) -> None:
        self.owner = owner
        self.message = message
        self.context = context
        self.since = since
        self.group: Group | None = None
        self.number = 0
        self.phase = JobState.QUEUED
        self.end: JobState | None = None
        self.value: Any = None
        self.callback_error: Exception | None = None
        self.runner: Runner | None = None
        self.on_start: list[Callable[[], object]] | None = None
        self.on_end: list[Callable[[], object]] | None = None

    @property
    def state(self) -> JobState:
        return self.phase

    def cancel(self, reason: str | None = None) -> bool:
        return self.owner.cancel(self, reason)

    async def wait(self) -> Outcome[Result]:
        if self.phase is not self.end:
            await self.owner.wait_for_end(self)
        self.raise_callback_error()
        return self.outcome()

    def raise_callback_error(self) -> None:
        """Raise what the callback raised, if it did."""
        if self.callback_error is not None:
            raise self.callback_error

    def outcome(self) -> Outcome[Result]:
        """Return how the job ended, once it has."""
        match self.end:
            case JobState.SUCCEEDED:
                return Success(self.value)
            case JobState.FAILED:
                return Failure(self.value)
            case JobState.CANCELLED:
                return Cancelled(self.value)
            case _:
                return NoHandler()

    def settle(self, end: JobState, value: object) -> None:
        """Fix how the job ends; its callback comes next."""
        self.phase = JobState.REPORTING
        self.end = end
        self.value = value

    def settle_failed(self, error: BaseException) -> None:
        """Fix that the job ends with *error*."""
        self.settle(JobState.FAILED, as_exception(error, repr(self.name)))

    def settle_cancelled(self, reason: str | None) -> None:
        """Fix that the job ends cancelled."""
        self.settle(JobState.CANCELLED, Cancellation(reason))

    def notify_start(self) -> None:
        """Tell those who wait that it has started, or never will."""
        listeners, self.on_start = self.on_start, None
        for listener in listeners or ():
            listener()

    def notify_end(self) -> None:
        """Tell those who wait that it has ended."""
        self.notify_start()
        listeners, self.on_end = self.on_end, None
        for listener in listeners or ():
            listener()

    @property
    def name(self) -> str:
        """What to call it in messages."""
        route: Route | None = getattr(self, "route", None)
        return route.handler.name if route else "no handler"

    def __repr__(self) -> str:
        return f"<job {self.name} {self.phase.value}: {self.message!r}>"
