"""What a running executor tells about itself, exactly, at every moment."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import anyio
import pytest

from jockey import (
    ExecuteIn,
    Executor,
    Limit,
    Priority,
    Rate,
    Registry,
    RunningExecutor,
    Statistics,
    WaitFor,
)
from jockey.testing import Recorder, settle
from tests.core.outside import Blocker
from tests.core.story import executor_of, registry_of, simulated, wait_forever

NOBODY = {Priority.HIGH: 0, Priority.NORMAL: 0, Priority.LOW: 0}

NOTHING = Statistics(
    queued=NOBODY,
    queued_by_key={},
    running=0,
    running_by_key={},
    oldest_wait=0.0,
    succeeded=0,
    failed=0,
    cancelled=0,
    no_handler=0,
    callback_errors=0,
    stuck_threads=(),
)


async def sleep(seconds: float) -> None:
    await anyio.sleep(seconds)


async def fail(_: object) -> None:
    raise ValueError


async def shut_down(running: RunningExecutor[Any, Any, Any]) -> None:
    await running.drain(0)


# Numbers of now


@simulated
async def test_an_executor_without_jobs_has_nothing_to_tell() -> None:
    async with executor_of(sleep).run() as running:
        assert running.statistics() == NOTHING


@simulated
async def test_jobs_are_counted_by_priority_and_by_key() -> None:
    registry = registry_of(wait_forever, key="normal")
    registry.add("low", priority=Priority.LOW)(wait_forever)

    async with Executor(registry, max_jobs=2).run() as running:
        running.submit("normal", None)
        running.submit("low", None)
        await settle()
        for key in ("normal", "low", "low"):
            running.submit(key, None)
        running.submit("low", None, priority=Priority.HIGH)
        running.submit("normal", None, priority=Priority.HIGH)

        statistics = running.statistics()
        await shut_down(running)

    assert statistics.queued == {Priority.HIGH: 2, Priority.NORMAL: 1, Priority.LOW: 2}
    assert statistics.queued_by_key == {"normal": 2, "low": 3}
    assert statistics.running == 2
    assert statistics.running_by_key == {"normal": 1, "low": 1}


@simulated
async def test_a_job_is_queued_in_the_step_that_schedules_it() -> None:
    async with executor_of(sleep).run() as running:
        running.submit("job", 1)

        assert running.statistics().queued_by_key == {"job": 1}
        assert running.statistics().running == 0

        await settle()

        assert running.statistics().queued_by_key == {}
        assert running.statistics().running == 1


@simulated
async def test_a_job_whose_callback_runs_is_running() -> None:
    go = anyio.Event()

    async with executor_of(sleep).run() as running:
        running.schedule(Recorder("job", 0, faults={"on_success": go}))
        await anyio.sleep(1)

        assert running.statistics().running_by_key == {"job": 1}
        assert running.statistics().succeeded == 0

        go.set()
        await settle()

        assert running.statistics().running_by_key == {}
        assert running.statistics().succeeded == 1


@simulated
async def test_a_job_that_is_cancelled_leaves_the_queue_at_once() -> None:
    async with executor_of(sleep).run() as running:
        running.pause()
        first, _ = running.submit("job", 1), running.submit("job", 1)
        first.cancel()

        assert running.statistics().queued_by_key == {"job": 1}
        assert running.statistics().queued[Priority.NORMAL] == 1


@simulated
async def test_jobs_behind_others_of_their_group_are_queued_too() -> None:
    async with executor_of(wait_forever).run() as running:
        for _ in range(4):
            running.schedule(Recorder("job", group="user"))
        await settle()

        assert running.statistics().queued_by_key == {"job": 3}
        assert running.statistics().running_by_key == {"job": 1}

        await shut_down(running)


@simulated
async def test_a_handler_that_waits_for_a_job_is_running_and_so_is_that_job() -> None:
    registry = registry_of(wait_forever, key="inner")

    @registry.add("outer")
    async def outer(_: object) -> None:
        await running.submit("inner", None).wait()

    async with Executor(registry, max_jobs=1).run() as running:
        running.submit("outer", None)
        await settle()

        assert running.statistics().running_by_key == {"outer": 1, "inner": 1}

        await shut_down(running)


@simulated
async def test_jobs_of_groups_that_are_cancelled_are_not_queued_any_more() -> None:
    async with executor_of(wait_forever, max_jobs=1).run() as running:
        running.submit("job", None)
        await settle()
        handles = [running.schedule(Recorder("job", group=number % 3), priority=Priority.LOW) for number in range(9)]
        for handle in handles[::2]:
            handle.cancel()

        assert running.statistics().queued_by_key == {"job": 4}
        assert running.statistics().queued[Priority.LOW] == 4

        await shut_down(running)


# Waiting


@simulated
async def test_oldest_wait_is_that_of_the_job_that_waits_longest_in_seconds() -> None:
    async with executor_of(sleep, max_jobs=1).run() as running:
        running.submit("job", 10)
        await settle()
        running.submit("job", 5)
        await anyio.sleep(2)
        running.submit("job", 0, priority=Priority.HIGH)
        await anyio.sleep(3)

        assert running.statistics().oldest_wait == pytest.approx(5)

        await anyio.sleep(6)

        assert running.statistics().oldest_wait == 0.0


@simulated
async def test_oldest_wait_forgets_a_job_that_is_cancelled() -> None:
    async with executor_of(sleep).run() as running:
        running.pause()
        oldest = running.submit("job", 1)
        await anyio.sleep(2)
        running.submit("job", 1)
        await anyio.sleep(3)
        oldest.cancel()

        assert running.statistics().oldest_wait == pytest.approx(3)


@simulated
async def test_oldest_wait_counts_time_behind_caps_and_rates_too() -> None:
    async with Executor(registry_of(sleep, limits=[Rate("slow", 1, per=100)])).run() as running:
        running.submit("job", 0)
        running.submit("job", 0)
        await anyio.sleep(7)

        assert running.statistics().oldest_wait == pytest.approx(7)


@simulated
async def test_oldest_wait_leaves_out_jobs_that_wait_for_their_group() -> None:
    async with executor_of(wait_forever).run() as running:
        running.schedule(Recorder("job", group="user"))
        running.schedule(Recorder("job", group="user"))
        await anyio.sleep(5)

        assert running.statistics().oldest_wait == 0.0

        await shut_down(running)


# Totals


@simulated
async def test_each_end_is_counted_once() -> None:
    registry = registry_of(sleep, key="good")
    registry.add("bad")(fail)
    registry.add("slow", job_timeout=timedelta(seconds=1))(wait_forever)
    registry.add("forever")(wait_forever)
    error = RuntimeError()

    async with Executor(registry, on_error=lambda *_: None).run() as running:
        for key in ["good"] * 5 + ["bad"] * 2 + ["slow", "forever", "unknown", "unknown", "unknown"]:
            running.schedule(Recorder(key, 0))
        running.schedule(Recorder("good", 0, faults={"on_success": error}))
        running.schedule(Recorder("unknown", faults={"on_no_handler": error}))
        await anyio.sleep(2)
        running.pause()
        running.submit("good", 0).cancel()
        running.submit("forever", 0)
        await running.drain(0)

        assert running.statistics() == Statistics(
            queued=NOBODY,
            queued_by_key={},
            running=0,
            running_by_key={},
            oldest_wait=0.0,
            succeeded=6,
            failed=3,
            cancelled=3,
            no_handler=4,
            callback_errors=2,
            stuck_threads=(),
        )


@simulated
async def test_a_pulse_that_raises_is_no_callback_error_of_the_end() -> None:
    told: list[BaseException] = []
    registry = registry_of(sleep, pulse_every=1)

    async with Executor(registry, on_error=lambda error, _: told.append(error)).run() as running:
        running.schedule(Recorder("job", 3.5, faults={"on_pulse": RuntimeError()}))
        await running.drain()

        assert running.statistics().callback_errors == 0
        assert len(told) == 3


@simulated
async def test_the_numbers_can_be_read_after_the_end() -> None:
    async with executor_of(sleep).run() as running:
        running.submit("job", 1)

    assert running.statistics().succeeded == 1


@simulated
async def test_each_run_counts_for_itself() -> None:
    executor = executor_of(sleep)

    async with executor.run() as first, executor.run() as second:
        await first.submit("job", 0).wait()

        assert (first.statistics().succeeded, second.statistics().succeeded) == (1, 0)


@pytest.mark.anyio
async def test_stuck_threads_are_named_until_they_end() -> None:
    blocker = Blocker()
    registry = registry_of(blocker, execute_in=ExecuteIn.THREAD)

    async with Executor(registry, on_error=lambda *_: None).run() as running:
        jobs = [running.submit("job", None) for _ in range(2)]
        await blocker.started(2)
        jobs[0].cancel()
        await jobs[0].wait()

        statistics = running.statistics()
        assert statistics.stuck_threads == ("Blocker object",)
        assert statistics.running_by_key == {"job": 1}
        assert statistics.cancelled == 1

        blocker.let_go(2)
        await running.drain()


@simulated
async def test_the_numbers_are_a_value_that_cannot_be_changed() -> None:
    async with executor_of(sleep).run() as running:
        statistics = running.statistics()

    with pytest.raises(FrozenInstanceError):
        statistics.running = 5  # type: ignore[misc]


# What they look like


@simulated
async def test_a_running_executor_shows_its_state_and_its_numbers() -> None:
    async with executor_of(wait_forever, max_jobs=1).run() as running:
        assert repr(running) == "<RunningExecutor open: 0 queued, 0 running, 0 pending>"

        running.submit("job", None)
        running.submit("job", None)
        await settle()
        assert repr(running) == "<RunningExecutor open: 1 queued, 1 running, 2 pending>"

        running.pause()
        assert repr(running) == "<RunningExecutor paused: 1 queued, 1 running, 2 pending>"

        await running.drain(0)
        assert repr(running) == "<RunningExecutor closed: 0 queued, 0 running, 0 pending>"

    assert repr(running) == "<RunningExecutor ended: 0 queued, 0 running, 0 pending>"


@simulated
async def test_a_handle_shows_the_handler_the_state_and_the_message() -> None:
    go = anyio.Event()

    async with executor_of(sleep).run() as running:
        handle = running.schedule(Recorder("job", 1, faults={"on_success": go}))
        shown = [repr(handle)]
        await settle()
        shown.append(repr(handle))
        await anyio.sleep(2)
        shown.append(repr(handle))
        go.set()
        await handle.wait()
        shown.append(repr(handle))

    assert shown == [
        "<job sleep queued: <Recorder 'job' calls=[]>>",
        "<job sleep running: <Recorder 'job' calls=[]>>",
        "<job sleep reporting: <Recorder 'job' calls=['success']>>",
        "<job sleep succeeded: <Recorder 'job' calls=['success']>>",
    ]


@simulated
async def test_a_handle_of_a_message_without_a_handler_says_so() -> None:
    async with executor_of(sleep).run() as running:
        handle = await running.execute(Recorder("unknown"), wait_for=WaitFor.FINISH)

    assert repr(handle) == "<job no handler no handler: <Recorder 'unknown' calls=['no_handler']>>"


def test_settings_show_what_they_are() -> None:
    registry: Registry[Any, str, Any] = registry_of(sleep, limits=[Limit("db", 4)])

    assert repr(registry) == "Registry('job')"
    assert repr(Executor(registry)) == "Executor(Registry('job'))"
    assert repr(Limit("db", 4)) == "Limit(name='db', max_jobs=4)"
    assert repr(Rate("api", 100, per=timedelta(minutes=1))) == "Rate(name='api', starts=100, per=60.0, burst=1)"
