"""Producers: many that enqueue at the same time, as the requests of a web site do."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def enqueue(send: Callable[[int], Awaitable[object]], jobs: int, producers: int) -> None:
    """Await *send* for each job, in so many tasks at a time."""
    payloads = iter(range(jobs))

    async def produce() -> None:
        for payload in payloads:
            await send(payload)

    await asyncio.gather(*(produce() for _ in range(producers)))


def enqueue_in_threads(send: Callable[[int], object], jobs: int, producers: int) -> None:
    """Call *send* for each job, in so many threads."""
    with ThreadPoolExecutor(producers) as threads:
        for _ in threads.map(send, range(jobs)):
            pass
