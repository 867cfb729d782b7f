"""Running handlers in threads: our own, since a thread that never ends must not keep the program from ending."""

from __future__ import annotations

import functools
import inspect
import itertools
import queue
import sys
import threading
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import anyio

from jockey._backends._batch import run_items
from jockey._backends._outside import Returns, stack_of
from jockey._errors import HandlerCrashedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jockey._backends._outside import OutsideCall
    from jockey._handler import Handler
    from jockey._runtime import Runtime

_THREAD = "a thread"
_numbers = itertools.count(1)


class ThreadCall:
    """
    One call in a thread.

    Attributes:
        ended: Set, in the event loop, when the function has returned or raised.
        result: What it returned.
        error: What it raised.
        thread: Where it runs.
        where: What runs it, for messages: a thread, or something in a thread.
        fate: What becomes of it when nobody waits for it any more.
    """

    __slots__ = ("context", "ended", "error", "function", "payload", "result", "thread", "where")

    fate = "it ends with the program at the latest"

    def __init__(self, function: Callable[[Any], Any], payload: object, context: Context, where: str = _THREAD) -> None:
        self.function = function
        self.payload = payload
        self.context = context
        self.ended = anyio.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        self.thread: threading.Thread | None = None
        self.where = where

    def run(self) -> None:
        """Call the function; never raises."""
        try:
            self.result = self.context.run(self.function, self.payload)
        except BaseException as error:
            self.error = error

    def stack(self) -> str:
        """Return where the thread is now, as text."""
        return stack_of(self.thread) if self.thread else ""


class ThreadBackend:
    """
    A pool of daemon threads, as many as there have ever been calls at once.

    Args:
        runtime: The event loop to which the threads report.
        on_abandon: Is told of each call that goes on in its thread although nobody waits for it any more.
    """

    def __init__(self, runtime: Runtime, on_abandon: Callable[[OutsideCall], object]) -> None:
        self._runtime = runtime
        self._on_abandon = on_abandon
        self._idle: list[_Worker] = []
        self._returns = Returns(runtime)
        self._is_closed = False

    def in_thread(self, handler: Handler[Any, Any]) -> Callable[[Any], Awaitable[Any]]:
        """Return what runs *handler* in a thread; an async one gets an event loop of its own there."""
        return functools.partial(self.call, self._function_of(handler))

    def batch_in_thread(self, handler: Handler[Any, Any]) -> Callable[[list[Any]], Awaitable[list[Any]]]:
        """Return what runs *handler* in a thread, for one item after another."""
        return functools.partial(self.call, functools.partial(run_items, self._function_of(handler)))

    async def close(self) -> None:
        """Let all threads go that have nothing to do; those that still run a handler are left alone."""
        self._is_closed = True
        for worker in self._idle:
            worker.calls.put(None)
        for worker in self._idle:
            worker.thread.join()  # it has nothing else to do than to wait for that very word
        self._idle.clear()

    def _function_of(self, handler: Handler[Any, Any]) -> Callable[[Any], Any]:
        function: Callable[[Any], Any] = handler.function
        return functools.partial(_run_async if handler.is_async else _run_sync, self._runtime, function)

    async def call(self, function: Callable[[Any], Any], payload: object, *, where: str = _THREAD) -> Any:
        """
        Return what ``function(payload)`` returns in a thread.

        Raises:
            HandlerCrashedError: It raised what is no `Exception`.
            Exception: It raised it.
        """
        call = ThreadCall(function, payload, context_for_thread(), where)
        worker = self._idle.pop() if self._idle else _Worker(self._report)
        call.thread = worker.thread
        self._returns.expect()
        worker.calls.put(call)
        try:
            await call.ended.wait()
        except BaseException:
            if not call.ended.is_set():
                self._on_abandon(call)
            raise
        if call.error is None:
            return call.result
        if isinstance(call.error, Exception):
            raise call.error
        raise HandlerCrashedError(f"the handler raised {call.error!r}, which is no Exception") from call.error

    def _report(self, worker: _Worker, call: ThreadCall) -> None:
        # In the thread. First it is idle, then it looks whether all is closed: else it could be closed in between, and
        # nobody would ever let this thread go.
        self._idle.append(worker)
        if self._is_closed:
            worker.calls.put(None)
            return
        try:
            self._returns.add(call)
        except RuntimeError:
            worker.calls.put(None)  # the loop has ended and nobody waits any more


class _Worker:
    """One thread, and the queue of what it is to do: never more than one call."""

    def __init__(self, report: Callable[[_Worker, ThreadCall], object]) -> None:
        self.calls: queue.SimpleQueue[ThreadCall | None] = queue.SimpleQueue()
        self._report = report
        self.thread = threading.Thread(target=self._work, name=f"jockey thread {next(_numbers)}", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while (call := self.calls.get()) is not None:
            call.run()
            report, done = self._report, call
            del call  # a thread that waits must not keep a result alive
            report(self, done)
            del done


def context_for_thread() -> Context:
    """Return a copy of the context of the caller, for what runs in another thread than the caller's event loop."""
    context = copy_context()
    # Where sniffio is there, the context names the event loop that runs; in the thread none does, until it starts one.
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is not None:
        context.run(sniffio.current_async_library_cvar.set, None)
    return context


def _run_sync(runtime: Runtime, function: Callable[[Any], Any], payload: object) -> Any:
    result = function(payload)
    return runtime.run(_await, result) if inspect.isawaitable(result) else result


def _run_async(runtime: Runtime, function: Callable[[Any], Awaitable[Any]], payload: object) -> Any:
    return runtime.run(_await_call, function, payload)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _await_call(function: Callable[[Any], Awaitable[Any]], payload: object) -> Any:
    return await function(payload)
