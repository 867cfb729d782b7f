"""Timeouts measure running and not waiting, and end in on_failure with an error of our own."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import Any

import anyio
import pytest

from jockey import ExecuteIn, Executor, Failure, JobTimeoutError, RegistrationError, Registry
from jockey.testing import Recorder
from tests.core.outside import Blocker
from tests.core.story import Clock, Told, registry_of, simulated, wait_all_tasks_blocked


async def sleep(seconds: float) -> str:
    await anyio.sleep(seconds)
    return "done"


@simulated
async def test_a_job_that_takes_too_long_fails_with_our_own_timeout_error() -> None:
    registry = registry_of(sleep, job_timeout=2)
    message = Recorder("job", 3)
    start = anyio.current_time()

    async with Executor(registry).run() as running:
        running.schedule(message)

    assert anyio.current_time() - start == pytest.approx(2, abs=0.1)
    assert message.completed == ["failure"]
    assert isinstance(message.outcome, Failure)
    assert type(message.outcome.error) is JobTimeoutError
    assert isinstance(message.outcome.error, TimeoutError)
    assert str(message.outcome.error) == "'sleep' did not end within 2 seconds"


@simulated
async def test_a_job_that_ends_in_time_is_not_touched() -> None:
    registry = registry_of(sleep, job_timeout=timedelta(seconds=2))
    messages = [Recorder("job", seconds) for seconds in (1.9, 0.1, 1.9, 1.9)]

    async with Executor(registry, max_jobs=2).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.completed for message in messages] == [["success"]] * 4


@simulated
async def test_waiting_for_a_slot_does_not_count() -> None:
    registry = registry_of(sleep, job_timeout=2)
    messages = [Recorder("job", 1.5) for _ in range(5)]

    async with Executor(registry, max_jobs=1).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.completed for message in messages] == [["success"]] * 5


@simulated
async def test_waiting_for_a_cap_or_a_group_does_not_count() -> None:
    registry = registry_of(sleep, job_timeout=2, max_jobs=1)
    messages = [Recorder("job", 1.5, group=group) for group in ("a", "a", "b")]

    async with Executor(registry).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.completed for message in messages] == [["success"]] * 3


@simulated
async def test_the_timeout_covers_get_payload() -> None:
    registry = registry_of(sleep, job_timeout=2)
    message = Recorder("job", 1, faults={"get_payload": anyio.Event()})

    async with Executor(registry).run() as running:
        running.schedule(message)

    assert isinstance(message.outcome, Failure)
    assert isinstance(message.outcome.error, JobTimeoutError)


@simulated
async def test_the_timeout_does_not_cover_callbacks() -> None:
    class Slow(Recorder[float, str, str]):
        async def on_success(self, result: str, /) -> None:
            await anyio.sleep(100)
            await super().on_success(result)

    message = Slow("job", 1)

    async with Executor(registry_of(sleep, job_timeout=2)).run() as running:
        running.schedule(message)

    assert message.completed == ["success"]


@simulated
async def test_a_timeout_error_of_the_handler_is_its_own() -> None:
    error = TimeoutError("the handler's own")

    async def handle(_: object) -> None:
        raise error

    message = Recorder("job")

    async with Executor(registry_of(handle, job_timeout=2)).run() as running:
        running.schedule(message)

    assert isinstance(message.outcome, Failure)
    assert message.outcome.error is error


@simulated
async def test_a_timed_out_handler_may_clean_up() -> None:
    story: list[str] = []

    async def handle(_: object) -> None:
        try:
            await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
                story.append("cleaned up")

    async with Executor(registry_of(handle, job_timeout=2)).run() as running:
        running.schedule(Told(story, "job"))

    assert story == ["cleaned up", "job: failure"]


@simulated
async def test_an_error_in_the_cleanup_after_a_timeout_is_what_the_job_fails_with() -> None:
    error = OSError("no cleanup")

    async def handle(_: object) -> None:
        try:
            await anyio.sleep(100)
        finally:
            raise error

    message = Recorder("job")

    async with Executor(registry_of(handle, job_timeout=2)).run() as running:
        running.schedule(message)

    assert message.outcome == Failure(error)


@simulated
async def test_many_deadlines_are_each_kept() -> None:
    registry: Registry[float, int, str] = Registry()
    for timeout in range(1, 10):
        registry.add(timeout, job_timeout=timeout)(sleep)
    ends: dict[int, float] = {}

    class Timed(Recorder[float, int, str]):
        async def on_failure(self, exc: Exception, /) -> None:
            await super().on_failure(exc)
            (key,) = self.get_keys()
            ends[key] = anyio.current_time() - start

    start = anyio.current_time()

    async with Executor(registry).run() as running:
        for timeout in (5, 3, 9, 1, 7, 2, 8, 4, 6):
            running.schedule(Timed(timeout, 100.0))

    assert ends == {timeout: pytest.approx(timeout, abs=0.1) for timeout in range(1, 10)}


@simulated
async def test_an_earlier_deadline_that_comes_later_is_kept() -> None:
    registry: Registry[float, str, str] = Registry()
    registry.add("long", job_timeout=100)(sleep)
    registry.add("short", job_timeout=1)(sleep)
    start = anyio.current_time()

    async with Executor(registry).run() as running:
        long = running.schedule(Recorder("long", 1000.0))
        await anyio.sleep(10)
        await running.execute(Recorder("short", 1000.0))
        assert anyio.current_time() - start == pytest.approx(11, abs=0.1)
        long.cancel()


@simulated
async def test_the_slot_of_a_timed_out_job_serves_the_next_one() -> None:
    registry = registry_of(sleep, job_timeout=2)
    messages = [Recorder("job", seconds) for seconds in (100, 1, 100, 1)]

    async with Executor(registry, max_jobs=1).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.completed for message in messages] == [["failure"], ["success"]] * 2


@simulated
async def test_a_job_that_is_being_timed_out_cannot_be_cancelled_any_more() -> None:
    answers: list[bool] = []

    async def handle(_: object) -> None:
        try:
            await anyio.sleep(100)
        finally:
            answers.append(job.cancel())

    message = Recorder("job")

    async with Executor(registry_of(handle, job_timeout=2)).run() as running:
        job = running.schedule(message)

    assert answers == [False]
    assert message.completed == ["failure"]


@simulated
async def test_a_job_that_is_being_cancelled_does_not_time_out_any_more() -> None:
    async def handle(_: object) -> None:
        try:
            await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(10)

    message = Recorder("job")

    async with Executor(registry_of(handle, job_timeout=2)).run() as running:
        job = running.schedule(message)
        await anyio.sleep(1)
        job.cancel()

    assert message.completed == ["cancel"]


@pytest.mark.anyio
async def test_timeouts_work_on_a_real_clock() -> None:
    late, punctual = Recorder("job", 3600), Recorder("job", 0)

    async with Executor(registry_of(sleep, job_timeout=3600)).run() as running:
        running.schedule(late, job_timeout=0.05)
        running.schedule(punctual)

    assert late.completed == ["failure"]
    assert punctual.completed == ["success"]


@pytest.mark.anyio
async def test_a_handler_that_was_stuck_in_a_thread_takes_no_time_from_the_next_job_of_its_slot(clock: Clock) -> None:
    async def pause(_: object) -> None:
        await wait_all_tasks_blocked()  # whatever is late ends here

    blocker, after = Blocker(), Recorder("after")
    registry = registry_of(blocker, key="stuck", execute_in=ExecuteIn.THREAD)
    registry.add("after", job_timeout=0.3)(pause)

    async with Executor(registry, max_jobs=1, on_error=lambda *_: None).run() as running:
        stuck = running.submit("stuck", None)
        await blocker.started()
        stuck.cancel()
        await stuck.wait()
        running.schedule(after)
        await wait_all_tasks_blocked()
        clock.now += 1000
        blocker.let_go()

    assert after.completed == ["success"]


@pytest.mark.anyio
async def test_a_job_that_blocks_the_loop_beyond_its_timeout_but_returns_has_succeeded() -> None:
    def block(_: object) -> str:
        time.sleep(0.05)
        return "late but done"

    message = Recorder("job")

    async with Executor(registry_of(block, job_timeout=0.01)).run() as running:
        running.schedule(message)

    assert message.completed == ["success"]


@simulated
async def test_a_timeout_of_the_job_itself_takes_the_place_of_the_handlers_own() -> None:
    registry = registry_of(sleep, job_timeout=2)
    shorter, longer, endless, usual = (Recorder("job", seconds) for seconds in (2, 5, 100, 3))

    async with Executor(registry).run() as running:
        running.schedule(shorter, job_timeout=1)
        running.schedule(longer, job_timeout=timedelta(seconds=6))
        running.schedule(endless, job_timeout=math.inf)
        running.schedule(usual)

    assert isinstance(shorter.outcome, Failure)
    assert str(shorter.outcome.error) == "'sleep' did not end within 1 seconds"
    assert [longer.completed, endless.completed, usual.completed] == [["success"], ["success"], ["failure"]]


@simulated
async def test_every_way_to_schedule_takes_a_timeout_of_the_job() -> None:
    async with Executor(registry_of(sleep, job_timeout=100)).run() as running:
        handle = await running.execute(Recorder("job", 2), job_timeout=1)
        submitted = running.submit("job", 2, job_timeout=1)
        future = running.schedule_threadsafe(Recorder("job", 2), job_timeout=1)

        outcomes = [await handle.wait(), await submitted.wait()]
        await running.drain()

    assert all(isinstance(outcome, Failure) for outcome in [*outcomes, future.result()])


@simulated
async def test_jobs_with_a_timeout_of_their_own_are_counted_with_the_others() -> None:
    async with Executor(registry_of(sleep), max_jobs=1).run() as running:
        running.schedule(Recorder("job", 1))
        for _ in range(3):
            running.schedule(Recorder("job", 1), job_timeout=10)
        running.schedule(Recorder("job", 1)).cancel()
        queued = running.statistics().queued_by_key
        await anyio.sleep(1.5)
        later = running.statistics()

    assert queued == {"job": 4}
    assert later.queued_by_key == {"job": 2}
    assert later.running_by_key == {"job": 1}


@simulated
async def test_a_message_without_a_handler_takes_no_harm_from_a_timeout() -> None:
    message = Recorder("unknown")

    async with Executor(registry_of(sleep)).run() as running:
        running.schedule(message, job_timeout=1)

    assert message.completed == ["no_handler"]


@pytest.mark.anyio
@pytest.mark.parametrize("timeout", [0, -1, -math.inf, math.nan, "1", True])
async def test_a_timeout_that_makes_no_sense_is_refused_before_the_message_is_accepted(timeout: Any) -> None:
    message = Recorder("job", 0)

    async with Executor(registry_of(sleep)).run() as running:
        with pytest.raises(RegistrationError, match="job_timeout must be"):
            running.schedule(message, job_timeout=timeout)
        with pytest.raises(RegistrationError, match="job_timeout must be"):
            running.schedule_threadsafe(message, job_timeout=timeout)
        with pytest.raises(RegistrationError, match="job_timeout must be"):
            await running.execute(message, job_timeout=timeout)

    assert message.calls == []
