"""How a worker ends: signals, one after the other, and what becomes of the jobs it has."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio
import pytest

from jockey.jobs import App, State, Worker, WorkerCounts
from jockey.jobs._shutdown import Shutdown, received
from tests.core.story import simulated
from tests.jobs.shop import Faulty, app_of, burst
from tests.jobs.test_delivery import AWAY

PROGRAM = Path(__file__).with_name("worker_program.py")


async def run_and_press(app: App[Any], *seconds: float, **options: Any) -> tuple[WorkerCounts, float]:
    """Run a worker that gets a signal after so many seconds, and so on; return how it ended, and after how long."""
    start = anyio.current_time()
    send, receive = anyio.create_memory_object_stream[signal.Signals](len(seconds))

    async def press() -> None:
        for each in seconds:
            await anyio.sleep(each)
            send.send_nowait(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch, send, receive:
        patch.setattr("jockey.jobs._worker.received", lambda _: nullcontext(receive))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(press)
            counts = await Worker(app, handle_signals=(), **options).run()
    return counts, anyio.current_time() - start


@simulated
async def test_after_the_first_signal_nothing_is_taken_and_what_runs_may_end() -> None:
    app = app_of()

    @app.task
    async def work() -> None:
        await anyio.sleep(20)

    async with app:
        for _ in range(5):
            await work.enqueue()
        counts, took = await run_and_press(app, 10, max_jobs=2)

        assert await app.queues.size("default") == 3
    assert counts == WorkerCounts(taken=2, succeeded=2)
    assert took == pytest.approx(20, abs=0.5)


@simulated
async def test_after_the_first_signal_what_has_not_started_is_given_back() -> None:
    app = app_of()

    @app.task(max_jobs=1)
    async def work() -> None:
        await anyio.sleep(20)

    async with app:
        jobs = [await work.enqueue() for _ in range(5)]
        async with anyio.create_task_group() as tasks:

            async def look() -> None:
                await anyio.sleep(11)
                assert [await job.status() for job in jobs] == [State.RUNNING] + [State.QUEUED] * 4

            tasks.start_soon(look)
            counts, _ = await run_and_press(app, 10)

    assert counts == WorkerCounts(taken=5, succeeded=1, released=4)


@simulated
async def test_what_does_not_end_in_time_is_cancelled_and_given_back_without_an_attempt() -> None:
    app = app_of()

    @app.task
    async def work() -> None:
        await anyio.sleep(50)

    async with app:
        job = await work.enqueue()
        counts, took = await run_and_press(app, 10, graceful_shutdown_time=25)
        await burst(app)
        record = await job.record()

    assert counts == WorkerCounts(taken=1, released=1)
    assert took == pytest.approx(35, abs=0.5)
    assert record is not None
    assert (record.state, record.attempt) == (State.SUCCEEDED, 1)


@simulated
async def test_the_second_signal_cancels_what_runs_now() -> None:
    app = app_of()

    @app.task
    async def work() -> None:
        await anyio.sleep(500)

    async with app:
        job = await work.enqueue()
        counts, took = await run_and_press(app, 10, 3)

        assert await job.status() is State.QUEUED
    assert counts == WorkerCounts(taken=1, released=1)
    assert took == pytest.approx(13, abs=0.5)


@simulated
async def test_a_signal_at_the_start_ends_a_worker_that_has_taken_nothing() -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None]:
        await anyio.sleep(60)
        yield

    app = app_of(lifespan=lifespan)

    @app.task
    async def work() -> None:
        pass

    async with app:
        await work.enqueue()
        counts, _ = await run_and_press(app, 10)

    assert counts == WorkerCounts()


@simulated
async def test_a_worker_does_not_wait_for_ever_for_a_broker_that_is_away() -> None:
    broker = Faulty()
    app = app_of(broker)

    @app.task
    async def work() -> None:
        pass

    async with app:
        await work.enqueue()
        broker.settles = [AWAY] * 10_000
        counts, took = await run_and_press(app, 10)

    assert counts == WorkerCounts(taken=1, lost=1)
    assert took == pytest.approx(10 + 25 + 4, abs=1)


# Real signals


def start(*words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, str(PROGRAM), *words], stdout=subprocess.PIPE, text=True)
    wait_for(process, "ready")
    return process


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for found in process.stdout:
        if found.strip() == line:
            return
    raise AssertionError(f"{line!r} never came; the exit code is {process.wait()}")


def rest_of(process: subprocess.Popen[str]) -> list[str]:
    # Not by `communicate`, which does not see what came together with the line that was waited for.
    with process:
        assert process.stdout is not None
        return process.stdout.read().split()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_a_worker_finish(tmp_path: Path, backend: str, number: signal.Signals) -> None:
    process = start(backend, str(tmp_path / "jobs.db"), "patient")

    process.send_signal(number)
    wait_for(process, "asked")

    assert rest_of(process) == ["finished", "taken=1", "succeeded=1", "released=0"]
    assert process.returncode == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_second_signal_makes_it_stop(tmp_path: Path, backend: str) -> None:
    process = start(backend, str(tmp_path / "jobs.db"), "endless")

    process.send_signal(signal.SIGTERM)
    wait_for(process, "asked")
    process.send_signal(signal.SIGTERM)

    assert rest_of(process) == ["taken=1", "succeeded=0", "released=1"]
    assert process.returncode == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_third_signal_kills_it(tmp_path: Path, backend: str) -> None:
    process = start(backend, str(tmp_path / "jobs.db"), "stubborn")

    process.send_signal(signal.SIGTERM)
    wait_for(process, "asked")
    process.send_signal(signal.SIGTERM)
    wait_for(process, "cancelled")
    process.send_signal(signal.SIGTERM)

    assert rest_of(process) == []
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_third_signal_kills_it_though_the_event_loop_has_heard_of_none(tmp_path: Path, backend: str) -> None:
    with start(backend, str(tmp_path / "jobs.db"), "blocking") as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        wait_for(process, "deaf")
        process.send_signal(signal.SIGTERM)

        assert process.wait() == -signal.SIGTERM


def test_a_job_whose_worker_was_killed_runs_again_elsewhere(tmp_path: Path) -> None:
    path = str(tmp_path / "jobs.db")
    process = start("asyncio", path, "endless", "1")
    process.kill()
    rest_of(process)

    app = App(f"sqlite:///{path}")
    runs: list[str] = []

    @app.task(name="work")
    async def work(kind: str) -> None:
        runs.append(kind)

    anyio.run(Worker(app, messages_limit=1, handle_signals=()).run)

    assert runs == ["endless"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_another_thread_no_signal_is_handled(backend: str) -> None:
    app = App()
    found: list[WorkerCounts] = []

    @app.task
    async def work() -> None:
        pass

    async def run() -> None:
        async with app:
            await work.enqueue()
            found.append(await Worker(app, burst=True).run())

    thread = threading.Thread(target=anyio.run, args=[run], kwargs={"backend": backend})
    thread.start()
    thread.join()

    assert found == [WorkerCounts(taken=1, succeeded=1)]


@pytest.mark.anyio
async def test_what_handled_the_signals_before_does_so_again() -> None:
    async def handler_in_the_block() -> object:
        with received([signal.SIGUSR1]):
            return signal.getsignal(signal.SIGUSR1)

    def before(*_: object) -> None:
        pass

    usual = signal.signal(signal.SIGUSR1, before)
    try:
        assert await handler_in_the_block() is not before
        assert signal.getsignal(signal.SIGUSR1) is before
    finally:
        signal.signal(signal.SIGUSR1, usual)


@pytest.mark.anyio
async def test_after_the_second_signal_any_of_them_kills() -> None:
    handled = [signal.SIGUSR1, signal.SIGUSR2]

    with received(handled) as signals:
        assert signals is not None
        for number in (1, 2):
            signal.raise_signal(signal.SIGUSR1)
            assert await anext(signals) is signal.SIGUSR1
            assert [signal.getsignal(each) is signal.SIG_DFL for each in handled] == [number == 2] * 2


@simulated
async def test_what_is_drained_shares_the_time() -> None:
    shutdown, given = Shutdown("w", 10.0), list[float]()

    async def drain(timeout: float) -> None:
        given.append(timeout)
        await anyio.sleep(min(timeout, 7))

    async def signals() -> AsyncGenerator[signal.Signals]:
        yield signal.SIGTERM
        await anyio.sleep_forever()

    shutdown.drains = [drain, drain, drain]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shutdown.obey, signals())
        for _ in range(2):  # also what begins only after the signal
            with shutdown.interruptible() as scope:
                await anyio.sleep_forever()
            assert scope.cancelled_caught
        await anyio.sleep(30)
        tasks.cancel_scope.cancel()

    assert [round(timeout) for timeout in given] == [10, 3, 0]


def test_what_handled_them_and_is_not_of_python_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: None)

    async def receive() -> None:
        with received([signal.SIGUSR1]):
            pass

    anyio.run(receive)


def test_where_there_are_no_signals_none_is_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "emscripten")

    with received([signal.SIGTERM]) as signals:
        assert signals is None


def test_where_the_event_loop_cannot_receive_them_none_is_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(anyio, "open_signal_receiver", refuse)

    with received([signal.SIGTERM]) as signals:
        assert signals is None
