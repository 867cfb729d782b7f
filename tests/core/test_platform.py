"""Where there are no threads and no processes, handlers for them run in the event loop, and that is told once."""

from __future__ import annotations

import sys
import threading
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

import jockey._backends
from jockey import ExecuteIn, Executor, Registry, Success
from jockey.testing import Recorder
from tests.core.story import registry_of

pytestmark = pytest.mark.anyio

MESSAGE = "there are no threads and processes here: handlers for them, such as '{}', run in MAIN"


@pytest.fixture(autouse=True)
def _emscripten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "emscripten")


def tell_thread(_: object) -> int:
    return threading.get_ident()


async def tell_thread_async(_: object) -> int:
    return threading.get_ident()


class Unpicklable:
    def __call__(self, payload: int) -> int:
        return payload + 1

    def __reduce__(self) -> Any:
        raise TypeError("not me")


async def test_handlers_for_threads_and_processes_run_in_the_event_loop_with_one_warning() -> None:
    registry: Registry[Any, str, int] = Registry()
    registry.add("thread", execute_in=ExecuteIn.THREAD)(tell_thread)
    registry.add("async", execute_in=ExecuteIn.THREAD)(tell_thread_async)
    registry.add("process", execute_in=ExecuteIn.PROCESS)(tell_thread)
    registry.add("main")(tell_thread)
    messages = [Recorder(key) for key in ("thread", "async", "process", "main")]

    with pytest.warns(RuntimeWarning) as caught:
        async with Executor(registry).run() as running:
            for message in messages:
                running.schedule(message)

    assert [str(warning.message) for warning in caught] == [MESSAGE.format("tell_thread")]
    assert [message.outcome for message in messages] == [Success(threading.get_ident())] * 4


@pytest.mark.parametrize("execute_in", [ExecuteIn.THREAD, ExecuteIn.PROCESS])
async def test_each_run_warns_once(execute_in: ExecuteIn) -> None:
    executor = Executor(registry_of(tell_thread, execute_in=execute_in))

    for _ in range(2):
        with pytest.warns(RuntimeWarning) as caught:
            async with executor.run():
                pass

        assert [str(warning.message) for warning in caught] == [MESSAGE.format("tell_thread")]


async def test_handlers_for_the_event_loop_are_no_reason_to_warn() -> None:
    message = Recorder("job")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with Executor(registry_of(tell_thread)).run() as running:
            running.schedule(message)

    assert caught == []
    assert message.completed == ["success"]


async def test_caps_for_threads_and_processes_do_not_count_there() -> None:
    registry = registry_of(tell_thread, execute_in=ExecuteIn.THREAD)

    with pytest.warns(RuntimeWarning):
        async with Executor(registry, max_threads=1, max_processes=1).run() as running:
            results = [await running.submit("job", None).result() for _ in range(3)]

    assert results == [threading.get_ident()] * 3


async def test_a_function_that_no_process_could_find_is_no_error_there() -> None:
    registry = registry_of(Unpicklable(), execute_in=ExecuteIn.PROCESS)

    with pytest.warns(RuntimeWarning):
        async with Executor(registry).run() as running:
            assert await running.submit("job", 4).result() == 5


@pytest.mark.parametrize("affinity", [{0, 1, 2}, None])
def test_there_is_a_process_for_each_processor(affinity: set[int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    system: Any = SimpleNamespace(cpu_count=lambda: 7)
    if affinity is not None:
        system.sched_getaffinity = lambda _: affinity

    monkeypatch.setattr(jockey._backends, "os", system)

    assert jockey._backends.cpu_count() == (3 if affinity else 7)
