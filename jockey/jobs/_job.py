"""A job that was enqueued: ask what has become of it, wait for it, cancel it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio
import msgspec

from jockey._errors import JobCancelledError, RegistrationError
from jockey.jobs._errors import JobFailedError, ResultTimeoutError, ResultUnavailableError, UnsupportedError
from jockey.jobs._message import Trouble
from jockey.jobs._plain import valid
from jockey.jobs._state import ENDED, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jockey.jobs._app import App
    from jockey.jobs._broker import Record, Store
    from jockey.jobs._task import Task

Result = TypeVar("Result", covariant=True)


class Job(Generic[Result]):
    """
    One request to run a task.

    Attributes:
        id: Unique among all jobs.
        is_new: Whether it was enqueued just now; False: it duplicated this one, which was there before.
    """

    def __init__(
        self,
        app: App[Any],
        id: str,  # noqa: A002 - the field's name
        task: Task[..., Any] | None = None,
        *,
        is_new: bool = True,
        after: Sequence[Job[Any]] = (),
    ) -> None:
        self.id = id
        self.is_new = is_new
        self._app = app
        self._task = task
        self._after = after

    @property
    def name(self) -> str | None:
        """The name of the task; None if only the id is known."""
        return None if self._task is None else self._task.name

    async def result(self, timeout: float | None = None, *, remove: bool = False) -> Result:
        """
        Wait until the job has ended, and return its result.

        A job of a workflow begins when those before it have succeeded; if one of these ends otherwise, so does this
        wait.

        Args:
            timeout: Seconds to wait; None is no limit.
            remove: Whether the result is forgotten, which is for one reader; else it can be asked for again until its
                time to live is over.

        Raises:
            JobFailedError: It is dead; its `trouble` tells how the last try failed.
            JobCancelledError: It was cancelled.
            ResultTimeoutError: It has not ended in that time; it goes on.
            ResultUnavailableError: There is no such job (any more), no result was kept, or there is no store.
            DecodeError: The result is not what the task is annotated to return.
        """
        record = await self.wait(timeout)
        if record.state is State.DEAD:
            raise JobFailedError(_epitaph(record), record.error or Trouble())
        if record.state is State.CANCELLED:
            reason = record.error.message if record.error else ""
            raise JobCancelledError(
                f"the job {record.id} of {record.name!r} was cancelled: {reason or 'no reason given'}"
            )
        if record.result is None:
            raise ResultUnavailableError(
                f"the job {record.id} of {record.name!r} has succeeded; its result was not kept"
            )
        if remove:
            await self._store.remove(record.id)
        if self._task is None:
            return cast("Result", msgspec.json.decode(record.result))
        return cast("Result", self._task.decode_result(record.result))

    async def wait(self, timeout: float | None = None) -> Record:
        """
        Wait until the job has ended, and return what is known of it, or of the one before it that has not succeeded.

        Raises:
            ResultTimeoutError: It has not ended in *timeout* seconds; it goes on.
            ResultUnavailableError: There is no such job (any more), or no store.
        """
        with anyio.move_on_after(timeout):
            return await self._ended()
        raise ResultTimeoutError(f"the job {self.id} has not ended in {timeout} seconds; it goes on")

    async def status(self) -> State:
        """
        Return the state it is in.

        Raises:
            ResultUnavailableError: There is no such job (any more), or no store.
        """
        return (await self.record()).state

    async def record(self) -> Record:
        """
        Return all that is known of it.

        Raises:
            ResultUnavailableError: There is no such job (any more), or no store.
        """
        record = await self._store.record(self.id)
        if record is None and self._after:
            raise ResultUnavailableError(
                f"the job {self.id} has not begun: it comes after others that have not all succeeded; "
                "or its time to live is over"
            )
        if record is None:
            raise ResultUnavailableError(
                f"there is no job {self.id}: it never was enqueued, or its time to live is over"
            )
        return record

    async def cancel(self, reason: str = "") -> bool:
        """
        Cancel it: at once if it waits; if it runs, its worker hears of it within a second.

        As long as a job of a workflow has not begun, those before it that have not ended are cancelled.

        Args:
            reason: Why, for people.

        Returns:
            Whether that was in time; False: it had ended before.

        Raises:
            ResultUnavailableError: There is no such job (any more), or no store.
            UnsupportedError: The broker cannot do that.
            RegistrationError: *reason* is no text.
        """
        if not isinstance(reason, str):
            raise RegistrationError(f"reason must be a text, got {reason!r}; leave it out if there is none")
        if not self._app.broker.features.cancellation:
            raise UnsupportedError(f"jobs of {self._app} cannot be cancelled: its broker does not support that")
        return await self._cancel(valid(reason))

    async def _cancel(self, reason: str) -> bool:
        cancelled = False
        for job in self._after:
            with contextlib.suppress(ResultUnavailableError):  # it has ended, and nothing was kept
                cancelled |= await job._cancel(reason)  # noqa: SLF001 - its own kind
        if cancelled:
            return True
        if (await self.record()).state in ENDED:
            return False
        after = await self._store.cancel(self.id, reason)
        return after is not None and after.state in {State.CANCELLED, State.RUNNING}

    async def _ended(self) -> Record:
        for job in self._after:
            try:
                record = await job._ended()  # noqa: SLF001 - its own kind
            except ResultUnavailableError:
                continue  # it has ended, and nothing was kept
            if record.state is not State.SUCCEEDED:
                return record
        record = await self.record()
        return record if record.state in ENDED else await self._store.wait(self.id)

    @property
    def _store(self) -> Store:
        store = self._app.store
        if store is None:
            raise ResultUnavailableError(
                f"{self._app} keeps no records of jobs; give it a store: App(..., results='sqlite:///results.db')"
            )
        return store

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}{f' of {self.name}' if self.name else ''}>"


def _epitaph(record: Record) -> str:
    error = record.error
    # Either may be empty: an exception need not say anything, and a reason has no type.
    what = ": ".join(filter(None, (error.type, error.message))) if error else ""
    return f"the job {record.id} of {record.name!r} is dead: {what or 'nobody knows why'}"
