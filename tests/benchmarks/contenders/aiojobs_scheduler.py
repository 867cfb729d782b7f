"""aiojobs: a scheduler with a limit and an unbounded queue."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

from tests.benchmarks.contenders.handlers import noop as handler

# Imported by name, because it may be absent where types are checked.
aiojobs: Any = importlib.import_module("aiojobs")
DISTRIBUTION = "aiojobs"


def noop(jobs: int) -> dict[str, float]:
    """Measure `spawn` until the scheduler is closed."""
    return asyncio.run(_run(jobs))


async def _run(jobs: int) -> dict[str, float]:
    payloads = list(range(jobs))
    started = time.process_time()
    async with aiojobs.Scheduler(limit=16, pending_limit=0) as scheduler:
        for payload in payloads:
            await scheduler.spawn(handler(payload))
    return {"seconds": time.process_time() - started}
