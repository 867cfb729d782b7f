"""Jobs of one group run in order, one at a time, across handlers; groups run side by side."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from jockey import Executor, Failure, Priority, Registry
from jockey.testing import Recorder, run
from tests.core.story import Crowd, Told, executor_of, wait_all_tasks_blocked

pytestmark = pytest.mark.anyio


async def test_jobs_of_one_group_run_one_at_a_time_and_in_order_across_handlers() -> None:
    story: list[str] = []
    registry: Registry[str, str, None] = Registry()

    @registry.add("one", priority=Priority.LOW)
    @registry.add("two", priority=Priority.HIGH)
    async def handle(name: str) -> None:
        story.append(f"{name}: start")
        await checkpoint()
        await checkpoint()
        story.append(f"{name}: end")

    async with Executor(registry).run() as running:
        for number, key in enumerate(["one", "two", "one", "two"]):
            running.schedule(Told(story, str(number), key, str(number), group="user"))

    assert story == [f"{number}: {what}" for number in range(4) for what in ("start", "end", "success")]


async def test_groups_run_side_by_side() -> None:
    crowd, everybody = Crowd(), anyio.Event()

    async def handle(_: object) -> None:
        with crowd:
            if crowd.now == 3:
                everybody.set()
            await everybody.wait()

    async with executor_of(handle).run() as running:
        for group in ("a", "b", "c"):
            running.schedule(Recorder("job", group=group))

    assert crowd.most == 3


async def test_a_job_without_a_group_overtakes_a_group_that_is_busy() -> None:
    story: list[str] = []
    go = anyio.Event()

    async def handle(waits: bool) -> None:  # noqa: FBT001 - the payload
        if waits:
            await go.wait()

    async with executor_of(handle).run() as running:
        running.schedule(Told(story, "busy", payload=True, group="g"))
        running.schedule(Told(story, "behind", group="g"))
        await running.execute(Told(story, "free"))
        go.set()

    assert story == ["free: success", "busy: success", "behind: success"]


async def test_the_next_job_of_a_group_waits_for_the_callback_of_the_one_before() -> None:
    story: list[str] = []
    acknowledge = anyio.Event()

    async def handle(name: str) -> None:
        story.append(f"{name}: start")

    async with executor_of(handle).run() as running:
        running.schedule(Told(story, "a", payload="a", group="g", faults={"on_success": acknowledge}))
        running.schedule(Told(story, "b", payload="b", group="g"))
        await wait_all_tasks_blocked()
        assert story == ["a: start", "a: success"]
        acknowledge.set()

    assert story == ["a: start", "a: success", "b: start", "b: success"]


async def test_more_jobs_of_a_group_run_at_once_where_that_is_allowed() -> None:
    crowd = Crowd()

    async def handle(_: object) -> None:
        with crowd:
            await wait_all_tasks_blocked()

    async with executor_of(handle, max_jobs_per_group=2).run() as running:
        for _ in range(5):
            running.schedule(Recorder("job", group="g"))

    assert crowd.most == 2


async def test_a_failed_job_does_not_hold_up_its_group() -> None:
    async def handle(fails: bool) -> None:  # noqa: FBT001 - the payload
        if fails:
            raise ValueError

    async with executor_of(handle).run() as running:
        first = running.schedule(Recorder("job", True, group="g"))
        second = running.schedule(Recorder("job", False, group="g"))

    assert [first.state.value, second.state.value] == ["failed", "succeeded"]


async def test_a_cancelled_job_does_not_hold_up_its_group() -> None:
    story: list[str] = []
    go = anyio.Event()

    async def handle(_: object) -> None:
        await go.wait()

    async with executor_of(handle).run() as running:
        handles = [running.schedule(Told(story, name, group="g")) for name in "abcd"]
        await wait_all_tasks_blocked()
        assert handles[1].cancel()
        assert handles[3].cancel()
        await wait_all_tasks_blocked()
        assert handles[0].cancel()
        await handles[0].wait()
        go.set()

    assert story == ["b: cancel", "d: cancel", "a: cancel", "c: success"]


async def test_a_group_that_cannot_be_hashed_is_a_failure_of_its_job() -> None:
    async def handle(_: object) -> None: ...

    message = Recorder("job", group=["a list"])

    async with executor_of(handle).run() as running:
        running.schedule(message)

    assert message.calls == ["failure"]
    assert isinstance(message.outcome, Failure)
    assert isinstance(message.outcome.error, TypeError)


async def test_an_error_in_get_group_is_a_failure_of_its_job() -> None:
    async def handle(_: object) -> None: ...

    error = LookupError("no user")
    message = Recorder("job", faults={"get_group": error})

    async with executor_of(handle).run() as running:
        running.schedule(message)

    assert message.outcome == Failure(error)


@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "y"]), st.sampled_from([None, 1, 2]), st.sampled_from(Priority)), max_size=15
    ),
    st.integers(1, 2),
    st.integers(1, 4),
    st.integers(0, 1000),
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_whatever_order_tasks_run_groups_keep_theirs(
    backend: Any, jobs: list[tuple[str, Hashable, Priority]], per_group: int, max_jobs: int, seed: int
) -> None:
    started: dict[Hashable, list[int]] = {}
    crowds: dict[Hashable, Crowd] = {1: Crowd(), 2: Crowd(), None: Crowd()}
    registry: Registry[Any, str, None] = Registry()

    @registry.add("x", max_jobs=2)
    @registry.add("y")
    async def handle(payload: tuple[int, Hashable]) -> None:
        number, group = payload
        started.setdefault(group, []).append(number)
        with crowds[group]:
            await anyio.sleep(number % 3)

    async def program() -> None:
        async with Executor(registry, max_jobs=max_jobs, max_jobs_per_group=per_group).run() as running:
            for number, (key, group, priority) in enumerate(jobs):
                running.schedule(Recorder(key, (number, group), group=group), priority=priority)

    run(program, backend=backend, seed=seed)

    assert sum(map(len, started.values())) == len(jobs)
    for group in (1, 2):
        assert started.get(group, []) == sorted(started.get(group, []))
        assert crowds[group].most <= per_group
