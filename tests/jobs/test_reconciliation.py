"""Everything that a worker takes comes to one end, and every job to one of its own, on brokers as they are used."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from jockey.jobs import App, Context, Failure, Job, Priority, Retry, State, Worker, WorkerCounts
from jockey.jobs._state import ENDED
from tests.jobs.shop import adds_up, burst

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Not on each event loop of asyncio: what differs between them is tested with the core."""
    return request.param


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"


async def work_until_cancelled(app: App[Any], seconds: float, total: list[WorkerCounts]) -> None:
    with anyio.move_on_after(seconds):
        total.append(await Worker(app, max_jobs=4, handle_signals=()).run())


async def test_every_job_comes_to_an_end_whatever_happens_on_the_way(url: str) -> None:
    dice = random.Random(3)
    app = App(url)
    runs: Counter[int] = Counter()

    @app.task(timeout=0.05, retry=Retry(max_tries=3, delay=0.01, jitter=1))
    async def work(number: int) -> int | Failure:
        runs[number] += 1
        await anyio.sleep(dice.choice([0, 0, 0.01, 60]))
        match number % 4:
            case 0:
                raise ValueError(number)
            case 1:
                return Failure("no")
        return number

    async def meddle(jobs: list[Job[int]]) -> None:
        for _ in range(10):
            await dice.choice(jobs).cancel("enough")
            await anyio.sleep(0.01)

    async with app:
        jobs = await work.enqueue_many(work.s(number) for number in range(60))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(meddle, jobs)
            for _ in range(3):
                tasks.start_soon(work_until_cancelled, app, dice.uniform(0.05, 0.3), [])
        found: list[WorkerCounts] = []
        while any(info.ready or info.delayed for info in await app.queues.info()):
            found.append(await burst(app))
        records = [await job.record() for job in jobs]

    assert all(adds_up(counts) for counts in found)
    assert all(record is not None and record.state in ENDED for record in records)
    for record, number in zip(records, range(60), strict=True):
        assert record is not None
        if number % 4 < 2:
            assert record.state in {State.DEAD, State.CANCELLED}
        if record.state is State.SUCCEEDED:
            assert record.result == b"%d" % number


async def test_the_limit_is_exact_and_urgent_jobs_come_first(url: str) -> None:
    app = App(url)
    done: list[str] = []

    @app.task
    async def work(name: str) -> None:
        done.append(name)

    async with app:
        for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
            await work.enqueue_many(
                work.options(priority=priority).s(f"{priority.name} {number}") for number in range(3)
            )
        counts = await Worker(app, messages_limit=5, max_jobs=1, handle_signals=()).run()

        assert await app.queues.size("default") == 4
    assert done == ["HIGH 0", "HIGH 1", "HIGH 2", "NORMAL 0", "NORMAL 1"]
    assert counts == WorkerCounts(taken=5, succeeded=5)


async def test_a_running_job_hears_that_it_is_cancelled(url: str) -> None:
    app = App(url)
    started = anyio.Event()

    @app.task
    async def work(context: Context) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            assert context.cancelled

    async with app, anyio.create_task_group() as tasks:
        job = await work.enqueue()
        tasks.start_soon(Worker(app, handle_signals=(), messages_limit=1).run)
        await started.wait()
        await job.cancel("enough")
        record = await job.wait()

    assert record.state is State.CANCELLED


async def test_a_worker_that_is_cancelled_leaves_all_to_the_next_one(url: str) -> None:
    app = App(url)
    started: list[int] = []

    @app.task
    async def work() -> None:
        started.append(1)
        if len(started) <= 3:
            await anyio.sleep_forever()

    async with app:
        jobs = [await work.enqueue() for _ in range(5)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Worker(app, handle_signals=(), max_jobs=3).run)
            while len(started) < 3:
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        counts = await burst(app)

        assert {await job.status() for job in jobs} == {State.SUCCEEDED}
    assert counts == WorkerCounts(taken=5, succeeded=5)
