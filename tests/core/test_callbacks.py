"""An error raised by a callback is loud, and harms nobody else."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any

import anyio
import pytest

from jockey import (
    Adapter,
    CallbackTimeoutError,
    Executor,
    Failure,
    HandlerCrashedError,
    JobHandle,
    JobState,
    Registry,
    RunningExecutor,
    Success,
)
from jockey.testing import Recorder
from tests.core.story import Fatal, simulated, wait_all_tasks_blocked

CALLBACKS = ["on_success", "on_failure", "on_cancel", "on_no_handler"]


class Errors:
    """What an executor's `on_error` was told."""

    def __init__(self) -> None:
        self.told: list[tuple[BaseException, JobHandle[Any]]] = []

    def __call__(self, error: BaseException, handle: JobHandle[Any]) -> None:
        self.told.append((error, handle))


def registry() -> Registry[Any, str, Any]:
    registry: Registry[Any, str, Any] = Registry()

    @registry.add("on_success")
    @registry.add("other")
    async def succeed(_: None) -> None: ...

    @registry.add("on_failure")
    async def fail(_: None) -> None:
        raise ValueError

    @registry.add("on_cancel")
    async def wait_forever(_: None) -> None:
        await anyio.sleep_forever()

    return registry


async def schedule_until_callback(
    running: RunningExecutor[Any, str, Any], callback: str, error: BaseException
) -> JobHandle[Any]:
    handle = running.schedule(Recorder(callback, faults={callback: error}))  # type: ignore[dict-item]
    await wait_all_tasks_blocked()
    if callback == "on_cancel":
        handle.cancel()
    return handle


@pytest.mark.anyio
@pytest.mark.parametrize("callback", CALLBACKS)
async def test_an_error_in_a_callback_goes_to_on_error_with_its_job_and_siblings_go_on(callback: str) -> None:
    errors, error = Errors(), ValueError("callback")
    bystanders = [Recorder[None, str, None]("other") for _ in range(3)]

    async with Executor(registry(), max_jobs=1, on_error=errors).run() as running:
        handle = await schedule_until_callback(running, callback, error)
        for bystander in bystanders:
            running.schedule(bystander)

    assert errors.told == [(error, handle)]
    assert [bystander.completed for bystander in bystanders] == [["success"]] * 3


@pytest.mark.anyio
@pytest.mark.parametrize("callback", CALLBACKS)
async def test_what_is_no_exception_in_a_callback_is_told_wrapped_and_siblings_go_on(callback: str) -> None:
    errors, error = Errors(), Fatal("callback")
    bystander = Recorder[None, str, None]("other")

    async with Executor(registry(), max_jobs=1, on_error=errors).run() as running:
        handle = await schedule_until_callback(running, callback, error)
        running.schedule(bystander)
        with pytest.raises(HandlerCrashedError) as raised:
            await handle.wait()

    assert errors.told == [(raised.value, handle)]
    assert raised.value.__cause__ is error
    assert bystander.completed == ["success"]


@pytest.mark.anyio
@pytest.mark.parametrize("callback", CALLBACKS)
async def test_an_error_in_a_callback_is_counted_beside_the_end_of_the_job(callback: str) -> None:
    async with Executor(registry(), on_error=Errors()).run() as running:
        await schedule_until_callback(running, callback, ValueError())
        await running.drain()
        statistics = running.statistics()

    assert statistics.callback_errors == 1
    ends = [statistics.succeeded, statistics.failed, statistics.cancelled, statistics.no_handler]
    assert ends == [int(callback == each) for each in CALLBACKS]


@pytest.mark.anyio
@pytest.mark.parametrize("waits_with", ["wait", "result", "execute"])
async def test_an_error_in_a_callback_is_raised_to_whoever_awaits_the_job(waits_with: str) -> None:
    error = ValueError("no ack")
    message = Recorder("other", faults={"on_success": error})

    async with Executor(registry(), on_error=Errors()).run() as running:
        with pytest.raises(ValueError) as raised:
            if waits_with == "execute":
                await running.execute(message)
            elif waits_with == "wait":
                await running.schedule(message).wait()
            else:
                await running.schedule(message).result()

    assert raised.value is error


@pytest.mark.anyio
async def test_a_callback_that_raises_a_stray_cancellation_cancels_nobody_who_awaits_the_job() -> None:
    message = Recorder("other", faults={"on_success": asyncio.CancelledError()})

    async with Executor(registry(), on_error=Errors()).run() as running:
        with pytest.raises(Exception, match="CancelledError"):
            await running.schedule(message).wait()

    assert message.calls == ["success"]


@pytest.mark.anyio
async def test_by_default_an_error_in_a_callback_is_an_error_record_with_traceback_and_job(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = ValueError("no ack")

    async with Executor(registry(), blocked_after=None).run() as running:
        running.schedule(Recorder("other", faults={"on_success": error}))

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("jockey", logging.ERROR)
    assert record.exc_info
    assert record.exc_info[1] is error
    assert "ValueError" in record.getMessage()
    assert "succeed" in record.getMessage()
    assert "Recorder" in record.getMessage()


@pytest.mark.anyio
async def test_tracebacks_do_not_hold_the_generator_that_runs_the_jobs() -> None:
    # It is dropped while it waits; Python 3.13.0 crashes when the locals of such a frame are looked at.
    errors, message = Errors(), Recorder[None, str, None]("on_failure", faults={"on_failure": LookupError("no ack")})

    async with Executor(registry(), on_error=errors).run() as running:
        running.schedule(message)

    assert isinstance(message.outcome, Failure)
    for error in (message.outcome.error, *(error for error, _ in errors.told)):
        names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
        assert names
        assert "_work_off" not in names


@pytest.mark.anyio
async def test_an_on_error_that_raises_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def on_error(error: BaseException, handle: JobHandle[Any]) -> None:
        raise LookupError("no telephone")

    bystander = Recorder[None, str, None]("other")

    async with Executor(registry(), max_jobs=1, blocked_after=None, on_error=on_error).run() as running:
        running.schedule(Recorder("other", faults={"on_success": ValueError("no ack")}))
        running.schedule(bystander)

    (record,) = caplog.records
    assert record.exc_info
    assert isinstance(record.exc_info[1], LookupError)
    assert "no ack" in record.getMessage()
    assert bystander.completed == ["success"]


@pytest.mark.anyio
async def test_an_error_in_a_callback_does_not_change_how_the_job_ended() -> None:
    async with Executor(registry(), on_error=Errors()).run() as running:
        handle = running.schedule(Recorder("other", faults={"on_success": ValueError()}))
        await running.drain()

    assert handle.state is JobState.SUCCEEDED


@pytest.mark.anyio
async def test_two_callbacks_that_raise_are_both_told() -> None:
    errors = Errors()

    async with Executor(registry(), on_error=errors).run() as running:
        for number in range(2):
            running.schedule(Recorder("other", faults={"on_success": ValueError(number)}))

    assert sorted(str(error) for error, _ in errors.told) == ["0", "1"]


@pytest.mark.anyio
async def test_a_message_without_a_handler_is_a_warning_by_default(caplog: pytest.LogCaptureFixture) -> None:
    class Plain(Adapter[None, str, None]):
        def get_keys(self) -> list[str]:
            return ["unknown"]

        async def get_payload(self) -> None: ...
        async def on_success(self, result: None) -> None: ...
        async def on_failure(self, exc: Exception) -> None: ...
        async def on_cancel(self, exc: asyncio.CancelledError) -> None: ...

        def __repr__(self) -> str:
            return "a plain message"

    async with Executor(registry(), blocked_after=None).run() as running:
        running.schedule(Plain())

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "no handler for any key of a plain message")
    ]


@pytest.mark.anyio
async def test_callbacks_run_inside_the_slot_of_their_job() -> None:
    now = most = 0

    class Counting(Recorder[None, str, None]):
        async def on_success(self, result: None, /) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await wait_all_tasks_blocked()
            now -= 1

    async with Executor(registry(), max_jobs=2).run() as running:
        for _ in range(6):
            running.schedule(Counting("other"))

    assert most == 2


@simulated
async def test_at_a_forced_end_a_callback_gets_its_grace_and_no_more() -> None:
    errors = Errors()
    stuck = Recorder("on_cancel", faults={"on_cancel": anyio.Event()})
    start = anyio.current_time()

    async with Executor(registry(), on_error=errors, grace=3).run() as running:
        handle = running.schedule(stuck)
        await running.drain(1)

    assert anyio.current_time() - start == pytest.approx(4, abs=0.1)
    assert (stuck.calls, stuck.completed) == (["cancel"], [])
    (error, job) = errors.told[0]
    assert len(errors.told) == 1
    assert isinstance(error, CallbackTimeoutError)
    assert "wait_forever" in str(error)
    assert job is handle


@simulated
async def test_a_callback_that_runs_already_gets_its_grace_at_a_forced_end() -> None:
    errors = Errors()
    stuck = Recorder("other", faults={"on_success": anyio.Event()})

    async with Executor(registry(), on_error=errors, grace=3).run() as running:
        running.schedule(stuck)
        await anyio.sleep(100)
        start = anyio.current_time()
        await running.drain(1)

    assert anyio.current_time() - start == pytest.approx(4, abs=0.1)
    assert [type(error) for error, _ in errors.told] == [CallbackTimeoutError]


@simulated
async def test_without_a_forced_end_a_callback_may_take_as_long_as_it_likes() -> None:
    class Slow(Recorder[None, str, None]):
        async def on_success(self, result: None, /) -> None:
            await anyio.sleep(1000)
            await super().on_success(result)

    message = Slow("other")

    async with Executor(registry(), grace=1).run() as running:
        running.schedule(message)

    assert message.completed == ["success"]


@simulated
async def test_a_callback_that_ends_within_its_grace_is_not_cut() -> None:
    class Slow(Recorder[None, str, None]):
        async def on_cancel(self, exc: asyncio.CancelledError, /) -> None:
            await anyio.sleep(2.5)
            await super().on_cancel(exc)

    message = Slow("on_cancel")

    async with Executor(registry(), grace=3).run() as running:
        running.schedule(message)
        await anyio.sleep(1)
        await running.drain(0)

    assert message.completed == ["cancel"]


@pytest.mark.anyio
async def test_a_callback_may_schedule_a_message_and_it_is_run_before_the_end() -> None:
    follow_up = Recorder[None, str, None]("other")

    class Chained(Recorder[None, str, None]):
        async def on_success(self, result: None, /) -> None:
            running.schedule(follow_up)

    async with Executor(registry(), max_jobs=1).run() as running:
        running.schedule(Chained("other"))

    assert follow_up.outcome == Success(None)
