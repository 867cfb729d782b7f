"""`jockey.map`, in threads and in an event loop of its own: what does not depend on processes."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import jockey
from jockey import ExecuteIn, _runtime
from tests.core.story import Clock
from tests.parallel import functions
from tests.parallel.functions import invert, invert_async, square, square_async

THREAD = ExecuteIn.THREAD
MAIN = ExecuteIn.MAIN


# Results


@pytest.mark.parametrize("batch", ["auto", 1, 7])
def test_results_come_in_the_order_of_the_items(batch: Any) -> None:
    assert list(jockey.map(square, range(200), execute_in=THREAD, batch=batch)) == [n * n for n in range(200)]


def test_unordered_results_come_as_soon_as_they_are_there() -> None:
    second_is_yielded = threading.Event()

    def wait_if_first(number: int) -> int:
        if number == 0:
            assert second_is_yielded.wait(60)
        return number

    results = jockey.map(wait_if_first, [0, 1], execute_in=THREAD, ordered=False)

    assert next(results) == 1
    second_is_yielded.set()
    assert list(results) == [0]


def test_ordered_results_wait_for_those_before_them() -> None:
    second_is_done = threading.Event()

    def wait_if_first(number: int) -> int:
        if number == 0:
            assert second_is_done.wait(60)
        else:
            second_is_done.set()
        return number

    assert list(jockey.map(wait_if_first, [0, 1], execute_in=THREAD)) == [0, 1]


@pytest.mark.parametrize("place", [MAIN, THREAD])
def test_async_function(place: ExecuteIn) -> None:
    assert list(jockey.map(square_async, range(10), execute_in=place)) == [n * n for n in range(10)]


def test_async_functions_run_in_the_event_loop_by_default() -> None:
    async def thread_and_loop(_: object) -> tuple[int, int]:
        return threading.get_ident(), id(asyncio.get_running_loop())

    (found,) = set(jockey.map(thread_and_loop, range(10)))

    assert found[0] != threading.get_ident()


def test_plain_function_in_the_event_loop() -> None:
    threads = set(jockey.map(functions.thread_of, range(10), execute_in=MAIN))

    assert len(threads) == 1
    assert threads != {threading.get_ident()}


@pytest.mark.parametrize("batch", ["auto", 3])
def test_executor_of_concurrent_futures(batch: Any) -> None:
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as pool:

        def name_of_thread(_: object) -> str:
            return threading.current_thread().name

        names = set(jockey.map(name_of_thread, range(20), execute_in=pool, batch=batch))

        assert names <= {"mine_0", "mine_1"}
        assert pool.submit(square, 3).result() == 9  # it has not been shut down


def test_no_more_run_at_once_than_max_jobs() -> None:
    running = set()
    most = []

    def count(number: int) -> None:
        running.add(number)
        most.append(len(running))
        running.discard(number)

    list(jockey.map(count, range(100), execute_in=THREAD, max_jobs=2, batch=1))

    assert max(most) <= 2


def test_functions_see_the_context_of_the_code_that_iterates() -> None:
    token = functions.variable.set("mine")
    try:
        assert set(jockey.map(functions.get_variable, range(3), execute_in=THREAD)) == {"mine"}
    finally:
        functions.variable.reset(token)


# Items


def test_without_items_there_are_no_results() -> None:
    assert list(jockey.map(square, [], execute_in=THREAD)) == []


def test_items_may_be_endless() -> None:
    results = jockey.map(square, itertools.count(), execute_in=THREAD)

    assert list(itertools.islice(results, 100)) == [n * n for n in range(100)]
    results.close()


def test_items_are_read_in_the_thread_that_iterates() -> None:
    connection = sqlite3.connect(":memory:")  # which refuses to be used in any other thread
    connection.execute("create table numbers (number integer)")
    connection.executemany("insert into numbers values (?)", [(n,) for n in range(100)])
    cursor = connection.execute("select number from numbers order by number")

    assert sum(jockey.map(lambda row: square(row[0]), cursor, execute_in=THREAD)) == sum(n * n for n in range(100))
    connection.close()


@pytest.mark.parametrize("window", [1, 5, 64])
def test_no_more_items_are_read_than_the_window_has(window: int) -> None:
    yielded, most = 0, 0

    def numbers() -> Iterator[int]:
        nonlocal most
        for number in range(300):
            most = max(most, number + 1 - yielded)
            yield number

    for _ in jockey.map(square, numbers(), execute_in=THREAD, window=window):
        yielded += 1

    # The result that the loop has got at last counts as yielded only when the loop asks for the next one.
    assert most <= window + 1


def test_nothing_is_read_before_the_first_result_is_asked_for() -> None:
    read = []

    results = jockey.map(square, (read.append(n) or n for n in range(10)), execute_in=THREAD)  # type: ignore[func-returns-value]
    assert read == []

    assert next(results) == 0
    assert read
    results.close()


class Thing:
    """Something that can be watched."""


def test_items_are_let_go_when_they_are_done() -> None:
    alive: weakref.WeakSet[Thing] = weakref.WeakSet()
    most = 0

    def things() -> Iterator[Thing]:
        nonlocal most
        for _ in range(2000):
            thing = Thing()
            alive.add(thing)
            most = max(most, len(alive))
            yield thing
            del thing

    for _ in jockey.map(id, things(), execute_in=THREAD, max_jobs=2, batch=1):
        pass

    assert most < 50
    assert not alive


def test_results_are_let_go_when_they_are_yielded() -> None:
    results = jockey.map(lambda _: Thing(), range(100), execute_in=THREAD, batch=50)

    before = weakref.ref(next(results))
    following = next(results)

    assert before() is None
    assert following
    results.close()


# Errors


@pytest.mark.parametrize(("function", "place"), [(invert, THREAD), (invert_async, THREAD), (invert_async, MAIN)])
def test_error_is_raised_after_the_results_before_it(function: Any, place: ExecuteIn) -> None:
    results = jockey.map(function, [1, 2, 0, 4], execute_in=place)

    assert next(results) == 1
    assert next(results) == 0.5
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)

    assert caught.value.__notes__ == ["item 2 of jockey.map: 0"]
    assert list(results) == []


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_errors_can_be_returned(batch: int) -> None:
    one, error, half = jockey.map(invert, [1, 0, 2], execute_in=THREAD, on_error="return", batch=batch)

    assert (one, half) == (1, 0.5)
    assert isinstance(error, ZeroDivisionError)
    assert error.__notes__ == ["item 1 of jockey.map: 0"]


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_items_that_fail_can_be_skipped(batch: int) -> None:
    assert list(jockey.map(invert, [0, 1, 0, 2, 0], execute_in=THREAD, on_error="skip", batch=batch)) == [1, 0.5]


def test_what_the_items_raise_comes_after_the_results_of_those_before() -> None:
    def numbers() -> Iterator[int]:
        yield from range(5)
        raise OSError("the disk is gone")

    results = jockey.map(square, numbers(), execute_in=THREAD, batch=3, on_error="skip")

    assert list(itertools.islice(results, 5)) == [0, 1, 4, 9, 16]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_items_that_cannot_be_read_at_all() -> None:
    def numbers() -> Iterator[int]:
        raise OSError("no disk")
        yield 1

    with pytest.raises(OSError, match="no disk"):
        list(jockey.map(square, numbers(), execute_in=THREAD))


def test_what_is_no_exception_stops_everything_from_the_event_loop() -> None:
    with pytest.raises(SystemExit) as caught:
        list(jockey.map(functions.exit_program_async, range(3), on_error="skip"))

    assert caught.value.code == 3


def test_what_is_no_exception_fails_its_item_from_a_thread() -> None:
    (error,) = jockey.map(functions.exit_program, [1], execute_in=THREAD, on_error="return")

    assert isinstance(error, jockey.HandlerCrashedError)
    assert isinstance(error.__cause__, SystemExit)


def test_item_that_takes_too_long_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()  # which stands still until the other item is done, however long that takes
    monkeypatch.setattr(_runtime, "_clock_of", lambda _loop: clock)
    stop = threading.Event()

    def wait_if_first(number: int) -> int:
        if number == 0:
            stop.wait(60)
        return number

    results = jockey.map(
        wait_if_first, [0, 1], execute_in=THREAD, max_jobs=2, ordered=False, timeout=0.05, on_error="return"
    )
    assert next(results) == 1
    clock.now += 1
    assert isinstance(next(results), jockey.JobTimeoutError)
    stop.set()
    assert list(results) == []


# Initializers


@pytest.mark.parametrize("function", [functions.square, functions.square_async])
def test_initializer_runs_once_in_each_thread(function: Any) -> None:
    calls: list[tuple[int, str]] = []

    def set_up(name: str) -> None:
        calls.append((threading.get_ident(), name))

    results = jockey.map(function, range(50), execute_in=THREAD, max_jobs=3, initializer=set_up, initargs=["a"])

    assert list(results) == [n * n for n in range(50)]
    assert len(calls) == len(set(calls)) <= 3
    assert {name for _, name in calls} == {"a"}


@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
def test_initializer_that_raises_in_a_thread_ends_the_map(on_error: Any) -> None:
    with pytest.raises(
        jockey.InitializerError, match="the initializer raised OSError\\('no model'\\) in 'jockey thread"
    ):
        list(jockey.map(square, range(50), execute_in=THREAD, initializer=functions.fail_to_set_up, on_error=on_error))


def test_thread_that_goes_on_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()

    results = jockey.map(lambda _: stop.wait(60), [1, 2], execute_in=THREAD, timeout=0.05, on_error="return")
    assert isinstance(next(results), jockey.JobTimeoutError)
    stop.set()
    results.close()

    assert "was stopped, but a thread cannot be; it keeps its slot until it ends" in caplog.text
    assert "Traceback" not in caplog.text
