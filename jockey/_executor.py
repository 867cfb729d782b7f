"""The settings of an executor, and the block in which it runs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, TypeVar

from jockey import _validation
from jockey._backends import cpu_count
from jockey._engine import Settings
from jockey._errors import RegistrationError
from jockey._lifetime import running
from jockey._registry import Registry
from jockey._running import RunningExecutor
from jockey._types import Key, Payload, Result

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from jockey._adapter import Adapter
    from jockey._job import JobHandle
    from jockey._validation import Seconds


Checked = TypeVar("Checked")


class Executor(Generic[Payload, Key, Result]):
    """
    Runs jobs for messages with the handlers of a registry. Settings only: what lives, lives inside `run()`.

    Args:
        registry: The handlers.
        max_jobs: How many jobs run at once; None is no cap.
        max_threads: How many of them in threads, with those in interpreters; None is no cap of its own.
        max_processes: How many of them in processes, and so how many processes; None is one for each processor.
        max_jobs_per_process: After so many jobs a worker process is replaced by a new one; None is never.
        max_jobs_per_group: How many jobs of one group (see `Adapter.get_group`) run at once.
        max_backlog: How many messages may wait; None is no limit. When it is full, `schedule` raises, `execute` waits.
        drain_timeout: Leaving `run()` drains with that timeout, in seconds; see `RunningExecutor.drain`.
        grace: Seconds that each callback gets, and all threads that cannot be stopped together, at a forced end.
        blocked_after: A handler that keeps the event loop busy for more seconds than that is named in a warning.
        on_error:
            Is called with each error that is not how a job ends, and the job's handle: what callbacks and pulses raise,
            and `StuckThreadError`. By default they are logged as errors by the logger "jockey".
        middleware: Classes (or functions) that wrap each message, see `Middleware`; the first one is the outermost.
        initializer:
            Is called with *initargs* once in each worker process and each interpreter, before its first job; a lost
            worker's successor gets it again. When it raises, the job that is waiting for that worker fails with
            `InitializerError`. Both are pickled once, when the executor starts. Handlers elsewhere go without it.
        initargs: The arguments of *initializer*, in order.

    Raises:
        RegistrationError: An argument makes no sense.
    """

    def __init__(
        self,
        registry: Registry[Payload, Key, Result],
        *,
        max_jobs: int | None = 16,
        max_threads: int | None = None,
        max_processes: int | None = None,
        max_jobs_per_process: int | None = None,
        max_jobs_per_group: int = 1,
        max_backlog: int | None = None,
        drain_timeout: Seconds | None = None,
        grace: Seconds = 10.0,
        blocked_after: Seconds | None = 0.5,
        on_error: Callable[[BaseException, JobHandle[Result]], object] | None = None,
        middleware: Iterable[Callable[[Adapter[Payload, Key, Result]], Adapter[Payload, Key, Result]]] = (),
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[object] = (),
    ) -> None:
        if not isinstance(registry, Registry):
            raise RegistrationError(f"an executor needs a jockey.Registry, got {registry!r}")
        _validation.initializer(initializer)
        self._registry = registry
        self._settings = Settings(
            max_jobs=_validation.optional_count("max_jobs", max_jobs) or math.inf,
            max_threads=_validation.optional_count("max_threads", max_threads),
            max_processes=_validation.optional_count("max_processes", max_processes) or cpu_count(),
            max_jobs_per_process=_validation.optional_count("max_jobs_per_process", max_jobs_per_process),
            max_jobs_per_group=_validation.count("max_jobs_per_group", max_jobs_per_group),
            max_backlog=_validation.optional_count("max_backlog", max_backlog) or math.inf,
            drain_timeout=_validation.optional_seconds("drain_timeout", drain_timeout, zero=True),
            grace=_validation.seconds("grace", grace, zero=True),
            blocked_after=_validation.optional_seconds("blocked_after", blocked_after) or math.inf,
            on_error=_check_on_error(on_error),
            middleware=_check_middleware(middleware),
            initializer=initializer,
            initargs=_validation.initargs(initargs),
        )

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncGenerator[RunningExecutor[Payload, Key, Result], None]:
        """
        Run jobs inside the `async with` block.

        Leaving the block waits for all jobs, as `RunningExecutor.drain` does. When the code in the block raises or is
        cancelled, all jobs are cancelled; when all their callbacks have returned, the exception goes on its way.

        Raises:
            RegistrationError: A handler cannot run where it is to run.
            KeyboardInterrupt, SystemExit: A handler or a callback in the event loop raised it; all jobs were cancelled.
        """
        async with running(self._registry, self._settings) as engine:
            yield RunningExecutor(engine)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._registry!r})"


def _check_on_error(on_error: Checked) -> Checked:
    if on_error is not None and not callable(on_error):
        raise RegistrationError(f"on_error must be a function of the error and the job's handle, got {on_error!r}")
    return on_error


def _check_middleware(middleware: Iterable[Checked]) -> tuple[Checked, ...]:
    if not isinstance(middleware, Iterable):
        raise RegistrationError(f"middleware must be a list, got {middleware!r}; write middleware=[...]")
    wraps = tuple(middleware)
    for wrap in wraps:
        if not callable(wrap):
            raise RegistrationError(f"middleware must be of classes or functions that wrap a message, got {wrap!r}")
    return wraps
