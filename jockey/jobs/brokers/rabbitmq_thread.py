"""A thread with an event loop of its own, and the ways into it and out of it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from jockey import _runtime
from jockey.jobs._errors import BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class Mailbox:
    """
    Calls functions in an event loop, from another thread.

    To wake an event loop up is dear, so it is done once for all that is posted until it has woken up.

    Args:
        wake: Calls a function in that loop, from whatever thread; raises RuntimeError when it has ended.
    """

    def __init__(self, wake: Callable[[Callable[[], object]], object]) -> None:
        self._wake = wake
        self._posted: deque[Callable[[], object]] = deque()
        self._is_woken = False

    def post(self, function: Callable[[], object]) -> None:
        """
        Have *function* called soon, after all that was posted before.

        Raises:
            RuntimeError: The loop has ended.
        """
        self._posted.append(function)
        if not self._is_woken:
            self._is_woken = True
            self._wake(self._open)

    def _open(self) -> None:
        # First this: what is posted from here on wakes the loop again, if it comes too late for this turn.
        self._is_woken = False
        while self._posted:
            self._posted.popleft()()


class Reply(Generic[T]):
    """
    What a thread answers to code that waits in an event loop; made in that loop.

    Attributes:
        event: Set when there is an answer.
    """

    def __init__(self, home: Mailbox) -> None:
        self._home = home
        self.event = anyio.Event()
        self._result: T
        self._error: BaseException | None = None

    def succeed(self, result: T) -> None:
        """Answer; in the thread."""
        self._result = result
        self._send()

    def fail(self, error: BaseException) -> None:
        """Answer that it did not work; in the thread."""
        self._error = error
        self._send()

    def end(self: Reply[None], error: BaseException | None) -> None:
        """Answer that it worked, or with the error; in the thread."""
        if error is None:
            self.succeed(None)
        else:
            self.fail(error)

    def _send(self) -> None:
        tell(self._home, self.event.set)

    def result(self) -> T:
        """Return, or raise, the answer, when the event has come."""
        if self._error is not None:
            raise self._error
        return self._result


def tell(home: Mailbox, function: Callable[[], object]) -> None:
    """Post it, if there is still somebody at home."""
    try:
        home.post(function)
    except RuntimeError:  # trio's RunFinishedError is one too
        return


class LoopThread:
    """
    Runs coroutines in a thread, whatever the event loop of the caller does meanwhile.

    It is made in the event loop that uses it, and serves that one only.
    """

    def __init__(self, name: str) -> None:
        self.home = Mailbox(_runtime.current().call_soon_threadsafe)
        self._loop = asyncio.new_event_loop()
        self._inbox = Mailbox(self._loop.call_soon_threadsafe)
        # A program that forgets to close its broker shall end all the same.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()  # of whatever results
        self._ended = Reply[None](self.home)
        self._thread.start()

    def post(self, function: Callable[[], object]) -> None:
        """Have *function* called in the thread."""
        self._inbox.post(function)

    async def call(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await *function* in the thread. A cancellation ends the waiting; what was begun goes on."""
        reply = self._begin(function)
        await reply.event.wait()
        return reply.result()

    async def complete(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await *function* in the thread, to its end: a cancellation waits for that."""
        reply = self._begin(function)
        with anyio.CancelScope(shield=True):
            await reply.event.wait()
        return reply.result()

    def _begin(self, function: Callable[[], Coroutine[Any, Any, T]]) -> Reply[T]:
        reply = Reply[T](self.home)
        self._inbox.post(lambda: self.answer(function, reply))
        return reply

    def answer(self, function: Callable[[], Coroutine[Any, Any, T]], reply: Reply[T]) -> None:
        """Start a task that awaits *function* and answers; in the thread."""
        self.spawn(self._answer(function, reply))

    async def _answer(self, function: Callable[[], Coroutine[Any, Any, T]], reply: Reply[T]) -> None:
        try:
            reply.succeed(await function())
        except asyncio.CancelledError as error:
            reply.fail(BrokerUnavailableError("the broker was closed meanwhile"))
            raise error from None
        except Exception as error:
            reply.fail(error)

    def time(self) -> float:
        """Return seconds on a clock that nobody sets."""
        return self._loop.time()

    def call_later(self, seconds: float, function: Callable[[], object]) -> asyncio.TimerHandle:
        """Call *function* after so many seconds; in the thread."""
        return self._loop.call_later(seconds, function)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task; in the thread."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """Cancel all that still runs in the thread, and end it."""
        self._inbox.post(self._loop.stop)
        await self._ended.event.wait()
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(self._cancel_all())
        self._loop.close()
        self._ended.succeed(None)

    async def _cancel_all(self) -> None:
        # Again and again: tasks of the client library begin others when they are cancelled.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
