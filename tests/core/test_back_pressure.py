"""What `execute` waits for, and what a bounded backlog does when it is full."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from jockey import BacklogFullError, Cancelled, Executor, JobState, Priority, Registry, WaitFor
from jockey.testing import Recorder, run, settle
from tests.core.story import Told, executor_of, wait_all_tasks_blocked

pytestmark = pytest.mark.anyio


class Workshop:
    """A handler whose jobs wait until they are let go."""

    def __init__(self) -> None:
        self.started: list[object] = []
        self.go = anyio.Event()

    async def __call__(self, payload: object) -> object:
        self.started.append(payload)
        await self.go.wait()
        return payload


async def test_nothing_returns_before_the_job_has_started() -> None:
    workshop = Workshop()

    async with executor_of(workshop).run() as running:
        handle = await running.execute(Recorder("job", 1), wait_for=WaitFor.NOTHING)
        state = handle.state
        workshop.go.set()

    assert state is JobState.QUEUED


async def test_start_returns_when_the_job_has_started() -> None:
    workshop = Workshop()

    async with executor_of(workshop).run() as running:
        handle = await running.execute(Recorder("job", 1), wait_for=WaitFor.START)
        state, started = handle.state, list(workshop.started)
        workshop.go.set()

    assert (state, started) == (JobState.RUNNING, [1])


async def test_start_needs_no_more_than_the_one_slot() -> None:
    workshop = Workshop()
    returned: list[int] = []

    async with executor_of(workshop, max_jobs=1).run() as running, anyio.create_task_group() as tasks:

        async def start(number: int) -> None:
            await running.execute(Recorder("job", number), wait_for=WaitFor.START, priority=Priority.HIGH)
            returned.append(number)

        for number in range(3):
            tasks.start_soon(start, number)
            await wait_all_tasks_blocked()
        assert returned == workshop.started == [0]
        workshop.go.set()

    assert returned == workshop.started == [0, 1, 2]


@pytest.mark.parametrize("end", ["cancelled", "no handler", "get_keys"])
async def test_start_returns_for_a_job_that_ends_without_a_start(end: str) -> None:
    workshop = Workshop()
    message = Recorder(
        "job" if end != "no handler" else "unknown", faults={"get_keys": ValueError()} if end == "get_keys" else {}
    )

    async with executor_of(workshop, max_jobs=1).run() as running, anyio.create_task_group() as tasks:
        running.schedule(Recorder("job"))
        returned = anyio.Event()

        async def start() -> None:
            await running.execute(message, wait_for=WaitFor.START)
            returned.set()

        tasks.start_soon(start)
        await wait_all_tasks_blocked()
        if end == "cancelled":
            assert not returned.is_set()
            await running.drain(0)
        await returned.wait()
        workshop.go.set()

    assert len(message.completed) == 1


async def test_finish_is_the_default_and_returns_after_the_callback() -> None:
    story: list[str] = []

    async def handle(_: object) -> None: ...

    async with executor_of(handle).run() as running:
        handle_ = await running.execute(Told(story, "job"))
        story.append("returned")

    assert story == ["job: success", "returned"]
    assert handle_.state is JobState.SUCCEEDED


@pytest.mark.parametrize("max_jobs", [1, 3])
async def test_no_pressure_returns_while_at_most_max_jobs_jobs_wait(max_jobs: int) -> None:
    workshop = Workshop()
    accepted: list[int] = []

    async with executor_of(workshop, max_jobs=max_jobs).run() as running, anyio.create_task_group() as tasks:

        async def offer() -> None:
            for number in range(20):
                await running.execute(Recorder("job", number), wait_for=WaitFor.NO_PRESSURE)
                accepted.append(number)

        tasks.start_soon(offer)
        await wait_all_tasks_blocked()
        held_back_at = len(accepted)
        statistics = running.statistics()
        workshop.go.set()

    assert held_back_at == 2 * max_jobs
    assert sum(statistics.queued.values()) == max_jobs + 1
    assert accepted == list(range(20))


async def test_no_pressure_holds_a_source_back_by_a_slow_handler_too() -> None:
    workshop = Workshop()
    registry: Registry[Any, str, Any] = Registry()
    registry.add("job", max_jobs=1)(workshop)
    accepted: list[int] = []

    async with Executor(registry, max_jobs=4).run() as running, anyio.create_task_group() as tasks:

        async def offer() -> None:
            for number in range(200):
                await running.execute(Recorder("job", number), wait_for=WaitFor.NO_PRESSURE)
                accepted.append(number)

        tasks.start_soon(offer)
        await wait_all_tasks_blocked()
        held_back_at = len(accepted)
        workshop.go.set()

    assert held_back_at in {4, 5}
    assert len(accepted) == 200


async def test_no_pressure_is_relieved_by_the_cancellation_of_queued_jobs() -> None:
    workshop = Workshop()

    async with executor_of(workshop, max_jobs=1).run() as running, anyio.create_task_group() as tasks:
        running.schedule(Recorder("job", 0))
        queued = [running.schedule(Recorder("job", number)) for number in range(3)]
        returned = anyio.Event()

        async def offer() -> None:
            await running.execute(Recorder("job", 4), wait_for=WaitFor.NO_PRESSURE)
            returned.set()

        tasks.start_soon(offer)
        await wait_all_tasks_blocked()
        assert not returned.is_set()
        for handle in queued:
            handle.cancel()
        await returned.wait()
        workshop.go.set()


async def test_schedule_refuses_a_message_when_the_backlog_is_full() -> None:
    workshop = Workshop()
    refused = Recorder("job", "refused")

    async with executor_of(workshop, max_jobs=1, max_backlog=2).run() as running:
        await running.execute(Recorder("job", 0), wait_for=WaitFor.START)
        running.schedule(Recorder("job", 1))
        running.schedule(Recorder("job", 2))
        with pytest.raises(BacklogFullError, match="2 messages wait, and max_backlog is 2"):
            running.schedule(refused)
        with pytest.raises(BacklogFullError):
            running.submit("job", "refused")
        workshop.go.set()
        await running.drain()
        running.schedule(Recorder("job", 3))

    assert refused.calls == []
    assert workshop.started == [0, 1, 2, 3]


async def test_execute_waits_for_room_in_a_full_backlog_and_is_served_in_order() -> None:
    workshop = Workshop()

    async with executor_of(workshop, max_jobs=1, max_backlog=1).run() as running, anyio.create_task_group() as tasks:
        await running.execute(Recorder("job", 0), wait_for=WaitFor.START)
        running.schedule(Recorder("job", 1))
        for number in (2, 3, 4):
            tasks.start_soon(lambda number=number: running.execute(Recorder("job", number), wait_for=WaitFor.NOTHING))
            await wait_all_tasks_blocked()
        assert sum(running.statistics().queued.values()) == 1
        workshop.go.set()

    assert workshop.started == [0, 1, 2, 3, 4]


async def test_nobody_overtakes_those_who_wait_for_room() -> None:
    workshop = Workshop()

    async with executor_of(workshop, max_jobs=1, max_backlog=1).run() as running, anyio.create_task_group() as tasks:
        await running.execute(Recorder("job", 0), wait_for=WaitFor.START)
        running.schedule(Recorder("job", 1)).cancel()
        running.schedule(Recorder("job", 1))
        tasks.start_soon(lambda: running.execute(Recorder("job", 2)))
        await wait_all_tasks_blocked()
        workshop.go.set()
        await wait_all_tasks_blocked()

    assert workshop.started == [0, 1, 2]


@pytest.mark.parametrize("has_room_meanwhile", [True, False])
async def test_who_is_cancelled_while_it_waits_for_room_has_its_message_cancelled(has_room_meanwhile: bool) -> None:  # noqa: FBT001
    workshop = Workshop()
    message = Recorder("job", "cancelled")

    async with executor_of(workshop, max_jobs=1, max_backlog=1).run() as running, anyio.create_task_group() as tasks:
        await running.execute(Recorder("job", 0), wait_for=WaitFor.START)
        queued = running.schedule(Recorder("job", 1))
        scope = anyio.CancelScope()

        async def wait() -> None:
            with scope:
                await running.execute(message)

        tasks.start_soon(wait)
        await wait_all_tasks_blocked()
        tasks.start_soon(lambda: running.execute(Recorder("job", 3)))
        await wait_all_tasks_blocked()
        if has_room_meanwhile:
            queued.cancel()  # the turn of the one who waits has come: it must be passed on
        scope.cancel()
        await wait_all_tasks_blocked()
        assert message.completed == ["cancel"]
        workshop.go.set()

    assert isinstance(message.outcome, Cancelled)
    assert workshop.started == ([0, 3] if has_room_meanwhile else [0, 1, 3])


async def test_those_who_wait_for_room_are_told_that_the_intake_is_closed() -> None:
    workshop = Workshop()
    message = Recorder("job", "late")

    async with executor_of(workshop, max_jobs=1, max_backlog=1).run() as running, anyio.create_task_group() as tasks:
        await running.execute(Recorder("job", 0), wait_for=WaitFor.START)
        running.schedule(Recorder("job", 1))
        tasks.start_soon(lambda: running.execute(message))
        await wait_all_tasks_blocked()
        await running.drain(0)

    assert message.completed == ["cancel"]
    assert isinstance(message.outcome, Cancelled)
    assert message.outcome.error.reason == "shutdown"


async def test_a_full_backlog_is_an_error_at_once_inside_a_handler() -> None:
    errors: list[Exception] = []

    async def handle(nests: bool) -> None:  # noqa: FBT001 - the payload
        if nests:
            running.schedule(Recorder("job", False))
            try:
                await running.execute(Recorder("job", False))
            except BacklogFullError as error:
                errors.append(error)

    async with executor_of(handle, max_jobs=1, max_backlog=1).run() as running:
        running.schedule(Recorder("job", True))

    assert len(errors) == 1


async def test_a_message_without_a_handler_needs_no_room_that_others_hold() -> None:
    workshop = Workshop()

    async with executor_of(workshop, max_jobs=1, max_backlog=1).run() as running:
        await running.execute(Recorder("unknown"))
        for _ in range(3):
            running.schedule(Recorder("unknown"))
        await running.drain()
        assert running.statistics().no_handler == 4


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("seed", range(20))
def test_who_waits_for_room_when_the_block_is_left_comes_in_whatever_the_order_of_tasks(
    backend: Any, seed: int
) -> None:
    message = Recorder("job", "late")

    async def program() -> None:
        workshop = Workshop()
        async with anyio.create_task_group() as outside:
            async with executor_of(workshop, max_jobs=1, max_backlog=1).run() as running:
                running.schedule(Recorder("job", 0))
                await settle()
                running.schedule(Recorder("job", 1))
                outside.start_soon(running.execute, message)
                await settle()
                workshop.go.set()

    run(program, backend=backend, seed=seed)

    assert message.completed == ["success"]
