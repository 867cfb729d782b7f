"""How a worker begins: what it opens waits for a broker that is away, as the worker itself does later."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import anyio

from jockey.jobs._errors import BrokerUnavailableError, QueueNotDeclaredError
from jockey.jobs._outage import pause

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from jockey.jobs._app import App
    from jockey.jobs._broker import Broker
    from jockey.jobs._outage import Outage
    from jockey.jobs._shutdown import Shutdown

T = TypeVar("T")


class Start:
    """
    The start of one worker. The first signal ends it: then what it was to open is not there.

    Args:
        shutdown: Knows of signals.
        outage: Is told whether the broker can be reached.
    """

    def __init__(self, shutdown: Shutdown, outage: Outage) -> None:
        self._shutdown = shutdown
        self._outage = outage

    @asynccontextmanager
    async def opened(self, app: App[T]) -> AsyncGenerator[None]:
        """Have the app open in the block."""
        async with AsyncExitStack() as stack:

            async def connect() -> None:
                with self._shutdown.interruptible():
                    await app.open()
                    stack.push_async_callback(app.close)

            await self._reach(connect)
            yield

    async def declare(self, broker: Broker, queues: Sequence[str]) -> None:
        """See to it that these queues are there."""

        async def declare() -> None:
            with self._shutdown.interruptible():
                for queue in queues:
                    await broker.declare(queue)

        await self._reach(declare)

    async def expect(self, broker: Broker, queues: Sequence[str]) -> None:
        """
        See that these queues are there, for some brokers would wait for what may never come.

        Raises:
            QueueNotDeclaredError: One of them is missing.
        """

        async def expect() -> None:
            with self._shutdown.interruptible():
                for queue in queues:
                    try:
                        await broker.info(queue)
                    except QueueNotDeclaredError as error:
                        raise _missing(queue) from error

        await self._reach(expect)

    @asynccontextmanager
    async def entered(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> AsyncGenerator[T | None]:
        """Have the block in what is made, made anew for each try; None after a signal."""
        async with AsyncExitStack() as stack:
            yield await self._reach(lambda: stack.enter_async_context(make()))

    async def _reach(self, step: Callable[[], Awaitable[T]]) -> T | None:
        tries = 0
        while not self._shutdown.is_asked:
            try:
                result = await step()
            except BrokerUnavailableError as error:
                if not error.is_away:
                    raise
                self._outage.begin(error)
            else:
                if not self._shutdown.is_asked:
                    self._outage.end()
                return result
            with self._shutdown.interruptible():
                await anyio.sleep(pause(tries))
            tries += 1
        return None


def _missing(queue: str) -> QueueNotDeclaredError:
    return QueueNotDeclaredError(
        f"there is no queue {queue!r}, and the worker's app has auto_declare=False: "
        f"await app.queues.declare({queue!r}) first"
    )
