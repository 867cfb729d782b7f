"""How long the event loop is kept from its other tasks while a long backlog is worked off or cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jockey
from tests.benchmarks.contenders.handlers import noop
from tests.benchmarks.contenders.messages import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class _Watch:
    """
    Ticks in the loop, and keeps the longest time between two ticks.

    Time of this thread's processor, not of the wall: what other programs take from us is no stall of ours.
    """

    def __init__(self) -> None:
        self.stall = 0.0
        self.pause = 0.0
        self._pause_began = 0.0

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Tick while the block runs; the time from the last tick to the end of the block counts too."""
        gc.callbacks.append(self._collects)
        ticking = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        try:
            yield
            # The tick that closes the last interval.
            await asyncio.sleep(0.01)
        finally:
            ticking.cancel()
            gc.callbacks.remove(self._collects)

    async def _tick(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            self.stall = max(self.stall, now - last)
            last = now

    def _collects(self, phase: str, _: dict[str, Any]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._pause_began = now
        else:
            self.pause = max(self.pause, now - self._pause_began)


class _Waiting:
    """Keeps the slots taken, so that all other jobs stay queued."""

    async def wait(self, _: int) -> int:
        await asyncio.Event().wait()
        return 0


def work_off(jobs: int, *, collector: bool) -> dict[str, float]:
    """Measure while no-op jobs run."""
    return _measure(_work_off, jobs, collector=collector)


def leave(jobs: int, *, collector: bool) -> dict[str, float]:
    """Measure while the code inside `run()` is cancelled, 16 jobs run and all others are queued."""
    return _measure(_leave, jobs, collector=collector)


def cancel_each(jobs: int, *, collector: bool) -> dict[str, float]:
    """Measure while each handle is cancelled; the loop that calls `cancel` is the caller's own, and is not watched."""
    return _measure(_cancel_each, jobs, collector=collector)


def _measure(run: Any, jobs: int, *, collector: bool) -> dict[str, float]:
    messages = [Message("wait", number) for number in range(jobs)]
    watch = _Watch()
    if not collector:
        gc.disable()
    try:
        seconds = asyncio.run(run(messages, watch))
    finally:
        gc.enable()
    return {"seconds": seconds, "stall": watch.stall, "pause": watch.pause}


def _executor(handler: Any) -> jockey.Executor[int, str, int]:
    registry = jockey.Registry[int, str, int]()
    registry.add("wait")(handler)
    return jockey.Executor(registry, max_jobs=16)


async def _work_off(messages: Sequence[Message], watch: _Watch) -> float:
    async with _executor(noop).run() as running:
        for message in messages:
            running.schedule(message)
        async with watch.watching():
            started = time.perf_counter()
            await running.drain()
            return time.perf_counter() - started


async def _leave(messages: Sequence[Message], watch: _Watch) -> float:
    queued = asyncio.Event()

    async def run() -> None:
        async with _executor(_Waiting().wait).run() as running:
            for message in messages:
                running.schedule(message)
            queued.set()
            await asyncio.Event().wait()

    body = asyncio.create_task(run())
    await queued.wait()
    await asyncio.sleep(0.01)
    async with watch.watching():
        started = time.perf_counter()
        body.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await body
        return time.perf_counter() - started


async def _cancel_each(messages: Sequence[Message], watch: _Watch) -> float:
    async with _executor(_Waiting().wait).run() as running:
        handles = [running.schedule(message) for message in messages]
        await asyncio.sleep(0.01)
        started = time.perf_counter()
        for handle in handles:
            handle.cancel()
        async with watch.watching():
            await running.drain()
            return time.perf_counter() - started
