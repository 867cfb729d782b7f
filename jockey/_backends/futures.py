"""Running handlers in an executor of `concurrent.futures` that the user has brought, and that stays the user's."""

from __future__ import annotations

import contextlib
import functools
import inspect
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, Any, cast

import anyio

from jockey._backends._batch import run_items
from jockey._backends._capabilities import capabilities_of
from jockey._backends._outside import Returns
from jockey._backends._parts import Blame, run_in_parts
from jockey._errors import ExecutorClosedError, HandlerCrashedError, TransferError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor, Future

    from jockey._backends._outside import OutsideCall
    from jockey._handler import Handler
    from jockey._runtime import Runtime


class FutureCall:
    """
    One call in an executor. It does not know its future, which knows it: such a cycle would be left to the collector.

    Attributes:
        ended: Set, in the event loop, when its future is done.
        where: The kind of the executor, for messages.
        fate: What becomes of it when nobody waits for it any more.
    """

    fate = "it goes on until it ends by itself; the executor is yours to shut down"

    def __init__(self, where: str) -> None:
        self.ended = anyio.Event()
        self.where = where

    def stack(self) -> str:
        """Return nothing: nobody knows where it is."""
        return ""


class FutureBackend:
    """
    All executors of `concurrent.futures` that handlers are registered for.

    Args:
        runtime: The event loop to which they report.
        on_abandon: Is told of each call that goes on although nobody waits for it any more.
    """

    def __init__(self, runtime: Runtime, on_abandon: Callable[[OutsideCall], object]) -> None:
        self._returns = Returns(runtime)
        self._on_abandon = on_abandon

    def in_executor(self, handler: Handler[Any, Any], executor: Executor) -> Callable[[Any], Awaitable[Any]]:
        """Return what runs *handler* in *executor*."""
        return functools.partial(self._run, executor, handler.name, handler.function)

    def batch_in_executor(
        self, handler: Handler[Any, Any], executor: Executor
    ) -> Callable[[list[Any]], Awaitable[list[Any]]]:
        """
        Return what runs *handler* in *executor*, for one item after another.

        Items are run a second time, each by itself, when one of them cannot be sent, or when a worker has died where
        that harms no other job: nobody knows which of them is to blame.
        """
        function = functools.partial(run_items, handler.function)
        return functools.partial(run_in_parts, functools.partial(self._run_part, executor, handler.name, function))

    async def _run_part(
        self, executor: Executor, name: str, function: Callable[[Any], Any], items: list[Any]
    ) -> list[Any] | Blame:
        try:
            return cast("list[Any]", await self._run(executor, name, function, items))
        except (ExecutorClosedError, HandlerCrashedError):
            raise
        except WorkerDiedError as error:
            if not capabilities_of(executor).isolates_crashes:
                raise
            return Blame(error)
        except Exception as error:
            return Blame(error)

    async def _run(self, executor: Executor, name: str, function: Callable[[Any], Any], payload: object) -> Any:
        future = _submit(executor, name, function, payload)
        call = FutureCall(_name_of(executor))
        self._returns.expect()
        future.add_done_callback(functools.partial(self._report, call))
        try:
            await call.ended.wait()
        except BaseException:
            if not _is_over(executor, future):
                self._on_abandon(call)
            raise
        return _result_of(executor, future, name)

    def _report(self, call: FutureCall, _future: Future[Any]) -> None:
        # In a thread of the executor, or of whoever has cancelled the future. If the loop has ended, nobody waits.
        with contextlib.suppress(RuntimeError):
            self._returns.add(call)


def _submit(executor: Executor, name: str, function: Callable[[Any], Any], payload: object) -> Future[Any]:
    try:
        return executor.submit(function, payload, **capabilities_of(executor).submit_options)
    except BrokenExecutor as error:
        raise _death_of(executor, name, error) from error
    except RuntimeError as error:
        # What all executors raise after their `shutdown`.
        raise ExecutorClosedError(
            f"{_name_of(executor)} did not accept {name!r}: {error}; shut it down after the block of run(), not before"
        ) from error


def _is_over(executor: Executor, future: Future[Any]) -> bool:
    """Tell whether nothing runs; take it back if it has not started, and if the executor can be believed there."""
    return future.done() or (capabilities_of(executor).cancels_queued and future.cancel())


def _result_of(executor: Executor, future: Future[Any], name: str) -> Any:
    """
    Return what the function returned.

    Raises:
        WorkerDiedError: The worker died, of this job or another.
        HandlerCrashedError: The future was cancelled, and not by us; or the function raised what is no `Exception`.
        TransferError: The function returned a coroutine.
        Exception: The function raised it, or the executor found out that something cannot be sent.
    """
    if future.cancelled():
        raise HandlerCrashedError(f"the future of {name!r} in {_name_of(executor)} was cancelled, and not by jockey")
    error = future.exception()
    try:
        if error is None:
            return _checked(future.result(), name, executor)
        if _is_death(error):
            raise _death_of(executor, name, error) from error
        if isinstance(error, Exception):
            raise error
        raise HandlerCrashedError(f"the handler raised {error!r}, which is no Exception") from error
    finally:
        del error  # its traceback knows this frame: another cycle


def _checked(result: object, name: str, executor: Executor) -> object:
    if not inspect.iscoroutine(result):
        return result
    result.close()  # else it would complain that nobody awaits it
    raise TransferError(
        f"{name!r} returned a coroutine, which nobody can await in {_name_of(executor)}; run it in MAIN or THREAD"
    )


def _is_death(error: BaseException) -> bool:
    cls = type(error)
    return isinstance(error, BrokenExecutor) or f"{cls.__module__}.{cls.__qualname__}" in _DEATHS


_DEATHS = {"distributed.scheduler.KilledWorker"}
"""Errors, beside `BrokenExecutor`, by which executors tell that a worker died."""


def _death_of(executor: Executor, name: str, error: BaseException) -> WorkerDiedError:
    blame = (
        "other jobs there go on"
        if capabilities_of(executor).isolates_crashes
        else "it cannot isolate crashes: all jobs in it fail, whichever is to blame, and it may accept no others; "
        "ExecuteIn.PROCESS fails the guilty one alone"
    )
    return WorkerDiedError(f"a worker of {_name_of(executor)} died, and {name!r} with it; {blame}. It says: {error}")


def _name_of(executor: Executor) -> str:
    return f"a {type(executor).__qualname__}"
