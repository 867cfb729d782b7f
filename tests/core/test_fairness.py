"""A flood of handlers that never suspend still lets the event loop run, and a handler that blocks it is named."""

from __future__ import annotations

import time

import anyio
import pytest
from anyio.lowlevel import checkpoint

from jockey import ExecuteIn, Executor
from jockey._pace import SLICE, Pace
from jockey.testing import Recorder
from tests.core.outside import Blocker
from tests.core.story import Clock, executor_of, registry_of, wait_all_tasks_blocked

pytestmark = pytest.mark.anyio


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Ticker:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.turns = 0

    async def tick(self) -> None:
        while True:
            self.turns += 1
            await checkpoint()


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("max_jobs", [1, 16, None])
async def test_a_flood_of_jobs_that_never_suspend_lets_the_loop_turn(
    is_async: bool,  # noqa: FBT001
    max_jobs: int | None,
    clock: Clock,
) -> None:
    def work(seconds: float) -> None:
        clock.now += seconds

    async def work_async(seconds: float) -> None:
        clock.now += seconds

    ticker = Ticker()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker.tick)
        async with executor_of(work_async if is_async else work, max_jobs=max_jobs).run() as running:
            for _ in range(2000):
                running.schedule(Recorder("job", 0.0005))
        tasks.cancel_scope.cancel()

    assert ticker.turns >= 2000 * 0.0005 / SLICE / 2


async def test_a_flood_lets_the_loop_turn_on_a_real_clock_too() -> None:
    ticker = Ticker()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker.tick)
        async with executor_of(spin).run() as running:
            for _ in range(150):
                running.schedule(Recorder("job", 0.001))
        tasks.cancel_scope.cancel()

    assert ticker.turns >= 150 * 0.001 / SLICE / 2


@pytest.mark.parametrize("kind", ["no handler", "cancelled"])
async def test_a_flood_of_callbacks_that_never_suspend_lets_the_loop_turn(kind: str, clock: Clock) -> None:
    class Working(Recorder[float, str, None]):
        async def on_no_handler(self) -> None:
            clock.now += 0.0005

        async def on_cancel(self, exc: object, /) -> None:
            clock.now += 0.0005

    ticker = Ticker()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker.tick)
        async with executor_of(spin).run() as running:
            running.pause()
            for _ in range(2000):
                handle = running.schedule(Working("job" if kind == "cancelled" else "unknown", 0.0))
                if kind == "cancelled":
                    handle.cancel()
        tasks.cancel_scope.cancel()

    assert ticker.turns >= 2000 * 0.0005 / SLICE / 2


async def test_the_turns_of_all_slots_together_take_one_slice() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    turns = 0

    async def run_jobs() -> None:
        nonlocal now, turns
        for _ in range(20):
            now += SLICE / 2
            if now >= pace.ends:
                turns += 1
                await pace.let_loop_turn()

    async with anyio.create_task_group() as tasks:
        for _ in range(16):
            tasks.start_soon(run_jobs)

    assert turns >= 16 * 20 / 2 / 2


async def test_a_slice_begins_anew_after_the_loop_has_turned_by_itself() -> None:
    now = 0.0
    pace = Pace(lambda: now)

    now = 1.5 * SLICE
    pace.loop_has_turned(now)
    early = pace.ends
    now = 100 * SLICE
    pace.loop_has_turned(now)

    assert early == SLICE
    assert pace.ends == now + SLICE


@pytest.mark.parametrize("when", ["at once", "after a while"])
async def test_a_handler_that_blocks_the_loop_is_named_in_a_warning(
    when: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def blocking(_: object) -> None:
        if when == "after a while":
            await checkpoint()
        clock.now += 0.6

    async with executor_of(blocking).run() as running:
        running.schedule(Recorder("job"))

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("jockey", "WARNING")
    assert "blocking" in record.getMessage()
    assert "kept the event loop busy for 0.60 seconds" in record.getMessage()
    assert "ExecuteIn.THREAD" in record.getMessage()


async def test_a_sync_handler_that_blocks_the_loop_is_named_too(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    def blocking(_: object) -> None:
        clock.now += 0.03

    async with executor_of(blocking, blocked_after=0.02).run() as running:
        running.schedule(Recorder("job"))

    assert ["blocking" in record.getMessage() for record in caplog.records] == [True]


async def test_a_handler_that_takes_no_longer_than_allowed_is_not_blamed(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def quick(_: object) -> None:
        for _step in range(3):
            clock.now += 0.5
            await checkpoint()

    async with executor_of(quick, blocked_after=0.5).run() as running:
        running.schedule(Recorder("job"))

    assert caplog.records == []


async def test_handlers_that_wait_or_run_in_a_thread_are_not_blamed(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    go, blocker = anyio.Event(), Blocker()

    async def wait(_: object) -> None:
        await go.wait()

    registry = registry_of(wait, key="wait")
    registry.add("thread", execute_in=ExecuteIn.THREAD)(blocker)

    async with Executor(registry).run() as running:
        for key in ("wait", "thread"):
            running.schedule(Recorder(key))
        await blocker.started()
        clock.now += 1000
        blocker.let_go()
        go.set()

    assert caplog.records == []


async def test_nobody_is_blamed_where_that_is_switched_off(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    def blocking(_: object) -> None:
        clock.now += 1000

    async with executor_of(blocking, blocked_after=None).run() as running:
        running.schedule(Recorder("job"))

    assert caplog.records == []


async def test_a_slot_that_waited_for_a_stuck_thread_blames_nobody_for_that_time(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = Blocker()
    registry = registry_of(anyio.sleep, key="quick")
    registry.add("stuck", execute_in=ExecuteIn.THREAD)(blocker)

    async with Executor(registry, max_jobs=1, on_error=lambda *_: None).run() as running:
        stuck = running.submit("stuck", None)
        await blocker.started()
        stuck.cancel()
        await stuck.wait()
        running.submit("quick", 0)
        await wait_all_tasks_blocked()
        clock.now += 1000
        blocker.let_go()

    assert caplog.records == []
