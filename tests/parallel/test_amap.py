"""`jockey.amap`, on every async backend."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import warnings
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import jockey
from jockey import ExecuteIn
from jockey._parallel import _async
from tests.backends.process_observer import workers
from tests.core.story import simulated
from tests.parallel import functions
from tests.parallel.functions import invert, square, square_async

pytestmark = pytest.mark.anyio

THREAD = ExecuteIn.THREAD


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await checkpoint()
        yield number


class Calls:
    """An async function that waits until it is told to go on, or is cancelled."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.cancelled: list[int] = []
        self.go_on = anyio.Event()

    async def wait(self, number: int) -> int:
        self.started.append(number)
        try:
            await self.go_on.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(number)
            raise
        return number


# Results and items


@pytest.mark.parametrize("batch", ["auto", 7])
async def test_results_come_in_the_order_of_the_items(batch: Any) -> None:
    results = [result async for result in jockey.amap(square, range(200), execute_in=THREAD, batch=batch)]

    assert results == [n * n for n in range(200)]


@pytest.mark.parametrize("place", [THREAD, ExecuteIn.MAIN])
async def test_async_function_and_async_items(place: ExecuteIn) -> None:
    results = [result async for result in jockey.amap(square_async, numbers(50), execute_in=place)]

    assert results == [n * n for n in range(50)]


async def test_async_items_travel_in_batches_too() -> None:
    results = [result async for result in jockey.amap(square, numbers(500), execute_in=THREAD)]

    assert results == [n * n for n in range(500)]


async def test_unordered_results_come_as_soon_as_they_are_there() -> None:
    first = anyio.Event()

    async def wait_if_first(number: int) -> int:
        if number == 0:
            await first.wait()
        return number

    results = jockey.amap(wait_if_first, range(3), ordered=False)

    assert {await anext(results), await anext(results)} == {1, 2}
    first.set()
    assert [result async for result in results] == [0]


async def test_results_come_while_the_source_has_nothing_more_to_give() -> None:
    more = anyio.Event()

    async def slow() -> AsyncIterator[int]:
        yield 1
        await more.wait()
        yield 2

    results = jockey.amap(square_async, slow())

    assert await anext(results) == 1
    more.set()
    assert [result async for result in results] == [4]


async def test_without_items_there_are_no_results() -> None:
    assert [result async for result in jockey.amap(square, [], execute_in=THREAD)] == []
    assert [result async for result in jockey.amap(square, numbers(0), execute_in=THREAD)] == []


async def test_functions_see_the_context_of_the_code_that_iterates() -> None:
    token = functions.variable.set("mine")

    async def get_variable(_: object) -> str:
        return functions.variable.get()

    found = [result async for result in jockey.amap(get_variable, range(2))]
    functions.variable.reset(token)

    assert found == ["mine", "mine"]


@pytest.mark.parametrize("window", [1, 5])
async def test_no_more_async_items_are_read_than_the_window_has(window: int) -> None:
    yielded, most = 0, 0

    async def counted() -> AsyncIterator[int]:
        nonlocal most
        for number in range(100):
            most = max(most, number + 1 - yielded)
            yield number

    async for _ in jockey.amap(square_async, counted(), window=window):
        yielded += 1

    assert most <= window + 1


async def test_source_lives_in_one_task_from_its_beginning_to_its_end() -> None:
    tasks = []

    async def source() -> AsyncIterator[int]:
        async with anyio.create_task_group():  # it would complain
            tasks.append(anyio.get_current_task())
            yield 1
            tasks.append(anyio.get_current_task())
            yield 2
            tasks.append(anyio.get_current_task())

    assert [result async for result in jockey.amap(square_async, source())] == [1, 4]

    assert len(set(tasks)) == 1


async def test_source_that_is_no_generator_is_read_too() -> None:
    class Source:
        def __init__(self) -> None:
            self._left = [1, 2, 3]

        def __aiter__(self) -> Source:
            return self

        async def __anext__(self) -> int:
            if not self._left:
                raise StopAsyncIteration
            return self._left.pop(0)

    assert [result async for result in jockey.amap(square_async, Source())] == [1, 4, 9]


# Errors


@pytest.mark.parametrize("items", [[1, 2, 0, 4], None])
async def test_error_is_raised_after_the_results_before_it(items: list[int] | None) -> None:
    async def source() -> AsyncIterator[int]:
        for number in [1, 2, 0, 4]:
            yield number

    results = jockey.amap(invert, items or source(), execute_in=THREAD)

    assert await anext(results) == 1
    assert await anext(results) == 0.5
    with pytest.raises(ZeroDivisionError) as caught:
        await anext(results)

    assert caught.value.__notes__ == ["item 2 of jockey.map: 0"]
    assert [result async for result in results] == []


async def test_errors_can_be_returned_or_skipped() -> None:
    returned = [result async for result in jockey.amap(invert, [1, 0], execute_in=THREAD, on_error="return")]
    skipped = [result async for result in jockey.amap(invert, [1, 0], execute_in=THREAD, on_error="skip")]

    assert returned[0] == 1
    assert isinstance(returned[1], ZeroDivisionError)
    assert skipped == [1]


async def test_what_the_source_raises_comes_after_the_results_before() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    results = jockey.amap(square_async, source())

    assert [await anext(results), await anext(results)] == [1, 4]
    with pytest.raises(OSError, match="the disk is gone"):
        await anext(results)


async def test_what_is_no_exception_from_the_source_too() -> None:
    class Exit(BaseException):
        pass

    async def source() -> AsyncIterator[int]:
        yield 1
        raise Exit

    results = jockey.amap(square_async, source())

    assert await anext(results) == 1
    with pytest.raises(Exit):
        await anext(results)


async def test_what_is_no_exception_stops_everything_from_the_event_loop() -> None:
    with pytest.raises(SystemExit):
        async for _ in jockey.amap(functions.exit_program_async, range(3), on_error="skip"):
            pass


@simulated
async def test_item_that_takes_too_long_fails_alone() -> None:
    async def wait_if_first(number: int) -> int:
        if number == 0:
            await anyio.sleep_forever()
        return number

    results = [result async for result in jockey.amap(wait_if_first, [0, 1], timeout=10, on_error="return")]

    assert isinstance(results[0], jockey.JobTimeoutError)
    assert results[1] == 1


# Ends


async def test_closing_cancels_all_and_waits_for_it() -> None:
    calls = Calls()

    async with contextlib.aclosing(jockey.amap(calls.wait, range(3), ordered=False)) as results:
        async with anyio.create_task_group() as group:
            group.start_soon(anext, results)
            while len(calls.started) < 3:
                await checkpoint()
            group.cancel_scope.cancel()

    assert sorted(calls.cancelled) == [0, 1, 2]


async def test_workers_are_gone_when_the_generator_is_closed() -> None:
    async with contextlib.aclosing(jockey.amap(functions.sleep_if, [1, 0], max_jobs=2, batch=1)) as results:
        assert await anext(results) == 1
        assert workers()

    assert not workers()


async def test_closing_in_another_task() -> None:
    results = jockey.amap(square_async, range(1000))
    await anext(results)

    async with anyio.create_task_group() as group:
        group.start_soon(results.aclose)

    assert [result async for result in results] == []


async def test_cancelled_consumer() -> None:
    calls = Calls()
    results = jockey.amap(calls.wait, range(3))

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(anext, results)
            while len(calls.started) < 3:
                await checkpoint()
            scope.cancel()

    assert sorted(calls.cancelled) == [0, 1, 2]


async def test_cancelled_at_the_very_beginning() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        async for _ in jockey.amap(square_async, range(3)):
            raise AssertionError

    assert scope.cancelled_caught


async def test_generator_that_never_starts_leaves_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jockey.amap(square, range(3), execute_in=THREAD)
        unread = jockey.amap(square, numbers(3), execute_in=THREAD)
        await unread.aclose()
        gc.collect()


async def test_generator_that_is_collected_is_closed_by_the_event_loop(anyio_backend_name: str) -> None:
    calls = Calls()
    results = jockey.amap(calls.wait, range(3), ordered=False, window=3)
    async with anyio.create_task_group() as group:
        group.start_soon(anext, results)
        while len(calls.started) < 3:
            await checkpoint()
        calls.go_on.set()
        del group

    # trio complains of every async generator that is not closed by its user.
    expected = pytest.warns(ResourceWarning) if anyio_backend_name == "trio" else contextlib.nullcontext()
    with expected:
        del results
        gc.collect()
        await anyio.wait_all_tasks_blocked()


async def test_source_that_waits_is_cancelled_when_the_map_is_closed() -> None:
    closed = anyio.Event()

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            closed.set()

    results = jockey.amap(square_async, source())
    await anext(results)

    await results.aclose()

    assert closed.is_set()


async def test_source_that_does_not_wait_is_closed_in_peace() -> None:
    closed = []

    async def source() -> AsyncIterator[int]:
        try:
            for number in range(100):
                yield number
        finally:
            await checkpoint()
            closed.append(True)

    async with contextlib.aclosing(jockey.amap(square_async, source(), window=1)) as results:
        await anext(results)

    assert closed == [True]


# Inside of handlers


async def test_in_a_handler() -> None:
    registry = jockey.Registry[int, str, int]()

    @registry.add("sum")
    async def sum_of_squares(count: int) -> int:
        return sum([result async for result in jockey.amap(square_async, range(count))])

    async with jockey.Executor(registry, max_jobs=1).run() as running:
        assert await running.submit("sum", 4).result() == 14


async def test_in_a_map() -> None:
    async def sum_of_squares(count: int) -> int:
        return sum([result async for result in jockey.amap(square_async, range(count))])

    assert [result async for result in jockey.amap(sum_of_squares, [2, 4])] == [1, 14]


# Progress


async def test_progress_is_told_in_the_event_loop() -> None:
    told = []

    async for _ in jockey.amap(
        square_async, range(3), progress=lambda *numbers: told.append((*numbers, threading.get_ident()))
    ):
        pass

    assert told == [(done, 3, threading.get_ident()) for done in (1, 2, 3)]


async def test_progress_that_raises_ends_the_map() -> None:
    def refuse(done: int, total: int | None) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        async for _ in jockey.amap(square_async, range(3), progress=refuse):
            pass


async def test_where_there_are_no_workers_everything_runs_in_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "emscripten")

    with pytest.warns(RuntimeWarning, match="run in MAIN"):
        results = [result async for result in jockey.amap(functions.thread_of, range(3))]

    assert results == [threading.get_ident()] * 3


async def test_executor_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise jockey.RegistrationError("not on this platform")

    monkeypatch.setattr("jockey._parallel._host.running", refuse)

    with pytest.raises(jockey.RegistrationError, match="not on this platform"):
        await anext(jockey.amap(square_async, [1]))


@pytest.mark.parametrize("is_async", [True, False])
async def test_bar_that_cannot_be_shown(*, is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError("no terminal")

    monkeypatch.setattr(_async, "open_progress", refuse)

    with pytest.raises(OSError, match="no terminal"):
        await anext(jockey.amap(square_async, numbers(1) if is_async else [1], progress=True))


async def test_executor_that_ends_by_itself_meanwhile() -> None:
    """As it is when the event loop is about to end: its tasks are cancelled, one like the other."""
    results = jockey.amap(square_async, numbers(1000), window=1)
    await anext(results)
    results.ag_frame.f_locals["run"]._host.stop()
    await anyio.wait_all_tasks_blocked()

    with pytest.raises(jockey.JobCancelledError, match="cancelled from outside"):
        async for _ in results:
            pass
