"""`free_slots` tells code that takes messages from somewhere how many it may take."""

from __future__ import annotations

import sys
from typing import Any

import anyio
import pytest

from jockey import DeadlockError, Executor, ExecutorClosedError, RunningExecutor
from jockey.testing import Recorder
from tests.core.story import executor_of, registry_of, wait_all_tasks_blocked, wait_forever

pytestmark = pytest.mark.anyio


async def nothing(_: object) -> None:
    pass


async def test_all_slots_are_free_when_nothing_runs() -> None:
    async with executor_of(nothing, max_jobs=3).run() as running:
        assert await running.free_slots() == 3


async def test_what_was_scheduled_counts_at_once() -> None:
    async with executor_of(nothing, max_jobs=3).run() as running:
        running.schedule(Recorder("job"))
        assert await running.free_slots() == 2


async def test_it_waits_until_a_job_has_ended() -> None:
    free: list[int] = []

    async def look(running: RunningExecutor[Any, Any, Any]) -> None:
        free.append(await running.free_slots())

    async with executor_of(wait_forever, max_jobs=2).run() as running, anyio.create_task_group() as tasks:
        handles = [running.schedule(Recorder("job")) for _ in range(2)]
        tasks.start_soon(look, running)
        await wait_all_tasks_blocked()
        assert free == []

        handles[0].cancel()
        await wait_all_tasks_blocked()
        assert free == [1]
        handles[1].cancel()


async def test_nothing_is_reserved_for_who_has_looked() -> None:
    free: list[int] = []

    async def look(running: RunningExecutor[Any, Any, Any]) -> None:
        free.append(await running.free_slots())

    async with executor_of(wait_forever, max_jobs=1).run() as running, anyio.create_task_group() as tasks:
        handle = running.schedule(Recorder("job"))
        for _ in range(3):
            tasks.start_soon(look, running)
        await wait_all_tasks_blocked()
        handle.cancel()

    assert free == [1, 1, 1]


async def test_a_cancelled_look_leaves_the_slot_to_others() -> None:
    async with executor_of(wait_forever, max_jobs=1).run() as running:
        handle = running.schedule(Recorder("job"))
        with anyio.move_on_after(0):
            await running.free_slots()
        handle.cancel()

        assert await running.free_slots() == 1


async def test_a_full_backlog_leaves_no_slot() -> None:
    async with executor_of(nothing, max_jobs=8, max_backlog=2).run() as running:
        running.schedule(Recorder("job"))
        assert await running.free_slots() == 1


async def test_without_a_cap_there_are_as_many_as_can_be_counted() -> None:
    async with executor_of(nothing, max_jobs=None).run() as running:
        assert await running.free_slots() == sys.maxsize


async def test_it_waits_while_the_executor_is_paused() -> None:
    async with executor_of(nothing).run() as running:
        running.pause()
        with anyio.move_on_after(0) as scope:
            await running.free_slots()

    assert scope.cancelled_caught


async def test_there_are_none_when_the_intake_is_closed() -> None:
    async with executor_of(wait_forever, max_jobs=1).run() as running, anyio.create_task_group() as tasks:
        free: list[int] = []

        async def look() -> None:
            free.append(await running.free_slots())

        running.schedule(Recorder("job"))
        tasks.start_soon(look)
        await wait_all_tasks_blocked()
        await running.drain(0)

    assert free == [0]


async def test_in_a_handler_it_is_an_error() -> None:
    async def look(_: object) -> None:
        await running.free_slots()

    async with Executor(registry_of(look)).run() as running:
        handle = running.submit("job", None)
        with pytest.raises(DeadlockError, match=r"free_slots\(\) in .*look"):
            await handle.result()


async def test_after_the_end_it_is_an_error() -> None:
    async with executor_of(nothing).run() as running:
        pass

    with pytest.raises(ExecutorClosedError, match=r"free_slots\(\) after"):
        await running.free_slots()
