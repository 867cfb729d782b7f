"""Tasks as handlers of the core: functions of one payload, which is a call with all its arguments."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, cast

from jockey._options import ExecuteIn
from jockey._registry import Registry
from jockey.jobs._delivery import DONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jockey.jobs._arguments import Call
    from jockey.jobs._task import Task

_HERE = frozenset({ExecuteIn.MAIN, ExecuteIn.THREAD})


def registry_of(tasks: Iterable[Task[..., Any]]) -> Registry[Any, Any, Any]:
    """
    Return a registry of all *tasks*, by their names.

    Raises:
        RegistrationError: One of them cannot run where it is to run.
    """
    registry: Registry[Any, Any, Any] = Registry()
    registry.add(DONE)(_give_back)
    for task in tasks:
        options = task.handler_options()
        handler: Any = _handler_of(task) if options["execute_in"] in _HERE else _Elsewhere(task)
        registry.add(task.name, **options)(handler)
    return registry


def _handler_of(task: Task[..., Any]) -> Callable[[Call], Any]:
    function = task.function

    @functools.wraps(function)
    def run(call: Call) -> object:
        return function(*call.args, **call.kwargs)

    run.__qualname__ = task.name  # by that name the core speaks of it
    return _marked_async(run) if inspect.iscoroutinefunction(function) else run


def _marked_async(run: Callable[[Call], Any]) -> Callable[[Call], Any]:
    """Return *run*, which returns a coroutine, as a function that is known to be async."""
    mark: Callable[[Any], Any] | None = getattr(inspect, "markcoroutinefunction", None)  # since Python 3.12
    if mark is not None:
        return cast("Callable[[Call], Any]", mark(run))

    @functools.wraps(run)
    async def run_async(call: Call) -> object:
        return await run(call)

    return run_async


class _Elsewhere:
    """A handler that travels to where it runs: by the name of its task."""

    def __init__(self, task: Task[..., Any]) -> None:
        self.__qualname__ = task.name
        self._task = task

    def __call__(self, call: Call) -> object:
        return self._task.function(*call.args, **call.kwargs)


async def _give_back(result: object) -> object:
    return result
