"""At no moment do more jobs run than any cap of an executor allows, and no cap blocks a job that could run."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from jockey import ExecuteIn, Executor, Limit, Priority, Rate, Registry
from jockey.testing import Recorder, run
from tests.core.story import Crowd, Told, executor_of, registry_of, simulated, wait_all_tasks_blocked


@pytest.mark.anyio
@pytest.mark.parametrize("max_jobs", [1, 2, 16])
async def test_no_more_than_max_jobs_run_at_once(max_jobs: int) -> None:
    crowd = Crowd()

    async def handle(_: object) -> None:
        with crowd:
            for _turn in range(3):
                await checkpoint()

    async with executor_of(handle, max_jobs=max_jobs).run() as running:
        for _ in range(50):
            running.schedule(Recorder("job"))

    assert crowd.most == max_jobs


@pytest.mark.anyio
async def test_without_max_jobs_all_run_at_once() -> None:
    everybody, crowd = anyio.Event(), Crowd()

    async def handle(_: object) -> None:
        with crowd:
            if crowd.now == 200:
                everybody.set()
            await everybody.wait()

    async with executor_of(handle, max_jobs=None).run() as running:
        for _ in range(200):
            running.schedule(Recorder("job"))

    assert crowd.most == 200


@pytest.mark.anyio
async def test_sixteen_jobs_run_at_once_by_default() -> None:
    crowd, go = Crowd(), anyio.Event()

    async def handle(_: object) -> None:
        with crowd:
            await go.wait()

    async with executor_of(handle).run() as running:
        for _ in range(40):
            running.schedule(Recorder("job"))
        await wait_all_tasks_blocked()
        now = crowd.now
        go.set()

    assert now == crowd.most == 16


@pytest.mark.anyio
async def test_the_cap_of_a_handler_holds_for_all_its_priorities_and_blocks_no_other_handler() -> None:
    crowd, go, others = Crowd(), anyio.Event(), []
    registry: Registry[Any, str, None] = Registry()

    @registry.add("capped", max_jobs=2)
    async def capped(_: object) -> None:
        with crowd:
            await go.wait()

    @registry.add("free")
    async def free(payload: object) -> None:
        others.append(payload)

    async with Executor(registry).run() as running:
        for priority in Priority:
            for _ in range(5):
                running.schedule(Recorder("capped"), priority=priority)
        for number in range(5):
            running.schedule(Recorder("free", number), priority=Priority.LOW)
        await wait_all_tasks_blocked()
        state = crowd.now, list(others)
        go.set()

    assert state == (2, [0, 1, 2, 3, 4])
    assert crowd.most == 2


@pytest.mark.anyio
async def test_handlers_share_a_named_limit_even_across_registries() -> None:
    crowd, go = Crowd(), anyio.Event()
    one: Registry[Any, str, None] = Registry()
    two: Registry[Any, str, None] = Registry()

    async def handle(_: object) -> None:
        with crowd:
            await go.wait()

    one.add("a", limits=[Limit("db", 3)])(handle)
    two.add("b", limits=[Limit("db", 3)])(handle)
    one.include(two)

    async with Executor(one).run() as running:
        for number in range(20):
            running.schedule(Recorder("ab"[number % 2]))
        await wait_all_tasks_blocked()
        now = crowd.now
        go.set()

    assert now == crowd.most == 3


@pytest.mark.anyio
async def test_a_limit_belongs_to_one_running_executor() -> None:
    go = anyio.Event()
    started = []

    async def handle(payload: object) -> None:
        started.append(payload)
        await go.wait()

    executor = Executor(registry_of(handle, limits=[Limit("db", 1)]))

    async with executor.run() as one, executor.run() as two:
        one.schedule(Recorder("job", "one"))
        two.schedule(Recorder("job", "two"))
        await wait_all_tasks_blocked()
        assert sorted(started) == ["one", "two"]
        go.set()


@pytest.mark.anyio
async def test_a_job_that_waits_for_one_limit_holds_no_other() -> None:
    story: list[str] = []
    go = anyio.Event()
    registry: Registry[bool, str, None] = Registry()

    @registry.add("both", limits=[Limit("wide", 1), Limit("narrow", 1)])
    @registry.add("wide", limits=[Limit("wide", 1)])
    @registry.add("narrow", limits=[Limit("narrow", 1)])
    async def handle(waits: bool) -> None:  # noqa: FBT001 - the payload
        if waits:
            await go.wait()

    async with Executor(registry).run() as running:
        running.schedule(Told(story, "holds narrow", "narrow", payload=True))
        running.schedule(Told(story, "needs both", "both"))
        await wait_all_tasks_blocked()
        running.schedule(Told(story, "needs wide", "wide"))
        await wait_all_tasks_blocked()
        go.set()

    assert story == ["needs wide: success", "holds narrow: success", "needs both: success"]


@pytest.mark.anyio
async def test_all_threads_together_have_a_cap() -> None:
    crowd, lock = Crowd(), threading.Lock()
    barrier = threading.Barrier(2)
    registry: Registry[Any, str, None] = Registry()

    @registry.add("a", execute_in=ExecuteIn.THREAD)
    @registry.add("b", execute_in=ExecuteIn.THREAD, priority=Priority.HIGH)
    def handle(_: object) -> None:
        with lock:
            crowd.__enter__()
        barrier.wait()
        with lock:
            crowd.__exit__()

    async with Executor(registry, max_threads=2).run() as running:
        for number in range(10):
            running.schedule(Recorder("ab"[number % 2]))

    assert crowd.most == 2


@pytest.mark.anyio
async def test_threads_are_capped_by_max_jobs_when_they_have_no_cap_of_their_own() -> None:
    barrier = threading.Barrier(16)

    def handle(_: object) -> None:
        barrier.wait()

    async with Executor(registry_of(handle, execute_in=ExecuteIn.THREAD)).run() as running:
        for _ in range(32):
            running.schedule(Recorder("job"))

    assert not barrier.broken


@simulated
async def test_a_rate_spaces_the_starts_of_all_handlers_that_share_it() -> None:
    starts: list[float] = []
    registry: Registry[Any, str, None] = Registry()
    rate = Rate("api", 10, per=60.0)

    @registry.add("a", limits=[rate])
    @registry.add("b", limits=[rate], priority=Priority.LOW)
    async def handle(_: object) -> None:
        starts.append(anyio.current_time())

    async with Executor(registry).run() as running:
        for number in range(8):
            running.schedule(Recorder("ab"[number % 2]))

    gaps = [later - earlier for earlier, later in zip(starts, starts[1:], strict=False)]
    assert gaps == [pytest.approx(6, abs=0.01)] * 7


@simulated
async def test_a_rate_lets_a_burst_start_at_once_after_a_pause() -> None:
    starts: list[float] = []

    async def handle(_: object) -> None:
        starts.append(round(anyio.current_time() - begin, 1))

    registry = registry_of(handle, limits=[Rate("api", 1, per=10.0, burst=3)])

    async with Executor(registry).run() as running:
        begin = anyio.current_time()
        for _ in range(5):
            running.schedule(Recorder("job"))
        await running.drain()
        await anyio.sleep(1000)
        begin = anyio.current_time()
        for _ in range(4):
            running.schedule(Recorder("job"))

    assert starts == [0, 0, 0, 10, 20, 0, 0, 0, 10]


@simulated
async def test_a_rate_that_is_used_up_blocks_nobody_else() -> None:
    story: list[str] = []
    registry: Registry[Any, str, None] = Registry()

    @registry.add("rated", limits=[Rate("api", 1, per=10.0)])
    @registry.add("free", priority=Priority.LOW)
    async def handle(_: object) -> None: ...

    async with Executor(registry, max_jobs=1).run() as running:
        for number in range(3):
            running.schedule(Told(story, f"rated {number}", "rated"))
        for number in range(2):
            running.schedule(Told(story, f"free {number}", "free"))

    assert [line.removesuffix(": success") for line in story] == ["rated 0", "free 0", "free 1", "rated 1", "rated 2"]


@simulated
async def test_a_rate_and_a_slot_together_hold_both() -> None:
    crowd, starts = Crowd(), []

    async def handle(_: object) -> None:
        starts.append(round(anyio.current_time()))
        with crowd:
            await anyio.sleep(25)

    registry = registry_of(handle, limits=[Rate("api", 1, per=10.0)], max_jobs=2)

    async with Executor(registry).run() as running:
        for _ in range(5):
            running.schedule(Recorder("job"))

    first = starts[0]
    assert [start - first for start in starts] == [0, 10, 25, 35, 50]
    assert crowd.most == 2


@simulated
async def test_a_rate_can_be_drained_away_by_a_shutdown() -> None:
    async def handle(_: object) -> None: ...

    messages = [Recorder("job") for _ in range(3)]

    async with Executor(registry_of(handle, limits=[Rate("api", 1, per=3600.0)])).run() as running:
        for message in messages:
            running.schedule(message)
        await anyio.sleep(1)
        await running.drain(0)

    assert [message.completed for message in messages] == [["success"], ["cancel"], ["cancel"]]


@pytest.mark.anyio
async def test_a_rate_works_on_a_real_clock() -> None:
    async def handle(_: object) -> None: ...

    messages = [Recorder("job") for _ in range(4)]

    async with Executor(registry_of(handle, limits=[Rate("api", 100)])).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.completed for message in messages] == [["success"]] * 4


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(Priority), st.integers(0, 3)), max_size=20),
    st.integers(1, 4),
    st.integers(0, 1000),
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_whatever_order_tasks_run_all_caps_are_honest_and_all_jobs_end(
    backend: Any, jobs: list[tuple[int, Priority, int]], max_jobs: int, seed: int
) -> None:
    handlers = [
        {"max_jobs": 1},
        {"max_jobs": 2, "limits": [Limit("db", 2)]},
        {"limits": [Limit("db", 2), Limit("io", 1)]},
        {"limits": [Limit("io", 1), Rate("api", 1, per=2.0, burst=2)]},
    ]
    users = {"all": range(4), "db": (1, 2), "io": (2, 3), 0: (0,), 1: (1,)}
    sizes = {"all": max_jobs, "db": 2, "io": 1, 0: 1, 1: 2}
    crowds = {name: Crowd() for name in users}
    registry: Registry[Any, int, None] = Registry()

    for key, options in enumerate(handlers):

        @registry.add(key, **options)  # type: ignore[arg-type]
        async def handle(seconds: int, key: int = key) -> None:
            entered = [crowds[name] for name, keys in users.items() if key in keys]
            for crowd in entered:
                crowd.__enter__()
            await anyio.sleep(seconds)
            for crowd in entered:
                crowd.__exit__()

    async def program() -> None:
        async with Executor(registry, max_jobs=max_jobs).run() as running:
            for key, priority, seconds in jobs:
                running.schedule(Recorder(key, seconds), priority=priority)
                await checkpoint()
            await running.drain()
            assert running.statistics().succeeded == len(jobs)

    run(program, backend=backend, seed=seed)

    assert {name: crowd.most <= sizes[name] for name, crowd in crowds.items()} == dict.fromkeys(users, True)
