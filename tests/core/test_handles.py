"""A handle tells what has become of a job; who drops it loses nothing."""

from __future__ import annotations

import gc
import warnings
import weakref
from typing import Any

import anyio
import pytest

from jockey import (
    Cancelled,
    Executor,
    Failure,
    JobHandle,
    JobState,
    NoHandler,
    NoHandlerError,
    Outcome,
    Registry,
    Success,
)
from jockey.testing import Recorder
from tests.core.story import executor_of, wait_all_tasks_blocked

pytestmark = pytest.mark.anyio


class Boom(Exception):
    """What a handler raises."""


def registry() -> Registry[Any, str, Any]:
    registry: Registry[Any, str, Any] = Registry()

    @registry.add("good")
    async def good(payload: object) -> object:
        return payload

    @registry.add("bad")
    async def bad(payload: object) -> None:
        raise Boom(payload)

    return registry


async def test_schedule_returns_a_handle_before_anything_has_started() -> None:
    started: list[object] = []

    async def handle(payload: object) -> None:
        started.append(payload)

    async with executor_of(handle).run() as running:
        job = running.schedule(Recorder("job", 1))
        state, so_far = job.state, list(started)

    assert isinstance(job, JobHandle)
    assert (state, so_far) == (JobState.QUEUED, [])
    assert job.state is JobState.SUCCEEDED


async def test_the_state_goes_from_queued_to_its_end() -> None:
    states: list[JobState] = []
    go = anyio.Event()

    class Noting(Recorder[None, str, None]):
        async def on_success(self, result: None, /) -> None:
            states.append(job.state)

    async def handle(_: object) -> None:
        states.append(job.state)
        await go.wait()

    async with executor_of(handle).run() as running:
        job = running.schedule(Noting("job"))
        states.append(job.state)
        await wait_all_tasks_blocked()
        states.append(job.state)
        go.set()
    states.append(job.state)

    assert states == [
        *[JobState.QUEUED, JobState.RUNNING, JobState.RUNNING],
        *[JobState.REPORTING, JobState.SUCCEEDED],
    ]


async def test_waiting_gives_the_outcome_as_a_value() -> None:
    async with Executor(registry()).run() as running:
        good = await running.schedule(Recorder("good", 5)).wait()
        bad = await running.schedule(Recorder("bad", 6)).wait()
        unknown = await running.schedule(Recorder("unknown")).wait()
        queued = running.schedule(Recorder("good"))
        queued.cancel("why not")
        cancelled = await queued.wait()

    assert good == Success(5)
    assert isinstance(bad, Failure)
    assert repr(bad.error) == "Boom(6)"
    assert unknown == NoHandler()
    assert isinstance(cancelled, Cancelled)
    assert cancelled.error.reason == "why not"


async def test_outcomes_can_be_matched() -> None:
    def tell(outcome: Outcome[Any]) -> str:
        match outcome:
            case Success(result):
                return f"success {result}"
            case Failure(error):
                return f"failure {error!r}"
            case Cancelled(error):
                return f"cancelled {error.reason}"
            case NoHandler():
                return "no handler"

    async with Executor(registry()).run() as running:
        told = [tell(await running.schedule(Recorder(key, 5)).wait()) for key in ("good", "bad", "unknown")]

    assert told == ["success 5", "failure Boom(5)", "no handler"]


async def test_the_result_is_returned_or_what_went_wrong_is_raised() -> None:
    async with Executor(registry()).run() as running:
        assert await running.schedule(Recorder("good", 5)).result() == 5
        with pytest.raises(Boom):
            await running.schedule(Recorder("bad")).result()
        with pytest.raises(NoHandlerError, match=r"no key of the message has a handler.*Registry\.add"):
            await running.schedule(Recorder("unknown")).result()


async def test_many_may_wait_for_one_job() -> None:
    results: list[object] = []
    go = anyio.Event()

    async def handle(payload: object) -> object:
        await go.wait()
        return payload

    async with executor_of(handle).run() as running, anyio.create_task_group() as tasks:
        job = running.schedule(Recorder("job", 7))

        async def wait() -> None:
            results.append(await job.result())

        for _ in range(5):
            tasks.start_soon(wait)
        await wait_all_tasks_blocked()
        go.set()

    assert results == [7] * 5


async def test_a_handle_answers_after_the_executor_has_ended() -> None:
    async with Executor(registry()).run() as running:
        good, bad = running.schedule(Recorder("good", 5)), running.schedule(Recorder("bad"))

    assert await good.wait() == Success(5)
    assert await good.result() == 5
    assert not good.cancel()
    with pytest.raises(Boom):
        await bad.result()


async def test_one_who_stops_waiting_leaves_the_others_waiting() -> None:
    results: list[object] = []
    go = anyio.Event()

    async def handle(_: object) -> str:
        await go.wait()
        return "done"

    async with executor_of(handle).run() as running, anyio.create_task_group() as tasks:
        job = running.schedule(Recorder("job"))
        scope = anyio.CancelScope()

        async def give_up() -> None:
            with scope:
                results.append(await job.result())

        async def wait() -> None:
            results.append(await job.result())

        tasks.start_soon(give_up)
        tasks.start_soon(wait)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        go.set()

    assert results == ["done"]


async def test_a_handle_that_nobody_awaits_warns_about_nothing() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with Executor(registry(), on_error=lambda *_: None).run() as running:
            for key in ("good", "bad", "unknown"):
                running.schedule(Recorder(key))
            running.schedule(Recorder("good", faults={"on_success": Boom()}))
            running.schedule(Recorder("good")).cancel()
        del running
        gc.collect()

    assert [str(warning.message) for warning in caught if warning.category is not ResourceWarning] == []


async def test_nothing_is_kept_of_a_job_that_has_ended() -> None:
    class Big:
        pass

    big = Big()
    alive = weakref.ref(big)

    async with Executor(registry()).run() as running:
        running.schedule(Recorder("good", big))
        del big
        await running.drain()
        await wait_all_tasks_blocked()
        gc.collect()
        kept = [type(owner) for owner in gc.get_referrers(alive())] if alive() else []

    assert kept == []


async def test_a_job_cannot_be_given_new_attributes_since_there_may_be_a_million() -> None:
    async with Executor(registry()).run() as running:
        job = running.schedule(Recorder("good"))

    with pytest.raises(AttributeError):
        job.note = "mine"  # type: ignore[attr-defined]
