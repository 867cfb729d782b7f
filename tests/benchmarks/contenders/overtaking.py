"""HIGH jobs scheduled again and again while a backlog of LOW ones is worked off."""

from __future__ import annotations

import asyncio
import statistics

import jockey
from tests.benchmarks.contenders.messages import Message

PROBES = 100


class _Starts:
    """Counts the LOW jobs that have started, and remembers the count at the start of each HIGH one."""

    def __init__(self) -> None:
        self.low = 0
        self.at_high: list[int] = []

    async def count(self, _: int) -> int:
        self.low += 1
        await asyncio.sleep(0)
        return 0

    async def note(self, _: int) -> int:
        self.at_high.append(self.low)
        return 0


def starts_before_high(jobs: int) -> dict[str, float]:
    """Return the median and the greatest number of LOW jobs that started between `schedule` and the HIGH job."""
    starts = _Starts()
    registry = jockey.Registry[int, str, int]()
    registry.add("low", priority=jockey.Priority.LOW)(starts.count)
    registry.add("high", priority=jockey.Priority.HIGH)(starts.note)
    overtaken = asyncio.run(_run(registry, starts, jobs))
    return {"worst": max(overtaken), "median": statistics.median(overtaken)}


async def _run(registry: jockey.Registry[int, str, int], starts: _Starts, jobs: int) -> list[int]:
    at_schedule = []
    async with jockey.Executor(registry, max_jobs=16).run() as running:
        for number in range(jobs):
            running.schedule(Message("low", number))
        # Without this the slots would be free: the first LOW jobs must run.
        await asyncio.sleep(0.001)
        for number in range(PROBES):
            at_schedule.append(starts.low)
            await running.execute(Message("high", number))
    return [after - before for before, after in zip(at_schedule, starts.at_high, strict=True)]
