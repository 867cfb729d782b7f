"""Jobs in threads and in worker processes; the workers have started before the clock does."""

from __future__ import annotations

import asyncio
import time

import jockey
from tests.benchmarks.contenders.handlers import sync_noop
from tests.benchmarks.contenders.messages import Message


def jobs_in(kind: str, workers: int, jobs: int) -> dict[str, float]:
    """Measure jobs in that many threads or processes."""
    registry = jockey.Registry[int, str, int]()
    registry.add("noop", execute_in=jockey.ExecuteIn(kind))(sync_noop)
    return asyncio.run(_run(registry, workers, jobs))


async def _run(registry: jockey.Registry[int, str, int], workers: int, jobs: int) -> dict[str, float]:
    messages = [Message("noop", number) for number in range(jobs)]
    executor = jockey.Executor(registry, max_jobs=workers, max_threads=workers, max_processes=workers)
    async with executor.run() as running:
        for message in messages[: 10 * workers]:
            running.schedule(message)
        await running.drain()

        started = time.perf_counter()
        for message in messages:
            running.schedule(message)
        await running.drain()
        seconds = time.perf_counter() - started
    return {"seconds": seconds}
