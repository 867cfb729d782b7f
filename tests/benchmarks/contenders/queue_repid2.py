"""repid 2 in memory; its worker runs as many jobs at once as it does by default."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

# Imported by name, because it may be absent where types are checked.
repid: Any = importlib.import_module("repid")
in_memory: Any = importlib.import_module("repid.connections.in_memory")
DISTRIBUTION = "repid"


def memory(jobs: int) -> dict[str, float]:
    """Measure the processor's time for jobs in memory."""
    return asyncio.run(_memory(jobs))


async def _memory(jobs: int) -> dict[str, float]:
    app = repid.Repid()
    server = in_memory.InMemoryServer()
    app.servers.register_server("memory", server, is_default=True)
    router = repid.Router()

    @router.actor(channel="default")
    async def noop(payload: int) -> int:
        return payload

    app.include_router(router)
    async with server.connection():
        started = time.process_time()
        for payload in range(jobs):
            await app.send_message_json(channel="default", payload={"payload": payload}, headers={"topic": "noop"})
        await app.run_worker(messages_limit=jobs, register_signals=[])
        return {"seconds": time.process_time() - started}
