"""The initializer: once in each worker process, before its first job."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import jockey
from jockey._backends._child import Child
from jockey._backends.process import ProcessBackend
from jockey.testing import Recorder
from tests.backends import process_batches as batches
from tests.backends import process_handlers as handlers
from tests.backends.process_failures import OnlyHere
from tests.backends.process_observer import nothing_left

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


PoolWith = Callable[..., ProcessBackend]


@pytest.fixture
async def pool_with() -> AsyncIterator[PoolWith]:
    pools: list[ProcessBackend] = []

    def pool_with(initializer: Callable[..., object], *initargs: object) -> ProcessBackend:
        pools.append(ProcessBackend(max_jobs_per_process=None, initializer=initializer, initargs=initargs))
        return pools[-1]

    with nothing_left():
        yield pool_with
        for pool in pools:
            await pool.aclose()


async def test_runs_once_in_each_worker(pool_with: PoolWith) -> None:
    pool = pool_with(batches.set_up, "a", 1)
    found: list[Any] = []

    async def run() -> None:
        found.append(await pool.run(batches.settings, None))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        group.start_soon(run)
    found.append(await pool.run(batches.settings, None))

    assert [len(settings) for settings in found] == [1, 1, 1]
    assert {settings[0][1:] for settings in found} == {("a", 1)}
    assert len({settings[0][0] for settings in found}) == 2


async def test_runs_again_in_the_successor_of_a_worker_that_was_lost(pool_with: PoolWith) -> None:
    pool = pool_with(batches.set_up)
    first: Any = await pool.run(batches.settings, None)

    with pytest.raises(jockey.WorkerDiedError):
        await pool.run(handlers.exit_with, 1)
    second: Any = await pool.run(batches.settings, None)

    assert len(first) == len(second) == 1
    assert first != second


@pytest.mark.parametrize(
    ("method", "initializer", "argument", "words"),
    [
        ("run_batch", batches.refuse, None, ["LookupError('no such setting')", "in refuse", "the initializer raised"]),
        ("run", batches.leave, None, ["SystemExit(4)", "in leave"]),
        ("run", batches.set_up, OnlyHere(0), ["RuntimeError('not in this process')"]),
    ],
)
async def test_that_raises_fails_the_jobs(
    pool_with: PoolWith, method: str, initializer: Callable[..., object], argument: object, words: list[str]
) -> None:
    pool = pool_with(initializer, argument)

    for _ in range(2):
        with pytest.raises(jockey.InitializerError) as caught:
            await getattr(pool, method)(handlers.echo, [1])
        assert [word for word in words if word not in str(caught.value)] == []
        assert "Traceback" in str(caught.value.__cause__)


@pytest.mark.parametrize("method", ["run", "run_batch"])
async def test_that_kills_its_worker_fails_the_job(pool_with: PoolWith, method: str) -> None:
    pool = pool_with(batches.die)

    with pytest.raises(jockey.WorkerDiedError, match="exit code 7 while it started for 'echo', as the one before it"):
        await getattr(pool, method)(handlers.echo, [1])


@pytest.mark.parametrize("method", ["run", "run_batch"])
async def test_a_worker_that_dies_while_it_starts_is_replaced(pool_with: PoolWith, method: str, tmp_path: Path) -> None:
    pool = pool_with(batches.die_once, str(tmp_path / "mark"))

    assert await getattr(pool, method)(handlers.echo, [1]) == [1]


@pytest.mark.parametrize("initializer", [batches.fork_and_fail_in_the_child, batches.fork_and_return_twice])
async def test_that_forks_has_one_worker_nevertheless(pool_with: PoolWith, initializer: Callable[[], None]) -> None:
    pool = pool_with(initializer)

    assert await pool.run(handlers.pid, None) == await pool.run(handlers.pid, None) != os.getpid()


async def test_that_cannot_be_pickled_is_refused(pool_with: PoolWith) -> None:
    with pytest.raises(jockey.RegistrationError, match="the initializer .*lambda.* cannot be sent to a process"):
        pool_with(lambda: None)


class TestExecutor:
    async def test_sets_up_its_workers(self) -> None:
        registry: jockey.Registry[object, str, object] = jockey.Registry()
        registry.add("settings", execute_in=jockey.ExecuteIn.PROCESS)(batches.settings)
        message: Recorder[object, str, object] = Recorder("settings", None)

        async with jockey.Executor(registry, initializer=batches.set_up, initargs=[1, 2]).run() as running:
            result: Any = await running.schedule(message).result()

        assert [setting[1:] for setting in result] == [(1, 2)]

    async def test_that_cannot_be_pickled_is_refused_when_it_starts(self) -> None:
        registry: jockey.Registry[object, str, object] = jockey.Registry()
        registry.add("echo", execute_in=jockey.ExecuteIn.PROCESS)(handlers.echo)

        with pytest.raises(jockey.RegistrationError, match="cannot be sent to a process"):
            async with jockey.Executor(registry, initializer=lambda: None).run():
                raise AssertionError("unreachable")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"initializer": 3}, "initializer must be a function that sets up .*, got 3"),
            ({"initargs": 3}, "initargs must be a list of arguments, got 3"),
            ({"initargs": "ab"}, "initargs must be a list of arguments, got 'ab'"),
        ],
    )
    def test_refuses_what_makes_no_sense(self, arguments: dict[str, Any], words: str) -> None:
        with pytest.raises(jockey.RegistrationError, match=words):
            jockey.Executor(jockey.Registry(), **arguments)


async def test_workers_boot_side_by_side_and_their_jobs_start_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    boot, exchange = Child.boot, Child.exchange
    booting: list[Child] = []
    starts: list[int] = []
    second_has_booted = anyio.Event()

    async def boot_out_of_order(child: Child) -> Any:
        booting.append(child)
        is_first = child is booting[0]
        response = await boot(child)
        if is_first:
            await second_has_booted.wait()
            await anyio.wait_all_tasks_blocked()
        second_has_booted.set()
        return response

    async def note_start(child: Child, request: Any) -> Any:
        starts.append(booting.index(child))
        return await exchange(child, request)

    monkeypatch.setattr(Child, "boot", boot_out_of_order)
    monkeypatch.setattr(Child, "exchange", note_start)
    pool = ProcessBackend(max_jobs_per_process=None)

    async with anyio.create_task_group() as group:
        group.start_soon(pool.run, handlers.echo, 1)
        while not booting:  # trio starts tasks in any order
            await anyio.wait_all_tasks_blocked()
        group.start_soon(pool.run, handlers.echo, 2)

    await pool.aclose()
    assert starts == [0, 1]
