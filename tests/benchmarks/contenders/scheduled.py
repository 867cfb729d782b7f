"""The executor itself: messages are made before the clock starts, everything else counts, `run()` included."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import jockey
from tests.benchmarks.contenders.handlers import noop as handler
from tests.benchmarks.contenders.messages import GroupedMessage, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

Registry = jockey.Registry[int, str, int]


def noop(jobs: int) -> dict[str, float]:
    """Measure plain jobs of one handler."""
    registry = Registry()
    registry.add("noop")(handler)
    return asyncio.run(_run(registry, [Message("noop", number) for number in range(jobs)]))


def one_by_one(jobs: int) -> dict[str, float]:
    """Measure plain jobs, each awaited before the next one: runners go to rest and are woken each time."""
    registry = Registry()
    registry.add("noop")(handler)
    return asyncio.run(_run_one_by_one(registry, [Message("noop", number) for number in range(jobs)]))


def full(jobs: int) -> dict[str, float]:
    """Measure jobs that give the scheduler all it can handle."""
    return asyncio.run(_run(full_registry(), [GroupedMessage(str(number % 100), number) for number in range(jobs)]))


def full_registry() -> Registry:
    """Return 100 handlers of three priorities, each with a timeout."""
    registry = Registry()
    priorities = list(jockey.Priority)
    for number in range(100):
        registry.add(str(number), priority=priorities[number % len(priorities)], job_timeout=60)(handler)
    return registry


async def _run(registry: Registry, messages: Sequence[Message]) -> dict[str, float]:
    started = time.process_time()
    async with jockey.Executor(registry, max_jobs=16).run() as running:
        for message in messages:
            running.schedule(message)
    seconds = time.process_time() - started
    succeeded = running.statistics().succeeded
    if succeeded != len(messages):
        raise RuntimeError(f"only {succeeded} of {len(messages)} jobs succeeded")
    return {"seconds": seconds}


async def _run_one_by_one(registry: Registry, messages: Sequence[Message]) -> dict[str, float]:
    async with jockey.Executor(registry, max_jobs=16).run() as running:
        started = time.process_time()
        for message in messages:
            await running.execute(message)
        return {"seconds": time.process_time() - started}
