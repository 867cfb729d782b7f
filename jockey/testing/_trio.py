"""The same for trio: its own mock clock, its own disorder, and an end for programs that would wait forever."""

from __future__ import annotations

from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, cast

import trio
import trio.testing

from jockey import _runtime
from jockey.testing._stalled import NOTHING_CAN_RUN, out_of_time, stalled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator

    from jockey.testing._stalled import StalledError

_Returned = TypeVar("_Returned")

# One turn lets the clock jump, the next lets the timer fire; in the third somebody runs, or nobody ever will.
_IDLE_TURNS = 3

# The names of the tasks that trio itself keeps.
_PARTS_OF_TRIO = ("<init>", "<TrioToken", "trio.")


def run(function: Callable[[], Awaitable[_Returned]], seed: int | None, limit: float) -> _Returned:
    """Run *function* to its end; see `jockey.testing.run`."""
    watch = _Watch(limit)
    with _disorder(seed):
        return trio.run(watch.run, function, clock=watch.clock, instruments=[watch])


async def settle() -> None:
    """Return when all other tasks wait; see `jockey.testing.settle`."""
    await trio.testing.wait_all_tasks_blocked()


class _Watch(trio.abc.Instrument):
    """Let the clock keep to real time while threads or sockets are busy, and end a program that waits forever."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.clock = trio.testing.MockClock(autojump_threshold=0)
        self._is_real = False
        self._scope = trio.CancelScope()
        self._idle_turns = 0
        self._stalled: StalledError | None = None

    async def run(self, function: Callable[[], Awaitable[_Returned]]) -> _Returned:
        returned = None
        with self._scope:
            returned = await function()
        if self._stalled is not None:
            raise self._stalled
        return cast("_Returned", returned)  # the scope is cancelled only when everything has stalled

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - the signature is trio's
        # Work outside begins and ends in steps of tasks, so these are the moments to look for it.
        self._idle_turns = 0
        if _works_outside() != self._is_real:
            self._is_real = not self._is_real
            self.clock.rate = 1.0 if self._is_real else 0.0
            self.clock.autojump_threshold = inf if self._is_real else 0.0

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - the signature is trio's
        self._idle_turns += 1
        if self.clock.current_time() > self._limit:
            self._stall(out_of_time(self._limit))
        is_idle = self._idle_turns >= _IDLE_TURNS and not self._is_real
        if is_idle and trio.lowlevel.current_statistics().seconds_to_next_deadline == inf:
            self._stall(NOTHING_CAN_RUN)

    def _stall(self, why: str) -> None:
        if self._stalled is None:
            self._stalled = stalled(why, _of_the_program())
            self._scope.cancel()
            return
        # Cancelled already, and shields keep some task from hearing of it. Nothing else would ever end the program.
        for task in _tasks():
            _drop_shields(task)


def _works_outside() -> bool:
    if trio.to_thread.current_default_thread_limiter().borrowed_tokens:
        return True
    if _runtime.calls_outside(trio.lowlevel.current_trio_token()):
        return True
    files: Any = trio.lowlevel.current_statistics().io_statistics
    # Each backend of trio counts in its own words. One task always waits to be woken by other threads.
    names = ("tasks_waiting", "tasks_waiting_read", "tasks_waiting_write", "tasks_waiting_overlapped")
    return sum(getattr(files, name, 0) for name in names) > 1


@contextmanager
def _disorder(seed: int | None) -> Generator[None]:
    """Let trio draw the order of tasks from *seed*, by the switch that it has for its own tests."""
    if seed is None:
        yield
        return
    from trio._core import _run

    switch, state = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()  # noqa: SLF001
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # noqa: SLF001
    _run._r.seed(seed)  # noqa: SLF001
    try:
        yield
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = switch  # type: ignore[misc]  # noqa: SLF001
        _run._r.setstate(state)  # noqa: SLF001


def _tasks() -> Iterator[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    pending = [] if root is None else [root]
    while pending:
        task = pending.pop()
        yield task
        pending += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def _of_the_program() -> Iterator[tuple[str, Any]]:
    return ((task.name, task.coro) for task in _tasks() if not task.name.startswith(_PARTS_OF_TRIO))


def _drop_shields(task: trio.lowlevel.Task) -> None:
    status: Any = task._cancel_status  # noqa: SLF001 - trio has no public way from a task to its scopes
    while status is not None:
        status._scope.shield = False  # noqa: SLF001
        status = status._parent  # noqa: SLF001
