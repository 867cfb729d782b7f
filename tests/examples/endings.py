"""Hear how the messages of an executor end, and wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

from jockey import Adapter, Middleware

if TYPE_CHECKING:
    import asyncio

Payload = TypeVar("Payload")
Key = TypeVar("Key")
Result = TypeVar("Result")


class Endings:
    """What has become of each message, in order; `record` is a middleware."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._changed = anyio.Event()

    def record(self, adapter: Adapter[Payload, Key, Result]) -> Adapter[Payload, Key, Result]:
        return _Recorder(adapter, self)

    def add(self, ending: str) -> None:
        self.seen.append(ending)
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Wait until *count* messages have ended."""
        while len(self.seen) < count:
            self._changed = anyio.Event()
            await self._changed.wait()


class _Recorder(Middleware[Payload, Key, Result]):
    """Tells how its adapter ended, after the adapter itself has dealt with it."""

    def __init__(self, adapter: Adapter[Payload, Key, Result], endings: Endings) -> None:
        super().__init__(adapter)
        self._endings = endings

    async def on_success(self, result: Result, /) -> None:
        await super().on_success(result)
        self._endings.add(f"{self.adapter!r} succeeded")

    async def on_failure(self, exc: Exception, /) -> None:
        await super().on_failure(exc)
        self._endings.add(f"{self.adapter!r} failed: {exc!r}")

    async def on_cancel(self, exc: asyncio.CancelledError, /) -> None:
        await super().on_cancel(exc)
        self._endings.add(f"{self.adapter!r} cancelled: {exc}")

    async def on_no_handler(self) -> None:
        await super().on_no_handler()
        self._endings.add(f"{self.adapter!r} has no handler")
