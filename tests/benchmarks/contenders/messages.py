"""The messages of the benchmarks; they work with any version of jockey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

import jockey

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Iterable


class Message(jockey.Adapter[int, str, int]):
    """A message that costs as little as a message can, so that the executor is what is measured."""

    def __init__(self, key: str, payload: int) -> None:
        self.key = key
        self.payload = payload

    @override
    def get_keys(self) -> Iterable[str]:
        return (self.key,)

    @override
    async def get_payload(self) -> int:
        return self.payload

    @override
    async def on_success(self, result: int, /) -> None:
        pass

    @override
    async def on_failure(self, exc: Exception, /) -> None:
        raise exc

    @override
    async def on_cancel(self, exc: asyncio.CancelledError, /) -> None:
        pass


class GroupedMessage(Message):
    """A message of one of 997 users, say."""

    @override
    def get_group(self) -> Hashable:
        return self.payload % 997
