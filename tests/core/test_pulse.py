"""Pulses run while the handler runs: not while the job is queued, and not after."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import anyio
import pytest

from jockey import ExecuteIn, Executor, Failure, JobHandle, Registry, Success
from jockey.testing import Recorder, run
from tests.core.story import Fatal, Told, registry_of, simulated


async def sleep(seconds: float) -> str:
    await anyio.sleep(seconds)
    return "done"


@simulated
async def test_a_message_is_pulsed_again_and_again_while_its_handler_runs() -> None:
    message = Recorder("job", 3.5)

    async with Executor(registry_of(sleep, pulse_every=timedelta(seconds=1))).run() as running:
        running.schedule(message)

    assert message.completed == ["pulse", "pulse", "pulse", "success"]
    assert message.outcome == Success("done")


@simulated
async def test_no_pulse_runs_while_the_job_is_queued_or_the_payload_is_made() -> None:
    story: list[str] = []

    class SlowPayload(Told):
        async def get_payload(self) -> float:
            await anyio.sleep(5)
            self.story.append(f"{self.name}: payload")
            return 1.5

    async with Executor(registry_of(sleep, pulse_every=1), max_jobs=1).run() as running:
        running.schedule(SlowPayload(story, "a"))
        running.schedule(SlowPayload(story, "b"))

    assert story == ["a: payload", "a: pulse", "a: success", "b: payload", "b: pulse", "b: success"]


@simulated
async def test_no_pulse_runs_during_the_final_callback() -> None:
    class Slow(Recorder[float, str, str]):
        async def on_success(self, result: str, /) -> None:
            await anyio.sleep(10)
            await super().on_success(result)

    message = Slow("job", 1.5)

    async with Executor(registry_of(sleep, pulse_every=1)).run() as running:
        running.schedule(message)

    assert message.completed == ["pulse", "success"]


@simulated
async def test_a_pulse_that_still_runs_is_ended_before_the_final_callback() -> None:
    story: list[str] = []

    class Endless(Told):
        async def on_pulse(self) -> None:
            story.append("pulse begins")
            try:
                await anyio.sleep(100)
            finally:
                story.append("pulse ends")

    async with Executor(registry_of(sleep, pulse_every=1)).run() as running:
        running.schedule(Endless(story, "job", payload=3))

    assert story == ["pulse begins", "pulse ends", "job: success"]


@simulated
@pytest.mark.parametrize("error", [ValueError("no lease"), Fatal("no lease"), asyncio.CancelledError("stray")])
async def test_a_pulse_that_fails_is_told_and_pulses_go_on(error: BaseException) -> None:
    told: list[tuple[BaseException, JobHandle[Any]]] = []
    message = Recorder("job", 3.5, faults={"on_pulse": error})
    registry = registry_of(sleep, pulse_every=1)

    async with Executor(registry, on_error=lambda *args: told.append(args)).run() as running:
        handle = running.schedule(message)

    assert message.calls == ["pulse", "pulse", "pulse", "success"]
    assert [(_root(told_error), job) for told_error, job in told] == [(error, handle)] * 3


def _root(error: BaseException) -> BaseException:
    return error.__cause__ or error


@simulated
async def test_a_failing_pulse_is_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    message = Recorder("job", 1.5, faults={"on_pulse": ValueError("no lease")})

    async with Executor(registry_of(sleep, pulse_every=1)).run() as running:
        running.schedule(message)

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("jockey", "ERROR")
    assert "no lease" in record.getMessage()
    assert message.outcome == Success("done")


@simulated
async def test_a_failing_pulse_is_not_counted_as_a_failing_callback() -> None:
    async with Executor(registry_of(sleep, pulse_every=1), on_error=lambda *_: None).run() as running:
        await running.execute(Recorder("job", 1.5, faults={"on_pulse": ValueError()}))
        assert running.statistics().callback_errors == 0


@simulated
async def test_pulses_end_with_a_handler_that_fails_and_its_error_arrives_untouched() -> None:
    error = ValueError("handler")

    async def handle(_: object) -> None:
        await anyio.sleep(1.5)
        raise error

    message = Recorder("job")

    async with Executor(registry_of(handle, pulse_every=1)).run() as running:
        running.schedule(message)

    assert message.completed == ["pulse", "failure"]
    assert isinstance(message.outcome, Failure)
    assert message.outcome.error is error


@simulated
async def test_pulses_end_with_a_handler_that_times_out() -> None:
    message = Recorder("job", 100)

    async with Executor(registry_of(sleep, pulse_every=1, job_timeout=2.5)).run() as running:
        running.schedule(message)

    assert message.completed == ["pulse", "pulse", "failure"]


@simulated
async def test_pulses_go_on_while_a_cancelled_handler_cleans_up() -> None:
    async def handle(_: object) -> None:
        try:
            await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)

    message = Recorder("job")

    async with Executor(registry_of(handle, pulse_every=3)).run() as running:
        job = running.schedule(message)
        await anyio.sleep(4)
        job.cancel("enough")

    assert message.completed == ["pulse", "cancel"]


@simulated
async def test_a_result_given_although_cancelled_counts_with_a_pulse_too() -> None:
    async def handle(_: object) -> str:
        try:
            await anyio.sleep(100)
        except anyio.get_cancelled_exc_class():
            return "saved"
        return "never"

    message = Recorder("job")

    async with Executor(registry_of(handle, pulse_every=3)).run() as running:
        job = running.schedule(message)
        await anyio.sleep(4)
        job.cancel("enough")

    assert message.outcome == Success("saved")


@simulated
async def test_a_pulse_that_hangs_is_not_called_again_beside_itself() -> None:
    message = Recorder("job", 10.5, faults={"on_pulse": anyio.Event()})

    async with Executor(registry_of(sleep, pulse_every=1)).run() as running:
        running.schedule(message)

    assert (message.calls, message.completed) == (["pulse", "success"], ["success"])


@simulated
async def test_a_pulse_may_cancel_its_job() -> None:
    class Lost(Recorder[float, str, str]):
        async def on_pulse(self) -> None:
            await super().on_pulse()
            handle.cancel("the lease is lost")

    message = Lost("job", 100)

    async with Executor(registry_of(sleep, pulse_every=1)).run() as running:
        handle = running.schedule(message)

    assert message.calls == ["pulse", "cancel"]


@pytest.mark.anyio
async def test_a_handler_in_a_thread_is_pulsed() -> None:
    class Counting(Recorder[None, str, None]):
        beats = 0

        async def on_pulse(self) -> None:
            self.beats += 1

    message = Counting("job")
    registry: Registry[None, str, None] = Registry()

    @registry.add("job", execute_in=ExecuteIn.THREAD, pulse_every=0.001)
    def handle(_: None) -> None:
        while message.beats < 3:
            time.sleep(0.001)

    async with Executor(registry).run() as running:
        running.schedule(message)

    assert message.beats >= 3
    assert message.completed == ["success"]


@pytest.mark.anyio
async def test_a_quick_handler_is_never_pulsed() -> None:
    async def handle(_: object) -> None: ...

    messages = [Recorder("job") for _ in range(50)]

    async with Executor(registry_of(handle, pulse_every=3600)).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.completed for message in messages] == [["success"]] * 50


@pytest.mark.anyio
async def test_without_an_interval_there_is_no_pulse() -> None:
    message = Recorder("job", 0.02)

    async with Executor(registry_of(sleep)).run() as running:
        running.schedule(message)

    assert message.completed == ["success"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("seed", range(20))
def test_no_pulse_begins_once_the_handler_has_ended_even_if_both_are_due_at_once(backend: Any, seed: int) -> None:
    story: list[str] = []

    async def handle(seconds: float) -> None:
        await anyio.sleep(seconds)
        story.append("end")

    async def program() -> None:
        async with Executor(registry_of(handle, pulse_every=1)).run() as running:
            await running.execute(Told(story, "job", payload=3))

    run(program, backend=backend, seed=seed)

    assert story[-2:] == ["end", "job: success"]
    assert story[:-2] in (["job: pulse"] * 2, ["job: pulse"] * 3)
