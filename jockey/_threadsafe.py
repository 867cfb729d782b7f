"""Scheduling from other threads than that of the event loop."""

from __future__ import annotations

import concurrent.futures
import threading
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import anyio

from jockey._errors import ExecutorClosedError, JockeyError, WrongThreadError
from jockey._job import Job, current_job
from jockey._outcome import Outcome
from jockey._types import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from jockey._engine import Engine


class JobFuture(concurrent.futures.Future[Outcome[Result]]):
    """
    The outcome of a job, for other threads. Cancelling it cancels the job.

    A handler in a thread that waits for it is treated like one in the event loop that waits for a job.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._job: Job[Result] | None = None

    def result(self, timeout: float | None = None) -> Outcome[Result]:
        self._wait_as_handler(timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait_as_handler(timeout)
        return super().exception(timeout)

    def cancel(self) -> bool:
        is_cancelled = super().cancel()
        if is_cancelled:
            call_in_loop(self._engine, self._cancel_job)
        return is_cancelled

    def follow(self, schedule: Callable[[], Job[Result]]) -> None:
        """Schedule the job and follow it. In the event loop."""
        try:
            self._job = schedule()
        except Exception as error:
            if self.set_running_or_notify_cancel():
                self.set_exception(error)
        else:
            self._job.on_end = [*(self._job.on_end or ()), self._settle]

    def _settle(self) -> None:
        job = self._job
        if job is None or not self.set_running_or_notify_cancel():
            return
        if job.callback_error is not None:
            self.set_exception(job.callback_error)
        else:
            self.set_result(job.outcome())

    def _cancel_job(self) -> None:
        if self._job is not None:
            self._engine.cancel(self._job, "the future of schedule_threadsafe was cancelled")

    def _wait_as_handler(self, timeout: float | None) -> None:
        if self.done():
            return
        if threading.get_ident() == self._engine.thread:
            raise WrongThreadError(
                "this would wait in the event loop for that event loop; await JobHandle.wait() there"
            )
        waiter = current_job.get()
        if waiter is None:
            return
        waited = _Waited()
        call_in_loop(self._engine, lambda: self._engine.spawn(lambda: self._relay(waiter, waited)))
        try:
            waited.result(timeout)
        except TimeoutError:
            call_in_loop(self._engine, waited.give_up)
            waited.exception()  # who gives up waiting needs a slot to go on too: the task ends when it has one
            raise

    async def _relay(self, waiter: Job[Any], waited: _Waited) -> None:
        current_job.set(waiter)
        try:
            with anyio.CancelScope() as waited.scope:
                if self._job is not None and not waited.is_given_up:
                    await self._engine.wait_for_end(self._job)
        except JockeyError as error:
            waited.set_exception(error)
        finally:
            if not waited.done():
                waited.set_result(None)


class _Waited(concurrent.futures.Future[None]):
    """Tells a thread when a task in the event loop, which waits in its place, has waited long enough."""

    scope: anyio.CancelScope | None = None
    is_given_up = False

    def give_up(self) -> None:
        """Let that task wait no more. In the event loop."""
        self.is_given_up = True
        if self.scope is not None:
            self.scope.cancel()


def schedule_from_thread(engine: Engine, schedule: Callable[[], Job[Result]]) -> JobFuture[Result]:
    """Have *schedule* called in the event loop, in a copy of this thread's context."""
    future = JobFuture[Result](engine)
    context: Context = copy_context()
    if engine.is_over:
        raise ExecutorClosedError("schedule_threadsafe() after the executor has ended")
    call_in_loop(engine, lambda: context.run(future.follow, schedule))
    return future


def call_in_loop(engine: Engine, function: Callable[[], object]) -> None:
    """Call *function* in the event loop of *engine*."""
    try:
        engine.runtime.call_soon_threadsafe(function)
    except RuntimeError as error:
        raise ExecutorClosedError("the event loop of the executor has ended") from error
