"""The choices a user can make, each an enum whose members say what they mean."""

from __future__ import annotations

import enum


class ExecuteIn(enum.Enum):
    """Where a handler runs."""

    MAIN = "main"
    """In the event loop. For async functions, and for sync ones that return at once."""

    THREAD = "thread"
    """In a thread. For sync functions that wait; an async function gets an event loop of its own in that thread."""

    PROCESS = "process"
    """In a worker process. For sync functions that compute, or that must be possible to kill."""

    INTERPRETER = "interpreter"
    """
    In an interpreter of its own, in a thread of this process; needs Python 3.13.

    For sync functions that compute in pure Python: starts sooner than a process, but can be neither stopped nor killed,
    and many extension modules (numpy among them) cannot be imported there.
    """


class Priority(enum.IntEnum):
    """Which of the jobs that could start now starts first."""

    HIGH = 0
    """Before all others."""

    NORMAL = 1
    """The default."""

    LOW = 2
    """When nothing else could start."""


class WaitFor(enum.Enum):
    """What `RunningExecutor.execute` waits for before it returns."""

    NOTHING = "nothing"
    """Return at once."""

    NO_PRESSURE = "no pressure"
    """Return as soon as at most `max_jobs` jobs wait to be started, whatever they wait for."""

    START = "start"
    """Return when the job has started (or has ended without a start)."""

    FINISH = "finish"
    """Return when the job has ended and its callback has returned."""
