"""taskiq with its broker in memory, which starts all jobs at once: it has no slots there."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

from tests.benchmarks.contenders.handlers import noop as handler

# Imported by name, because it may be absent where types are checked.
taskiq: Any = importlib.import_module("taskiq")
DISTRIBUTION = "taskiq"


def noop(jobs: int) -> dict[str, float]:
    """Measure `kiq` until all jobs are done."""
    return asyncio.run(_run(jobs))


async def _run(jobs: int) -> dict[str, float]:
    broker = taskiq.InMemoryBroker()
    task = broker.register_task(handler, "noop")
    await broker.startup()
    payloads = list(range(jobs))
    started = time.process_time()
    for payload in payloads:
        await task.kiq(payload)
    await broker.wait_all()
    seconds = time.process_time() - started
    await broker.shutdown()
    return {"seconds": seconds}
