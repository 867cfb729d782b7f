"""Cancellation is never swallowed, and each cancelled job gets its whole on_cancel."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from jockey import (
    Cancellation,
    Cancelled,
    Executor,
    Failure,
    HandlerCrashedError,
    JobCancelledError,
    JobState,
    Registry,
    Success,
    WaitFor,
)
from jockey.testing import Recorder
from tests.core.story import SlowToCancel, Told, executor_of, simulated, wait_all_tasks_blocked, wait_forever


@pytest.mark.anyio
@pytest.mark.parametrize("max_jobs", [1, 3, 16])
async def test_cancelling_the_body_cancels_running_and_queued_jobs_and_awaits_each_on_cancel(max_jobs: int) -> None:
    messages = [SlowToCancel("job") for _ in range(6)]
    ends: list[list[str]] = []

    with anyio.CancelScope() as scope:
        try:
            async with executor_of(wait_forever, max_jobs=max_jobs).run() as running:
                for message in messages:
                    running.schedule(message)
                await wait_all_tasks_blocked()
                scope.cancel()
                await anyio.sleep_forever()
        finally:
            ends.extend(list(message.completed) for message in messages)

    assert scope.cancelled_caught
    assert ends == [["cancel"]] * 6


@pytest.mark.anyio
async def test_an_exception_in_the_body_comes_out_unchanged_after_all_jobs_were_cancelled() -> None:
    error = LookupError("body")
    messages = [SlowToCancel("job") for _ in range(4)]

    with pytest.raises(LookupError) as raised:
        async with executor_of(wait_forever, max_jobs=2).run() as running:
            for message in messages:
                running.schedule(message)
            await wait_all_tasks_blocked()
            raise error

    assert raised.value is error
    assert [message.completed for message in messages] == [["cancel"]] * 4
    assert isinstance(messages[0].outcome, Cancelled)
    assert "LookupError" in str(messages[0].outcome.error.reason)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), ExceptionGroup("g", [ValueError()]), StopAsyncIteration(), StopIteration()],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_the_body_raises_comes_out_unchanged(error: BaseException) -> None:
    message = SlowToCancel("job")

    with pytest.raises(type(error)) as raised:
        async with executor_of(wait_forever).run() as running:
            running.schedule(message)
            await wait_all_tasks_blocked()
            raise error

    assert raised.value is error
    assert message.completed == ["cancel"]


@pytest.mark.anyio
async def test_no_queued_job_starts_once_the_body_is_cancelled() -> None:
    started: list[object] = []

    async def handle(payload: object) -> None:
        started.append(payload)
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with executor_of(handle, max_jobs=2).run() as running:
            for number in range(20):
                running.schedule(Recorder("job", number))
            await wait_all_tasks_blocked()
            scope.cancel()

    assert started == [0, 1]


@pytest.mark.anyio
async def test_jobs_that_had_no_chance_to_start_are_cancelled_too() -> None:
    started: list[object] = []

    async def handle(payload: object) -> None:
        started.append(payload)

    messages = [Recorder("job", number) for number in range(20)]

    with pytest.raises(LookupError):
        async with executor_of(handle, max_jobs=2).run() as running:
            for message in messages:
                running.schedule(message)
            raise LookupError

    assert started == []
    assert [message.completed for message in messages] == [["cancel"]] * 20


@pytest.mark.anyio
async def test_a_cancelled_execute_cancels_its_job_and_the_cancellation_goes_on() -> None:
    message, bystander = Recorder("job"), Recorder("job")
    went_on = False
    waiting = anyio.CancelScope()

    async with executor_of(wait_forever).run() as running, anyio.create_task_group() as tasks:
        other = running.schedule(bystander)

        async def wait() -> None:
            nonlocal went_on
            with waiting:
                await running.execute(message)
                went_on = True

        tasks.start_soon(wait)
        await wait_all_tasks_blocked()
        waiting.cancel()
        await wait_all_tasks_blocked()
        assert other.state is JobState.RUNNING
        other.cancel()

    assert not went_on
    assert waiting.cancelled_caught
    assert message.completed == ["cancel"]
    assert isinstance(message.outcome, Cancelled)
    assert message.outcome.error.reason == "the code that waited for it was cancelled"


@simulated
async def test_a_timeout_around_execute_raises_and_is_not_swallowed() -> None:
    message = Recorder("job")

    async with executor_of(wait_forever).run() as running:
        with pytest.raises(TimeoutError), anyio.fail_after(5):
            await running.execute(message)

    assert message.completed == ["cancel"]


@pytest.mark.anyio
async def test_cancelling_who_waits_for_a_handle_does_not_cancel_the_job() -> None:
    go = anyio.Event()

    async def handle(_: object) -> None:
        await go.wait()

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        job = running.schedule(message)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await job.wait()
        assert scope.cancelled_caught
        go.set()

    assert message.completed == ["success"]


@pytest.mark.anyio
@pytest.mark.parametrize("is_running", [True, False])
async def test_a_cancelled_job_ends_with_the_reason_in_its_outcome(is_running: bool) -> None:  # noqa: FBT001
    async with executor_of(wait_forever, max_jobs=1).run() as running:
        blocker = running.schedule(Recorder("job"))
        job = blocker if is_running else running.schedule(Recorder("job"))
        await wait_all_tasks_blocked()

        assert job.cancel("because")
        outcome = await job.wait()
        blocker.cancel()

    assert isinstance(outcome, Cancelled)
    assert type(outcome.error) is Cancellation
    assert isinstance(outcome.error, asyncio.CancelledError)
    assert outcome.error.reason == "because"
    assert job.state is JobState.CANCELLED


@pytest.mark.anyio
async def test_the_result_of_a_cancelled_job_is_an_error_that_tells_the_reason() -> None:
    async with executor_of(wait_forever).run() as running:
        job, silent = running.schedule(Recorder("job")), running.schedule(Recorder("job"))
        job.cancel("because")
        silent.cancel()

        with pytest.raises(JobCancelledError, match="because"):
            await job.result()
        with pytest.raises(JobCancelledError, match="no reason given"):
            await silent.result()


@pytest.mark.anyio
async def test_it_is_too_late_to_cancel_what_is_settled_or_being_cancelled() -> None:
    acknowledge = anyio.Event()

    async def handle(_: object) -> None: ...

    registry: Registry[Any, str, Any] = Registry()
    registry.add("quick")(handle)
    registry.add("slow")(wait_forever)

    async with Executor(registry).run() as running:
        reporting = running.schedule(Recorder("quick", faults={"on_success": acknowledge}))
        slow = running.schedule(Recorder("slow"))
        unknown = running.schedule(Recorder("unknown"))
        await wait_all_tasks_blocked()

        answers = [reporting.cancel(), slow.cancel(), slow.cancel(), unknown.cancel()]
        acknowledge.set()

    assert answers == [False, True, False, False]
    assert not reporting.cancel()
    assert reporting.state is JobState.SUCCEEDED


@pytest.mark.anyio
async def test_a_handler_that_gives_a_result_although_it_was_cancelled_has_succeeded() -> None:
    async def handle(_: object) -> str:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return "saved"
        return "never"

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        job = running.schedule(message)
        await wait_all_tasks_blocked()
        job.cancel()

    assert message.completed == ["success"]
    assert message.outcome == Success("saved")


@pytest.mark.anyio
async def test_an_error_raised_while_a_handler_is_cancelled_is_a_failure() -> None:
    error = OSError("no cleanup")

    async def handle(_: object) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        job = running.schedule(message)
        await wait_all_tasks_blocked()
        job.cancel()

    assert message.outcome == Failure(error)


@pytest.mark.anyio
async def test_a_cancelled_handler_with_tasks_of_its_own_is_cancelled_and_not_failed() -> None:
    async def handle(_: object) -> None:
        async with anyio.create_task_group() as tasks:
            for _number in range(3):
                tasks.start_soon(anyio.sleep_forever)

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        job = running.schedule(message)
        await wait_all_tasks_blocked()
        job.cancel()

    assert message.completed == ["cancel"]


@pytest.mark.anyio
async def test_an_error_beside_a_cancellation_in_a_group_is_a_failure_with_that_error_alone() -> None:
    async def fail_at_cancel() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("cleanup")

    async def handle(_: object) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail_at_cancel)
            tasks.start_soon(anyio.sleep_forever)

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        job = running.schedule(message)
        await wait_all_tasks_blocked()
        job.cancel()

    assert isinstance(message.outcome, Failure)
    assert isinstance(message.outcome.error, ExceptionGroup)
    assert [str(error) for error in message.outcome.error.exceptions] == ["cleanup"]


@pytest.mark.anyio
async def test_a_group_of_nothing_but_cancellations_is_a_cancellation() -> None:
    async def handle(_: object) -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as error:
            raise BaseExceptionGroup("all cancelled", [error]) from None

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        job = running.schedule(message)
        await wait_all_tasks_blocked()
        job.cancel()

    assert message.completed == ["cancel"]


@pytest.mark.anyio
async def test_a_cancellation_that_nobody_asked_for_is_a_failure() -> None:
    async def handle(_: object) -> None:
        raise asyncio.CancelledError("stray")

    message, bystander = Recorder("job"), Recorder("other")

    async with executor_of(handle).run() as running:
        running.schedule(message)
        running.schedule(bystander)

    assert isinstance(message.outcome, Failure)
    assert isinstance(message.outcome.error, HandlerCrashedError)
    assert isinstance(message.outcome.error.__cause__, asyncio.CancelledError)
    assert bystander.completed == ["no_handler"]


@pytest.mark.anyio
async def test_a_cancelled_getter_of_the_payload_is_a_cancellation() -> None:
    message = Recorder("job", faults={"get_payload": anyio.Event()})

    async with executor_of(wait_forever).run() as running:
        job = running.schedule(message)
        await wait_all_tasks_blocked()
        assert job.state is JobState.RUNNING
        job.cancel()

    assert message.completed == ["cancel"]


@pytest.mark.anyio
async def test_a_slot_works_on_after_its_job_was_cancelled() -> None:
    story: list[str] = []

    async def handle(waits: bool) -> None:  # noqa: FBT001 - the payload
        if waits:
            await anyio.sleep_forever()
        await checkpoint()

    async with executor_of(handle, max_jobs=1).run() as running:
        for round_ in range(3):
            job = running.schedule(Told(story, f"cancelled {round_}", payload=True))
            running.schedule(Told(story, f"after {round_}", payload=False))
            await wait_all_tasks_blocked()
            job.cancel()
            await running.drain()

    assert story == [
        line for round_ in range(3) for line in (f"cancelled {round_}: cancel", f"after {round_}: success")
    ]


@pytest.mark.anyio
async def test_a_second_cancellation_does_not_cut_on_cancel() -> None:
    go = anyio.Event()
    message = Recorder("job", faults={"on_cancel": go})

    async with anyio.create_task_group() as tasks:

        async def body() -> None:
            with outer, inner:
                async with executor_of(wait_forever).run() as running:
                    running.schedule(message)
                    await anyio.sleep_forever()

        outer, inner = anyio.CancelScope(), anyio.CancelScope()
        tasks.start_soon(body)
        await wait_all_tasks_blocked()
        inner.cancel()
        await wait_all_tasks_blocked()
        outer.cancel()
        await wait_all_tasks_blocked()
        assert (message.calls, message.completed) == (["cancel"], [])
        go.set()

    assert message.completed == ["cancel"]


@pytest.mark.anyio
async def test_leaving_the_block_can_be_cancelled() -> None:
    message = SlowToCancel("job")

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks, executor_of(wait_forever).run() as running:
            running.schedule(message)

            async def cancel() -> None:
                await wait_all_tasks_blocked()
                scope.cancel()

            tasks.start_soon(cancel)

    assert scope.cancelled_caught
    assert message.completed == ["cancel"]


@pytest.mark.anyio
async def test_the_reason_tells_that_the_body_was_cancelled() -> None:
    message = Recorder("job")

    with anyio.CancelScope() as scope:
        async with executor_of(wait_forever).run() as running:
            running.schedule(message)
            await wait_all_tasks_blocked()
            scope.cancel()
            await anyio.sleep_forever()

    assert isinstance(message.outcome, Cancelled)
    assert message.outcome.error.reason == "the code in the block of run() was cancelled"


@pytest.mark.anyio
async def test_a_cancelled_body_reports_what_is_scheduled_in_its_cleanup_as_cancelled() -> None:
    late = Recorder("job")

    with anyio.CancelScope() as scope:
        async with executor_of(wait_forever).run() as running:
            running.schedule(Recorder("job", faults={"on_cancel": LateSchedule(lambda: running.schedule(late))}))
            await wait_all_tasks_blocked()
            scope.cancel()

    assert late.completed == ["cancel"]


class LateSchedule:
    """Is waited for by a callback, and schedules something meanwhile."""

    def __init__(self, schedule: Any) -> None:
        self.schedule = schedule

    async def wait(self) -> None:
        await checkpoint()
        self.schedule()


@pytest.mark.anyio
async def test_cancelling_a_long_backlog_reports_every_job() -> None:
    messages = [Recorder[None, str, None]("job") for _ in range(20_000)]

    with anyio.CancelScope() as scope:
        async with executor_of(wait_forever).run() as running:
            for message in messages:
                running.schedule(message)
            await checkpoint()
            scope.cancel()

    assert all(message.completed == ["cancel"] for message in messages)


@pytest.mark.anyio
async def test_execute_that_has_waited_only_for_the_start_leaves_the_job_alone_when_it_is_cancelled_later() -> None:
    go = anyio.Event()

    async def handle(_: object) -> None:
        await go.wait()

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        with anyio.CancelScope() as scope:
            await running.execute(message, wait_for=WaitFor.START)
            scope.cancel()
            await checkpoint()
        go.set()

    assert message.completed == ["success"]


@pytest.mark.anyio
async def test_a_forced_end_leaves_a_job_that_is_being_cancelled_to_its_cleanup() -> None:
    story: list[str] = []
    go = anyio.Event()

    async def handle(_: object) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await go.wait()
            story.append("cleaned up")

    message = Told(story, "job")

    async with executor_of(handle).run() as running, anyio.create_task_group() as tasks:
        job = running.schedule(message)
        await wait_all_tasks_blocked()
        job.cancel("first")
        await wait_all_tasks_blocked()
        tasks.start_soon(running.drain, 0)
        await wait_all_tasks_blocked()
        go.set()

    assert story == ["cleaned up", "job: cancel"]
    assert isinstance(message.outcome, Cancelled)
    assert message.outcome.error.reason == "first"


@simulated
async def test_a_handler_that_goes_on_although_it_was_cancelled_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async def stubborn(_: object) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(20)

    message = Recorder("job")

    async with executor_of(stubborn, grace=3).run() as running:
        running.schedule(message)
        await anyio.sleep(1)
        await running.drain(0)

    assert message.completed == ["success"]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("jockey", "WARNING")
    assert "cancelled 3 seconds ago" in record.getMessage()
    assert "stubborn" in record.getMessage()
