"""The pools of the standard library, as the event loop uses them; warm as ours."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

from tests.benchmarks.contenders.handlers import sync_noop


def calls_in(kind: str, workers: int, jobs: int) -> dict[str, float]:
    """Measure calls in that many threads or processes."""
    pool_of = {"thread": ThreadPoolExecutor, "process": ProcessPoolExecutor}[kind]
    with pool_of(workers) as pool:
        return asyncio.run(_run(pool, workers, jobs))


async def _run(pool: Executor, workers: int, jobs: int) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    payloads = list(range(jobs))
    await asyncio.gather(*(loop.run_in_executor(pool, sync_noop, payload) for payload in payloads[: 10 * workers]))

    started = time.perf_counter()
    await asyncio.gather(*(loop.run_in_executor(pool, sync_noop, payload) for payload in payloads))
    return {"seconds": time.perf_counter() - started}
