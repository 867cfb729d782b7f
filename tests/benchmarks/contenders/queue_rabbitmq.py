"""Leave nothing behind in RabbitMQ, whatever the contender made there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiormq

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def deleted(url: str, queues: Sequence[str], *, exchanges: Sequence[str] = ()) -> Iterator[None]:
    """Delete these queues and exchanges in the end."""
    try:
        yield
    finally:
        asyncio.run(_delete(url, queues, exchanges))


async def _delete(url: str, queues: Sequence[str], exchanges: Sequence[str]) -> None:
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        for queue in queues:
            await channel.queue_delete(queue)
        for exchange in exchanges:
            await channel.exchange_delete(exchange)
    finally:
        await connection.close()
