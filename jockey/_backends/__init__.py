"""Where handlers run."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from jockey._backends.futures import FutureBackend
from jockey._backends.loop import in_loop
from jockey._backends.thread import ThreadBackend
from jockey._options import ExecuteIn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor
    from contextlib import AbstractContextManager

    from jockey._backends._outside import OutsideCall
    from jockey._backends.interpreter import InterpreterBackend
    from jockey._backends.process import ProcessBackend
    from jockey._handler import Handler
    from jockey._runtime import Runtime


class Pools:
    """
    The threads, processes and interpreters of one running executor; each kind exists from its first job on.

    Args:
        runtime: The event loop.
        max_jobs_per_process: After so many jobs a worker process is replaced; None is never.
        on_abandon: Is told of each call that goes on, since it cannot be stopped, although its job has ended.
        initializer: Is called with *initargs* in each worker process and each interpreter before its first job.
        initargs: See *initializer*.
        untimed: Returns a block, for code of a job, in which time does not count towards its timeout.
    """

    def __init__(
        self,
        runtime: Runtime,
        max_jobs_per_process: int | None,
        on_abandon: Callable[[OutsideCall], object],
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        untimed: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._threads = ThreadBackend(runtime, on_abandon)
        self._futures = FutureBackend(runtime, on_abandon)
        self._processes: ProcessBackend | None = None
        self._interpreters: InterpreterBackend | None = None
        self._max_jobs_per_process = max_jobs_per_process
        self._initializer = initializer
        self._initargs = initargs
        self._untimed = untimed
        self._has_warned = False

    def place_of(self, handler: Handler[Any, Any]) -> ExecuteIn | Executor:
        """Return where *handler* runs on this platform."""
        wanted = handler.options.execute_in
        if sys.platform != "emscripten" or wanted is ExecuteIn.MAIN or not isinstance(wanted, ExecuteIn):
            return wanted
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"there are no threads and processes here: handlers for them, such as {handler.name!r}, run in MAIN",
                RuntimeWarning,
                stacklevel=2,
            )
        return ExecuteIn.MAIN

    def caller(self, handler: Handler[Any, Any], place: ExecuteIn | Executor) -> Callable[[Any], Awaitable[Any]]:
        """
        Return what runs *handler* at *place*.

        Raises:
            RegistrationError: The handler cannot run there.
        """
        if place is ExecuteIn.MAIN:
            return in_loop(handler)
        if place is ExecuteIn.THREAD:
            return self._threads.in_thread(handler)
        if not isinstance(place, ExecuteIn):
            return self._futures.in_executor(handler, place)
        handler.check_picklable(place)
        if place is ExecuteIn.INTERPRETER:
            return functools.partial(self._interpreter_backend().run, handler.function)
        return functools.partial(self._process_backend().run, handler.function)

    def batch_caller(
        self, handler: Handler[Any, Any], place: ExecuteIn | Executor
    ) -> Callable[[list[Any]], Awaitable[list[Any]]]:
        """
        Return what runs *handler*, a sync one, for each item of a list at *place*, as one job.

        It returns the outcomes in the order of the items; that of an item that has failed is a `Failed`. What it raises
        is no single item's fault.

        Raises:
            RegistrationError: The handler cannot run there.
        """
        if place is ExecuteIn.THREAD:
            return self._threads.batch_in_thread(handler)
        if not isinstance(place, ExecuteIn):
            return self._futures.batch_in_executor(handler, place)
        handler.check_picklable(place)
        if place is ExecuteIn.INTERPRETER:
            return functools.partial(self._interpreter_backend().run_batch, handler.function)
        return functools.partial(self._process_backend().run_batch, handler.function)

    async def close(self) -> None:
        """Let all go that are idle, and end the processes that are not."""
        if self._interpreters is not None:
            await self._interpreters.aclose()  # in a thread
        await self._threads.close()
        if self._processes is not None:
            await self._processes.aclose()

    def _interpreter_backend(self) -> InterpreterBackend:
        if self._interpreters is None:
            from jockey._backends.interpreter import InterpreterBackend  # noqa: PLC0415 - not in older Pythons

            self._interpreters = InterpreterBackend(
                self._threads, initializer=self._initializer, initargs=self._initargs
            )
        return self._interpreters

    def _process_backend(self) -> ProcessBackend:
        if self._processes is None:
            from jockey._backends.process import ProcessBackend  # noqa: PLC0415 - not where there are no processes

            self._processes = ProcessBackend(
                max_jobs_per_process=self._max_jobs_per_process,
                initializer=self._initializer,
                initargs=self._initargs,
                untimed=self._untimed,
            )
        return self._processes


def cpu_count() -> int:
    """Return how many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
