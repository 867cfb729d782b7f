"""However the loop over the results of `jockey.map` is left: nothing of the map is left over."""

from __future__ import annotations

import gc
import itertools
import signal
import sys
import threading
from collections.abc import Iterator
from traceback import walk_tb
from typing import Any

import anyio
import pytest

import jockey
from jockey import ExecuteIn
from jockey._parallel import _sync
from tests.parallel import functions
from tests.parallel.functions import square

THREAD = ExecuteIn.THREAD


def is_running() -> bool:
    return any(thread.name == "jockey map" and thread.is_alive() for thread in threading.enumerate())


def test_nothing_has_started_before_the_first_result_is_asked_for() -> None:
    results = jockey.map(square, range(3), execute_in=THREAD)

    assert not is_running()
    results.close()
    assert list(results) == []


def test_map_that_nobody_asks_for_results_leaves_nothing() -> None:
    jockey.map(square, range(3), execute_in=THREAD)

    assert not is_running()


def test_end() -> None:
    list(jockey.map(square, range(3), execute_in=THREAD))

    assert not is_running()


def test_break() -> None:
    for _ in jockey.map(square, itertools.count(), execute_in=THREAD):
        break

    assert not is_running()


def test_close() -> None:
    results = jockey.map(square, itertools.count(), execute_in=THREAD)
    next(results)
    assert is_running()

    results.close()

    assert not is_running()
    assert list(results) == []


def test_exception_in_the_loop() -> None:
    def use() -> None:
        for _ in jockey.map(square, itertools.count(), execute_in=THREAD):
            raise ValueError

    with pytest.raises(ValueError):
        use()
    gc.collect()  # the traceback has the iterator

    assert not is_running()


def test_iterator_that_is_collected() -> None:
    results = jockey.map(square, itertools.count(), execute_in=THREAD)
    next(results)

    del results
    gc.collect()

    assert not is_running()


def test_iterator_that_is_closed_in_another_thread() -> None:
    results = jockey.map(square, itertools.count(), execute_in=THREAD)
    next(results)

    closer = threading.Thread(target=results.close)
    closer.start()
    closer.join()

    assert not is_running()


def test_iterator_that_is_collected_in_the_very_thread_of_its_event_loop() -> None:
    """The collector runs wherever it likes; there, nobody can wait for the end of the loop."""
    held: list[Any] = []

    def let_go(number: int) -> int:
        held.clear()
        return number

    # A plain function in MAIN runs in the thread of the loop. It is the second item that drops the iterator, while the
    # thread that iterates does something else.
    results = jockey.map(let_go, itertools.count(), execute_in=ExecuteIn.MAIN, window=1, max_jobs=1)
    next(results)
    thread = next(thread for thread in threading.enumerate() if thread.name == "jockey map")
    run = results.gi_frame.f_locals["run"]
    held.append(results)
    del results

    run._call_in_loop(held.clear)
    thread.join(60)

    assert not is_running()


def test_map_that_is_still_open_when_the_program_ends() -> None:
    results = jockey.map(square, itertools.count(), execute_in=THREAD)
    next(results)

    _sync._close_all()

    assert not is_running()
    with pytest.raises(jockey.JobCancelledError, match="closed while it was running"):
        list(results)


def test_source_can_be_used_after_the_map() -> None:
    numbers = iter(range(100))

    for _ in jockey.map(square, numbers, execute_in=THREAD, max_jobs=1, batch=1):
        break

    assert next(numbers) < 10


# Where it may be called


def test_in_a_thread() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(jockey.map(square, range(10), execute_in=THREAD)))

    thread.start()
    thread.join()

    assert found == [n * n for n in range(10)]


@pytest.mark.anyio
async def test_in_an_event_loop_it_works_and_blocks() -> None:
    assert list(jockey.map(square, range(10), execute_in=THREAD)) == [n * n for n in range(10)]
    assert list(jockey.map(functions.square_async, range(10))) == [n * n for n in range(10)]


@pytest.mark.anyio
@pytest.mark.parametrize("place", [THREAD, ExecuteIn.MAIN])
async def test_in_a_handler(place: ExecuteIn) -> None:
    registry = jockey.Registry[int, str, int]()

    @registry.add("sum", execute_in=place)
    def sum_of_squares(count: int) -> int:
        return sum(jockey.map(square, range(count), execute_in=THREAD))

    async with jockey.Executor(registry, max_jobs=1, blocked_after=None).run() as running:
        assert await running.submit("sum", 4).result() == 14


def test_in_a_map() -> None:
    def sum_of_squares(count: int) -> int:
        return sum(jockey.map(square, range(count), execute_in=THREAD))

    assert list(jockey.map(sum_of_squares, [2, 4], execute_in=THREAD)) == [1, 14]


# Ctrl-C, as the thread that waits sees it


def interrupting(numbers: range) -> Iterator[int]:
    """Give the numbers; then Ctrl-C comes."""
    yield from numbers
    signal.raise_signal(signal.SIGINT)
    yield -1


def test_interrupt_while_items_are_read() -> None:
    results = jockey.map(square, interrupting(range(100)), execute_in=THREAD, window=10)

    with pytest.raises(KeyboardInterrupt):
        list(results)

    assert not is_running()


def test_interrupt_while_waiting_for_results() -> None:
    stop = threading.Event()

    def interrupt(_: object) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        stop.wait(60)

    def use() -> None:
        try:
            list(jockey.map(interrupt, [1], execute_in=THREAD))
        finally:
            stop.set()

    with pytest.raises(KeyboardInterrupt):
        use()

    assert not is_running()


class Interrupts:
    """An event that is set only after so many Ctrl-Cs."""

    def __init__(self, event: threading.Event, count: int) -> None:
        self._event = event
        self._count = count

    def is_set(self) -> bool:
        return not self._count and self._event.is_set()

    def set(self) -> None:
        self._event.set()

    def wait(self, timeout: float | None = None) -> bool:
        if self._count:
            self._count -= 1
            raise KeyboardInterrupt
        return self._event.wait(timeout)


def opened() -> tuple[Any, Any]:
    """Return a map that runs, and its driver."""
    results = jockey.map(square, itertools.count(), execute_in=THREAD)
    next(results)
    return results, results.gi_frame.f_locals["run"]


def test_interrupt_while_closing_comes_when_all_is_closed() -> None:
    results, run = opened()
    run._is_over = Interrupts(run._is_over, 1)

    with pytest.raises(KeyboardInterrupt):
        results.close()

    assert not is_running()


def test_second_interrupt_while_closing_does_not_wait() -> None:
    results, run = opened()
    thread = run._thread
    run._is_over = Interrupts(run._is_over, 2)

    with pytest.raises(KeyboardInterrupt):
        results.close()

    thread.join(60)  # it ends without anybody who waits
    assert not is_running()


def test_what_does_not_end_after_an_interrupt_is_left_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sync, "_PATIENCE", 0.001)
    is_there, go_on = threading.Event(), threading.Event()

    async def be_stubborn(number: int) -> int:
        with anyio.CancelScope(shield=True):
            while number and not go_on.is_set():
                is_there.set()
                await anyio.sleep(0.001)
        return number

    results = jockey.map(be_stubborn, [0, 1])
    next(results)
    assert is_there.wait(60)  # what has not started yet is not stubborn either
    run = results.gi_frame.f_locals["run"]
    run._is_over = Interrupts(run._is_over, 1)

    with pytest.raises(KeyboardInterrupt):
        results.close()

    assert run._thread.is_alive()
    go_on.set()
    run._thread.join(60)
    assert not is_running()


def test_interrupt_is_one_error_even_if_there_are_more() -> None:
    results, run = opened()
    run._is_over = Interrupts(run._is_over, 1)

    with pytest.raises(KeyboardInterrupt) as caught:
        results.throw(KeyboardInterrupt("the first"))

    assert caught.value.args == ("the first",)
    assert not is_running()


def test_no_room_for_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    results = jockey.map(square, [1], execute_in=THREAD)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            next(results)


def test_no_room_for_another_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(main: Any) -> None:
        main.close()
        raise OSError("too many open files")

    monkeypatch.setattr("asyncio.run", refuse)

    with pytest.raises(OSError, match="too many open files"):
        list(jockey.map(square, [1], execute_in=THREAD))


def test_close_after_there_was_no_room_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(main: Any) -> None:
        main.close()
        raise OSError("too many open files")

    results = jockey.map(square, [1], execute_in=THREAD)
    monkeypatch.setattr("asyncio.run", refuse)
    with pytest.raises(OSError, match="too many open files") as caught:
        next(results)
    run = next(frame.f_locals["run"] for frame, _ in walk_tb(caught.tb) if "run" in frame.f_locals)

    run._stop()  # as when it fails in the very moment in which somebody closes it

    assert not is_running()


def test_executor_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise jockey.RegistrationError("not on this platform")

    monkeypatch.setattr("jockey._parallel._host.running", refuse)

    with pytest.raises(jockey.RegistrationError, match="not on this platform"):
        list(jockey.map(square, [1], execute_in=THREAD))


def test_batch_that_comes_after_the_end_is_not_run() -> None:
    results, run = opened()
    results.close()

    run._accept(None)

    assert run._engine.pending == 0


def test_it_is_a_platform_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "emscripten")

    with pytest.raises(jockey.RegistrationError, match="use jockey.amap"):
        jockey.map(square, [1])
