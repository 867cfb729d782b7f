"""Handlers in executors of `concurrent.futures`: real ones, of the standard library and of others."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import multiprocessing
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor as FuturesExecutor
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import anyio
import dask
import distributed
import loky
import pytest
from anyio import wait_all_tasks_blocked

from jockey import (
    Cancelled,
    Executor,
    ExecutorClosedError,
    Failure,
    HandlerCrashedError,
    JobState,
    JobTimeoutError,
    Outcome,
    Priority,
    RegistrationError,
    Registry,
    RunningExecutor,
    StuckThreadError,
    Success,
    TransferError,
    WorkerDiedError,
    _runtime,
)
from jockey._backends import Pools
from jockey._backends._batch import Failed
from jockey._backends._capabilities import CONTRACT, OF_CLASS, capabilities_of
from jockey._backends.futures import FutureBackend
from jockey._handler import Handler, Options
from jockey.testing import Recorder
from tests.backends import future_handlers, interpreter_handlers
from tests.core.story import registry_of, simulated

pytestmark = pytest.mark.anyio

KINDS = ["threads", "processes", "loky", "dask"]
# These promise that what `Future.cancel` has cancelled does not run, and keep it.
HONEST = ["threads", "processes", "loky"]
FLOOD = 10
"""More than two workers run and prefetch."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def spawning(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def warm(executor: FuturesExecutor) -> None:
    """Have the executor start all its threads."""
    list(executor.map(future_handlers.double, range(20)))


@pytest.fixture(scope="module")
def threads() -> Iterator[FuturesExecutor]:
    with ThreadPoolExecutor(2) as executor:
        occupy(executor)
        yield executor


def occupy(threads: FuturesExecutor) -> None:
    """Have both threads do something at once, which they can when all else that they had to do is over."""
    both = threading.Barrier(2)
    concurrent.futures.wait([threads.submit(both.wait) for _ in range(2)])


@pytest.fixture(scope="module")
def processes() -> Iterator[FuturesExecutor]:
    with spawning(2) as executor:
        warm(executor)
        yield executor


@pytest.fixture(scope="module")
def reusable() -> Iterator[FuturesExecutor]:
    executor = loky.get_reusable_executor(max_workers=2, timeout=600)
    warm(executor)
    yield executor
    executor.shutdown(kill_workers=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.Client]:
    with two_workers() as client:
        warm(client.get_executor())
        yield client


@contextlib.contextmanager
def two_workers() -> Iterator[distributed.Client]:
    """Be a cluster of two processes, which blames the first death of a worker on what that ran."""
    # Its profiler looks at the frames of all threads, at which Python crashes while there are other interpreters.
    settings = {"distributed.scheduler.allowed-failures": 0, "distributed.worker.profile.enabled": False}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
        ) as local,
        distributed.Client(local) as client,
    ):
        yield client


@pytest.fixture(scope="module", autouse=True)
def _all_are_there(threads: object, processes: object, reusable: object, cluster: object) -> None:
    """Begin with them: what is started in a test, would seem to be left behind by it."""


@pytest.fixture(params=KINDS)
def executor(request: pytest.FixtureRequest) -> FuturesExecutor:
    return executor_of_kind(request, request.param)


@pytest.fixture(params=HONEST)
def honest(request: pytest.FixtureRequest) -> FuturesExecutor:
    return executor_of_kind(request, request.param)


def executor_of_kind(request: pytest.FixtureRequest, kind: str) -> FuturesExecutor:
    if kind == "dask":
        client: distributed.Client = request.getfixturevalue("cluster")
        return client.get_executor()
    found: FuturesExecutor = request.getfixturevalue({"loky": "reusable"}.get(kind, kind))
    return found


class Gate:
    """Where `hold` waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def started(self) -> int:
        return len(list(self.folder.glob("started *")))

    @property
    def has_ended(self) -> bool:
        return (self.folder / "ended").exists()

    def open(self) -> None:
        (self.folder / "may end").touch()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.open()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what happens elsewhere."""
    while not condition():
        await anyio.sleep(0.002)


def held_in(executor: FuturesExecutor, **options: Any) -> Registry[Any, Any, Any]:
    registry = registry_of(future_handlers.hold, key="hold", execute_in=executor, **options)
    registry.add("double", execute_in=executor)(future_handlers.double)
    return registry


async def stuck_in(running: RunningExecutor[Any, Any, Any], gate: Gate) -> Outcome[Any]:
    """Return the outcome of a job that timed out while it ran, and goes on; others before it may not have run."""
    outcome = await running.submit("hold", str(gate.folder)).wait()
    while not running.statistics().stuck_threads:
        outcome = await running.submit("hold", str(gate.folder)).wait()
    await until(lambda: gate.started)
    return outcome


async def outcome_of(function: Callable[[Any], Any], payload: object, executor: FuturesExecutor) -> Outcome[Any]:
    async with Executor(registry_of(function, execute_in=executor)).run() as running:
        return await running.submit("job", payload).wait()


async def error_of(function: Callable[[Any], Any], executor: FuturesExecutor) -> Exception:
    outcome = await outcome_of(function, 1, executor)
    assert isinstance(outcome, Failure)
    return outcome.error


# What comes back


async def test_a_handler_runs_in_the_executor_it_was_registered_for(executor: FuturesExecutor) -> None:
    async with Executor(registry_of(future_handlers.double, execute_in=executor)).run() as running:
        jobs = [running.submit("job", number) for number in range(20)]
        assert [await job.result() for job in jobs] == [2 * number for number in range(20)]


async def test_the_error_of_a_handler_arrives_as_what_it_is(executor: FuturesExecutor) -> None:
    error = await error_of(future_handlers.fail, executor)

    assert (type(error), str(error)) == (ZeroDivisionError, "cannot do 1")


async def test_equal_payloads_are_two_jobs_and_two_calls(executor: FuturesExecutor, tmp_path: Path) -> None:
    path = tmp_path / "calls"

    async with Executor(registry_of(future_handlers.note, execute_in=executor), max_jobs=1).run() as running:
        for _ in range(3):
            running.submit("job", str(path))

    assert path.read_text().splitlines() == ["called"] * 3


@pytest.mark.parametrize("kind", HONEST)
@pytest.mark.parametrize(
    ("function", "cause"),
    [(future_handlers.leave, SystemExit), (future_handlers.cancel_itself, asyncio.CancelledError)],
)
async def test_what_is_no_exception_fails_that_job_only(
    request: pytest.FixtureRequest, kind: str, function: Callable[[Any], Any], cause: type[BaseException]
) -> None:
    executor = executor_of_kind(request, kind)

    error = await error_of(function, executor)

    assert isinstance(error, HandlerCrashedError)
    assert isinstance(error.__cause__, cause)
    assert await outcome_of(future_handlers.double, 4, executor) == Success(8)


async def test_the_executor_stays_the_users(executor: FuturesExecutor) -> None:
    await outcome_of(future_handlers.double, 1, executor)

    assert executor.submit(future_handlers.double, 2).result() == 4


async def test_a_batch_is_one_call_with_an_outcome_for_each_item(executor: FuturesExecutor) -> None:
    options = Options(executor, None, None, None, Priority.NORMAL, ())
    handler = Handler[Any, Any].of(future_handlers.odd_only, options)
    pools = Pools(_runtime.current(), None, lambda _: None)

    one, failed, three = await pools.batch_caller(handler, executor)([1, 2, 3])
    await pools.close()

    assert (one, three) == (1, 3)
    assert isinstance(failed, Failed)
    assert repr(failed.error) == "ValueError(2)"


async def outcomes_of(function: Callable[[int], object], executor: FuturesExecutor) -> list[Any]:
    handler = Handler[Any, Any].of(function, Options(executor, None, None, None, Priority.NORMAL, ()))
    pools = Pools(_runtime.current(), None, lambda _: None)
    try:
        return await pools.batch_caller(handler, executor)([1, 2, 3])
    finally:
        await pools.close()


@pytest.mark.parametrize("kind", ["processes", "loky"])  # dask waits for such a result for ever
async def test_of_a_batch_fails_only_the_item_whose_result_cannot_be_sent(
    request: pytest.FixtureRequest, kind: str
) -> None:
    one, failed, three = await outcomes_of(future_handlers.lock_for_two, executor_of_kind(request, kind))

    assert (one, three) == (1, 3)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, TypeError)


def work_later(_: object) -> Any:
    return anyio.sleep(0)


async def test_a_coroutine_that_a_handler_returns_fails_its_job(threads: FuturesExecutor) -> None:
    with warnings.catch_warnings(record=True) as caught:
        error = await error_of(work_later, threads)
        gc.collect()

    assert isinstance(error, TransferError)
    assert "'work_later' returned a coroutine, which nobody can await in a ThreadPoolExecutor" in str(error)
    assert [str(warning.message) for warning in caught if "never awaited" in str(warning.message)] == []


async def test_a_result_is_not_kept_alive(threads: FuturesExecutor) -> None:
    class Big:
        pass

    async with Executor(registry_of(lambda _: Big(), execute_in=threads)).run() as running:
        result = await running.submit("job", None).result()
        alive = weakref.ref(result)
        del result
        await running.submit("job", None).wait()
        await until(lambda: alive() is None)


# What cannot be stopped


async def test_a_job_that_is_timed_out_is_reported_at_once_and_keeps_its_slot(
    executor: FuturesExecutor, gate: Gate
) -> None:
    told: list[BaseException] = []
    registry = held_in(executor, job_timeout=0.02)

    async with Executor(registry, max_jobs=1, on_error=lambda error, _: told.append(error)).run() as running:
        outcome = await stuck_in(running, gate)
        following = running.submit("double", 1)
        await wait_all_tasks_blocked()
        statistics = running.statistics()
        assert following.state is JobState.QUEUED
        assert not gate.has_ended
        gate.open()
        assert await following.result() == 2
        assert gate.has_ended
        assert running.statistics().stuck_threads == ()

    assert isinstance(outcome, Failure)
    assert isinstance(outcome.error, JobTimeoutError)
    (error,) = told
    assert isinstance(error, StuckThreadError)
    assert str(error) == (
        f"'hold' was stopped, but a {type(executor).__qualname__} cannot be; it keeps its slot until it ends"
    )
    assert error.stack == ""
    assert statistics.stuck_threads == ("hold",)


async def test_a_job_that_is_cancelled_while_it_runs_keeps_the_cap_of_its_handler(
    executor: FuturesExecutor, gate: Gate
) -> None:
    async with Executor(held_in(executor, max_jobs=1), on_error=lambda *_: None).run() as running:
        held = running.submit("hold", str(gate.folder))
        following = running.submit("hold", str(gate.folder))
        await until(lambda: gate.started)
        held.cancel("enough")
        outcome = await held.wait()
        await wait_all_tasks_blocked()
        assert following.state is JobState.QUEUED
        assert gate.started == 1
        gate.open()
        assert await following.result() == "held"

    assert isinstance(outcome, Cancelled)
    assert outcome.error.reason == "enough"


async def test_what_waits_inside_of_the_executor_is_taken_back_and_frees_its_slot(
    honest: FuturesExecutor, gate: Gate, tmp_path: Path
) -> None:
    path = tmp_path / "calls"
    registry = registry_of(future_handlers.note, execute_in=honest)
    others = [honest.submit(future_handlers.hold, str(gate.folder)) for _ in range(FLOOD)]

    async with Executor(registry, max_jobs=1, on_error=lambda *_: pytest.fail("it is not stuck")).run() as running:
        job, following = running.submit("job", str(path)), running.submit("job", str(path))
        await wait_all_tasks_blocked()
        job.cancel()
        assert isinstance(await job.wait(), Cancelled)
        await until(lambda: following.state is JobState.RUNNING)
        gate.open()

    assert [other.result() for other in others] == ["held"] * FLOOD
    assert path.read_text() == "called\n"


async def test_what_waits_inside_of_dask_cannot_be_taken_back_and_keeps_its_slot(
    cluster: distributed.Client, gate: Gate, tmp_path: Path
) -> None:
    executor, path = cluster.get_executor(pure=False), tmp_path / "calls"
    registry = registry_of(future_handlers.note, execute_in=executor)
    others = [executor.submit(future_handlers.hold, str(gate.folder)) for _ in range(FLOOD)]

    async with Executor(registry, max_jobs=1, on_error=lambda *_: None).run() as running:
        job, following = running.submit("job", str(path)), running.submit("job", str(path))
        await wait_all_tasks_blocked()
        job.cancel()
        assert isinstance(await job.wait(), Cancelled)
        await wait_all_tasks_blocked()
        assert following.state is JobState.QUEUED
        gate.open()

    assert [other.result() for other in others] == ["held"] * FLOOD
    assert path.read_text() == "called\n" * 2


async def test_why_futures_of_dask_are_not_cancelled(cluster: distributed.Client, gate: Gate) -> None:
    future = cluster.get_executor(pure=False).submit(future_handlers.hold, str(gate.folder))
    await until(lambda: gate.started)

    assert future.cancel()
    assert not gate.has_ended
    gate.open()
    await until(lambda: gate.has_ended)


async def test_run_gives_up_on_what_does_not_end_and_says_where_it_goes_on(
    executor: FuturesExecutor, gate: Gate
) -> None:
    told: list[str] = []
    registry = held_in(executor, job_timeout=0.01)

    async with Executor(registry, grace=0.01, on_error=lambda error, _: told.append(str(error))).run() as running:
        await stuck_in(running, gate)
    assert not gate.has_ended
    gate.open()
    await until(lambda: gate.has_ended)

    assert told[-1] == (
        f"gave up on a {type(executor).__qualname__} that still runs 'hold'; "
        "it goes on until it ends by itself; the executor is yours to shut down"
    )


def test_a_future_that_is_done_after_the_loop_has_ended_harms_nobody(
    anyio_backend_name: str, threads: FuturesExecutor, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        registry = held_in(threads, job_timeout=0.01)
        executor = Executor(registry, grace=0, blocked_after=None, on_error=lambda *_: None)
        async with executor.run() as running:
            await stuck_in(running, gate)

    anyio.run(main, backend=anyio_backend_name)
    gate.open()
    occupy(threads)  # when that call is over

    assert caplog.records == []


# Caps


async def test_caps_on_threads_and_processes_are_not_for_executors(executor: FuturesExecutor, gate: Gate) -> None:
    async with Executor(held_in(executor), max_threads=1, max_processes=1).run() as running:
        for _ in range(2):
            running.submit("hold", str(gate.folder))
        await until(lambda: gate.started == 2)
        gate.open()


@pytest.mark.parametrize(("of_executor", "of_handler"), [(1, None), (None, 1)])
async def test_caps_on_jobs_are_for_executors_too(
    threads: FuturesExecutor, gate: Gate, of_executor: int | None, of_handler: int | None
) -> None:
    async with Executor(held_in(threads, max_jobs=of_handler), max_jobs=of_executor).run() as running:
        first, second = (running.submit("hold", str(gate.folder)) for _ in range(2))
        await until(lambda: gate.started)
        await wait_all_tasks_blocked()
        assert (first.state, second.state) == (JobState.RUNNING, JobState.QUEUED)
        gate.open()


# What goes wrong in the executor


@pytest.fixture(params=[spawning, loky.ProcessPoolExecutor], ids=["processes", "loky"])
def breakable(request: pytest.FixtureRequest) -> Iterator[FuturesExecutor]:
    executor: FuturesExecutor = request.param(2)
    yield executor
    executor.shutdown()


async def test_a_dead_worker_fails_the_jobs_in_its_executor_and_says_what_would_not(
    breakable: FuturesExecutor, gate: Gate
) -> None:
    registry = held_in(breakable)
    registry.add("die", execute_in=breakable)(future_handlers.die)

    async with Executor(registry).run() as running:
        bystander = running.submit("hold", str(gate.folder))
        await until(lambda: gate.started)
        await running.submit("double", 1).result()  # in the other worker, of whose start the pool now knows
        guilty = running.submit("die", None)
        outcomes = [await bystander.wait(), await guilty.wait()]
        outcomes.append(await running.submit("double", 1).wait())

    for outcome in outcomes:
        assert isinstance(outcome, Failure)
        assert isinstance(outcome.error, WorkerDiedError)
        assert isinstance(outcome.error.__cause__, BrokenProcessPool)
        assert outcome.error.exit_code is None
        assert "it cannot isolate crashes" in str(outcome.error)
        assert "ExecuteIn.PROCESS fails the guilty one alone" in str(outcome.error)
    assert not capabilities_of(breakable).isolates_crashes


async def test_of_a_batch_in_dask_fails_only_the_item_that_kills_its_worker() -> None:
    with two_workers() as cluster:
        one, failed, three = await outcomes_of(future_handlers.die_of_two, cluster.get_executor())

    assert (one, three) == (1, 3)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, WorkerDiedError)


async def test_a_batch_fails_as_one_where_a_crash_breaks_the_executor(breakable: FuturesExecutor) -> None:
    with pytest.raises(WorkerDiedError, match="it cannot isolate crashes"):
        await outcomes_of(future_handlers.die_of_two, breakable)


async def test_a_batch_fails_as_one_where_the_executor_has_been_shut_down() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()

    with pytest.raises(ExecutorClosedError, match="did not accept"):
        await outcomes_of(future_handlers.double, executor)


async def test_dask_isolates_the_crash_of_a_worker(gate: Gate) -> None:
    with two_workers() as cluster:
        executor = cluster.get_executor()
        registry = held_in(executor)
        registry.add("die", execute_in=executor)(future_handlers.die)

        async with Executor(registry).run() as running:
            bystander = running.submit("hold", str(gate.folder))
            await until(lambda: gate.started)
            outcome = await running.submit("die", None).wait()
            gate.open()
            assert await bystander.result() == "held"
            assert await running.submit("double", 3).result() == 6

    assert isinstance(outcome, Failure)
    assert isinstance(outcome.error, WorkerDiedError)
    assert isinstance(outcome.error.__cause__, distributed.KilledWorker)
    assert "other jobs there go on" in str(outcome.error)
    assert capabilities_of(executor).isolates_crashes


@pytest.mark.parametrize("kind", KINDS)
async def test_an_executor_that_was_shut_down_fails_the_job(request: pytest.FixtureRequest, kind: str) -> None:
    new: dict[str, Callable[[], FuturesExecutor]] = {
        "threads": ThreadPoolExecutor,
        "processes": lambda: spawning(1),
        "loky": lambda: loky.ProcessPoolExecutor(1),
        "dask": lambda: request.getfixturevalue("cluster").get_executor(),
    }
    executor = new[kind]()
    executor.shutdown()

    error = await error_of(future_handlers.double, executor)

    assert isinstance(error, ExecutorClosedError)
    assert f"a {type(executor).__qualname__} did not accept 'double'" in str(error)
    assert isinstance(error.__cause__, RuntimeError)


async def test_a_future_that_somebody_else_cancels_is_a_failure_and_no_cancellation(gate: Gate) -> None:
    executor = ThreadPoolExecutor(1)
    async with Executor(held_in(executor)).run() as running:
        first, second = (running.submit("hold", str(gate.folder)) for _ in range(2))
        await until(lambda: gate.started and second.state is JobState.RUNNING)
        await wait_all_tasks_blocked()
        executor.shutdown(wait=False, cancel_futures=True)
        outcome = await second.wait()
        gate.open()
        await first.result()
    executor.shutdown()

    assert isinstance(outcome, Failure)
    assert isinstance(outcome.error, HandlerCrashedError)
    assert str(outcome.error) == "the future of 'hold' in a ThreadPoolExecutor was cancelled, and not by jockey"


# The loop


class Desk:
    """A runtime whose callbacks wait until the test runs them."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], object]] = []
        self.outside = 0

    def call_soon_threadsafe(self, function: Callable[[], object]) -> None:
        self.callbacks.append(function)

    def note_outside(self, difference: int) -> None:
        self.outside += difference


class ByHand(FuturesExecutor):
    """An executor whose futures the test completes."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        self.futures.append(Future())
        return self.futures[-1]


def caller_by_hand(desk: Desk, abandoned: list[Any]) -> tuple[ByHand, Callable[[Any], Any]]:
    executor = ByHand()
    options = Options(executor, None, None, None, Priority.NORMAL, ())
    backend = FutureBackend(desk, abandoned.append)  # type: ignore[arg-type]
    return executor, backend.in_executor(Handler.of(future_handlers.double, options), executor)


async def test_futures_that_are_done_before_the_loop_looks_wake_it_once() -> None:
    desk, results = Desk(), []
    executor, call = caller_by_hand(desk, [])

    async def run(payload: int) -> None:
        results.append(await call(payload))

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(run, number)
        await wait_all_tasks_blocked()
        assert desk.outside == 5
        for number, future in enumerate(executor.futures):
            future.set_result(number)
        assert len(desk.callbacks) == 1
        desk.callbacks.pop()()

    assert sorted(results) == [0, 1, 2, 3, 4]
    assert desk.outside == 0


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_future_that_is_done_when_its_task_is_cancelled_is_not_stuck(is_told: bool) -> None:  # noqa: FBT001
    desk, abandoned = Desk(), list[Any]()
    executor, call = caller_by_hand(desk, abandoned)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, 1)
        await wait_all_tasks_blocked()
        executor.futures[0].set_running_or_notify_cancel()
        executor.futures[0].set_result(1)
        if is_told:
            desk.callbacks.pop()()
        tasks.cancel_scope.cancel()

    assert abandoned == []


@simulated
async def test_a_virtual_clock_waits_for_an_executor() -> None:
    with ThreadPoolExecutor(1) as executor:
        released = threading.Event()
        registry = registry_of(lambda _: released.wait(), execute_in=executor, job_timeout=1000)
        async with Executor(registry).run() as running:
            job = running.submit("job", None)
            timer = threading.Timer(0.02, released.set)
            timer.start()
            assert await job.result() is True
            timer.join()


# Registration


async def add_async(number: int) -> int:
    return number


def test_an_async_function_is_refused(executor: FuturesExecutor) -> None:
    with pytest.raises(RegistrationError) as caught:
        registry_of(add_async, execute_in=executor)

    kind = type(executor).__qualname__
    assert str(caught.value) == (
        f"'add_async' is async and cannot run in a {kind}; use THREAD or MAIN, or make it sync"
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_which_functions_can_be_sent_is_up_to_the_library(request: pytest.FixtureRequest, kind: str) -> None:
    outcome = await outcome_of(lambda number: number + 1, 1, executor_of_kind(request, kind))

    if kind == "processes":
        assert isinstance(outcome, Failure)
        assert "<lambda>" in str(outcome.error)
    else:
        assert outcome == Success(2)


@pytest.mark.parametrize("kind", KINDS)
async def test_memory_is_shared_by_threads_alone(request: pytest.FixtureRequest, kind: str) -> None:
    interpreter_handlers.calls.clear()

    await outcome_of(interpreter_handlers.count_calls, "here", executor_of_kind(request, kind))

    assert interpreter_handlers.calls == (["here"] if kind == "threads" else [])


def test_a_subclass_can_do_what_its_base_can(cluster: distributed.Client) -> None:
    class Mine(distributed.cfexecutor.ClientExecutor):  # type: ignore[misc]
        pass

    assert capabilities_of(Mine(cluster)) == OF_CLASS["distributed.cfexecutor.ClientExecutor"]
    assert capabilities_of(ByHand()) is CONTRACT


def test_messages_reach_their_callbacks(threads: FuturesExecutor, anyio_backend_name: str) -> None:
    message = Recorder("job", 4)

    async def main() -> None:
        async with Executor(registry_of(future_handlers.double, execute_in=threads)).run() as running:
            await running.execute(message)

    anyio.run(main, backend=anyio_backend_name)

    assert message.outcome == Success(8)
