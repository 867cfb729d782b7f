"""A backlog of some length: what a job costs in time and in memory."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from typing import TYPE_CHECKING

import jockey
from tests.benchmarks.contenders.handlers import noop
from tests.benchmarks.contenders.messages import GroupedMessage, Message
from tests.benchmarks.contenders.scheduled import Registry, full_registry

if TYPE_CHECKING:
    from collections.abc import Sequence

JOBS_PER_ROUND = 100_000
"""Short backlogs are repeated up to here, because one alone is over too soon to be measured."""


def worked_off(jobs: int, *, collector: bool) -> dict[str, float]:
    """Measure the time per job, `schedule` to `on_success`, within one run: no set-up is spread over the jobs."""
    registry = Registry()
    registry.add("noop")(noop)
    messages = [Message("noop", number) for number in range(jobs)]
    if not collector:
        gc.disable()
    try:
        return asyncio.run(_work_off(registry, messages))
    finally:
        gc.enable()


async def _work_off(registry: Registry, messages: Sequence[Message]) -> dict[str, float]:
    times = max(1, JOBS_PER_ROUND // len(messages))
    async with jockey.Executor(registry, max_jobs=16).run() as running:
        started = time.process_time()
        for _ in range(times):
            for message in messages:
                running.schedule(message)
            await running.drain()
        seconds = time.process_time() - started
    return {"per_job": seconds / (times * len(messages))}


def memory(jobs: int, *, full: bool) -> dict[str, float]:
    """Measure the bytes that a queued job takes, its message left out, as tracemalloc counts them."""
    registry = full_registry() if full else Registry()
    registry_keys = [str(number % 100) if full else "noop" for number in range(jobs)]
    if not full:
        registry.add("noop")(noop)
    kind = GroupedMessage if full else Message
    return asyncio.run(_queue(registry, [kind(key, number) for number, key in enumerate(registry_keys)]))


async def _queue(registry: Registry, messages: Sequence[Message]) -> dict[str, float]:
    async with jockey.Executor(registry, max_jobs=16).run() as running:
        gc.collect()
        tracemalloc.start()
        for message in messages:
            running.schedule(message)
        # Nothing was awaited, so nothing has started.
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return {"bytes": size / len(messages)}
