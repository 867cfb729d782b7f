"""What asyncio can do to a task, and anyio cannot prevent: cancel it by `Task.cancel`, through every shield."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from jockey import JobHandle, Success
from jockey.testing import Recorder
from tests.conftest import backends, name_of
from tests.core.story import SlowToCancel, executor_of, wait_all_tasks_blocked, wait_forever

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[backend for backend in backends() if backend[0] == "asyncio"], ids=name_of)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_a_task_that_is_cancelled_thrice_still_awaits_every_on_cancel() -> None:
    messages = [SlowToCancel("job") for _ in range(5)]
    go = anyio.Event()
    messages.append(SlowToCancel("job", faults={"on_cancel": go}))

    async def body() -> None:
        async with executor_of(wait_forever, max_jobs=4).run() as running:
            for message in messages:
                running.schedule(message)
            await anyio.sleep_forever()

    task = asyncio.create_task(body())
    await wait_all_tasks_blocked()
    for _ in range(3):
        task.cancel()
        await wait_all_tasks_blocked()
    assert not task.done()
    go.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert [message.completed for message in messages] == [["cancel"]] * 6


async def test_a_handler_that_cancels_its_own_task_fails_and_hurts_no_later_job() -> None:
    async def handle(cancels: bool) -> str:  # noqa: FBT001 - the payload
        if cancels:
            _current_task().cancel()
        await asyncio.sleep(0)
        return "fine"

    messages = [Recorder("job", cancels) for cancels in (True, False, True, False)]

    async with executor_of(handle, max_jobs=1).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.completed for message in messages] == [["failure"], ["success"]] * 2


async def test_a_handler_that_cancels_its_own_task_as_its_last_act_hurts_no_later_job() -> None:
    async def handle(cancels: bool) -> None:  # noqa: FBT001 - the payload
        if cancels:
            _current_task().cancel()
        else:
            await asyncio.sleep(0)

    first, second = Recorder("job", True), Recorder("job", False)

    async with executor_of(handle, max_jobs=1).run() as running:
        running.schedule(first)
        running.schedule(second)

    assert second.completed == ["success"]
    assert len(first.completed) == 1


async def test_a_callback_that_cancels_its_own_task_hurts_no_later_job() -> None:
    class Cancelling(Recorder[None, str, None]):
        async def on_success(self, result: None, /) -> None:
            _current_task().cancel()

    async def handle(_: object) -> None:
        await asyncio.sleep(0)

    second = Recorder("job")

    async with executor_of(handle, max_jobs=1).run() as running:
        running.schedule(Cancelling("job"))
        running.schedule(second)

    assert second.completed == ["success"]


async def test_the_callback_of_an_unstarted_job_that_cancels_its_task_hurts_no_later_one() -> None:
    class Cancelling(Recorder[None, str, None]):
        async def on_no_handler(self) -> None:
            _current_task().cancel()

    class Checking(Recorder[None, str, None]):
        async def on_no_handler(self) -> None:
            await asyncio.sleep(0)
            await super().on_no_handler()

    messages = [Checking("unknown") for _ in range(40)]

    async with executor_of(wait_forever).run() as running:
        for message in messages:
            running.schedule(Cancelling("unknown"))
            running.schedule(message)

    assert [message.completed for message in messages] == [["no_handler"]] * 40


async def test_a_stopped_handler_that_cancels_its_own_task_too_hurts_no_later_job() -> None:
    async def handle(cancels: bool) -> None:  # noqa: FBT001 - the payload
        if cancels:
            try:
                await anyio.sleep_forever()
            finally:
                _current_task().cancel()
        await asyncio.sleep(0)

    first, second = Recorder("job", True), Recorder("job", False)

    async with executor_of(handle, max_jobs=1).run() as running:
        job = running.schedule(first)
        running.schedule(second)
        await wait_all_tasks_blocked()
        job.cancel()

    assert (first.completed, second.completed) == (["cancel"], ["success"])


@pytest.mark.parametrize("is_slot_free", [True, False])
async def test_a_task_that_is_cancelled_while_it_waits_for_its_lent_slot_ends(is_slot_free: bool) -> None:  # noqa: FBT001
    go = anyio.Event()
    outer_tasks: list[asyncio.Task[Any]] = []
    blockers: list[JobHandle[None]] = []

    async def handle(role: str) -> None:
        if role == "outer":
            outer_tasks.append(_current_task())
            await running.execute(Recorder("job", "inner"))
        elif role == "inner":
            blockers.append(running.schedule(Recorder("job", "blocker")))  # it starts in the slot that was lent
        else:
            await go.wait()

    outer = Recorder("job", "outer")

    async with executor_of(handle, max_jobs=1).run() as running:
        running.schedule(outer)
        await wait_all_tasks_blocked()
        if is_slot_free:
            go.set()
            await blockers[0].wait()
        outer_tasks[0].cancel()
        await wait_all_tasks_blocked()
        go.set()

    assert len(outer.completed) == 1


async def test_an_inner_task_that_was_cancelled_is_a_failure_and_no_cancellation() -> None:
    async def handle(_: object) -> None:
        inner = asyncio.ensure_future(asyncio.sleep(3600))
        inner.cancel()
        await inner

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        running.schedule(message)

    assert message.completed == ["failure"]


async def test_asyncio_timeouts_inside_a_handler_work_as_ever() -> None:
    async def handle(_: object) -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3600)
        except TimeoutError:
            pass
        await asyncio.wait_for(asyncio.sleep(0), 10)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(0))
        return "in time"

    messages = [Recorder("job") for _ in range(3)]

    async with executor_of(handle, max_jobs=1).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.outcome for message in messages] == [Success("in time")] * 3


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
