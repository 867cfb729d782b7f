"""What easyjobs' guide shows of tasks, results and messages, example by example, holds here."""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import anyio
import pytest

from jockey.jobs import (
    App,
    ArgumentsError,
    JobFailedError,
    ResultTimeoutError,
    ResultUnavailableError,
    Retry,
    State,
    Trouble,
)
from jockey.jobs._codec import decode
from tests.core.story import simulated
from tests.jobs.shop import app_of, burst, working


@simulated
async def test_a_task_takes_any_number_of_arguments_and_returns_several_values() -> None:
    app = app_of()

    @app.task
    async def basic_job(arg1: int, arg2: str, arg3: float, *args: int) -> tuple[int, str, float, list[int]]:
        return arg1, arg2, arg3, list(args)

    async with app:
        job = await basic_job.enqueue(1, "b", 2.5, 4, 5)
        await burst(app)

        assert await job.result() == (1, "b", 2.5, [4, 5])


@simulated
async def test_a_task_can_be_in_several_queues_and_a_worker_takes_from_its_own_and_so_many_at_once() -> None:
    app = app_of()
    running = 0
    most = 0

    @app.task(queue=["DEFAULT", "general"])
    async def work(seconds: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(seconds)
        running -= 1

    async with app:
        for _ in range(10):
            await work.enqueue(5)
        await work.options(queue="general").enqueue(5)
        counts = await burst(app, queues=["DEFAULT"], max_jobs=3)

        assert (counts.succeeded, most) == (10, 3)
        assert await app.queues.size("general") == 1
        await app.queues.purge("general")


@simulated
async def test_arguments_are_checked_before_anything_is_queued() -> None:
    app = app_of()

    @app.task
    async def work_a(a: int, b: int, c: int) -> dict[str, list[int]]:
        return {"result": [a, b, c]}

    async with app:
        for args, words in (([1, 2], "'c'"), ([1, 2, "three"], "three"), ([1, 2, 3, 4], "4|too many")):
            with pytest.raises(ArgumentsError, match=f"work_a.*({words})"):
                await app.enqueue("work_a", args)
        assert await app.queues.size("default") == 0

        job = await app.enqueue("work_a", [1, 2, 3])
        await burst(app)
        assert await job.result() == {"result": [1, 2, 3]}


@simulated
async def test_a_failure_creates_a_job_of_the_task_that_is_named_with_the_reason() -> None:
    app = app_of()
    sent: list[str] = []

    @app.task(on_failure="send_failure_email", retry=Retry.once)
    async def finance_work(employee_id: str, employee_data: dict[str, Any]) -> None:
        sent.append("try")
        raise ValueError(f"no salary for {employee_id}")

    @app.task(retry=Retry.always)
    async def send_failure_email(reason: Trouble) -> str:
        sent.append(f"email sent for {reason.message}")
        return sent[-1]

    async with app:
        await finance_work.enqueue("7", {"name": "Ada"})
        await burst(app)

    assert sent == ["try", "try", "email sent for no salary for 7"]


@simulated
async def test_a_reason_without_an_annotation_is_plain_data() -> None:
    app, sent = app_of(), list[str]()

    @app.task(on_failure="send_failure_email")
    async def finance_work(employee_id: str) -> None:
        raise ValueError(f"no salary for {employee_id}")

    @app.task
    async def send_failure_email(reason) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the example's
        sent.append(f"email sent for {reason['type']}: {reason['message']}")

    async with app:
        await finance_work.enqueue("7")
        await burst(app)

    assert sent == ["email sent for ValueError: no salary for 7"]


@pytest.mark.parametrize(
    ("options", "waits"),
    [
        ({}, []),
        ({"retry": Retry.never}, []),
        ({"retry": Retry.once}, [0]),
        # Not all the time: each wait is at least half of what it may be.
        ({"retry": Retry.always}, [1, 2, 4, 8, 16, 32, 64, 128]),
    ],
    ids=["nothing said", "never", "once", "always"],
)
@simulated
async def test_a_task_is_tried_again_never_or_once_or_until_it_succeeds(options: Any, waits: list[int]) -> None:
    app = app_of()
    tries: list[float] = []

    @app.task(**options)
    async def work() -> None:
        tries.append(anyio.current_time())
        if len(tries) < 9:
            raise ValueError("not yet")

    async with app, working(app):
        await (await work.enqueue()).wait()

    waited = [after - before for before, after in itertools.pairwise(tries)]
    assert len(waited) == len(waits)
    assert all(most / 2 - 0.01 <= wait <= most + 0.01 for wait, most in zip(waited, waits, strict=True))


@pytest.mark.parametrize("result", [{"sum": 3}, "done", 0, None, []])
@simulated
async def test_what_runs_after_a_task_gets_its_result_whatever_that_is(result: object) -> None:
    app = app_of()
    got: list[object] = []

    @app.task(queue="general", on_success="more_general_work")
    async def general_work(general_data: dict[str, Any]) -> Any:
        return result

    @app.task(queue="general")
    async def more_general_work(general_results: Any) -> str:
        got.append(general_results)
        return "more_general_results"

    async with app:
        job = await general_work.enqueue({"a": 1})
        counts = await burst(app)

        assert (got, counts.succeeded, counts.failed) == ([result], 2, 0)
        assert await job.result() == result


TEMPLATE = """\
import json, sys
order = json.load(sys.stdin)
if order["c"] == "crash":
    sys.exit("no such thing")
json.dump({"result": [order["a"], order["b"], order["c"]]}, sys.stdout)
"""


@pytest.mark.anyio
async def test_a_program_of_its_own_does_what_would_block_and_its_crash_is_a_failure() -> None:
    app = App()
    basic_blocking = app.command("basic_blocking", [sys.executable, "-c", TEMPLATE], timeout=60)

    async with app:
        job = await basic_blocking.enqueue(a=1, b=2, c=3)
        crash = await basic_blocking.enqueue(a=1, b=2, c="crash")
        await burst(app)

        assert await job.result() == {"result": [1, 2, 3]}
        with pytest.raises(JobFailedError, match="no such thing"):
            await crash.result()


@simulated
async def test_an_id_is_there_at_once_and_the_result_is_looked_at_or_taken_away() -> None:
    app = app_of()

    @app.task
    async def work() -> int:
        await anyio.sleep(20)
        return 1

    async with app:
        id_ = (await work.enqueue()).id
        job = app.job(id_)
        assert await job.status() is State.QUEUED
        with pytest.raises(ResultTimeoutError):
            await job.result(timeout=5)

        async with working(app):
            assert [await job.result(), await job.result()] == [1, 1]
            assert await job.result(remove=True) == 1
        with pytest.raises(ResultUnavailableError):
            await job.result()


@pytest.mark.parametrize(
    "body",
    [
        {"namespace": "general", "name": "work", "args": [1], "kwargs": {"kwarg": "val"}},
        {"job": {"namespace": "general", "name": "work", "args": [1], "kwargs": {"kwarg": "val"}}},
    ],
    ids=["plain", "in a job"],
)
@simulated
async def test_jobs_of_message_queues_are_read_as_they_are(body: dict[str, Any]) -> None:
    app = app_of()
    done: list[tuple[int, str]] = []

    @app.task(queue="general")
    async def work(number: int, *, kwarg: str) -> None:
        done.append((number, kwarg))

    async with app:
        await app.broker.publish([decode(json.dumps(body).encode(), queue="general")])
        await burst(app)

    assert done == [(1, "val")]


@simulated
async def test_a_failed_job_is_known_to_have_failed_with_all_that_there_is_to_know() -> None:
    app = app_of()

    @app.task
    async def work() -> None:
        raise ValueError("no")

    async with app:
        job = await work.enqueue()
        await burst(app)
        record = await job.record()

    assert (record.state, record.attempt, record.result) == (State.DEAD, 1, None)
    assert record.error is not None
    assert (record.error.type, record.error.message) == ("ValueError", "no")
    assert 'raise ValueError("no")' in record.error.traceback
