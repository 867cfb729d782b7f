"""Jobs in worker processes that are cancelled: the worker goes, and the pool heals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from jockey._backends.process import ProcessBackend
from tests.backends import process_handlers as handlers
from tests.backends.process_observer import Fifo, children, nothing_left, run_for_pid, stop

pytestmark = pytest.mark.anyio

# Pickled at once, in the event loop, and yet more than fits into the buffer of a socket that nobody reads from.
HALF = bytes(250_000)

asyncio_only = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture
async def pool() -> AsyncIterator[ProcessBackend]:
    with nothing_left():
        pool = ProcessBackend(max_jobs_per_process=None, kill_after=60)
        yield pool
        await pool.aclose()


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    with contextlib.closing(Fifo(tmp_path / "fifo")) as fifo:
        yield fifo


async def test_worker_is_gone_before_the_cancellation_goes_on(pool: ProcessBackend, fifo: Fifo) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(pool.run, handlers.hold_and_sleep, fifo.path)
        pid = int(await fifo.line())
        group.cancel_scope.cancel()

    assert pid not in children()
    assert await pool.run(handlers.echo, 1) == 1


async def test_worker_that_ignores_sigterm_is_killed(fifo: Fifo) -> None:
    pool = ProcessBackend(max_jobs_per_process=None, kill_after=0)

    async with anyio.create_task_group() as group:
        group.start_soon(pool.run, handlers.hold_and_ignore_sigterm, fifo.path)
        pid = int(await fifo.line())
        group.cancel_scope.cancel()

    assert pid not in children()
    await pool.aclose()


async def test_cancellation_while_a_big_payload_is_sent(pool: ProcessBackend) -> None:
    pid = await run_for_pid(pool, handlers.pid, None)
    stop(pid)

    async with anyio.create_task_group() as group:
        group.start_soon(pool.run, handlers.echo, HALF)
        await anyio.wait_all_tasks_blocked()
        # A stopped process would only hear of SIGTERM when it goes on.
        group.cancel_scope.cancel()
        os.kill(pid, signal.SIGCONT)

    assert pid not in children()
    assert await pool.run(handlers.echo, 1) == 1


@asyncio_only
async def test_cancellation_of_the_task_itself(pool: ProcessBackend, fifo: Fifo) -> None:
    task = asyncio.ensure_future(pool.run(handlers.hold_and_sleep, fifo.path))
    pid = int(await fifo.line())

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert pid not in children()


@asyncio_only
async def test_cancellation_of_the_task_itself_twice_kills_at_once(pool: ProcessBackend, fifo: Fifo) -> None:
    task = asyncio.ensure_future(pool.run(handlers.hold_and_ignore_sigterm, fifo.path))
    pid = int(await fifo.line())

    task.cancel()
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert pid not in children()
