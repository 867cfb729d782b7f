"""Priorities work on a backlog, order is kept, and nobody starves."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from jockey import Executor, Limit, Priority, Registry
from jockey._scheduler import STARVATION_BOUND
from jockey.testing import Recorder
from tests.core.story import executor_of, wait_all_tasks_blocked

pytestmark = pytest.mark.anyio

HIGH, NORMAL, LOW = Priority


class Starts:
    """A handler that notes the order of starts; the first job of all waits until it is told to go on."""

    def __init__(self) -> None:
        self.names: list[object] = []
        self.go = anyio.Event()

    async def __call__(self, name: object) -> None:
        self.names.append(name)
        if name == "first":
            await self.go.wait()


async def test_a_high_job_behind_a_backlog_starts_with_the_next_free_slot() -> None:
    starts = Starts()

    async with executor_of(starts, max_jobs=1).run() as running:
        running.schedule(Recorder("job", "first"))
        for number in range(10_000):
            running.schedule(Recorder("job", number))
        await wait_all_tasks_blocked()
        running.schedule(Recorder("job", "high"), priority=HIGH)
        starts.go.set()

    assert starts.names[:3] == ["first", "high", 0]
    assert len(starts.names) == 10_002


async def test_a_backlog_is_served_from_high_to_low_and_in_order_within() -> None:
    starts = Starts()

    async with executor_of(starts, max_jobs=1).run() as running:
        running.schedule(Recorder("job", "first"))
        await wait_all_tasks_blocked()
        for number in range(9):
            priority = Priority(2 - number % 3)
            running.schedule(Recorder("job", (priority.name, number)), priority=priority)
        starts.go.set()

    assert starts.names[1:] == [
        *[("HIGH", number) for number in (2, 5, 8)],
        *[("NORMAL", number) for number in (1, 4, 7)],
        *[("LOW", number) for number in (0, 3, 6)],
    ]


async def test_a_handler_has_a_priority_that_schedule_can_override() -> None:
    starts = Starts()
    registry: Registry[object, str, None] = Registry()
    for priority in Priority:
        registry.add(priority.name, priority=priority)(starts)

    async with Executor(registry, max_jobs=1).run() as running:
        running.schedule(Recorder("HIGH", "first"))
        await wait_all_tasks_blocked()
        running.schedule(Recorder("LOW", "low by itself"))
        running.schedule(Recorder("NORMAL", "normal by itself"))
        running.schedule(Recorder("HIGH", "low because told"), priority=LOW)
        running.schedule(Recorder("LOW", "high because told"), priority=HIGH)
        starts.go.set()

    assert starts.names[1:] == ["high because told", "normal by itself", "low by itself", "low because told"]


async def test_jobs_of_one_priority_start_in_order_across_handlers() -> None:
    starts = Starts()
    registry: Registry[object, int, None] = Registry()
    for key in range(5):
        registry.add(key, max_jobs=1 + key % 2 or None)(starts)

    async with Executor(registry, max_jobs=1).run() as running:
        running.schedule(Recorder(0, "first"))
        for number in range(50):
            running.schedule(Recorder((number * 3) % 5, number))
        starts.go.set()

    assert starts.names == ["first", *range(50)]


@pytest.mark.parametrize("options", [{}, {"max_jobs": 1}, {"limits": [Limit("shared", 1)]}], ids=str)
async def test_a_low_job_starts_under_a_flood_of_high_ones_that_never_ends(options: Any) -> None:
    names: list[object] = []
    registry: Registry[object, str, None] = Registry()

    @registry.add("job", **options)
    async def handle(name: object) -> None:
        names.append(name)
        if name == "high" and "low" not in names and len(names) < 1000:
            running.schedule(Recorder("job", "high"), priority=HIGH)

    async with Executor(registry, max_jobs=2).run() as running:
        running.schedule(Recorder("job", "high"), priority=HIGH)
        running.schedule(Recorder("job", "high"), priority=HIGH)
        running.schedule(Recorder("job", "low"), priority=LOW)

    assert names.index("low") < STARVATION_BOUND + 2


async def test_under_a_flood_one_start_in_32_goes_to_who_has_waited_longest() -> None:
    starts = Starts()

    async with executor_of(starts, max_jobs=1).run() as running:
        running.schedule(Recorder("job", "first"))
        await wait_all_tasks_blocked()
        for number in range(3):
            running.schedule(Recorder("job", f"low {number}"), priority=LOW)
        for _ in range(500):
            running.schedule(Recorder("job", "high"), priority=HIGH)
        starts.go.set()

    places = [starts.names.index(f"low {number}") for number in range(3)]
    assert [later - earlier for earlier, later in zip(places, places[1:], strict=False)] == [STARVATION_BOUND] * 2
    assert places[0] <= STARVATION_BOUND + 1
