"""Run an async function to its end on a virtual clock, on either backend."""

from __future__ import annotations

import asyncio
import importlib.util
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

import anyio.to_thread
from typing_extensions import TypeVarTuple

from jockey.testing._virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Backend = Literal["asyncio", "trio"]
"""The event loop that `run` uses."""

_Arguments = TypeVarTuple("_Arguments")
_Returned = TypeVar("_Returned")


def run(
    function: Callable[[*_Arguments], Awaitable[_Returned]],
    *args: *_Arguments,
    backend: Backend = "asyncio",
    seed: int | None = None,
    limit: float = inf,
) -> _Returned:
    """
    Run *function* to its end on a clock that does not wait, and return what it returns.

    The clock stands still while anything can run. When nothing can, it jumps to the next timer, so an hour of
    `sleep` costs nothing, and the same program takes the same virtual time on every machine. Only while a thread or,
    on asyncio, a socket or a pipe is busy does the clock keep to real time: what happens there cannot be foretold.
    Threads are known by `anyio.to_thread` with its default limiter and, on asyncio, by `run_in_executor`.

    Args:
        function: An async function; what it raises comes out of `run` unchanged.
        args: What *function* is called with.
        backend: `"asyncio"` or `"trio"`; the latter must be installed.
        seed:
            With a number, tasks that could run at the same time take their turns in a random order, and in the same
            one each time for the same number. asyncio's promises are kept: callbacks run in the order in which they
            were registered, and no task is overtaken twice in one turn. Without one, asyncio keeps its usual order
            and trio its usual disorder.
        limit: Virtual seconds after which *function* is given up.

    Raises:
        StalledError:
            Every task waits and no timer is pending, or the limit is reached; the message tells where each task waits.
        ImportError: *backend* is `"trio"`, and it is not installed.
        ValueError: *backend* is neither.
    """
    if backend == "trio":
        return _run_trio(partial(function, *args), seed, limit)
    if backend != "asyncio":
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
    return _run_asyncio(partial(function, *args), seed, limit)


async def settle() -> None:
    """
    Return when no other task can run without the clock moving.

    This is the way to let things happen in a test before looking at them. Unlike `anyio.wait_all_tasks_blocked` it
    never moves the clock. Use it from one task at a time, under `run`.

    Raises:
        RuntimeError: The event loop is not the one of `run`.
    """
    loop = asyncio._get_running_loop()  # noqa: SLF001 - documented, and the only question that does not raise
    if loop is None:
        from jockey.testing import _trio

        await _trio.settle()
    elif isinstance(loop, VirtualLoop):
        while loop.is_busy():  # noqa: ASYNC110 - others can run, so this is no polling
            await asyncio.sleep(0)
    else:
        raise RuntimeError(f"settle needs the event loop of jockey.testing.run, but this is {loop!r}")


def _run_asyncio(function: Callable[[], Awaitable[_Returned]], seed: int | None, limit: float) -> _Returned:
    loop = VirtualLoop(seed, limit)

    async def watched() -> _Returned:
        # Only inside of the loop can anyio tell the limiter of its threads.
        loop.watch(anyio.to_thread.current_default_thread_limiter())
        return await function()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(watched())


def _run_trio(function: Callable[[], Awaitable[_Returned]], seed: int | None, limit: float) -> _Returned:
    if importlib.util.find_spec("trio") is None:
        raise ImportError("backend='trio' needs trio, which is not installed; run `pip install trio`")
    from jockey.testing import _trio

    return _trio.run(function, seed, limit)
