"""Handlers in threads: they end like all others, except that nobody can stop them."""

from __future__ import annotations

import asyncio
import gc
import queue
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import anyio
import pytest

from jockey import (
    Cancelled,
    ExecuteIn,
    Executor,
    Failure,
    HandlerCrashedError,
    JobHandle,
    JobState,
    JobTimeoutError,
    Limit,
    Registry,
    StuckThreadError,
    Success,
    WaitFor,
)
from jockey._backends._outside import Returns
from jockey._backends.thread import ThreadBackend, ThreadCall
from jockey._handler import Handler, check_options
from jockey._options import Priority
from jockey._runtime import current
from jockey.testing import Recorder, run
from tests.core.outside import Blocker, in_foreign_thread, start_program
from tests.core.story import Crowd, Fatal, registry_of, wait_all_tasks_blocked

pytestmark = pytest.mark.anyio

whose: ContextVar[str] = ContextVar("whose", default="nobody's")


class Errors(list[tuple[BaseException, JobHandle[Any]]]):
    """An `on_error` that keeps what it is told."""

    def __call__(self, error: BaseException, handle: JobHandle[Any]) -> None:
        self.append((error, handle))


def threaded(
    handler: Callable[[Any], Any], *, job_timeout: float | None = None, **options: Any
) -> Executor[Any, Any, Any]:
    return Executor(registry_of(handler, execute_in=ExecuteIn.THREAD, job_timeout=job_timeout), **options)


def names_of_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("jockey")]


@pytest.fixture
async def blocker() -> AsyncIterator[Blocker]:
    blocker = Blocker()
    yield blocker
    blocker.let_go(100)  # a test that fails must not leave its threads behind


# What runs, and where


async def test_a_sync_handler_runs_in_a_thread_with_a_name_and_never_in_that_of_the_loop() -> None:
    def handle(_: object) -> threading.Thread:
        return threading.current_thread()

    message = Recorder("job")

    async with threaded(handle).run() as running:
        running.schedule(message)

    assert isinstance(message.outcome, Success)
    assert message.outcome.result is not threading.current_thread()
    assert message.outcome.result.name.startswith("jockey thread ")
    assert message.outcome.result.daemon


async def test_an_async_handler_gets_an_event_loop_of_its_own_in_the_thread() -> None:
    async def handle(payload: int) -> tuple[int, int]:
        await anyio.sleep(0)
        return payload + 1, threading.get_ident()

    message = Recorder("job", 4)

    async with threaded(handle).run() as running:
        running.schedule(message)

    assert isinstance(message.outcome, Success)
    number, thread = message.outcome.result
    assert number == 5
    assert thread != threading.get_ident()


async def test_an_async_handler_in_a_thread_uses_the_primitives_of_the_loop_outside() -> None:
    async def handle(_: object) -> str:
        async with anyio.create_task_group() as tasks:
            event = anyio.Event()
            tasks.start_soon(event.wait)
            event.set()
        return anyio.get_cancelled_exc_class().__module__

    message = Recorder("job")

    async with threaded(handle).run() as running:
        running.schedule(message)

    assert message.outcome == Success(anyio.get_cancelled_exc_class().__module__)


class Later:
    """Awaitable, but no coroutine."""

    def __init__(self, result: object) -> None:
        self.result = result

    def __await__(self) -> Generator[Any, Any, object]:
        yield from anyio.sleep(0).__await__()
        return self.result


async def plus_one(number: int) -> int:
    await anyio.sleep(0)
    return number + 1


@pytest.mark.parametrize("execute_in", [ExecuteIn.MAIN, ExecuteIn.THREAD])
@pytest.mark.parametrize(
    "handle", [lambda number: plus_one(number=number), lambda number: Later(number + 1)], ids=["coroutine", "object"]
)
async def test_what_a_sync_function_returns_is_awaited_where_it_runs(
    handle: Callable[[int], Awaitable[int]], execute_in: ExecuteIn
) -> None:
    message = Recorder("job", 4)

    async with Executor(registry_of(handle, execute_in=execute_in)).run() as running:
        running.schedule(message)

    assert message.outcome == Success(5)


async def test_a_class_and_an_object_can_be_handlers_in_a_thread() -> None:
    class Sums:
        async def __call__(self, payload: int) -> int:
            return await plus_one(payload)

    registry: Registry[int, str, Any] = Registry()
    registry.add("object", execute_in=ExecuteIn.THREAD)(Sums())
    registry.add("class", execute_in=ExecuteIn.THREAD)(Later)
    of_object, of_class = Recorder("object", 4), Recorder("class", 5)

    async with Executor(registry).run() as running:
        running.schedule(of_object)
        running.schedule(of_class)

    # The instance of the class can be awaited, so it is.
    assert (of_object.outcome, of_class.outcome) == (Success(5), Success(5))


async def test_the_thread_sees_the_context_of_whoever_scheduled_and_changes_nothing_there() -> None:
    def handle(_: object) -> str:
        found = whose.get()
        whose.set("the thread's")
        return found

    class Asking(Recorder[None, str, str]):
        async def on_success(self, result: str, /) -> None:
            await super().on_success(f"{result}, then {whose.get()}")

    messages = [Asking("job"), Asking("job")]

    async with threaded(handle, max_jobs=1).run() as running:
        for owner, message in zip(["first's", "second's"], messages, strict=True):
            whose.set(owner)
            running.schedule(message)
        whose.set("the body's")

    assert whose.get() == "the body's"
    assert [message.outcome for message in messages] == [
        Success("first's, then first's"),
        Success("second's, then second's"),
    ]


async def test_the_async_handler_in_a_thread_sees_the_context_too() -> None:
    async def handle(_: object) -> str:
        await anyio.sleep(0)
        return whose.get()

    message = Recorder("job")

    async with threaded(handle).run() as running:
        whose.set("the body's")
        running.schedule(message)

    assert message.outcome == Success("the body's")


# Errors


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        Fatal("boom"),
        BaseExceptionGroup("group", [Fatal()]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_is_no_exception_fails_that_job_and_nothing_else(error: BaseException, is_async: bool) -> None:  # noqa: FBT001
    def handle(payload: str) -> str:
        if payload == "raise":
            raise error
        return "fine"

    async def handle_async(payload: str) -> str:
        return handle(payload)

    message, bystander = Recorder("job", "raise"), Recorder("job", "return")

    async with threaded(handle_async if is_async else handle, max_jobs=1).run() as running:
        running.schedule(message)
        running.schedule(bystander)

    assert message.completed == ["failure"]
    assert isinstance(message.outcome, Failure)
    assert isinstance(message.outcome.error, HandlerCrashedError)
    assert repr(error) in str(message.outcome.error)
    assert type(message.outcome.error.__cause__) is type(error)
    assert bystander.outcome == Success("fine")


async def test_a_stop_iteration_fails_that_job_and_is_its_cause() -> None:
    error = StopIteration("odd")

    def handle(payload: str) -> str:
        if payload == "raise":
            raise error
        return "fine"

    message, bystander = Recorder("job", "raise"), Recorder("job", "return")

    async with threaded(handle, max_jobs=1).run() as running:
        running.schedule(message)
        running.schedule(bystander)

    assert isinstance(message.outcome, Failure)
    assert error in (message.outcome.error, message.outcome.error.__cause__)
    assert bystander.outcome == Success("fine")


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_exception_arrives_untouched_with_the_traceback_of_the_thread(is_async: bool) -> None:  # noqa: FBT001
    error = ValueError("no")

    def handle_in_vain(_: object) -> None:
        raise error

    async def handle_async(payload: object) -> None:
        handle_in_vain(payload)

    message = Recorder("job")

    async with threaded(handle_async if is_async else handle_in_vain).run() as running:
        running.schedule(message)

    assert isinstance(message.outcome, Failure)
    assert message.outcome.error is error
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames[-1] == "handle_in_vain"


async def test_a_thread_that_waits_keeps_no_result_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = threading.Semaphore(0)

    class Asked(queue.SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
            asks.release()
            return super().get(block, timeout)

    class Large:
        pass

    results: list[weakref.ref[Large]] = []

    def handle(_: object) -> Large:
        large = Large()
        results.append(weakref.ref(large))
        return large

    monkeypatch.setattr(queue, "SimpleQueue", Asked)

    async with threaded(handle).run() as running:
        await running.submit("job", None).wait()
        await in_foreign_thread(asks.acquire)
        await in_foreign_thread(asks.acquire)
        gc.collect()

        assert [result() for result in results] == [None]


# What is stopped


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_a_stopped_job_is_reported_at_once_and_its_slot_stays_taken_until_the_thread_ends(
    blocker: Blocker, how: str
) -> None:
    message, next_one = Recorder("job", 1), Recorder("next", 2)
    timeout = 0.001 if how == "timeout" else None
    registry = registry_of(blocker, execute_in=ExecuteIn.THREAD, job_timeout=timeout)
    registry.add("next")(plus_one)

    async with Executor(registry, max_jobs=1, on_error=Errors()).run() as running:
        job = running.schedule(message)
        await blocker.started()
        if how == "cancel":
            assert job.cancel("no more need")
        outcome = await job.wait()
        second = running.schedule(next_one)
        await wait_all_tasks_blocked()

        assert message.outcome == outcome
        assert second.state is JobState.QUEUED
        assert running.statistics().running == 0
        assert running.statistics().stuck_threads == ("Blocker object",)

        blocker.let_go()
        await second.wait()

        assert running.statistics().stuck_threads == ()

    if how == "timeout":
        assert message.completed == ["failure"]
        assert isinstance(message.outcome, Failure)
        assert type(message.outcome.error) is JobTimeoutError
    else:
        assert message.completed == ["cancel"]
        assert isinstance(message.outcome, Cancelled)
        assert message.outcome.error.reason == "no more need"


@pytest.mark.parametrize("cap", ["max_jobs", "max_threads", "limit", "group"])
async def test_every_cap_counts_a_thread_that_nobody_waits_for(blocker: Blocker, cap: str) -> None:
    options: dict[str, Any] = {
        "max_jobs": {"max_jobs": 1},
        "limit": {"limits": [Limit("one", 1)]},
    }.get(cap, {})
    registry = registry_of(blocker, execute_in=ExecuteIn.THREAD, **options)
    group = "user" if cap == "group" else None

    async with Executor(registry, max_threads=1 if cap == "max_threads" else None, on_error=Errors()).run() as running:
        first = running.schedule(Recorder("job", group=group))
        await blocker.started()
        first.cancel()
        await first.wait()
        second = running.schedule(Recorder("job", group=group))
        await wait_all_tasks_blocked()

        assert second.state is JobState.QUEUED

        blocker.let_go(2)

    assert second.state is JobState.SUCCEEDED


async def test_on_error_hears_at_once_whose_thread_goes_on(blocker: Blocker) -> None:
    errors = Errors()

    async with threaded(blocker, on_error=errors, job_timeout=0.001).run() as running:
        job = running.schedule(Recorder("job"))
        await job.wait()

        ((error, told),) = errors
        blocker.let_go()

    assert isinstance(error, StuckThreadError)
    assert told is job
    assert "'Blocker object' was stopped, but a thread cannot be; it keeps its slot until it ends" in str(error)
    assert len(errors) == 1


async def test_the_stack_of_a_stuck_thread_ends_where_it_waits(blocker: Blocker) -> None:
    errors = Errors()

    async with threaded(blocker, on_error=errors).run() as running:
        job = running.schedule(Recorder("job"))
        await blocker.waiting()
        job.cancel()
        await job.wait()
        blocker.let_go()

    (error, _) = errors[0]
    assert isinstance(error, StuckThreadError)
    assert "self._go.acquire()" in error.stack
    assert "Blocker object" in str(error)


async def test_without_on_error_a_stuck_thread_is_an_error_in_the_log(
    blocker: Blocker, caplog: pytest.LogCaptureFixture
) -> None:
    async with threaded(blocker, blocked_after=None).run() as running:
        job = running.schedule(Recorder("job"))
        await blocker.started()
        job.cancel()
        await job.wait()
        blocker.let_go()

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("jockey", "ERROR")
    assert "StuckThreadError" in record.getMessage()


async def test_what_a_stuck_thread_returns_or_raises_in_the_end_reaches_nobody(blocker: Blocker) -> None:
    def handle(payload: object) -> None:
        blocker(payload)
        raise ValueError(payload)

    message = Recorder("job")

    async with threaded(handle, on_error=(errors := Errors())).run() as running:
        job = running.schedule(message)
        await blocker.started()
        job.cancel()
        await job.wait()
        blocker.let_go()

    assert message.calls == ["cancel"]
    assert [type(error) for error, _ in errors] == [StuckThreadError]


async def test_a_job_whose_thread_has_just_ended_is_not_stuck_when_it_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collect = Returns._collect
    jobs: list[JobHandle[Any]] = []

    def collect_and_cancel(self: Returns) -> None:
        collect(self)
        jobs[0].cancel("too late")

    monkeypatch.setattr(Returns, "_collect", collect_and_cancel)
    message, errors = Recorder("job", 5), Errors()

    async with threaded(lambda payload: payload, on_error=errors).run() as running:
        jobs.append(running.schedule(message))

    assert errors == []
    assert len(message.completed) == 1


async def test_cancelling_the_body_reports_a_thread_at_once_and_waits_for_it(blocker: Blocker) -> None:
    reported = anyio.Event()

    class Reporting(Recorder[None, str, None]):
        async def on_cancel(self, exc: asyncio.CancelledError, /) -> None:
            await super().on_cancel(exc)
            reported.set()

    message = Reporting("job")

    async def let_go_later() -> None:
        await reported.wait()
        assert blocker.threads[0].is_alive()
        blocker.let_go()

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with threaded(blocker, on_error=Errors()).run() as running:
                tasks.start_soon(let_go_later)
                running.schedule(message)
                await blocker.started()
                scope.cancel()
                await anyio.sleep_forever()

        assert names_of_threads() == []

    assert message.completed == ["cancel"]


async def test_the_body_that_is_cancelled_waits_for_a_thread_no_longer_than_the_grace(blocker: Blocker) -> None:
    message = Recorder("job")

    with anyio.CancelScope() as scope:
        async with threaded(blocker, grace=0.001, on_error=Errors()).run() as running:
            running.schedule(message)
            await blocker.started()
            scope.cancel()

    assert message.completed == ["cancel"]
    (thread,) = blocker.threads
    assert thread.is_alive()

    blocker.let_go()
    thread.join()


async def test_a_thread_that_ends_while_its_job_is_reported_is_not_given_up(blocker: Blocker) -> None:
    acknowledge, errors = anyio.Event(), Errors()
    message = Recorder("job", faults={"on_cancel": acknowledge})

    async with threaded(blocker, grace=0, on_error=errors).run() as running:
        job: Any = running.schedule(message)
        await blocker.started()
        job.cancel()
        await wait_all_tasks_blocked()
        assert message.calls == ["cancel"]
        blocker.let_go()
        await running._engine.lingering[job].ended.wait()
        acknowledge.set()

    assert ["gave up" in str(error) for error, _ in errors] == [False]


# The pool


async def test_max_threads_caps_the_jobs_in_threads_only(blocker: Blocker) -> None:
    registry = registry_of(blocker, execute_in=ExecuteIn.THREAD)
    registry.add("main")(lambda payload: payload)
    in_main = Recorder("main")

    async with Executor(registry, max_threads=2).run() as running:
        jobs = [running.schedule(Recorder("job")) for _ in range(5)]
        await blocker.started(2)
        running.schedule(in_main)
        await wait_all_tasks_blocked()

        assert [job.state for job in jobs] == [JobState.RUNNING] * 2 + [JobState.QUEUED] * 3
        assert in_main.completed == ["success"]

        blocker.let_go(5)

    assert {job.state for job in jobs} == {JobState.SUCCEEDED}
    assert len(set(blocker.threads)) == 2


async def test_never_more_threads_than_jobs_at_once_and_none_after_the_block() -> None:
    crowd, lock = Crowd(), threading.Lock()
    threads: set[int] = set()

    def handle(_: object) -> None:
        with lock:
            crowd.__enter__()
            threads.add(threading.get_ident())
        with lock:
            crowd.__exit__()

    async with threaded(handle, max_jobs=3).run() as running:
        for _ in range(200):
            running.schedule(Recorder("job"))

    assert crowd.most <= 3
    assert len(threads) <= 3
    assert names_of_threads() == []


async def test_a_job_after_another_uses_the_same_thread() -> None:
    async with threaded(lambda _: threading.current_thread()).run() as running:
        threads = {await running.submit("job", None).result() for _ in range(10)}

    assert len(threads) == 1


async def test_threads_work_where_sniffio_has_not_been_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    async with threaded(lambda payload: payload).run() as running:
        monkeypatch.delitem(sys.modules, "sniffio", raising=False)

        assert await running.submit("job", 5).result() == 5


async def test_no_thread_exists_before_the_first_job() -> None:
    async with threaded(lambda _: None).run():
        assert names_of_threads() == []


@pytest.mark.parametrize("grace", [0, 0.001])
async def test_run_gives_up_after_grace_and_names_the_handler(blocker: Blocker, grace: float) -> None:
    message, errors = Recorder("job"), Errors()

    async with threaded(blocker, grace=grace, on_error=errors).run() as running:
        job = running.schedule(message)
        await blocker.waiting()
        await running.drain(0)

        assert message.completed == ["cancel"]

    (_, (error, told)) = errors
    assert isinstance(error, StuckThreadError)
    assert "gave up on a thread that still runs 'Blocker object'" in str(error)
    assert "self._go.acquire()" in error.stack
    assert told is job
    (thread,) = blocker.threads
    assert thread.is_alive()

    blocker.let_go()
    thread.join()  # late, when nobody is there any more: that ends the thread, quietly


async def test_only_those_threads_are_given_up_that_have_not_ended_meanwhile(blocker: Blocker) -> None:
    errors, never = Errors(), Blocker()
    registry = registry_of(blocker, execute_in=ExecuteIn.THREAD, max_jobs=1)
    registry.add("never", execute_in=ExecuteIn.THREAD)(never)

    async with Executor(registry, grace=0, on_error=errors).run() as running:
        ended, stuck = running.schedule(Recorder("job")), running.schedule(Recorder("never"))
        await blocker.started()
        await never.started()
        ended.cancel()
        blocker.let_go(2)
        await running.execute(Recorder("job"))
        await running.drain(0)

    assert [job for error, job in errors if "gave up" in str(error)] == [stuck]
    never.let_go()
    never.threads[0].join()


def backend_here(on_abandon: Callable[[ThreadCall], object] = lambda _: None) -> ThreadBackend:
    return ThreadBackend(current(), on_abandon)


def in_thread(function: Callable[[Any], Any]) -> Handler[Any, Any]:
    options = check_options(
        execute_in=ExecuteIn.THREAD,
        max_jobs=None,
        job_timeout=None,
        pulse_every=None,
        priority=Priority.NORMAL,
        limits=(),
    )
    return Handler[Any, Any].of(function, options)


def test_a_thread_that_ends_when_its_loop_has_ended_just_ends(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    blocker = Blocker()

    async def main() -> None:
        call = backend_here().in_thread(in_thread(blocker))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, None)
            await blocker.started()
            tasks.cancel_scope.cancel()

    anyio.run(main, backend=anyio_backend[0], backend_options=anyio_backend[1])
    (thread,) = blocker.threads
    blocker.let_go()

    thread.join()


async def test_a_call_that_never_got_a_thread_has_no_stack() -> None:
    assert ThreadCall(print, None, copy_context()).stack() == ""


# A thread that never ends

NEVER = """
import logging, sys, threading
import anyio
from jockey import ExecuteIn, Executor, Registry
from jockey.testing import Recorder, run

logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
registry = Registry()
started = threading.Event()

@registry.add("never", execute_in=ExecuteIn.THREAD, job_timeout=0.001)
def never_ends(_):
    threading.Event().wait()

async def main():
    message = Recorder("never")
    async with Executor(registry, grace=0.01).run() as running:
        running.schedule(message)
    print(message.completed)

anyio.run(main, backend=sys.argv[1])
print("the end")
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_that_never_ends_keeps_neither_the_block_nor_the_program(tmp_path: Path, backend: str) -> None:
    with start_program(tmp_path, NEVER, backend) as program:
        out, err = program.communicate()

    assert (program.returncode, err) == (0, "")
    assert "gave up on a thread that still runs 'never_ends'" in out
    assert out.splitlines()[-2:] == ["['failure']", "the end"]


async def test_start_is_reported_while_the_thread_runs(blocker: Blocker) -> None:
    async with threaded(blocker).run() as running:
        job = await running.execute(Recorder("job"), wait_for=WaitFor.START)

        assert job.state is JobState.RUNNING

        blocker.let_go()


async def test_a_sync_handler_in_a_thread_may_run_an_event_loop_of_its_own() -> None:
    def handle(payload: int) -> int:
        return anyio.run(plus_one, payload)

    message = Recorder("job", 4)

    async with threaded(handle).run() as running:
        running.schedule(message)

    assert message.outcome == Success(5)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_virtual_clock_waits_for_a_handler_in_a_thread(backend: Any) -> None:
    go = threading.Event()

    async def main() -> float:
        threading.Timer(0.01, go.set).start()
        async with threaded(lambda _: go.wait()).run() as running:
            return await running.submit("job", None).result()

    assert run(main, backend=backend)
