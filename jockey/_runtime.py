"""The one place that knows asyncio from trio: what anyio does not offer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Clock = Callable[[], float]


class Event(Protocol):
    """Something that happens once, and those who wait for it."""

    def set(self) -> object: ...
    def is_set(self) -> bool: ...
    async def wait(self) -> object: ...


class Runtime(Protocol):
    """What a running executor asks of the event loop that it runs in."""

    backend: str
    """The name by which `anyio.run` knows it."""

    clock: Clock
    """Seconds on the clock that the loop's timers follow, virtual ones included."""

    def call_soon_threadsafe(self, function: Callable[[], object], /) -> None:
        """
        Call *function* in the loop, from whatever thread.

        Raises:
            RuntimeError: The loop has ended.
        """
        ...

    def event(self) -> Event:
        """Return an event of that loop: the same as anyio's, without a look for the loop each time, or a checkpoint."""
        ...

    def run(self, function: Callable[..., Coroutine[Any, Any, Any]], /, *args: object) -> Any:  # whatever it returns
        """Run *function* in an event loop of its own, of the same kind, in the thread that calls."""
        ...

    def detach(self, function: Callable[[], Coroutine[Any, Any, None]], /) -> None:
        """
        Run *function*, which must not raise, in a task that is in no group, in a copy of the caller's context.

        The event loop cancels it when the main task has ended.
        """
        ...

    def protect(self, *functions: Callable[..., object]) -> None:
        """See to it that Ctrl-C interrupts the code around the executor, and not *functions* or what they call."""
        ...

    def note_outside(self, difference: int, /) -> None:
        """Count a call that has gone to another thread, or has come back; in the loop."""
        ...

    def stray_cancels(self) -> Callable[[], int]:
        """Return what tells how many native cancellations of the current task nobody has taken back."""
        ...

    async def absorb_stray_cancels(self) -> None:
        """Take them back, so that one job that cancels its task does not hurt the next one in that task."""
        ...


_outside: WeakKeyDictionary[object, int] = WeakKeyDictionary()
_detached: set[asyncio.Task[None]] = set()


def calls_outside(loop: object) -> int:
    """Return how many handlers of *loop*, which for trio is its token, are in threads: a virtual clock has to wait."""
    return _outside.get(loop, 0)


def current() -> Runtime:
    """Return the runtime of the code that calls."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return AsyncioRuntime() if task else TrioRuntime()


class AsyncioRuntime:
    """asyncio, uvloop and other event loops for asyncio."""

    backend = "asyncio"

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.clock = _clock_of(self._loop)

    def call_soon_threadsafe(self, function: Callable[[], object], /) -> None:
        self._loop.call_soon_threadsafe(function)

    def event(self) -> Event:
        return asyncio.Event()

    def run(self, function: Callable[..., Coroutine[Any, Any, Any]], /, *args: object) -> Any:
        # Not `anyio.run`: it refuses where the context says that asyncio runs, and a handler has the context of a job.
        return asyncio.run(function(*args))

    def detach(self, function: Callable[[], Coroutine[Any, Any, None]], /) -> None:
        task = self._loop.create_task(function())
        _detached.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(_detached.discard)

    def protect(self, *functions: Callable[..., object]) -> None:
        """Do nothing: Ctrl-C cancels the main task, which is a good end."""

    def note_outside(self, difference: int, /) -> None:
        _outside[self._loop] = _outside.get(self._loop, 0) + difference

    def stray_cancels(self) -> Callable[[], int]:
        return _current_task().cancelling

    async def absorb_stray_cancels(self) -> None:
        task = _current_task()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # a cancellation that was asked for and not yet delivered comes here
        while task.cancelling():
            task.uncancel()


class TrioRuntime:
    """trio, which has no native cancellation of tasks."""

    backend = "trio"

    def __init__(self) -> None:
        import trio  # noqa: PLC0415 - an optional dependency, imported only where it runs already

        self._token = trio.lowlevel.current_trio_token()
        self.clock: Clock = trio.lowlevel.current_clock().current_time

    def call_soon_threadsafe(self, function: Callable[[], object], /) -> None:
        self._token.run_sync_soon(function)

    def event(self) -> Event:
        import trio  # noqa: PLC0415 - as above

        return trio.Event()

    def run(self, function: Callable[..., Coroutine[Any, Any, Any]], /, *args: object) -> Any:
        import trio  # noqa: PLC0415 - as above

        return trio.run(function, *args)

    def detach(self, function: Callable[[], Coroutine[Any, Any, None]], /) -> None:
        import trio  # noqa: PLC0415 - as above

        trio.lowlevel.spawn_system_task(function, context=copy_context())

    def protect(self, *functions: Callable[..., object]) -> None:
        import trio  # noqa: PLC0415 - as above

        # Else trio raises it in whatever code runs when it comes: in a handler, or in the middle of our bookkeeping.
        for function in functions:
            trio.lowlevel.enable_ki_protection(function)

    def note_outside(self, difference: int, /) -> None:
        _outside[self._token] = _outside.get(self._token, 0) + difference

    def stray_cancels(self) -> Callable[[], int]:
        return _none

    async def absorb_stray_cancels(self) -> None:
        """Do nothing: there are none."""


def _none() -> int:
    return 0


def _current_task() -> asyncio.Task[object]:
    return cast("asyncio.Task[object]", asyncio.current_task())  # only called from tasks


def _clock_of(loop: asyncio.AbstractEventLoop) -> Clock:
    # asyncio's own clock is time.monotonic behind a slow method. uvloop's stands still during one turn of the loop, so
    # a timeout that begins late in a long turn would end early. Any other clock is meant, such as a virtual one.
    is_monotonic = type(loop).time is asyncio.BaseEventLoop.time or type(loop).__module__.startswith("uvloop")
    return time.monotonic if is_monotonic else loop.time
