"""The same maps with the pools of the standard library, and on one core."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

from tests.benchmarks.contenders.loads import increment, load


def one_core(name: str, count: int) -> dict[str, float]:
    """Measure the builtin `map`."""
    function, items = load(name, count)
    started = time.perf_counter()
    for _ in map(function, items):
        pass
    return {"seconds": time.perf_counter() - started}


def warm(name: str, count: int, kind: str, workers: int, chunksize: int = 1) -> dict[str, float]:
    """Measure `Executor.map` of a pool that runs already."""
    function, items = load(name, count)
    with _pool(kind, workers) as pool:
        for _ in pool.map(increment, range(100 * workers)):
            pass
        started = time.perf_counter()
        for _ in pool.map(function, items, chunksize=chunksize):
            pass
        return {"seconds": time.perf_counter() - started}


def cold(name: str, count: int, kind: str, workers: int, chunksize: int = 1) -> dict[str, float]:
    """Measure `Executor.map`, the start of the pool included."""
    function, items = load(name, count)
    started = time.perf_counter()
    with _pool(kind, workers) as pool:
        for _ in pool.map(function, items, chunksize=chunksize):
            pass
        seconds = time.perf_counter() - started
    return {"seconds": seconds}


def first() -> dict[str, float]:
    """Measure how long the first result takes, from the creation of the pool."""
    started = time.perf_counter()
    with _pool("process", 2) as pool:
        next(iter(pool.map(increment, range(10))))
        seconds = time.perf_counter() - started
    return {"seconds": seconds}


def _pool(kind: str, workers: int) -> Executor:
    if kind == "thread":
        return ThreadPoolExecutor(workers)
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
