"""An adapter around an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jockey._adapter import Adapter
from jockey._types import Key, Payload, Result

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Iterable


@dataclass(eq=False, repr=False)
class Middleware(Adapter[Payload, Key, Result]):
    """
    Forward every call to the wrapped adapter; subclasses override what they care about and call `super()`.

    Give the class itself to `Executor(middleware=[...])` to wrap all messages; the first one is the outermost. A
    subclass may be a plain class, or a dataclass with more fields that have defaults.
    """

    adapter: Adapter[Payload, Key, Result]
    """The wrapped adapter."""

    def get_keys(self) -> Iterable[Key]:
        return self.adapter.get_keys()

    async def get_payload(self) -> Payload:
        return await self.adapter.get_payload()

    async def on_success(self, result: Result, /) -> None:
        await self.adapter.on_success(result)

    async def on_failure(self, exc: Exception, /) -> None:
        await self.adapter.on_failure(exc)

    async def on_cancel(self, exc: asyncio.CancelledError, /) -> None:
        await self.adapter.on_cancel(exc)

    async def on_no_handler(self) -> None:
        await self.adapter.on_no_handler()

    async def on_pulse(self) -> None:
        await self.adapter.on_pulse()

    def get_group(self) -> Hashable:
        return self.adapter.get_group()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.adapter!r})"
