"""Worker processes that do what they should: results, streams, forks, replacement, leaving nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import pytest

import jockey
from jockey._backends.process import ProcessBackend
from tests.backends import process_handlers as handlers
from tests.backends.process_observer import Fifo, children, nothing_left

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pool() -> AsyncIterator[ProcessBackend]:
    pool = ProcessBackend(max_jobs_per_process=None)
    yield pool
    await pool.aclose()


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    with contextlib.closing(Fifo(tmp_path / "fifo")) as fifo:
        yield fifo


async def test_closed_pool_leaves_no_process_and_no_descriptor() -> None:
    with nothing_left():
        pool = ProcessBackend(max_jobs_per_process=None)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(pool.run, handlers.pid, None)

        await pool.aclose()


async def test_pool_without_jobs_closes() -> None:
    await ProcessBackend(max_jobs_per_process=None).aclose()


async def test_closed_pool_takes_no_jobs() -> None:
    pool = ProcessBackend(max_jobs_per_process=None)
    await pool.aclose()

    with pytest.raises(jockey.ExecutorClosedError, match="'echo' came after"):
        await pool.run(handlers.echo, 1)


async def test_job_that_runs_when_the_pool_closes_still_answers(pool: ProcessBackend, fifo: Fifo) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(pool.run, handlers.hold, fifo.path)
        assert await fifo.line()

        await pool.aclose()

    await fifo.end()


async def test_worker_is_used_again(pool: ProcessBackend) -> None:
    assert await pool.run(handlers.pid, None) == await pool.run(handlers.pid, None) != os.getpid()


async def test_jobs_at_once_have_workers_of_their_own(pool: ProcessBackend) -> None:
    pids = []

    async def run() -> None:
        pids.append(await pool.run(handlers.pid, None))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(run)

    assert len(set(pids)) == 3


async def test_handler_runs_in_the_main_thread_and_alone(pool: ProcessBackend) -> None:
    assert await pool.run(handlers.is_main_thread, None)
    assert await pool.run(handlers.kernel_threads, None) == 1


async def test_worker_ignores_sigint_and_obeys_sigterm(pool: ProcessBackend) -> None:
    assert await pool.run(handlers.dispositions, None) == (True, True, 0)


async def test_worker_starts_without_jockey_and_anyio(pool: ProcessBackend) -> None:
    names = ["jockey", "jockey._backends", "anyio", "jockey._backends._worker"]

    assert await pool.run(handlers.modules, names) == ["jockey._backends._worker"]


@pytest.mark.parametrize("number", [2, 3])
async def test_handler_with_state_is_sent_each_time(pool: ProcessBackend, number: int) -> None:
    assert await pool.run(handlers.Callable(number), 7) == 7 * number


async def test_many_handlers_with_state_are_not_all_kept(pool: ProcessBackend) -> None:
    assert [await pool.run(handlers.Callable(number), 2) for number in range(300)] == list(range(0, 600, 2))


async def test_streams_are_left_to_handlers(pool: ProcessBackend, capfd: pytest.CaptureFixture[str]) -> None:
    await pool.run(handlers.print_everywhere, "this")

    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["print this", "run this", "system this", "write this"]
    assert err == "stderr this\n"


async def test_handler_may_take_stdout_away(pool: ProcessBackend) -> None:
    await pool.run(handlers.remove_stdout, None)

    assert await pool.run(handlers.echo, 1) == 1


class TestFork:
    async def test_only_one_side_answers(self, pool: ProcessBackend) -> None:
        child = await pool.run(handlers.fork_and_return_twice, None)

        assert child
        assert await pool.run(handlers.exit_code_of, child) == 0

    @pytest.mark.parametrize(("code", "expected"), [(None, 0), (3, 3), ("a text", 1)])
    async def test_exit_code_is_that_of_sys_exit(self, pool: ProcessBackend, code: object, expected: int) -> None:
        child = await pool.run(handlers.fork_and_exit, code)

        assert await pool.run(handlers.exit_code_of, child) == expected

    async def test_error_in_the_child_stays_there(self, pool: ProcessBackend) -> None:
        child = await pool.run(handlers.fork_and_raise, None)

        assert await pool.run(handlers.exit_code_of, child) == 1

    @pytest.mark.parametrize(
        ("handler", "code"),
        [(handlers.die_and_leave_a_child, 7), (handlers.die_and_leave_a_child_unknown_to_python, 8)],
    )
    async def test_child_does_not_hide_the_death_of_the_worker(
        self, pool: ProcessBackend, fifo: Fifo, handler: Callable[[str], None], code: int
    ) -> None:
        with pytest.raises(jockey.WorkerDiedError) as caught:
            await pool.run(handler, fifo.path)

        assert caught.value.exit_code == code
        os.kill(int(await fifo.line()), signal.SIGKILL)
        await fifo.end()

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    async def test_multiprocessing_works_in_a_handler(self, pool: ProcessBackend, method: str) -> None:
        assert await pool.run(handlers.run_process, method) == 0


class TestReplacement:
    async def test_worker_is_replaced_after_its_jobs(self) -> None:
        pool = ProcessBackend(max_jobs_per_process=2)

        pids = [await pool.run(handlers.pid, None) for _ in range(5)]
        await pool.aclose()

        assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
        assert not children() & set(pids)

    async def test_worker_that_does_not_go_is_killed_when_the_next_one_goes(self, fifo: Fifo) -> None:
        pool = ProcessBackend(max_jobs_per_process=1, exit_within=0)
        await pool.run(handlers.ignore_sigterm_and_never_end, fifo.path)
        await fifo.line()

        await pool.run(handlers.echo, 1)

        await fifo.end()
        await pool.aclose()

    async def test_worker_that_does_not_go_is_killed_at_the_end(self, fifo: Fifo) -> None:
        pool = ProcessBackend(max_jobs_per_process=None, exit_within=0, kill_after=0)
        stubborn = await pool.run(handlers.ignore_sigterm_and_never_end, fifo.path)

        await pool.aclose()

        assert stubborn not in children()
        assert int(await fifo.line()) == stubborn
        await fifo.end()


def test_pool_is_refused_where_there_is_no_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        with pytest.raises(jockey.RegistrationError, match="PROCESS needs a POSIX system, this one is 'nt'"):
            ProcessBackend(max_jobs_per_process=None)
