"""The pool of threads next to a runtime that hands its callbacks to the test, so that races can be played through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from jockey import ExecuteIn, Priority
from jockey._backends.thread import ThreadBackend
from jockey._handler import Handler, Options

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Desk:
    """A runtime whose callbacks wait until the test runs them."""

    backend = "asyncio"

    def __init__(self, *, has_ended: bool = False) -> None:
        self.callbacks: list[Callable[[], object]] = []
        self.has_ended = has_ended
        self.has_refused = False

    def call_soon_threadsafe(self, function: Callable[[], object]) -> None:
        if self.has_ended:
            self.has_refused = True
            raise RuntimeError("the loop has ended")
        self.callbacks.append(function)

    def note_outside(self, _change: int) -> None: ...


def caller(desk: Desk, abandoned: list[Any]) -> tuple[ThreadBackend, Callable[[Any], Any]]:
    options = Options(ExecuteIn.THREAD, None, None, None, Priority.NORMAL, ())
    backend = ThreadBackend(desk, abandoned.append)  # type: ignore[arg-type]
    return backend, backend.in_thread(Handler.of(lambda payload: payload, options))


async def test_a_call_that_ended_in_the_very_turn_in_which_its_task_was_cancelled_is_not_stuck() -> None:
    desk, abandoned = Desk(), []
    backend, call = caller(desk, abandoned)

    task = asyncio.ensure_future(call("payload"))
    while not desk.callbacks:
        await anyio.sleep(0.001)
    desk.callbacks.pop()()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await backend.close()

    assert abandoned == []


async def test_a_thread_that_outlives_its_event_loop_ends_by_itself() -> None:
    desk, abandoned = Desk(has_ended=True), []
    backend, call = caller(desk, abandoned)

    task = asyncio.ensure_future(call("payload"))
    while not desk.has_refused:
        await anyio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    (stuck,) = abandoned
    while stuck.thread.is_alive():
        await anyio.sleep(0.001)
    await backend.close()


async def test_calls_that_end_before_the_loop_looks_wake_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, results, told = Desk(), [], []
    backend, call = caller(desk, [])
    add = backend._returns.add

    def add_and_tell(ended: Any) -> None:
        add(ended)
        told.append(ended)

    monkeypatch.setattr(backend._returns, "add", add_and_tell)

    async def run(payload: int) -> None:
        results.append(await call(payload))

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(run, number)
            while len(told) <= number:  # two that end at the very same time may both wake it
                await anyio.sleep(0.001)
        assert len(desk.callbacks) == 1
        desk.callbacks.pop()()
    await backend.close()

    assert sorted(results) == [0, 1, 2, 3, 4]


async def test_a_thread_that_gets_idle_while_all_is_closed_ends() -> None:
    class ClosedMeanwhile(list[Any]):
        """What is closed just before another thread gets idle: too late to be let go with the others."""

        def append(self, worker: Any) -> None:
            backend._is_closed = True
            super().append(worker)

    abandoned: list[Any] = []
    backend, call = caller(Desk(), abandoned)
    backend._idle = ClosedMeanwhile()

    task = asyncio.ensure_future(call("payload"))
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    abandoned[0].thread.join()
