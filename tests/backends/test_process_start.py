"""The start of a worker process, and the timeout of the job that it is started for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import jockey
from jockey._backends.process import ProcessBackend
from tests.backends import process_handlers as handlers
from tests.backends.process_observer import Fifo, nothing_left
from tests.core.conftest import clock as clock  # noqa: PLC0414 - a fixture
from tests.core.story import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    with contextlib.closing(Fifo(tmp_path / "fifo")) as fifo:
        yield fifo


@pytest.fixture
def word(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "word")
    return str(tmp_path / "word")


def executor_of(handler: Callable[[Any], object], **options: Any) -> jockey.Executor[Any, str, Any]:
    async def wait_forever(_: object) -> None:
        await anyio.sleep_forever()

    registry = jockey.Registry[Any, str, Any]()
    registry.add("handler", execute_in=jockey.ExecuteIn.PROCESS, job_timeout=10)(handler)
    registry.add("next look", job_timeout=0.001)(wait_forever)
    return jockey.Executor(registry, **options)


async def move(clock: Clock, seconds: float, running: jockey.RunningExecutor[Any, str, Any]) -> None:
    """Move the clock, and return when all deadlines have been looked at since."""
    job = running.submit("next look", None)
    await anyio.wait_all_tasks_blocked()
    clock.now += seconds
    outcome = await job.wait()
    assert isinstance(outcome, jockey.Failure)


async def test_start_of_a_worker_takes_nothing_from_the_timeout_of_its_first_job(
    clock: Clock, fifo: Fifo, word: str
) -> None:
    executor = executor_of(handlers.echo, initializer=handlers.hold_until_told, initargs=[fifo.path, word])

    async with executor.run() as running:
        job = running.submit("handler", 1)
        await fifo.line()
        await move(clock, 1000, running)
        handlers.tell(word)

        assert await job.result() == 1


async def test_timeout_goes_on_when_the_worker_has_started(clock: Clock, fifo: Fifo) -> None:
    async with executor_of(handlers.hold_and_sleep).run() as running:
        job = running.submit("handler", fifo.path)
        await fifo.line()
        await move(clock, 11, running)

        with pytest.raises(jockey.JobTimeoutError):
            await job.result()


async def test_a_job_that_is_cancelled_while_its_worker_starts_is_cancelled(
    clock: Clock, fifo: Fifo, word: str
) -> None:
    executor = executor_of(handlers.echo, initializer=handlers.hold_until_told, initargs=[fifo.path, word])

    async with executor.run() as running:
        job = running.submit("handler", 1)
        await fifo.line()
        job.cancel("no longer wanted")

        with pytest.raises(jockey.JobCancelledError, match="no longer wanted"):
            await job.result()
        assert running.submit("next look", None).cancel()


async def test_a_worker_that_does_not_start_is_given_up(fifo: Fifo, word: str) -> None:
    pool = ProcessBackend(
        max_jobs_per_process=None, initializer=handlers.hold_until_told, initargs=(fifo.path, word), start_within=0.3
    )

    with nothing_left():
        with pytest.raises(
            jockey.WorkerDiedError, match=r"did not start within 0\.3 seconds and was killed; look at what"
        ):
            await pool.run(handlers.echo, 1)
        await pool.aclose()
