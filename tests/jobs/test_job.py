"""A job that was enqueued: its result, its state, its end."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import anyio
import pytest

from jockey import JobCancelledError, RegistrationError
from jockey.jobs import (
    App,
    DecodeError,
    Job,
    JobFailedError,
    ResultTimeoutError,
    ResultUnavailableError,
    State,
    Trouble,
    UnsupportedError,
    group,
)
from jockey.jobs._broker import Features
from jockey.jobs.brokers.memory import MemoryBroker
from tests.jobs.shop import burst, working

pytestmark = pytest.mark.anyio


@pytest.fixture
def app() -> App[Any]:
    app = App()

    @app.task
    async def echo(value: Any = None) -> Any:
        return value

    @app.task
    async def fail(value: int) -> int:
        raise ValueError(f"no {value}")

    @app.task
    async def total(values: list[int]) -> int:
        return sum(values)

    return app


@pytest.mark.parametrize("value", [None, 0, False, [], "", {}])
async def test_results_that_say_nothing_are_results(app: App[Any], value: object) -> None:
    async with app:
        job = await app.enqueue("echo", [value])
        await burst(app)

        assert await job.result(5) == value
        assert await app.job(job.id).result(5) == value
        assert await app.tasks["echo"].job(job.id).result(5) == value
        assert await job.status() is State.SUCCEEDED


async def test_who_waits_hears_of_the_end(app: App[Any]) -> None:
    async with working(app), anyio.create_task_group() as tasks:
        job = await app.enqueue("echo", [3], delay=0.01)
        results: list[int] = []

        async def wait() -> None:
            results.append(await job.result())

        for _ in range(3):
            tasks.start_soon(wait)
        assert (await job.wait()).state is State.SUCCEEDED
        await anyio.wait_all_tasks_blocked()
        assert results == [3, 3, 3]


async def test_a_result_that_is_taken_away_is_gone(app: App[Any]) -> None:
    async with app:
        job = await app.enqueue("echo", [3])
        await burst(app)

        assert await job.result(remove=True) == 3
        with pytest.raises(ResultUnavailableError, match=f"there is no job {job.id}: it never was enqueued, or"):
            await job.result(5)
        with pytest.raises(ResultUnavailableError):
            await job.status()


async def test_a_wait_that_takes_too_long_ends_and_the_job_goes_on(app: App[Any]) -> None:
    async with app:
        job = await app.enqueue("echo", [3])

        with pytest.raises(ResultTimeoutError, match=f"the job {job.id} has not ended in 0.01 seconds; it goes on"):
            await job.result(0.01)
        with pytest.raises(TimeoutError):
            await job.wait(0)
        assert await job.status() is State.QUEUED
        await burst(app)
        assert await job.result(5) == 3


async def test_a_job_that_is_dead_raises_why(app: App[Any]) -> None:
    async with app:
        job = await app.enqueue("fail", [3])
        await burst(app)

        with pytest.raises(JobFailedError, match=f"the job {job.id} of 'fail' is dead: ValueError: no 3") as raised:
            await job.result(5)
    assert raised.value.trouble.message == "no 3"
    arrived = pickle.loads(pickle.dumps(raised.value))  # noqa: S301 - our own
    assert (str(arrived), arrived.trouble) == (str(raised.value), raised.value.trouble)


class Known(MemoryBroker):
    """Knows of one job what it is told."""

    known: Any = None

    async def record(self, id: str) -> Any:  # noqa: A002 - the field's name
        return self.known


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, "is dead: nobody knows why$"),
        (Trouble(), "is dead: nobody knows why$"),
        (Trouble(message="no paper"), "is dead: no paper$"),
        (Trouble(type="ValueError"), "is dead: ValueError$"),
    ],
)
async def test_a_death_is_told_as_well_as_it_is_known(app: App[Any], error: Trouble | None, words: str) -> None:
    broker = Known()
    async with App(broker) as bare:
        async with app:
            job = await app.enqueue("echo", [1])
            broker.known = replace(await job.record(), state=State.DEAD, error=error)

        with pytest.raises(JobFailedError, match=words) as caught:
            await bare.job(job.id).result(5)
        assert caught.value.trouble == (error or Trouble())


async def test_a_job_that_was_cancelled_raises_why(app: App[Any]) -> None:
    async with app:
        job, other = await app.enqueue("echo", [3]), await app.enqueue("echo", [3])

        assert await job.cancel("no longer needed")
        assert await other.cancel()
        assert not await job.cancel("again")
        with pytest.raises(JobCancelledError, match="'echo' was cancelled: no longer needed"):
            await job.result(5)
        with pytest.raises(JobCancelledError, match="was cancelled: no reason given"):
            await other.result(5)
        assert (await burst(app)).taken == 0


async def test_a_job_that_has_ended_or_never_was_is_not_cancelled(app: App[Any]) -> None:
    async with app:
        job = await app.enqueue("echo", [3])
        await burst(app)

        assert not await job.cancel()
        with pytest.raises(ResultUnavailableError):
            await app.job("nobody").cancel()


@pytest.mark.parametrize("reason", [5, None, b"late"])
async def test_a_reason_that_is_no_text_is_refused_before_the_broker_is_asked(app: App[Any], reason: Any) -> None:
    async with app:
        job = await app.enqueue("echo", [3])

    with pytest.raises(RegistrationError, match=f"reason must be a text, got {reason!r}; leave it out"):
        await job.cancel(reason)  # the app is closed: whatever asks its broker fails in another way


async def test_what_cannot_be_cancelled_says_so() -> None:
    class Stubborn(MemoryBroker):
        @property
        def features(self) -> Features:
            return Features(cancellation=False)

    async with App(Stubborn()) as app:
        with pytest.raises(UnsupportedError, match="cannot be cancelled: its broker does not support that"):
            await app.job("any").cancel()


async def test_a_result_that_was_not_kept_is_told(app: App[Any]) -> None:
    async with app:
        broker = app.broker
        job = await app.enqueue("echo", [3])
        await burst(app)
        record = await job.record()

    known = Known()
    known.known = replace(record, result=None)
    async with App(known) as bare:
        with pytest.raises(ResultUnavailableError, match="has succeeded; its result was not kept"):
            await bare.job(job.id).result(5)
    assert isinstance(broker, MemoryBroker)


async def test_a_result_of_another_type_is_told(app: App[Any]) -> None:
    async with app:
        job = await app.enqueue("echo", ["text"])
        await burst(app)

        with pytest.raises(DecodeError, match="this is no result of task 'total'"):
            await app.tasks["total"].job(job.id).result(5)


async def test_a_workflow_whose_job_is_dead_raises_for_who_waits_for_the_end(app: App[Any]) -> None:
    echo, fail, total = (app.tasks[name] for name in ("echo", "fail", "total"))
    async with app:
        chained = await (fail.s(3) >> echo.s(1)).enqueue()
        grouped = await (group(echo.s(1), fail.s(4)) >> total.s()).enqueue()
        await burst(app)

        with pytest.raises(JobFailedError, match="of 'fail' is dead: ValueError: no 3"):
            await chained.result(5)
        with pytest.raises(JobFailedError, match="no 4"):
            await grouped.result(5)
        assert (await chained.wait(5)).name == "fail"


async def test_a_workflow_whose_results_between_were_not_kept_has_one_at_its_end(app: App[Any]) -> None:
    echo = app.tasks["echo"].options(result_ttl=0)
    async with app:
        job = await (echo.s(1) >> app.tasks["echo"].s(2)).enqueue()
        await burst(app)

        assert await job.result(5) == 2


async def test_to_cancel_the_end_of_a_workflow_cancels_what_has_begun(app: App[Any]) -> None:
    echo, total = app.tasks["echo"], app.tasks["total"]
    async with app:
        job = await (group(echo.s(1), echo.s(2) >> echo.s(3)) >> total.s()).enqueue()
        ended = await (echo.options(result_ttl=0).s(1) >> echo.s(2)).enqueue()

        with pytest.raises(ResultUnavailableError, match=f"the job {job.id} has not begun: it comes after others"):
            await job.status()
        assert await job.cancel("enough")
        with pytest.raises(JobCancelledError, match="'echo' was cancelled: enough"):
            await job.result(5)
        assert (await burst(app)).taken == 2
        assert not await ended.cancel()


async def test_a_job_tells_what_it_is(app: App[Any]) -> None:
    async with app:
        job = await app.enqueue("echo", [3])

    assert repr(job) == f"<Job {job.id} of echo>"
    assert repr(app.job("7")) == "<Job 7>"
    assert isinstance(app.job("7"), Job)
    assert app.job("7").is_new
