"""What a worker takes, how it runs that, and what is left behind."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from jockey import RegistrationError
from jockey.jobs import (
    App,
    Context,
    JobFailedError,
    Priority,
    QueueNotDeclaredError,
    Retry,
    RetryLater,
    State,
    Trouble,
    Worker,
    WorkerCounts,
    chain,
    group,
)
from tests.core.story import simulated
from tests.jobs import process_tasks
from tests.jobs.shop import Faulty, app_of, burst, working


@simulated
async def test_a_burst_ends_when_nothing_is_ready() -> None:
    app = app_of()

    @app.task
    async def double(number: int) -> int:
        return number * 2

    async with app:
        jobs = [await double.enqueue(number) for number in range(40)]
        await double.options(delay=60).enqueue(7)
        counts = await burst(app)

        assert [await job.result() for job in jobs] == [number * 2 for number in range(40)]
    assert counts == WorkerCounts(taken=40, succeeded=40)
    assert (counts.processed, counts.failed) == (40, 0)


@simulated
async def test_a_burst_does_what_its_own_jobs_enqueue_too() -> None:
    app = app_of()
    done: list[int] = []

    @app.task
    async def count_down(number: int) -> None:
        await anyio.sleep(5)
        done.append(number)
        if number:
            await count_down.enqueue(number - 1)

    async with app:
        await count_down.enqueue(3)
        counts = await burst(app)

    assert done == [3, 2, 1, 0]
    assert counts.succeeded == 4


@simulated
async def test_a_burst_on_empty_queues_ends_at_once() -> None:
    app = app_of()

    assert await burst(app, queues=["empty"]) == WorkerCounts()


@simulated
async def test_the_limit_is_exact() -> None:
    app = app_of()

    @app.task
    async def work() -> None:
        await anyio.sleep(1)

    async with app:
        for _ in range(12):
            await work.enqueue()
        counts = await Worker(app, messages_limit=7, max_jobs=4, handle_signals=()).run()

        assert counts == WorkerCounts(taken=7, succeeded=7)
        assert await app.queues.size("default") == 5


@simulated
async def test_no_more_is_taken_than_can_run() -> None:
    app = app_of()

    @app.task
    async def work() -> None:
        await anyio.sleep(60)

    async with working(app, max_jobs=3):
        for _ in range(10):
            await work.enqueue()
        await anyio.sleep(30)
        info = (await app.queues.info("default"))[0]

    assert (info.running, info.ready) == (3, 7)


@simulated
async def test_only_the_queues_that_are_named_are_taken_from() -> None:
    app = app_of()
    done: list[str] = []

    @app.task(queue=["mail", "post"])
    async def send(to: str) -> None:
        done.append(to)

    @app.task(queue="other")
    async def other() -> None:
        done.append("other")

    async with app:
        await send.enqueue("a")
        await send.options(queue="post").enqueue("b")
        await other.enqueue()

        await burst(app, queues=["post"])
        assert done == ["b"]
        await burst(app)
    assert sorted(done) == ["a", "b", "other"]


@simulated
async def test_urgent_jobs_are_taken_first() -> None:
    app = app_of()
    done: list[str] = []

    @app.task
    async def work(name: str) -> None:
        done.append(name)

    async with app:
        for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
            for number in range(2):
                await work.options(priority=priority).enqueue(f"{priority.name} {number}")
        await burst(app, max_jobs=1)

    assert done == ["HIGH 0", "HIGH 1", "NORMAL 0", "NORMAL 1", "LOW 0", "LOW 1"]


@simulated
async def test_async_tasks_run_in_the_event_loop_and_others_in_threads() -> None:
    app = app_of()

    @app.task
    async def here() -> bool:
        return threading.current_thread() is threading.main_thread()

    @app.task
    def there() -> bool:
        return threading.current_thread() is threading.main_thread()

    async with app:
        jobs = await here.enqueue(), await there.enqueue()
        await burst(app)

        assert [await job.result() for job in jobs] == [True, False]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_for_processes_get_their_arguments_converted_there(backend: str) -> None:
    async def work() -> None:
        async with process_tasks.app as app:
            job = await process_tasks.total.enqueue(process_tasks.Order("tea", 3))
            failing = await process_tasks.broken.enqueue()
            await burst(app)

            product, count, pid = await job.result()
            with pytest.raises(JobFailedError) as caught:
                await failing.result()

        assert (product, count) == ("tea", 3)
        assert pid != os.getpid()
        assert caught.value.trouble is not None
        assert "broken in the process" in caught.value.trouble.traceback

    anyio.run(work, backend=backend)


@simulated
async def test_a_timeout_is_a_reason_to_try_again() -> None:
    app = app_of()
    started: list[float] = []

    @app.task(timeout=10, retry=Retry(max_tries=2, delay=5, on=(KeyError,)))
    async def slow() -> None:
        started.append(anyio.current_time())
        await anyio.sleep(60)

    async with app:
        job = await slow.enqueue()
        async with working(app):
            with pytest.raises(JobFailedError, match="did not end within 10 seconds"):
                await job.result()

    assert started[1] - started[0] == pytest.approx(15, abs=0.5)


@simulated
async def test_the_timeout_of_a_job_overrules_that_of_its_task() -> None:
    app = app_of()

    @app.task(timeout=10)
    async def slow() -> str:
        await anyio.sleep(60)
        return "done"

    async with app:
        jobs = [await slow.options(timeout=timeout).enqueue() for timeout in (5, 120, None)]
        async with working(app):
            with pytest.raises(JobFailedError, match="did not end within 5 seconds"):
                await jobs[0].result()
            assert [await job.result() for job in jobs[1:]] == ["done", "done"]


@simulated
async def test_what_is_raised_overrules_what_was_enqueued_and_that_the_task() -> None:
    app = app_of()
    tries: dict[str, list[float]] = {}

    def note(name: str) -> int:
        tries.setdefault(name, []).append(anyio.current_time())
        return len(tries[name])

    @app.task(retry=Retry(max_tries=2, delay=10))
    async def work(name: str) -> None:
        if note(name) == 1 and name == "raised":
            raise RetryLater(delay=300, policy=Retry(max_tries=5))
        raise ValueError(name)

    async with app, working(app):
        await work.enqueue("task")
        await work.options(retry=Retry(max_tries=3, delay=100)).enqueue("enqueue")
        await work.options(retry=Retry(max_tries=3, delay=100)).enqueue("raised")
        await anyio.sleep(1000)

    waits = {name: [round(b - a) for a, b in zip(times, times[1:], strict=False)] for name, times in tries.items()}
    assert waits == {"task": [10], "enqueue": [100, 100], "raised": [300, 100]}


@simulated
async def test_failure_callbacks_come_when_the_last_try_has_failed_and_not_later() -> None:
    app = app_of()
    told: list[tuple[str, float]] = []

    @app.task
    async def tell(trouble: dict[str, Any]) -> None:
        told.append((trouble["message"], anyio.current_time()))

    @app.task(retry=Retry(max_tries=3, delay=100), on_failure=tell)
    async def work() -> None:
        raise ValueError("boom")

    async with app, working(app):
        start = anyio.current_time()
        job = await work.enqueue()
        await anyio.sleep(1000)
        record = await job.record()

    assert [(what, round(when - start)) for what, when in told] == [("boom", 200)]
    assert record is not None
    assert (record.state, record.attempt) == (State.DEAD, 3)


@simulated
async def test_a_chain_hands_on_its_results() -> None:
    app = app_of()

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with app:
        job = await chain(add.s(1, 2), add.s(10), add.s(100)).enqueue()
        await burst(app)
        assert await job.result() == 113


@simulated
async def test_a_group_is_followed_when_all_its_jobs_have_succeeded() -> None:
    app = app_of()

    @app.task
    async def double(number: int) -> int:
        await anyio.sleep(10 - number)
        return 2 * number

    @app.task
    async def total(numbers: list[int]) -> list[int]:
        return numbers

    async with app:
        job = await (group(*(double.s(number) for number in range(5))) >> total.s()).enqueue()
        await burst(app)
        assert await job.result() == [0, 2, 4, 6, 8]


@simulated
async def test_jobs_of_one_group_run_in_their_order_one_at_a_time() -> None:
    app = app_of()
    story: list[str] = []

    @app.task(group="accounts")
    async def book(number: int) -> None:
        story.append(f"{number} starts")
        await anyio.sleep(5 - number)
        story.append(f"{number} ends")

    async with app:
        for number in range(4):
            await book.enqueue(number)
        counts = await burst(app)

    assert story == [f"{number} {what}" for number in range(4) for what in ("starts", "ends")]
    assert counts.succeeded == 4


@simulated
async def test_the_next_one_of_a_group_begins_when_the_broker_knows_that_the_one_before_it_has_failed() -> None:
    app = app_of()
    states: list[State] = []

    @app.task(group="accounts", retry=Retry.never)
    async def book(before: str | None) -> None:
        if before is None:
            raise ValueError("nothing to book")
        states.append(await app.job(before).status())

    async with app:
        first = await book.enqueue(None)
        await book.enqueue(first.id)
        counts = await burst(app)

    assert states == [State.DEAD]
    assert (counts.dead, counts.succeeded) == (1, 1)


@simulated
async def test_the_state_is_made_once_per_worker_and_lives_as_long_as_its_jobs() -> None:
    story: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[list[str]]:
        story.append("enter")
        yield story
        story.append("leave")

    app: App[list[str]] = App(lifespan=lifespan, clock=anyio.current_time)

    @app.task
    async def work(context: Context[list[str]], name: str) -> None:
        await anyio.sleep(1)
        context.state.append(name)

    async with app:
        await work.enqueue("a")
        await work.enqueue("b")
        await burst(app)

    assert sorted(story[1:3]) == ["a", "b"]
    assert (story[0], story[3:]) == ("enter", ["leave"])


@simulated
async def test_a_task_learns_which_try_it_is() -> None:
    app = app_of()
    seen: list[tuple[object, int, bool, int]] = []

    @app.task(retry=Retry(max_tries=3, delay=0))
    async def work(context: Context) -> None:
        seen.append((context.state, context.attempt, context.is_last_attempt, len(context.job.troubles)))
        raise ValueError

    async with app:
        await work.enqueue()
        await burst(app)

    assert seen == [(None, 1, False, 0), (None, 2, False, 1), (None, 3, True, 2)]


@simulated
async def test_a_running_job_hears_within_a_second_that_it_is_cancelled() -> None:
    app = app_of()
    heard: list[float] = []

    @app.task
    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            heard.append(anyio.current_time())

    async with working(app):
        job = await work.enqueue()
        await anyio.sleep(10)
        start = anyio.current_time()
        await job.cancel("not needed any more")
        await job.wait()
        record = await job.record()

    assert heard[0] - start <= 1
    assert record is not None
    assert record.state is State.CANCELLED
    assert record.error is not None
    assert record.error.message == "not needed any more"


@simulated
async def test_a_thread_can_ask_whether_its_job_was_cancelled() -> None:
    app = app_of()
    started, ended = threading.Event(), threading.Event()

    @app.task
    def work(context: Context) -> None:
        started.set()
        while not context.cancelled:
            ended.wait(0.01)
        ended.set()

    async with working(app):
        job = await work.enqueue()
        await anyio.to_thread.run_sync(started.wait)
        await job.cancel()
        await job.wait()
        await anyio.to_thread.run_sync(ended.wait)

        assert await job.status() is State.CANCELLED


@simulated
async def test_cancelling_a_worker_releases_all_it_has_and_goes_on() -> None:
    app = app_of()

    @app.task
    async def work() -> None:
        await anyio.sleep_forever()

    async with app:
        jobs = [await work.enqueue() for _ in range(5)]
        with anyio.move_on_after(10) as scope:
            await Worker(app, max_jobs=3, handle_signals=()).run()
        records = [await job.record() for job in jobs]

    assert scope.cancelled_caught
    assert {(record.state, record.attempt) for record in records if record} == {(State.QUEUED, 0)}


@simulated
async def test_what_stops_the_program_is_raised_and_other_jobs_are_released() -> None:
    app = app_of()

    @app.task
    async def work() -> None:
        await anyio.sleep_forever()

    @app.task
    async def leave() -> None:
        await anyio.sleep(1)
        raise SystemExit(3)

    async with app:
        job = await work.enqueue()
        leaving = await leave.enqueue()
        with pytest.raises(SystemExit, match="3"):
            await burst(app)

        assert await job.status() is State.QUEUED
        assert await leaving.status() is State.DEAD


@simulated
async def test_several_workers_share_the_work() -> None:
    app = app_of()

    @app.task
    async def work() -> None:
        await anyio.sleep(1)

    total: list[WorkerCounts] = []

    async def one() -> None:
        total.append(await burst(app, max_jobs=2))

    async with app:
        for _ in range(20):
            await work.enqueue()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one)

    assert sum(counts.succeeded for counts in total) == 20
    assert all(counts.taken for counts in total)


@simulated
async def test_a_worker_can_run_again() -> None:
    app = app_of()

    @app.task
    async def work() -> None:
        pass

    worker = Worker(app, burst=True, handle_signals=())
    found: list[int] = []
    for _ in range(2):
        async with app:
            await work.enqueue()
            found.append((await worker.run()).succeeded)

    assert found == [1, 1]


@simulated
async def test_queues_are_declared_unless_that_is_turned_off() -> None:
    app = app_of(auto_declare=False)

    @app.task(queue="mail")
    async def work() -> None:
        pass

    async with app:
        await app.broker.declare("mail")
        await work.enqueue()
        assert (await burst(app)).succeeded == 1
        assert [info.name for info in await app.queues.info()] == ["mail"]


@simulated
async def test_a_burst_finds_nothing_in_a_queue_that_was_deleted_meanwhile() -> None:
    app = app_of()

    @app.task(queue="mail")
    async def close() -> None:
        await app.queues.delete("mail")

    async with app:
        await close.enqueue()
        assert (await burst(app)).taken == 1
        with pytest.raises(QueueNotDeclaredError):
            await app.queues.info("mail")


@simulated
async def test_the_log_tells_how_each_try_ended_and_a_traceback_once(caplog: pytest.LogCaptureFixture) -> None:
    app = app_of()

    @app.task(retry=Retry(max_tries=2, delay=0))
    async def work(*, is_good: bool) -> None:
        if not is_good:
            raise ValueError("boom")

    with caplog.at_level(logging.INFO):
        async with app:
            job = await work.enqueue(is_good=False)
            await work.enqueue(is_good=True)
            await burst(app)

    ours = [record for record in caplog.records if hasattr(record, "job_id")]
    assert [(record.levelname, bool(record.exc_info)) for record in ours if record.__dict__["job_id"] == job.id] == [
        ("WARNING", True),
        ("ERROR", True),
    ]
    texts = [record.getMessage() for record in ours if record.exc_info]
    assert texts == [
        f"work[{job.id}] failed and will be tried again: ValueError: boom",
        f"work[{job.id}] is dead: ValueError: boom",
    ]
    assert [record.levelname for record in ours if record.__dict__["job_id"] != job.id] == ["INFO"]
    assert all(record.__dict__["task"] == "work" for record in ours)


@simulated
async def test_the_log_tells_what_was_cancelled_and_what_was_released(caplog: pytest.LogCaptureFixture) -> None:
    app = app_of()

    @app.task
    async def work() -> None:
        await anyio.sleep_forever()

    with caplog.at_level(logging.INFO):
        async with working(app):
            cancelled, silently, released = [await work.enqueue() for _ in range(3)]
            await anyio.sleep(1)
            await cancelled.cancel("not needed")
            await cancelled.wait()
            await silently.cancel()
            await silently.wait()

    ours = [(record.levelname, record.getMessage()) for record in caplog.records if hasattr(record, "job_id")]
    assert ours == [
        ("INFO", f"work[{cancelled.id}] was cancelled: not needed"),
        ("INFO", f"work[{silently.id}] was cancelled: no reason given"),
        ("INFO", f"work[{released.id}] was released, and comes again"),
    ]


@simulated
async def test_a_job_that_takes_its_workers_along_is_dead_with_its_failure_callbacks() -> None:
    broker = Faulty()
    app = app_of(broker)
    told: list[str] = []

    @app.task
    async def tell(trouble: Trouble) -> None:
        told.append(trouble.message)

    @app.task(on_failure=tell)
    async def work() -> None:
        await anyio.sleep_forever()

    async with app:
        job = await work.enqueue()
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Worker(app, handle_signals=(), lease=1, max_crashes=2).run)
                await anyio.sleep(1)
                broker.sources[-1].vanish()
                tasks.cancel_scope.cancel()
            await anyio.sleep(10)
        await burst(app, max_crashes=2)

        assert await job.status() is State.DEAD
    assert len(told) == 1
    assert "its worker died" in told[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queues": "mail"}, "queues must be a list of names, got 'mail'"),
        ({"queues": []}, "queues must be a list of names"),
        ({"queues": [""]}, "queues must be a list of names"),
        ({"queues": ["\ud800"]}, "queues must be a list of names"),
        ({"name": ""}, "name must be a text that is not empty and that UTF-8 can write, got ''; use None"),
        ({"name": 5}, "name must be a text that is not empty and that UTF-8 can write, got 5; use None"),
        ({"name": "\ud800"}, r"name must be a text .*, got '\\ud800'; use None"),
        ({"burst": "x"}, "burst must be True or False, got 'x'"),
        ({"burst": None}, "burst must be True or False, got None"),
        ({"max_jobs": 0}, "max_jobs must be at least 1"),
        ({"messages_limit": 0}, "messages_limit must be at least 1"),
        ({"graceful_shutdown_time": -1}, "graceful_shutdown_time must be"),
        ({"handle_signals": [0]}, "handle_signals must be a list of signals"),
        ({"handle_signals": 15}, "handle_signals must be a list of signals"),
        ({"lease": 0}, "lease must be"),
        ({"max_crashes": 0}, "max_crashes must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RegistrationError, match=message):
        Worker(App(), **options)


@simulated
async def test_a_single_job_that_is_lost_is_told_as_one(caplog: pytest.LogCaptureFixture) -> None:
    app = app_of()

    @app.task
    async def work() -> None: ...

    async with app:
        await work.enqueue()

    assert "1 job was lost with the broker in memory (work)" in caplog.text


@simulated
async def test_what_is_lost_with_a_broker_in_memory_is_returned(caplog: pytest.LogCaptureFixture) -> None:
    app = app_of()

    @app.task
    async def work(number: int) -> None:
        if number == 0:
            await app.close()  # so the worker is the last one that uses it

    await app.open()
    for number in range(3):
        await work.enqueue(number)
    assert app.lost == ()
    counts = await Worker(app, messages_limit=1, handle_signals=()).run()

    assert (counts.taken, counts.succeeded) == (1, 1)
    assert [message.args for message in counts.left] == [(1,), (2,)]
    assert app.lost == counts.left
    assert "2 jobs were lost with the broker in memory (work)" in caplog.text
    async with app:
        await work.enqueue(3)
        assert (await Worker(app, burst=True, handle_signals=()).run()).left == ()
        assert app.lost == ()
