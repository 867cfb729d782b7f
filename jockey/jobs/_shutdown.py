"""What signals do to a worker: the first lets it finish, the second makes it stop, the third kills it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
    from types import FrameType

_log = logging.getLogger("jockey.jobs")

_CANCELLING: Final = 2
"""The number of the signal that cancels what runs."""


class Shutdown:
    """
    How far one worker is with its end.

    Args:
        worker: Its name, for the log.
        grace: Seconds that running jobs get after the first signal.

    Attributes:
        is_asked: Whether there was a signal.
        drains: What drains what has to be drained, one after the other, as soon as it is there; with a timeout.
    """

    def __init__(self, worker: str, grace: float) -> None:
        self.is_asked = False
        self.drains: Sequence[Callable[[float], Awaitable[None]]] = ()
        self._worker = worker
        self._grace = grace
        self._scope = anyio.CancelScope()

    def interruptible(self) -> anyio.CancelScope:
        """Return a scope for what the first signal cancels: one after the other, also one that begins after it."""
        self._scope = anyio.CancelScope()
        if self.is_asked:
            self._scope.cancel()
        return self._scope

    async def obey(self, signals: AsyncIterator[signal.Signals]) -> None:
        """Do what each signal says."""
        async with anyio.create_task_group() as tasks:
            number = await anext(signals)
            _log.info(
                "worker %s: got %s; it takes nothing new, and what runs has %g seconds to end",
                *(self._worker, number.name, self._grace),
            )
            tasks.start_soon(self._stop, self._grace)
            number = await anext(signals)
            _log.warning("worker %s: got %s; what runs is cancelled and given back", self._worker, number.name)
            tasks.start_soon(self._stop, 0.0)

    async def _stop(self, grace: float) -> None:
        self.is_asked = True
        self._scope.cancel()
        end = anyio.current_time() + grace
        for drain in self.drains:
            await drain(max(0.0, end - anyio.current_time()))


@contextlib.contextmanager
def received(handled: Sequence[signal.Signals]) -> Generator[AsyncIterator[signal.Signals] | None]:
    """
    Receive these signals in the block; the third one kills.

    None where they cannot be received, as in other threads than the main one.
    """
    if not handled or sys.platform == "emscripten" or threading.current_thread() is not threading.main_thread():
        yield None
        return
    before = {each: signal.getsignal(each) for each in handled}
    try:
        with contextlib.ExitStack() as block:
            signals: AsyncIterator[signal.Signals] | None = None
            with contextlib.suppress(NotImplementedError):  # asyncio has none on Windows
                signals = block.enter_context(anyio.open_signal_receiver(*handled))
                _let_the_third_kill(handled)
            yield signals
    finally:
        for each, handler in before.items():
            if handler is not None:  # else it was set by something that is not Python
                signal.signal(each, handler)


def _let_the_third_kill(handled: Sequence[signal.Signals]) -> None:
    """Have the system do its own with what comes after the second signal."""
    number = itertools.count(1)

    def count(hear: Callable[[int, FrameType | None], object], signum: int, frame: FrameType | None) -> None:
        # Here and not in a task, which never hears of a signal while the event loop is blocked.
        if next(number) == _CANCELLING:
            for each in handled:
                signal.signal(each, signal.SIG_DFL)
        hear(signum, frame)

    for each in handled:
        hear = signal.getsignal(each)
        if callable(hear):  # what the event loop has set just now
            signal.signal(each, partial(count, hear))
