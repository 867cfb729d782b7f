"""The yardstick: a task of asyncio for each call of the very same handler, all awaited together."""

from __future__ import annotations

import asyncio
import time

from tests.benchmarks.contenders.handlers import noop as handler


def noop(jobs: int) -> dict[str, float]:
    """Measure `create_task` and `gather`; there is nothing to prepare."""
    return asyncio.run(_run(jobs))


def one_by_one(jobs: int) -> dict[str, float]:
    """Measure a task for each call, awaited before the next one."""
    return asyncio.run(_run_one_by_one(jobs))


async def _run(jobs: int) -> dict[str, float]:
    payloads = list(range(jobs))
    started = time.process_time()
    tasks = [asyncio.create_task(handler(payload)) for payload in payloads]
    await asyncio.gather(*tasks)
    return {"seconds": time.process_time() - started}


async def _run_one_by_one(jobs: int) -> dict[str, float]:
    started = time.process_time()
    for payload in range(jobs):
        await asyncio.create_task(handler(payload))
    return {"seconds": time.process_time() - started}
