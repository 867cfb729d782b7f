"""Worker processes that die: only the guilty job fails, and the pool heals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import pytest

import jockey
from jockey._backends import _child
from jockey._backends.process import ProcessBackend
from tests.backends import process_handlers as handlers
from tests.backends.process_observer import Fifo, children, nothing_left, run_for_pid, stop

pytestmark = pytest.mark.anyio
# Pickled at once, in the event loop, and yet more than fits into the buffer of a socket that nobody reads from.
HALF = bytes(250_000)


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


@pytest.mark.parametrize(
    ("handler", "payload", "code", "words"),
    [
        (handlers.exit_with, 7, 7, "exit code 7 while it ran 'exit_with'"),
        (handlers.kill_myself, signal.SIGKILL, -signal.SIGKILL, "ended with SIGKILL while it ran 'kill_myself'"),
        (handlers.kill_myself, signal.SIGTERM, -signal.SIGTERM, "ended with SIGTERM"),
        (handlers.kill_myself, signal.SIGRTMIN + 1, -signal.SIGRTMIN - 1, f"ended with signal {signal.SIGRTMIN + 1}"),
    ],
)
async def test_death_of_the_worker_fails_its_job(
    pool: ProcessBackend, handler: Callable[[int], object], payload: int, code: int, words: str
) -> None:
    with pytest.raises(jockey.WorkerDiedError, match=words) as caught:
        await pool.run(handler, payload)

    assert caught.value.exit_code == code
    assert await pool.run(handlers.echo, 1) == 1


async def test_deaf_worker_is_made_to_end() -> None:
    pool = ProcessBackend(max_jobs_per_process=None, kill_after=0)

    with pytest.raises(jockey.WorkerDiedError, match="SIG"):
        await pool.run(handlers.close_everything, None)

    await pool.aclose()


async def test_death_of_a_worker_fails_no_other_job(pool: ProcessBackend, fifo: Fifo) -> None:
    outcomes: list[object] = []

    async def run() -> None:
        try:
            outcomes.append(await pool.run(handlers.hold_and_wait_to_raise, fifo.path))
        except (jockey.WorkerDiedError, jockey.HandlerCrashedError) as exc:
            outcomes.append(exc)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        group.start_soon(run)
        first, second = int(await fifo.line()), int(await fifo.line())
        os.kill(first, signal.SIGKILL)
        while not outcomes:
            await anyio.wait_all_tasks_blocked()
        os.kill(second, signal.SIGTERM)

    assert [type(outcome) for outcome in outcomes] == [jockey.WorkerDiedError, jockey.HandlerCrashedError]


class TestIdleWorker:
    async def test_whose_death_is_known_is_replaced(self, pool: ProcessBackend, fifo: Fifo) -> None:
        pid = await run_for_pid(pool, handlers.hold, fifo.path)
        await fifo.line()
        os.kill(pid, signal.SIGKILL)
        while pid in children():
            await anyio.wait_all_tasks_blocked()

        assert await pool.run(handlers.pid, None) != pid

    async def test_whose_death_is_not_known_yet_is_replaced(self, pool: ProcessBackend, fifo: Fifo) -> None:
        pid = await run_for_pid(pool, handlers.hold, fifo.path)
        await fifo.line()
        os.kill(pid, signal.SIGKILL)
        await fifo.end()

        assert await pool.run(handlers.pid, None) != pid

    @pytest.mark.parametrize("is_sent", [False, True])
    async def test_that_dies_before_it_reads_the_job_is_replaced(self, pool: ProcessBackend, is_sent: bool) -> None:  # noqa: FBT001
        pid = await run_for_pid(pool, handlers.pid, None)
        pids = []

        async def run() -> None:
            pids.append(await pool.run(handlers.pid, None))

        stop(pid)
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            if is_sent:
                await anyio.wait_all_tasks_blocked()
            os.kill(pid, signal.SIGKILL)

        assert pids != [pid]

    async def test_that_dies_with_half_of_a_job_fails_it(self, pool: ProcessBackend) -> None:
        pid = await run_for_pid(pool, handlers.pid, None)
        stop(pid)

        async with anyio.create_task_group() as group:
            group.start_soon(fails_with_its_worker, pool, HALF)
            await anyio.wait_all_tasks_blocked()
            os.kill(pid, signal.SIGKILL)

        assert await pool.run(handlers.pid, None) != pid


async def fails_with_its_worker(pool: ProcessBackend, payload: object) -> None:
    with pytest.raises(jockey.WorkerDiedError, match="SIGKILL"):
        await pool.run(handlers.echo, payload)


class TestStart:
    async def test_error_of_the_system_fails_the_job(
        self, pool: ProcessBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", refuse)
            with pytest.raises(jockey.WorkerDiedError, match=r"for 'echo' could be started: .*unavailable"):
                await pool.run(handlers.echo, 1)

        assert await pool.run(handlers.echo, 1) == 1

    async def test_lack_of_threads_fails_the_job(self, pool: ProcessBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(jockey.WorkerDiedError, match="could be started: can't start new thread"):
                await pool.run(handlers.echo, 1)

        assert await pool.run(handlers.echo, 1) == 1

    async def test_what_cannot_be_told_to_a_worker_fails_the_job(
        self, pool: ProcessBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", [threading.Lock()])
            with pytest.raises(jockey.TransferError, match=r"cannot be told what it must know.*lock"):
                await pool.run(handlers.echo, 1)

        assert await pool.run(handlers.echo, 1) == 1

    async def test_death_is_noticed_without_waitid(self, pool: ProcessBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "waitid")

        await test_death_of_the_worker_fails_its_job(pool, handlers.exit_with, 7, 7, "exit code 7")


async def test_copy_of_this_process_gives_up_the_pipes(pool: ProcessBackend, fifo: Fifo) -> None:
    await pool.run(handlers.hold, fifo.path)
    await fifo.line()

    _child._forget_all()

    await fifo.end()
