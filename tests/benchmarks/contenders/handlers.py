"""The handlers that all contenders share."""

from __future__ import annotations


async def noop(payload: int) -> int:
    """Return at once."""
    return payload


def sync_noop(payload: int) -> int:
    """Return at once, from a thread or a worker process."""
    return payload
