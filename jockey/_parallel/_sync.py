"""
A map for code without an event loop.

The executor lives in a thread with an event loop of its own. All else happens in the thread that iterates: there the
items are read, since an iterator often belongs to its thread; there the results are yielded; and there Ctrl-C arrives.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from jockey import _runtime
from jockey._backends.thread import context_for_thread
from jockey._errors import JobCancelledError
from jockey._parallel._host import Host
from jockey._parallel._message import BatchMessage
from jockey._parallel._plan import KEY
from jockey._parallel._progress import open_progress
from jockey._parallel._source import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterator

    from jockey._engine import Engine
    from jockey._parallel._plan import OwnPlan
    from jockey._parallel._progress import Tell
    from jockey._parallel._window import Window

_PATIENCE: Final = 2.0
"""Seconds for the end, after another Ctrl-C. A worker is killed within one; and all end with this process."""


def iterate(plan: OwnPlan, source: Iterator[Any], total: int | None) -> Generator[Any, None, None]:
    """Yield the results for the items of *source*."""
    run = SyncMap(plan, source, total)
    del source  # what is no longer needed is let go by the one who needs it
    try:
        with open_progress(plan.choices.progress, total) as tell:
            run.open(tell)
            while (results := run.next()) is not None:
                while results:
                    yield results.pop()
    except KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):
            run.close()  # one traceback is enough
        raise
    finally:
        run.close()


class SyncMap:
    """
    One map: the driver in the thread that iterates, and the executor in the other one.

    Args:
        plan: What is to be run, and where.
        source: The items.
        total: How many, if that is known.
    """

    def __init__(self, plan: OwnPlan, source: Iterator[Any], total: int | None) -> None:
        choices = plan.choices
        self._plan = plan
        self._source = Reader(source)
        self._total = total
        self._tell: Tell | None = None
        self._is_single = choices.is_single(may_batch=plan.may_batch)
        self._window: Window = choices.window_of(plan.workers, total, may_batch=plan.may_batch)
        self._inbox: SimpleQueue[BatchMessage | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="jockey map", daemon=True)
        self._is_begun = False
        self._is_started = threading.Event()
        self._is_over = threading.Event()
        self._runtime: _runtime.Runtime
        self._engine: Engine
        self._host: Host | None = None
        self._error: BaseException | None = None
        self._key: Hashable = KEY

    def open(self, tell: Tell | None) -> None:
        """Start the executor."""
        self._tell = tell
        _open.add(self)
        self._is_begun = True
        try:
            self._thread.start()
        except RuntimeError:  # there is no room for another thread
            self._is_begun = False
            raise
        self._is_started.wait()

    def next(self) -> list[Any] | None:
        """
        Return results to be yielded, the last one first; None at the end.

        Raises:
            BaseException: What has ended the map.
        """
        while True:
            self._collect()
            results = self._window.take()
            # One batch for each that is taken: so the workers have something to do, and a source that makes us wait
            # holds nothing back for long.
            has_moved = self._hand_out()
            if results is not None:
                return results
            if not has_moved:
                if self._window.is_done:
                    return None
                self._finish(self._inbox.get())

    def close(self) -> None:
        """
        Cancel what is left to do, and return when no worker is left.

        Raises:
            KeyboardInterrupt: Ctrl-C meanwhile.
        """
        if not self._is_begun:
            return
        interrupt: KeyboardInterrupt | None = None
        while not self._is_over.is_set():
            try:
                self._stop()
                if self._thread is threading.current_thread():
                    return  # it was the garbage collector that closed the iterator: it runs wherever it likes
                if not self._is_over.wait(None if interrupt is None else _PATIENCE):
                    break
            except KeyboardInterrupt as error:
                if interrupt is not None:
                    break
                interrupt = error
        else:
            self._thread.join()  # it has nothing else to do
        _open.discard(self)
        if interrupt is not None:
            raise interrupt

    def _collect(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                self._finish(self._inbox.get_nowait())

    def _finish(self, message: BatchMessage | None) -> None:
        if message is None:
            raise self._why_over()
        if message.cancellation is not None:
            return  # nobody cancels single jobs here: the executor is about to end, and that will tell why
        self._window.finish(message.batch, message.outcomes, message.seconds)
        if self._tell is not None:
            self._tell(self._window.done, self._total)

    def _hand_out(self) -> bool:
        """Read a batch and have it run, if one is wanted; return whether one was."""
        count = self._window.wanted()
        if not count:
            return False
        items = self._source.read(count)
        if self._source.is_over:
            self._window.end(self._source.error)
        if items:
            self._submit(items)
        return True

    def _submit(self, items: list[Any]) -> None:
        message = BatchMessage(
            self._window.open(items),
            self._key,
            is_single=self._is_single,
            clock=self._runtime.clock,
            report=self._inbox.put,
        )
        context = context_for_thread()
        self._call_in_loop(lambda: context.run(self._accept, message))

    def _why_over(self) -> BaseException:
        return self._error or JobCancelledError("the map was closed while it was running")

    # In the other thread

    def _run(self) -> None:
        try:
            asyncio.run(self._host_here())
        except BaseException as error:  # raised by whoever iterates
            self._error = error
        finally:
            self._inbox.put(None)
            self._is_over.set()
            self._is_started.set()

    async def _host_here(self) -> None:
        self._runtime = _runtime.current()
        self._host = Host(self._plan, self._on_change)
        await self._host.run()
        self._error = self._host.error

    def _on_change(self) -> None:
        if self._host is not None and self._host.engine is not None:
            self._engine = self._host.engine
            if not self._is_single:
                self._key = self._engine.routing.batch_key(KEY)
            self._is_started.set()

    def _accept(self, message: BatchMessage) -> None:
        if not self._engine.is_over:  # else it has been told already that all is over
            self._engine.accept(message, None)

    def _stop(self) -> None:
        self._is_started.wait()
        if self._host is not None:
            self._call_in_loop(self._host.stop)

    def _call_in_loop(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._runtime.call_soon_threadsafe(function)


_open: WeakSet[SyncMap] = WeakSet()


@atexit.register
def _close_all() -> None:
    # An iterator that somebody holds until the very end. Its workers would end anyway, but not in good order.
    for run in tuple(_open):
        with contextlib.suppress(KeyboardInterrupt):
            run.close()
