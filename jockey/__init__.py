"""Run jobs: in the event loop, in threads, in processes; with priorities, caps, cancellation and a graceful end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jockey._adapter import Adapter
    from jockey._errors import (
        BacklogFullError,
        CallbackTimeoutError,
        Cancellation,
        DeadlockError,
        ExecutorClosedError,
        HandlerCrashedError,
        InitializerError,
        JobCancelledError,
        JobTimeoutError,
        JockeyError,
        NoHandlerError,
        RegistrationError,
        StuckThreadError,
        TransferError,
        WorkerDiedError,
        WrongThreadError,
    )
    from jockey._executor import Executor
    from jockey._job import JobHandle, JobState
    from jockey._limits import Limit, Rate
    from jockey._middleware import Middleware
    from jockey._options import ExecuteIn, Priority, WaitFor
    from jockey._outcome import Cancelled, Failure, NoHandler, Outcome, Success
    from jockey._parallel._faces import amap, map  # noqa: A004 - its name
    from jockey._registry import Registry
    from jockey._running import RunningExecutor
    from jockey._statistics import Statistics
else:
    import importlib

    # Each name is imported when it is first asked for: a script that imports jockey is imported by its worker processes
    # too, and few of them need any of this.
    _HOMES = {
        "Adapter": "_adapter",
        "BacklogFullError": "_errors",
        "CallbackTimeoutError": "_errors",
        "Cancellation": "_errors",
        "Cancelled": "_outcome",
        "DeadlockError": "_errors",
        "ExecuteIn": "_options",
        "Executor": "_executor",
        "ExecutorClosedError": "_errors",
        "Failure": "_outcome",
        "HandlerCrashedError": "_errors",
        "InitializerError": "_errors",
        "JobCancelledError": "_errors",
        "JobHandle": "_job",
        "JobState": "_job",
        "JobTimeoutError": "_errors",
        "JockeyError": "_errors",
        "Limit": "_limits",
        "Middleware": "_middleware",
        "NoHandler": "_outcome",
        "NoHandlerError": "_errors",
        "Outcome": "_outcome",
        "Priority": "_options",
        "Rate": "_limits",
        "RegistrationError": "_errors",
        "Registry": "_registry",
        "RunningExecutor": "_running",
        "Statistics": "_statistics",
        "StuckThreadError": "_errors",
        "Success": "_outcome",
        "TransferError": "_errors",
        "WaitFor": "_options",
        "WorkerDiedError": "_errors",
        "WrongThreadError": "_errors",
        "amap": "_parallel._faces",
        "map": "_parallel._faces",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"jockey.{_HOMES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "Adapter",
    "BacklogFullError",
    "CallbackTimeoutError",
    "Cancellation",
    "Cancelled",
    "DeadlockError",
    "ExecuteIn",
    "Executor",
    "ExecutorClosedError",
    "Failure",
    "HandlerCrashedError",
    "InitializerError",
    "JobCancelledError",
    "JobHandle",
    "JobState",
    "JobTimeoutError",
    "JockeyError",
    "Limit",
    "Middleware",
    "NoHandler",
    "NoHandlerError",
    "Outcome",
    "Priority",
    "Rate",
    "RegistrationError",
    "Registry",
    "RunningExecutor",
    "Statistics",
    "StuckThreadError",
    "Success",
    "TransferError",
    "WaitFor",
    "WorkerDiedError",
    "WrongThreadError",
    "amap",
    "map",
]
