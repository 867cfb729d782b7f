"""An asyncio event loop whose clock jumps to the next timer when nothing else can happen."""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from itertools import count, groupby
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack
from weakref import WeakKeyDictionary

from jockey import _runtime
from jockey.testing._stalled import NOTHING_CAN_RUN, out_of_time, stalled

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor

    import anyio

    from jockey.testing._stalled import StalledError

_Arguments = TypeVarTuple("_Arguments")
_Returned = TypeVar("_Returned")


class VirtualLoop(asyncio.SelectorEventLoop):
    """
    Be a selector event loop in all but two things: the clock, and, with a seed, the order in which tasks take turns.

    Args:
        seed: Of the order of the tasks that can run at the same time; None keeps them in asyncio's order.
        limit: After so many virtual seconds the loop refuses to go on.
    """

    # Private to asyncio, and missing in its stubs: what runs in the next iteration, and the heap of timers.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, seed: int | None = None, limit: float = inf) -> None:
        self._virtual_now = 0.0
        self._limit = limit
        self._outside = 0
        self._limiter: anyio.CapacityLimiter | None = None
        self._turns = None if seed is None else random.Random(seed)  # noqa: S311 - reproducible on purpose
        self._counter = count()
        self._numbers: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._jumping = _JumpingSelector(self)
        super().__init__(self._jumping)
        # The pipe by which other threads wake the loop; it is always there and says nothing about work.
        self._own_files = len(self._jumping.get_map())

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._virtual_now

    def watch(self, limiter: anyio.CapacityLimiter) -> None:
        """Count what borrows from *limiter* as a thread at work."""
        self._limiter = limiter

    def advance(self, seconds: float) -> None:
        """Move the clock forward; raise `StalledError` at the limit."""
        if self._virtual_now + seconds > self._limit:
            raise self._stalled(out_of_time(self._limit))
        self._virtual_now += seconds

    def is_busy(self) -> bool:
        """Tell whether anything could run now."""
        return bool(self._ready)

    def jump(self, seconds: float | None) -> None:
        """
        Move the clock forward to the next timer, which is *seconds* away; None means that there is none.

        Raises:
            StalledError: There is no timer, or it comes too late.
        """
        # A timer at infinity is how anyio sleeps forever.
        if seconds is None or self._scheduled[0].when() == inf:
            raise self._stalled(NOTHING_CAN_RUN)
        self.advance(seconds)

    def works_outside(self) -> bool:
        """Tell whether anything could happen that is not a timer: a thread is working, or a socket is open."""
        return (
            self._outside + _runtime.calls_outside(self) > 0
            or len(self._jumping.get_map()) > self._own_files
            or (self._limiter is not None and self._limiter.borrowed_tokens > 0)
        )

    def take_turns(self) -> None:
        """
        Shuffle the tasks that are to run in this iteration, among each other only.

        asyncio promises that callbacks run in the order in which they were registered, and libraries rely on it. It
        promises nothing about tasks. So tasks change places only with the tasks right before and after them, and
        all of them still run in this iteration.
        """
        if self._turns is None:
            return
        shuffled: list[asyncio.Handle] = []
        for is_task, adjacent in groupby(self._ready, _is_task_step):
            handles = list(adjacent)
            if is_task:
                # Sorted first: anyio cancels the tasks of a scope in the order of a set, which is no order at all.
                handles.sort(key=self._number)
                self._turns.shuffle(handles)
            shuffled += handles
        self._ready.clear()
        self._ready.extend(shuffled)

    def _number(self, handle: Any) -> int:  # an `asyncio.Handle`, whose stub hides its callback
        # A task is first seen here before its first step, so these are the numbers in which tasks were made.
        task: asyncio.Task[Any] = handle._callback.__self__  # noqa: SLF001
        if task not in self._numbers:
            self._numbers[task] = next(self._counter)
        return self._numbers[task]

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Arguments]], _Returned], *args: *_Arguments
    ) -> asyncio.Future[_Returned]:
        future = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._came_back)
        return future

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        # asyncio joins the threads in one more thread, and the loop has to wait for that one.
        self._outside += 1
        try:
            await super().shutdown_default_executor(*args, **kwargs)
        finally:
            self._outside -= 1

    def _came_back(self, _: Awaitable[object]) -> None:
        self._outside -= 1

    def _stalled(self, why: str) -> StalledError:
        return stalled(why, ((task.get_name(), task.get_coro()) for task in asyncio.all_tasks(self)))


class _JumpingSelector(selectors.DefaultSelector):
    """Ask for events as ever, but let the clock of the loop jump instead of waiting for a timer."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout != 0:
            events = self._wait(timeout)
        self._loop.take_turns()
        return events

    def _wait(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._loop.works_outside():
            return self._wait_in_real_time(timeout)
        self._loop.jump(timeout)
        return []

    def _wait_in_real_time(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        start = time.monotonic()
        events = super().select(timeout)
        # Without an event the timer is due, exactly; a clock that stops short of it would only wait once more.
        self._loop.advance(timeout if timeout is not None and not events else time.monotonic() - start)
        return events


def _is_task_step(handle: Any) -> bool:  # an `asyncio.Handle`, whose stub hides its callback
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)  # noqa: SLF001
