"""What repid's guide shows of jobs, actors and workers, example by example, holds here: in this library's own words."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import anyio
import pytest

from jockey import RegistrationError
from jockey.jobs import (
    App,
    JobFailedError,
    Priority,
    QueueNotDeclaredError,
    Retry,
    Router,
    State,
    Worker,
    WorkerCounts,
)
from tests.core.story import simulated
from tests.jobs import process_tasks
from tests.jobs.shop import app_of, burst, working
from tests.jobs.test_shutdown import run_and_press

# Jobs


@simulated
async def test_a_job_needs_no_more_than_a_name() -> None:
    async with app_of() as app:
        await app.queues.declare("default")

        job = await app.enqueue("my_awesome_job")

        [record] = await app.queues.peek("default")
        assert (record.id, record.name) == (job.id, "my_awesome_job")
        await app.queues.purge("default")


@simulated
async def test_a_queue_that_was_not_declared_is_an_error_and_once_declared_it_is_none() -> None:
    async with app_of() as app:
        with pytest.raises(QueueNotDeclaredError, match="no queue 'default'"):
            await app.enqueue("my_awesome_job")

        await app.queues.declare("default")
        await app.enqueue("my_awesome_job")

        assert await app.queues.size("default") == 1
        await app.queues.purge("default")


@simulated
async def test_queues_can_be_declared_ahead_and_again() -> None:
    async with app_of() as app:
        await app.queues.declare("default", "my_awesome_queue")
        await app.enqueue("job", queue="my_awesome_queue")
        await app.queues.declare("my_awesome_queue")

        sizes = {info.name: info.ready for info in await app.queues.info()}
        assert sizes == {"default": 0, "my_awesome_queue": 1}
        await app.queues.purge("my_awesome_queue")


@simulated
async def test_a_job_says_in_which_queue_it_waits() -> None:
    app = app_of()

    @app.task(queue=["default", "another-queue"])
    async def work() -> None: ...

    async with app:
        await work.enqueue()
        await work.options(queue="another-queue").enqueue()

        assert [await app.queues.size(queue) for queue in work.queues] == [1, 1]
        assert (await burst(app, queues=["another-queue"])).succeeded == 1
        assert (await burst(app)).succeeded == 1


@simulated
async def test_urgent_jobs_overtake_those_of_middle_priority_and_these_the_others() -> None:
    app = app_of()
    done: list[str] = []

    @app.task
    async def work(name: str) -> None:
        done.append(name)

    async with app:
        await work.options(priority=Priority.LOW).enqueue("low")
        await work.enqueue("middle")
        await work.options(priority=Priority.HIGH).enqueue("high")
        await burst(app, max_jobs=1)

    assert done == ["high", "middle", "low"]


@simulated
async def test_without_an_id_each_job_is_a_new_one_and_with_one_it_is_unique() -> None:
    app = app_of()

    @app.task
    async def work() -> None: ...

    async with app:
        first, second = await work.enqueue(), await work.enqueue()
        unique = work.options(id="my_unique_id")
        third, fourth = await unique.enqueue(), await unique.enqueue()

        assert first.id != second.id
        assert (first.is_new, second.is_new) == (True, True)
        assert (third.id, fourth.id) == ("my_unique_id", "my_unique_id")
        assert (third.is_new, fourth.is_new) == (True, False)
        assert (await burst(app)).succeeded == 3


@simulated
async def test_a_job_that_fails_is_tried_again_if_it_says_so_and_else_it_is_a_dead_letter() -> None:
    app = app_of()
    tries: list[str] = []

    @app.task
    async def work(name: str) -> None:
        tries.append(name)
        raise ValueError(name)

    async with app:
        once = await work.enqueue("once")
        more = await work.options(retry=Retry(max_tries=4, delay=0)).enqueue("more")
        await burst(app)

        assert (tries.count("once"), tries.count("more")) == (1, 4)
        assert {letter.id for letter in await app.dead.list()} == {once.id, more.id}


@simulated
async def test_a_timeout_is_ten_minutes_unless_a_job_says_otherwise_and_a_reason_for_another_try() -> None:
    app = app_of()
    started: list[float] = []

    @app.task
    async def work() -> None:
        started.append(anyio.current_time())
        await anyio.sleep_forever()

    async with app, working(app):
        with pytest.raises(JobFailedError, match="did not end within 600 seconds"):
            await (await work.enqueue()).result()
        hasty = work.options(timeout=timedelta(seconds=5), retry=Retry(max_tries=2, delay=1))
        with pytest.raises(JobFailedError, match="did not end within 5 seconds"):
            await (await hasty.enqueue()).result()

    assert [round(time - started[0]) for time in started] == [0, 600, 606]


# Actors


def test_the_decorated_function_can_be_called_as_before() -> None:
    router = Router()

    @router.task
    def my_awesome_function(name: str) -> str:
        return f"Hello {name}!"

    @router.task()
    async def another_one(name: str) -> str:
        return f"Hello {name}!"

    assert my_awesome_function("you") == "Hello you!"
    assert anyio.run(another_one, "you") == "Hello you!"


def test_an_actor_has_the_name_of_its_function_or_another_and_its_own_queue() -> None:
    router = Router()

    @router.task
    async def my_awesome_function() -> None: ...

    @router.task(name="another_name", queue="another_queue")
    async def other() -> None: ...

    assert {name: task.queues for name, task in router.tasks.items()} == {
        "my_awesome_function": ("default",),
        "another_name": ("another_queue",),
    }


def test_a_function_that_is_not_async_runs_in_a_thread_or_if_told_to_in_a_process() -> None:
    app = App()

    @app.task
    def my_synchronous_function() -> tuple[int, bool]:
        return os.getpid(), threading.current_thread() is threading.main_thread()

    async def run() -> tuple[tuple[int, bool], int]:
        async with app, process_tasks.app:
            in_thread = await my_synchronous_function.enqueue()
            in_process = await process_tasks.total.enqueue(process_tasks.Order("tea", 3))
            await burst(app)
            await burst(process_tasks.app)
            return await in_thread.result(), (await in_process.result())[2]

    in_thread, process = anyio.run(run)

    assert in_thread == (os.getpid(), False)
    assert process != os.getpid()


async def waits_of(retry: Any, tries: int) -> list[int]:
    """Return the seconds between the tries of a job that always fails."""
    app, started = app_of(), list[float]()

    @app.task(retry=retry)
    async def my_exceptional_function() -> None:
        started.append(anyio.current_time())
        raise ValueError("some exception")

    async with app, working(app):
        job = await my_exceptional_function.enqueue()
        with pytest.raises(JobFailedError):
            await job.result()
    assert len(started) == tries
    return [round(after - before) for before, after in itertools.pairwise(started)]


@simulated
async def test_the_exponential_policy_waits_as_its_four_numbers_say() -> None:
    policy = Retry.exponential(min_backoff=60, max_backoff=86400, multiplier=5, max_exponent=15, max_tries=7)

    assert await waits_of(policy, 7) == [60, 60, 60, 80, 160, 320]


@simulated
async def test_any_function_of_the_number_of_the_try_is_a_policy() -> None:
    assert await waits_of(lambda retry_number=1: retry_number * 100, 5) == [100, 200, 300, 400]
    assert await waits_of(lambda retry_number: timedelta(minutes=retry_number), 5) == [60, 120, 180, 240]


# Workers


@simulated
async def test_tasks_are_declared_on_the_app_or_come_from_routers() -> None:
    app, router, other_router = app_of(), Router(), Router(queue="other")
    done: list[str] = []

    @app.task
    async def mine() -> None:
        done.append("mine")

    @router.task
    async def of_the_router() -> None:
        done.append("router")

    @other_router.task
    async def of_the_other() -> None:
        done.append("other")

    app.include(router)
    app.include(other_router)
    async with app:
        for task in (mine, of_the_router, of_the_other):
            await task.enqueue()
        await burst(app)

    assert sorted(done) == ["mine", "other", "router"]


@simulated
async def test_tasks_can_be_declared_when_the_worker_is_there_already() -> None:
    async with (app := app_of()):
        my_worker = Worker(app, burst=True, handle_signals=())

        @app.task(queue="late")
        async def my_func() -> str:
            return "Hello!"

        job = await my_func.enqueue()

        assert await my_worker.run() == WorkerCounts(taken=1, succeeded=1)
        assert await job.result() == "Hello!"


@simulated
async def test_an_actor_of_the_same_name_takes_the_place_of_the_other_one_if_told_to() -> None:
    app = app_of()
    done: list[str] = []

    @app.task(queue="old")
    async def job() -> None:
        done.append("old")

    with pytest.raises(RegistrationError, match="two tasks of the name 'job'"):

        @app.task(name="job")
        async def refused() -> None: ...

    @app.task(name="job", queue="new", replace=True)
    async def newer() -> None:
        done.append("new")

    async with app:
        await app.enqueue("job")
        assert await burst(app, queues=["new"]) == WorkerCounts(taken=1, succeeded=1)
        assert [info.name for info in await app.queues.info()] == ["new"]

    assert done == ["new"]


@simulated
async def test_a_worker_declares_the_queues_that_it_knows_unless_told_otherwise() -> None:
    @(router := Router()).task(queue="mine")
    async def work() -> None: ...

    for is_declared in (True, False):
        app = app_of(auto_declare=is_declared)
        app.include(router)
        async with app:
            with nullcontext() if is_declared else pytest.raises(QueueNotDeclaredError, match="no queue 'mine'"):
                await burst(app)
            assert [info.name for info in await app.queues.info()] == ["mine"] * is_declared


@simulated
async def test_a_worker_runs_until_its_limit_and_tells_how_much_it_has_done() -> None:
    app = app_of()

    @app.task
    async def work() -> None: ...

    async with app:
        for _ in range(50):
            await work.enqueue()
        counts = await Worker(app, messages_limit=10, handle_signals=()).run()

        assert counts.processed == 10
        assert await app.queues.size("default") == 40
        await app.queues.purge("default")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_worker_runs_until_a_signal_of_ones_choice(backend: str) -> None:
    async def run() -> WorkerCounts:
        app = App()

        @app.task
        async def work() -> None:
            signal.raise_signal(signal.SIGQUIT)
            await anyio.sleep(0)

        async with app:
            await work.enqueue()
            my_worker = Worker(
                app, graceful_shutdown_time=100.0, messages_limit=10_000, handle_signals=[signal.SIGQUIT]
            )
            return await my_worker.run()

    assert anyio.run(run, backend=backend) == WorkerCounts(taken=1, succeeded=1)


@simulated
async def test_after_the_signal_what_runs_may_end_and_what_takes_too_long_comes_again_without_a_try_spent() -> None:
    app = app_of()

    @app.task
    async def work(seconds: int) -> None:
        await anyio.sleep(seconds)

    async with app:
        short, long, late = [await work.enqueue(seconds) for seconds in (30, 1000, 1)]
        counts, took = await run_and_press(app, 20, max_jobs=2, graceful_shutdown_time=100.0)
        record = await long.record()

        assert counts == WorkerCounts(taken=2, succeeded=1, released=1)
        assert round(took) == 120
        assert await short.status() is State.SUCCEEDED
        assert (record.state, record.attempt) == (State.QUEUED, 0)
        assert await late.status() is State.QUEUED
        await app.queues.purge("default")


# All of it


@simulated
async def test_what_one_program_enqueues_another_one_does() -> None:
    app, router = app_of(), Router()
    said: list[str] = []

    @router.task
    async def awesome_hello() -> None:
        said.append("Hello from an actor!")

    async def producer_side() -> None:
        await app.queues.declare("default")
        await app.enqueue("awesome_hello")

    async def consumer_side() -> None:
        app.include(router)
        await Worker(app, messages_limit=1, handle_signals=()).run()

    async with app:
        await producer_side()
        await consumer_side()

    assert said == ["Hello from an actor!"]
