"""Arguments of `map` and `amap` that make no sense are refused by the call itself."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

import jockey
from jockey import ExecuteIn, RegistrationError
from jockey._backends import _guard
from jockey._parallel import _plan
from tests.parallel.functions import set_up, square, square_async

Map = Callable[..., Any]

PROCESS = ExecuteIn.PROCESS
THREAD = ExecuteIn.THREAD


@pytest.fixture(params=[jockey.map, jockey.amap], ids=["map", "amap"])
def any_map(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"execute_in": "process"}, "execute_in must be a member of jockey.ExecuteIn or a concurrent.futures.Executor"),
        ({"max_jobs": 0}, "max_jobs must be at least 1, got 0"),
        ({"ordered": 1}, "ordered must be True or False, got 1"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"batch": "big"}, "batch must be a number of items or 'auto', got 'big'"),
        ({"batch": 2.5}, "batch must be a whole number, got 2.5"),
        ({"on_error": "ignore"}, "on_error must be one of raise, return, skip, got 'ignore'"),
        ({"timeout": 0}, "^timeout must be a finite number of seconds, more than 0, got 0"),
        ({"timeout": 1, "batch": 2}, "batch must be 1 or 'auto' with it, got 2"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"window": 5, "batch": 6}, "window must be at least 6, got 5"),
        ({"progress": "yes"}, "progress must be True, or a plain function of the items done and all items, got 'yes'"),
        ({"progress": square_async}, "progress must be True, or a plain function"),
        ({"initializer": 5}, "initializer must be a function that sets up a worker, got 5"),
        ({"initializer": set_up, "initargs": "ab"}, r"initargs must be a list of arguments, got 'ab'"),
        ({"initializer": set_up, "execute_in": ExecuteIn.MAIN}, "not for ExecuteIn.MAIN: set up what you need there"),
        ({"batch": 2, "execute_in": ExecuteIn.MAIN}, "there, a batch saves nothing"),
    ],
)
def test_senseless_option(any_map: Map, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RegistrationError, match=message):
        any_map(square, [1], **options)


def test_initializer_is_not_for_executors_of_others(any_map: Map) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(RegistrationError, match="not for ThreadPoolExecutor: set up"):
        any_map(square, [1], execute_in=pool, initializer=set_up)


def test_batches_are_not_for_async_functions(any_map: Map) -> None:
    with pytest.raises(RegistrationError, match="batch must be 1 or 'auto' for what is async or runs in MAIN, got 2"):
        any_map(square_async, [1], execute_in=THREAD, batch=2)


def test_function_that_is_none(any_map: Map) -> None:
    with pytest.raises(RegistrationError, match="map needs a function, got \\[1\\]"):
        any_map([1], square)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda number: number, "cannot be sent to a process: it is a lambda"),
        (square_async, "is async and cannot run in a process"),
        (functools.partial(max, threading.Lock()), "cannot be sent to a process: cannot pickle"),
    ],
    ids=["lambda", "async", "lock"],
)
def test_function_that_a_process_cannot_run(any_map: Map, function: Any, message: str) -> None:
    with pytest.raises(RegistrationError, match=message):
        any_map(function, [1], execute_in=PROCESS)


def typed_in(number: int) -> int:
    return number


@pytest.mark.parametrize(
    "main",
    [
        {},
        {"__file__": "<stdin>"},
        {"__file__": __file__, "__spec__": ModuleSpec("_pyrepl.__main__", None)},
    ],
    ids=["notebook", "stdin", "prompt"],
)
def test_function_from_an_interactive_session(
    any_map: Map, main: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("__main__")
    vars(module).update(main, typed_in=typed_in)
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setattr(typed_in, "__module__", "__main__")

    with pytest.raises(RegistrationError, match=r"(?s)put it in a module.*THREAD.*loky.get_reusable_executor"):
        any_map(typed_in, [1])


def test_function_from_a_script(any_map: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("__main__")
    vars(module).update(__file__=__file__, typed_in=typed_in)
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setattr(typed_in, "__module__", "__main__")

    any_map(typed_in, [1])


def test_items_that_are_none(any_map: Map) -> None:
    with pytest.raises(RegistrationError, match="the items must be an iterable, got 5"):
        any_map(square, 5)


async def numbers() -> AsyncIterator[int]:
    yield 1


def test_map_reads_no_async_items() -> None:
    with pytest.raises(RegistrationError, match="use `async for` with jockey.amap"):
        jockey.map(square, numbers())  # type: ignore[call-overload]


def test_worker_that_imports_its_script_is_refused(any_map: Map, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guard, "is_preparing_main", lambda: True)

    with pytest.raises(RegistrationError, match="__main__"):
        any_map(square, [1])


# How many run at once


class Told(Executor):
    """Tells, or not, how many workers it has."""

    def __init__(self, workers: object) -> None:
        self._max_workers = workers

    def __repr__(self) -> str:
        return f"Told({self._max_workers!r})"


@pytest.mark.parametrize(
    ("place", "workers"),
    [
        (PROCESS, 3),
        (THREAD, 16),
        (ExecuteIn.MAIN, 16),
        (Told(5), 5),
        (Told("many"), 16),
        (Told(0), 16),
        (Executor(), 16),
    ],
)
def test_number_of_workers(place: Any, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plan, "cpu_count", lambda: 3)

    plan = _plan.plan_of(
        square,
        _plan.Plan(True, "auto", "raise", None, None),
        execute_in=place,
        max_jobs=None,
        timeout=None,
        initializer=None,
        initargs=(),
    )

    assert plan.workers == workers
