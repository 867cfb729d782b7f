"""Leaving the block waits for everything; a deadline makes it a graceful shutdown."""

from __future__ import annotations

import threading
import time
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from jockey import (
    Cancelled,
    DeadlockError,
    ExecuteIn,
    Executor,
    ExecutorClosedError,
    JobState,
    RegistrationError,
    Registry,
)
from jockey.testing import Recorder, settle
from tests.core.story import Told, executor_of, registry_of, simulated, wait_all_tasks_blocked


async def echo(payload: object) -> object:
    return payload


async def sleep(seconds: float) -> None:
    await anyio.sleep(seconds)


@pytest.mark.anyio
@pytest.mark.parametrize("max_jobs", [1, 16, None])
async def test_leaving_the_block_waits_for_what_handlers_schedule_meanwhile(max_jobs: int | None) -> None:
    countdown: list[int] = []

    async def handle(number: int) -> None:
        await checkpoint()
        countdown.append(number)
        if number:
            running.schedule(Recorder("job", number - 1))

    async with executor_of(handle, max_jobs=max_jobs).run() as running:
        running.schedule(Recorder("job", 50))

    assert countdown == list(range(50, -1, -1))


@pytest.mark.anyio
@pytest.mark.parametrize("callback", ["on_success", "on_failure", "on_cancel", "on_no_handler"])
async def test_leaving_the_block_waits_for_what_callbacks_schedule_meanwhile(callback: str) -> None:
    follow_ups = [Recorder[None, str, None]("good") for _ in range(2)]
    registry: Registry[None, str, Any] = Registry()
    registry.add("good")(echo)

    @registry.add("bad")
    async def bad(_: None) -> None:
        raise ValueError

    class Chained(Recorder[None, str, Any]):
        async def follow(self, *_: object) -> None:
            await checkpoint()
            for follow_up in follow_ups:
                running.schedule(follow_up)

        on_success = on_failure = on_cancel = on_no_handler = follow

    async with Executor(registry).run() as running:
        key = {"on_failure": "bad", "on_no_handler": "unknown"}.get(callback, "good")
        handle = running.schedule(Chained(key))
        if callback == "on_cancel":
            handle.cancel()

    assert [follow_up.completed for follow_up in follow_ups] == [["success"]] * 2


@pytest.mark.anyio
async def test_a_block_without_any_message_ends_at_once() -> None:
    async with executor_of(echo).run():
        pass

    async with executor_of(echo, drain_timeout=1).run():
        pass


@pytest.mark.anyio
async def test_schedule_after_the_end_is_refused_with_a_message_that_tells_the_way_out() -> None:
    async with executor_of(echo).run() as running:
        pass
    message = Recorder("job")

    with pytest.raises(ExecutorClosedError, match=r"schedule\(\) after the executor has ended; call it inside"):
        running.schedule(message)
    with pytest.raises(ExecutorClosedError):
        await running.execute(message)
    with pytest.raises(ExecutorClosedError):
        running.submit("job", None)
    with pytest.raises(ExecutorClosedError):
        running.schedule_threadsafe(message)
    with pytest.raises(ExecutorClosedError):
        await running.consume(_none())

    assert message.calls == []


async def _none() -> Any:
    for nothing in ():
        yield nothing


@pytest.mark.anyio
async def test_after_a_failed_body_nothing_is_accepted_any_more() -> None:
    with pytest.raises(LookupError):
        async with executor_of(echo).run() as running:
            raise LookupError

    with pytest.raises(ExecutorClosedError):
        running.schedule(Recorder("job"))


@simulated
async def test_drain_without_a_deadline_is_a_barrier_and_the_executor_stays_open() -> None:
    story: list[str] = []

    async with executor_of(sleep, max_jobs=1).run() as running:
        for number in range(3):
            running.schedule(Told(story, str(number), payload=10))
        await running.drain()
        story.append("drained")
        running.schedule(Told(story, "after", payload=0))

    assert story == ["0: success", "1: success", "2: success", "drained", "after: success"]


@simulated
async def test_drain_with_a_deadline_cancels_what_has_not_started_and_lets_the_rest_finish() -> None:
    story: list[str] = []

    async with executor_of(sleep, max_jobs=2).run() as running:
        for name, seconds in (("a", 3), ("b", 4), ("c", 1), ("d", 1)):
            running.schedule(Told(story, name, payload=seconds))
        await settle()
        start = anyio.current_time()
        await running.drain(10)
        story.append("drained")
        took = anyio.current_time() - start

    assert story == ["c: cancel", "d: cancel", "a: success", "b: success", "drained"]
    assert took == pytest.approx(4, abs=0.01)


@simulated
async def test_at_the_deadline_what_still_runs_is_cancelled_with_the_reason_shutdown() -> None:
    running_one, queued_one = Recorder("job", 100), Recorder("job", 1)
    start = anyio.current_time()

    async with executor_of(sleep, max_jobs=1).run() as running:
        running.schedule(running_one)
        running.schedule(queued_one)
        await settle()
        await running.drain(10)

    assert anyio.current_time() - start == pytest.approx(10, abs=0.01)
    for message in (running_one, queued_one):
        assert message.completed == ["cancel"]
        assert isinstance(message.outcome, Cancelled)
        assert message.outcome.error.reason == "shutdown"


@simulated
async def test_drain_timeout_of_the_executor_is_that_of_leaving_the_block() -> None:
    quick, slow = Recorder("job", 4), Recorder("job", 100)
    start = anyio.current_time()

    async with executor_of(sleep, drain_timeout=5).run() as running:
        running.schedule(quick)
        running.schedule(slow)
        await settle()

    assert anyio.current_time() - start == pytest.approx(5, abs=0.01)
    assert (quick.completed, slow.completed) == (["success"], ["cancel"])


@simulated
async def test_what_is_scheduled_once_the_intake_is_closed_is_reported_cancelled() -> None:
    late_ones: list[Recorder[Any, Any, Any]] = []

    def schedule_late() -> None:
        late_ones.append(Recorder("job", 0))
        running.schedule(late_ones[-1])

    async def handle(_: object) -> None:
        await anyio.sleep(3)
        schedule_late()

    async with executor_of(handle).run() as running:
        running.schedule(Recorder("job"))
        await settle()
        await running.drain(10)
        schedule_late()
        await anyio.sleep(1)
        schedule_late()
        await running.execute(Recorder("job"))

    assert [message.completed for message in late_ones] == [["cancel"]] * 3
    for message in late_ones:
        assert isinstance(message.outcome, Cancelled)
        assert message.outcome.error.reason == "shutdown"


@pytest.mark.anyio
async def test_a_message_scheduled_right_after_a_shutdown_is_not_lost() -> None:
    message = Recorder("job")

    async with executor_of(echo).run() as running:
        running.schedule(Recorder("job"))
        await running.drain(1)
        running.schedule(message)

    assert message.completed == ["cancel"]


@pytest.mark.anyio
async def test_no_queued_job_starts_once_the_intake_is_closed() -> None:
    started: list[object] = []

    async def handle(payload: object) -> None:
        started.append(payload)
        await anyio.sleep_forever()

    async with executor_of(handle, max_jobs=1).run() as running:
        handles = [running.schedule(Recorder("job", number)) for number in range(5)]
        await wait_all_tasks_blocked()
        await running.drain(0)

    assert started == [0]
    assert [handle.state for handle in handles] == [JobState.CANCELLED] * 5


@simulated
async def test_pulses_and_cancellation_keep_working_during_a_drain() -> None:
    story: list[str] = []

    async with Executor(registry_of(sleep, pulse_every=1)).run() as running:
        running.schedule(Told(story, "a", payload=2.5))
        job = running.schedule(Told(story, "b", payload=100))
        await settle()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.drain, 50)
            await anyio.sleep(3.5)
            job.cancel()

    assert sorted(story[:4]) == ["a: pulse", "a: pulse", "b: pulse", "b: pulse"]
    assert story[4:] == ["a: success", "b: pulse", "b: cancel"]


@pytest.mark.anyio
async def test_draining_twice_and_at_once_is_fine() -> None:
    go = anyio.Event()

    async def handle(_: object) -> None:
        await go.wait()

    message = Recorder("job")

    async with executor_of(handle).run() as running, anyio.create_task_group() as tasks:
        running.schedule(message)
        await wait_all_tasks_blocked()
        tasks.start_soon(running.drain)
        tasks.start_soon(running.drain, 60)
        tasks.start_soon(running.drain, 60)
        await wait_all_tasks_blocked()
        go.set()

    assert message.completed == ["success"]


@pytest.mark.anyio
async def test_a_paused_executor_accepts_messages_and_starts_none_until_it_is_resumed() -> None:
    story: list[str] = []
    go = anyio.Event()

    async def handle(waits: bool) -> None:  # noqa: FBT001 - the payload
        if waits:
            await go.wait()

    async with executor_of(handle, max_jobs=1).run() as running:
        running.schedule(Told(story, "running", payload=True))
        await wait_all_tasks_blocked()
        running.pause()
        running.schedule(Told(story, "queued 1", payload=False))
        running.schedule(Told(story, "queued 2", payload=False))
        go.set()
        await wait_all_tasks_blocked()
        story.append("resume")
        running.resume()
        running.resume()
        await wait_all_tasks_blocked()
        story.append("leave")

    assert story == ["running: success", "resume", "queued 1: success", "queued 2: success", "leave"]


@pytest.mark.anyio
async def test_all_slots_are_used_again_after_a_pause() -> None:
    barrier, go = [], anyio.Event()

    async def handle(payload: object) -> None:
        barrier.append(payload)
        await go.wait()

    async with executor_of(handle, max_jobs=5).run() as running:
        running.pause()
        for number in range(9):
            running.schedule(Recorder("job", number))
        await wait_all_tasks_blocked()
        assert barrier == []
        running.resume()
        await wait_all_tasks_blocked()
        assert barrier == [0, 1, 2, 3, 4]
        go.set()


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["drain", "shutdown", "leave"])
async def test_draining_and_leaving_resume(how: str) -> None:
    running_one = Recorder("job")

    async with executor_of(echo).run() as running:
        running.pause()
        running.schedule(running_one)
        await wait_all_tasks_blocked()
        if how == "drain":
            await running.drain()
        elif how == "shutdown":
            await running.drain(5)

    assert running_one.completed == (["cancel"] if how == "shutdown" else ["success"])


@pytest.mark.anyio
async def test_a_cancelled_job_is_reported_during_a_pause() -> None:
    message = Recorder("job")

    async with executor_of(echo).run() as running:
        running.pause()
        handle = running.schedule(message)
        handle.cancel()
        await handle.wait()

    assert message.completed == ["cancel"]


@pytest.mark.anyio
@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "soon", True])
async def test_a_timeout_that_makes_no_sense_is_refused(timeout: Any) -> None:
    async with executor_of(echo).run() as running:
        with pytest.raises(RegistrationError, match="timeout must be"):
            await running.drain(timeout)
        await running.execute(Recorder("job"))


@pytest.mark.anyio
@pytest.mark.parametrize("timeout", [None, 0])
async def test_drain_in_a_handler_is_refused(timeout: float | None) -> None:
    errors: list[DeadlockError] = []

    async def handle(_: object) -> None:
        with pytest.raises(DeadlockError, match=r"drain\(\) in .*handle.* would wait") as raised:
            await running.drain(timeout)
        errors.append(raised.value)

    async with executor_of(handle).run() as running:
        running.schedule(Recorder("job"))

    assert len(errors) == 1


@pytest.mark.anyio
async def test_the_end_of_the_threads_does_not_block_the_loop() -> None:
    release = threading.Event()

    def handle(_: object) -> None:
        release.wait()

    turns = 0

    async def tick() -> None:
        nonlocal turns
        while turns < 50:
            turns += 1
            await checkpoint()
        release.set()

    async with anyio.create_task_group() as tasks:
        async with Executor(registry_of(handle, execute_in=ExecuteIn.THREAD)).run() as running:
            running.schedule(Recorder("job"))
            tasks.start_soon(tick)

    assert turns == 50
    assert release.is_set()


@pytest.mark.anyio
async def test_nothing_of_an_executor_is_left_when_it_has_ended() -> None:
    def handle(_: object) -> None:
        time.sleep(0.001)

    async with Executor(registry_of(handle, execute_in=ExecuteIn.THREAD)).run() as running:
        for _ in range(30):
            running.schedule(Recorder("job"))

    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("jockey")] == []
