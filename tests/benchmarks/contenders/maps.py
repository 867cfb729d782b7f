"""Maps over many items; the workers have started before the clock does, except where the start is what is measured."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import jockey
from tests.benchmarks.contenders.loads import increment, load


def warm(name: str, count: int, kind: str, workers: int) -> dict[str, float]:
    """Measure a map whose workers run already."""
    return asyncio.run(_warm(name, count, jockey.ExecuteIn(kind), workers))


async def _warm(name: str, count: int, kind: jockey.ExecuteIn, workers: int) -> dict[str, float]:
    function, items = load(name, count)
    registry = jockey.Registry[Any, str, Any]()
    registry.add("warm up", execute_in=kind)(increment)
    registry.add("function", execute_in=kind)(function)
    async with jockey.Executor(registry, max_jobs=workers, max_processes=workers).run() as running:
        async for _ in running.map("warm up", range(100 * workers), batch=1):
            pass
        started = time.perf_counter()
        async for _ in running.map("function", items):
            pass
        return {"seconds": time.perf_counter() - started}


def cold(name: str, count: int, kind: str, workers: int) -> dict[str, float]:
    """Measure a map from its call to its end, the start of its workers included."""
    function, items = load(name, count)
    started = time.perf_counter()
    for _ in jockey.map(function, items, execute_in=jockey.ExecuteIn(kind), max_jobs=workers):
        pass
    return {"seconds": time.perf_counter() - started}


def first() -> dict[str, float]:
    """Measure how long the first result takes, from the call."""
    started = time.perf_counter()
    results = jockey.map(increment, range(10), execute_in=jockey.ExecuteIn.PROCESS, max_jobs=2)
    next(results)
    seconds = time.perf_counter() - started
    results.close()
    return {"seconds": seconds}
