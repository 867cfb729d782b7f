"""`RunningExecutor.map`: in an executor that does other things too."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import jockey
from jockey import ExecuteIn, Executor, Limit, Priority, Rate, Registry, RunningExecutor
from tests.parallel import functions
from tests.parallel.functions import invert, square, square_async

pytestmark = pytest.mark.anyio

THREAD = ExecuteIn.THREAD
AnyRegistry = Registry[Any, Any, Any]
AnyRunning = RunningExecutor[Any, Any, Any]


def registry_of(**handlers: Any) -> AnyRegistry:
    registry = AnyRegistry()
    for key, function in handlers.items():
        registry.add(key)(function)
    return registry


@pytest.mark.parametrize("batch", ["auto", 1, 7])
async def test_results_come_in_the_order_of_the_payloads(batch: Any) -> None:
    registry = AnyRegistry()
    registry.add("square", execute_in=THREAD)(square)

    async with Executor(registry, max_jobs=2).run() as running:
        results = [result async for result in running.map("square", range(100), batch=batch)]

    assert results == [n * n for n in range(100)]


async def test_payloads_may_come_from_an_async_iterable() -> None:
    async def payloads() -> AsyncIterator[int]:
        for number in range(20):
            await checkpoint()
            yield number

    async with Executor(registry_of(square=square_async)).run() as running:
        results = [result async for result in running.map("square", payloads())]

    assert results == [n * n for n in range(20)]


async def test_unordered_results() -> None:
    first = anyio.Event()

    async def wait_if_first(number: int) -> int:
        if number == 0:
            await first.wait()
        return number

    async with Executor(registry_of(wait=wait_if_first)).run() as running:
        results = running.map("wait", range(2), ordered=False)
        assert await anext(results) == 1
        first.set()
        assert [result async for result in results] == [0]


async def test_errors() -> None:
    async with Executor(registry_of(invert=invert)).run() as running:
        returned = [result async for result in running.map("invert", [1, 0], on_error="return")]
        skipped = [result async for result in running.map("invert", [1, 0], on_error="skip")]
        with pytest.raises(ZeroDivisionError) as caught:
            async for _ in running.map("invert", [1, 0]):
                pass

    assert returned[0] == 1
    assert isinstance(returned[1], ZeroDivisionError)
    assert skipped == [1]
    assert caught.value.__notes__ == ["item 1 of jockey.map: 0"]


async def test_progress_is_told() -> None:
    told = []

    async with Executor(registry_of(square=square)).run() as running:
        async for _ in running.map("square", iter([1, 2]), progress=lambda *numbers: told.append(numbers)):
            pass

    assert told == [(1, None), (2, None)]


# What is refused at once


async def test_unknown_key_is_refused_at_once() -> None:
    async with Executor(registry_of(square=square)).run() as running:
        with pytest.raises(jockey.NoHandlerError, match="'cube' has no handler"):
            running.map("cube", [])


async def test_senseless_arguments_are_refused_at_once() -> None:
    async with Executor(registry_of(square=square)).run() as running:
        with pytest.raises(jockey.RegistrationError, match="window must be at least 1"):
            running.map("square", [], window=0)
        with pytest.raises(jockey.RegistrationError, match="must be an iterable, got 5"):
            running.map("square", 5)  # type: ignore[call-overload]
        with pytest.raises(jockey.RegistrationError, match="there, a batch saves nothing"):
            running.map("square", [], batch=2)


async def test_executor_that_has_ended_is_refused_at_once() -> None:
    async with Executor(registry_of(square=square)).run() as running:
        pass

    with pytest.raises(jockey.ExecutorClosedError, match="map\\(\\) after the executor has ended"):
        running.map("square", [])


async def test_executor_that_ends_meanwhile() -> None:
    async with Executor(registry_of(square=square)).run() as running:
        results = running.map("square", range(100), window=1)
        assert await anext(results) == 0

    with pytest.raises(jockey.ExecutorClosedError, match="iterate inside of its block"):
        async for _ in results:
            pass


# Options of the handler


async def calls_of_a_map(registry: AnyRegistry, **options: Any) -> int:
    """Return how many jobs a map of 200 quick payloads is."""
    async with Executor(registry, max_jobs=2, **options).run() as running:
        assert len([result async for result in running.map("square", range(200))]) == 200
        return running.statistics().succeeded


@pytest.fixture
def _all_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count all payloads as quick ones, however slow this machine is just now."""
    monkeypatch.setattr("jockey._parallel._batching.TARGET", 1e9)


@pytest.mark.usefixtures("_all_are_quick")
async def test_quick_payloads_are_run_in_batches() -> None:
    registry = AnyRegistry()
    registry.add("square", execute_in=THREAD)(square)

    assert await calls_of_a_map(registry) < 200


@pytest.mark.parametrize(
    "options",
    [
        {"execute_in": ExecuteIn.MAIN},
        {"execute_in": THREAD, "job_timeout": 60},
        {"execute_in": THREAD, "pulse_every": 60},
        {"execute_in": THREAD, "limits": [Limit("few", 2)]},
        {"execute_in": THREAD, "limits": [Rate("often", 10**6, burst=10**6)]},
    ],
)
async def test_each_payload_is_a_job_where_the_options_are_for_each(options: dict[str, Any]) -> None:
    registry = AnyRegistry()
    registry.add("square", **options)(square)

    assert await calls_of_a_map(registry) == 200


async def test_each_payload_is_a_job_for_an_async_handler() -> None:
    registry = AnyRegistry()
    registry.add("square", execute_in=THREAD)(square_async)

    assert await calls_of_a_map(registry) == 200


async def test_each_payload_is_a_message_for_middleware() -> None:
    registry = AnyRegistry()
    registry.add("square", execute_in=THREAD)(square)

    assert await calls_of_a_map(registry, middleware=[jockey.Middleware]) == 200


async def test_caps_of_the_handler_hold_for_batches() -> None:
    running_now, most = 0, 0
    lock = threading.Lock()

    def count(_: int) -> None:
        nonlocal running_now, most
        with lock:
            running_now += 1
            most = max(most, running_now)
        with lock:
            running_now -= 1

    registry = AnyRegistry()
    registry.add("count", execute_in=THREAD, max_jobs=2)(count)

    async with Executor(registry, max_jobs=8).run() as running:
        async for _ in running.map("count", range(300)):
            pass

    assert most <= 2


async def test_executor_without_a_cap() -> None:
    async with Executor(registry_of(square=square_async), max_jobs=None).run() as running:
        assert [result async for result in running.map("square", range(50))] == [n * n for n in range(50)]


async def test_batches_are_counted_as_jobs_of_their_handler() -> None:
    go_on = threading.Event()

    def wait(number: int) -> int:
        assert go_on.wait(60)
        return number

    registry = AnyRegistry()
    registry.add("wait", execute_in=THREAD, priority=Priority.LOW)(wait)

    async with Executor(registry, max_jobs=1).run() as running:
        results = running.map("wait", range(4), batch=2)
        async with anyio.create_task_group() as group:
            group.start_soon(anext, results)
            await anyio.wait_all_tasks_blocked()
            statistics = running.statistics()
            go_on.set()
        await results.aclose()

    assert statistics.running_by_key == {"wait": 1}
    assert statistics.queued_by_key == {"wait": 1}
    assert statistics.queued[Priority.LOW] == 1


# Ends


async def test_closing_cancels_what_is_left_and_nothing_else() -> None:
    started: list[Any] = []
    ended: list[Any] = []
    go_on = anyio.Event()

    async def wait(name: Any) -> Any:
        started.append(name)
        try:
            await go_on.wait()
        except anyio.get_cancelled_exc_class():
            ended.append(name)
            raise
        return name

    async with Executor(registry_of(wait=wait), max_jobs=3).run() as running:
        other = running.submit("wait", "other")
        results = running.map("wait", range(10))
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(anext, results)
                while len(started) < 3:
                    await checkpoint()
                scope.cancel()

        assert sorted(ended) == [0, 1]
        go_on.set()
        assert await other.result() == "other"


async def test_job_that_somebody_else_cancels_ends_the_map() -> None:
    async def wait(_: int) -> None:
        await anyio.sleep_forever()

    async with Executor(registry_of(wait=wait)).run() as running:
        async with anyio.create_task_group() as group:

            async def use() -> None:
                with pytest.raises(jockey.JobCancelledError, match="shutdown"):
                    async for _ in running.map("wait", range(3), on_error="skip"):
                        pass

            group.start_soon(use)
            await anyio.wait_all_tasks_blocked()
            await running.drain(0)


async def test_generator_that_is_never_asked_is_nothing() -> None:
    async with Executor(registry_of(square=square)).run() as running:
        running.map("square", range(3))
        assert running.statistics().running == 0


# A backlog that is full


async def test_it_waits_for_room_in_the_backlog() -> None:
    go_on = anyio.Event()

    async def wait(number: int) -> int:
        await go_on.wait()
        return number

    async with Executor(registry_of(wait=wait), max_jobs=1, max_backlog=1).run() as running:
        running.submit("wait", -1)
        await anyio.wait_all_tasks_blocked()
        running.submit("wait", -2)  # now the backlog is full
        results: list[int] = []

        async def use() -> None:
            results.extend([result async for result in running.map("wait", range(5))])

        async with anyio.create_task_group() as group:
            group.start_soon(use)
            await anyio.wait_all_tasks_blocked()
            assert sum(running.statistics().queued.values()) == 1
            go_on.set()

    assert results == [0, 1, 2, 3, 4]


async def test_in_a_handler_a_full_backlog_is_an_error() -> None:
    is_full = anyio.Event()

    async def use(_: int) -> Any:
        await is_full.wait()
        return [result async for result in running.map("square", [1])]

    async with Executor(registry_of(use=use, square=square_async), max_jobs=1, max_backlog=1).run() as running:
        handle = running.submit("use", 0)
        await anyio.wait_all_tasks_blocked()
        running.submit("square", 1)
        is_full.set()
        with pytest.raises(jockey.BacklogFullError, match="map\\(\\) in a handler"):
            await handle.result()


# Inside of handlers


@pytest.mark.parametrize("place", [ExecuteIn.MAIN, THREAD])
@pytest.mark.parametrize("ordered", [True, False])
async def test_in_a_handler_of_the_same_executor_its_slot_is_lent(place: ExecuteIn, *, ordered: bool) -> None:
    registry = AnyRegistry()
    registry.add("square", execute_in=place)(square)

    @registry.add("sum")
    async def sum_of_squares(count: int) -> int:
        return sum([result async for result in running.map("square", range(count), ordered=ordered)])

    async with Executor(registry, max_jobs=1).run() as running:
        results = [result async for result in running.map("sum", [2, 4, 50])]

    assert results == [1, 14, sum(n * n for n in range(50))]


async def test_in_a_handler_with_async_payloads() -> None:
    async def sum_of_squares(count: int) -> int:
        async def payloads() -> AsyncIterator[int]:
            for number in range(count):
                yield await running.submit("same", number).result()

        return sum([result async for result in running.map("square", payloads())])

    async def same(number: int) -> int:
        return number

    registry = registry_of(square=square_async, sum=sum_of_squares, same=same)
    async with Executor(registry, max_jobs=1).run() as running:
        assert await running.submit("sum", 4).result() == 14


async def test_a_handler_that_could_wait_for_ever_is_told() -> None:
    registry = AnyRegistry()

    @registry.add("again", max_jobs=1)
    async def again(count: int) -> int:
        return sum([result async for result in running.map("again", range(count))])

    async with Executor(registry).run() as running:
        with pytest.raises(jockey.DeadlockError, match="they need the same cap"):
            await running.submit("again", 2).result()


async def test_a_handler_that_is_cancelled_cancels_its_map() -> None:
    cancelled = []

    async def wait(number: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(number)

    async def use(_: int) -> None:
        async for _ in running.map("wait", range(2)):
            pass

    async with Executor(registry_of(wait=wait, use=use), max_jobs=2).run() as running:
        handle = running.submit("use", 0)
        await anyio.wait_all_tasks_blocked()
        handle.cancel()
        await handle.wait()
        await anyio.wait_all_tasks_blocked()

    assert sorted(cancelled) == [0, 1]


@pytest.mark.usefixtures("_all_are_quick")
async def test_process_batches() -> None:
    registry = AnyRegistry()
    registry.add("square", execute_in=ExecuteIn.PROCESS)(functions.square)

    async with Executor(registry, max_processes=1).run() as running:
        results = [result async for result in running.map("square", range(300))]
        jobs = running.statistics().succeeded

    assert results == [n * n for n in range(300)]
    assert jobs < 300
