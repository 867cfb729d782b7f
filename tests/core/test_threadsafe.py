"""Scheduling from other threads: what is refused there, what a future tells, and handlers that wait for one."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from jockey import (
    BacklogFullError,
    Cancelled,
    DeadlockError,
    ExecuteIn,
    Executor,
    ExecutorClosedError,
    Failure,
    JobState,
    NoHandler,
    Priority,
    Registry,
    RunningExecutor,
    Success,
    WaitFor,
    WrongThreadError,
    _runtime,
    _threadsafe,
)
from jockey.testing import Recorder
from tests.core.outside import Blocker, in_foreign_thread
from tests.core.story import Told, executor_of, registry_of, wait_all_tasks_blocked, wait_forever

pytestmark = pytest.mark.anyio

whose: ContextVar[str] = ContextVar("whose", default="nobody's")


async def echo(payload: object) -> object:
    return payload


# What is refused


@pytest.mark.parametrize("method", ["schedule", "submit", "pause", "resume", "statistics", "JobHandle.cancel"])
async def test_plain_call_from_another_thread_is_refused_and_told_the_way_out(method: str) -> None:
    message = Recorder("job")

    async with executor_of(wait_forever).run() as running:
        running.pause()
        handle = running.schedule(Recorder("job"))
        calls: dict[str, Callable[[], object]] = {
            "schedule": lambda: running.schedule(message),
            "submit": lambda: running.submit("job", None),
            "pause": running.pause,
            "resume": running.resume,
            "statistics": running.statistics,
            "JobHandle.cancel": handle.cancel,
        }

        with pytest.raises(WrongThreadError, match=rf"^{method} was called in the thread .*schedule_threadsafe"):
            await in_foreign_thread(calls[method])

        assert handle.state is JobState.QUEUED
        assert running.statistics().queued_by_key == {"job": 1}
        handle.cancel()

    assert message.calls == []


@pytest.mark.parametrize("method", ["execute", "consume", "drain", "JobHandle.wait", "JobHandle.result"])
async def test_waiting_in_another_thread_is_refused_and_told_the_way_out(method: str) -> None:
    message = Recorder("job")

    async def no_messages() -> Any:
        return
        yield

    async with executor_of(wait_forever).run() as running:
        handle = running.schedule(Recorder("job"))
        calls: dict[str, Callable[[], Any]] = {
            "execute": lambda: running.execute(message),
            "consume": lambda: running.consume(no_messages()),
            "drain": running.drain,
            "JobHandle.wait": handle.wait,
            "JobHandle.result": handle.result,
        }

        with pytest.raises(WrongThreadError, match=r"was called in the thread .*schedule_threadsafe"):
            await in_foreign_thread(lambda: calls[method]().send(None))

        handle.cancel()

    assert message.calls == []


async def test_the_error_names_the_thread_that_calls() -> None:
    errors: list[WrongThreadError] = []

    async with executor_of(echo).run() as running:

        def call() -> None:
            with pytest.raises(WrongThreadError) as caught:
                running.pause()
            errors.append(caught.value)

        thread = threading.Thread(target=call, name="the culprit")
        thread.start()
        thread.join()

    assert "'the culprit'" in str(errors[0])


# What a future tells


async def test_a_future_tells_each_outcome() -> None:
    error = ValueError("no")

    async def handle(payload: object) -> object:
        if payload is error:
            raise error
        return payload

    async with executor_of(handle).run() as running:

        def ask() -> list[object]:
            messages = [Recorder("job", 5), Recorder("job", error), Recorder("unknown")]
            return [running.schedule_threadsafe(message).result() for message in messages]

        assert await in_foreign_thread(ask) == [Success(5), Failure(error), NoHandler()]


async def test_a_future_tells_of_a_job_that_is_cancelled() -> None:
    async with executor_of(wait_forever).run() as running:
        future = running.schedule_threadsafe(Recorder("job"))
        await wait_all_tasks_blocked()
        await running.drain(0)

    outcome = future.result()
    assert isinstance(outcome, Cancelled)
    assert outcome.error.reason == "shutdown"


async def test_a_future_is_done_only_after_the_callback() -> None:
    go = anyio.Event()

    async with executor_of(echo).run() as running:
        future = running.schedule_threadsafe(Recorder("job", faults={"on_success": go}))
        await wait_all_tasks_blocked()

        assert not future.done()

        go.set()

    assert future.done()


async def test_a_future_has_what_the_callback_raised() -> None:
    error = RuntimeError("no acknowledgement")

    async with executor_of(echo, on_error=lambda *_: None).run() as running:

        def ask() -> BaseException | None:
            return running.schedule_threadsafe(Recorder("job", faults={"on_success": error})).exception()

        assert await in_foreign_thread(ask) is error


async def test_the_context_of_the_calling_thread_arrives() -> None:
    async def handle(_: object) -> str:
        return whose.get()

    async with executor_of(handle).run() as running:

        def ask() -> object:
            whose.set("the thread's")
            return running.schedule_threadsafe(Recorder("job")).result()

        assert await in_foreign_thread(ask) == Success("the thread's")

    assert whose.get() == "nobody's"


async def test_many_threads_at_once_lose_nothing() -> None:
    results: list[object] = []

    async with executor_of(echo, max_jobs=3).run() as running:

        def ask(first: int) -> None:
            futures = [running.schedule_threadsafe(Recorder("job", first + number)) for number in range(50)]
            results.extend(future.result() for future in futures)

        async with anyio.create_task_group() as tasks:
            for first in range(0, 400, 50):
                tasks.start_soon(in_foreign_thread, ask, first)

    assert sorted(result.result for result in results if isinstance(result, Success)) == list(range(400))


async def test_a_message_from_a_foreign_thread_has_the_priority_it_asks_for() -> None:
    story: list[str] = []

    async def handle(_: object) -> None: ...

    async with executor_of(handle, max_jobs=1).run() as running:
        running.pause()

        def foreign() -> None:
            running.schedule_threadsafe(Told(story, "low"), priority=Priority.LOW)
            running.schedule_threadsafe(Told(story, "high"), priority=Priority.HIGH)

        await in_foreign_thread(foreign)
        await wait_all_tasks_blocked()
        assert running.statistics().queued_by_key == {"job": 2}
        running.resume()

    assert story == ["high: success", "low: success"]


async def test_futures_work_with_the_tools_of_concurrent_futures() -> None:
    async def handle(payload: int) -> int:
        return payload

    async with executor_of(handle).run() as running:

        def foreign() -> set[Any]:
            futures = [running.schedule_threadsafe(Recorder("job", number)) for number in range(5)]
            return {future.result() for future in concurrent.futures.as_completed(futures)}

        assert await in_foreign_thread(foreign) == {Success(number) for number in range(5)}


# Cancelling a future


async def test_cancelling_the_future_cancels_the_job_and_says_so() -> None:
    message = Recorder("job")

    async with executor_of(wait_forever).run() as running:
        future = running.schedule_threadsafe(message)
        await wait_all_tasks_blocked()

        assert await in_foreign_thread(future.cancel)

    assert future.cancelled()
    assert message.completed == ["cancel"]
    assert isinstance(message.outcome, Cancelled)
    assert message.outcome.error.reason == "the future of schedule_threadsafe was cancelled"


async def test_a_job_whose_future_is_cancelled_at_once_never_starts_and_comes_to_its_end() -> None:
    ran: list[object] = []
    message = Recorder("job", 5)

    async with executor_of(ran.append).run() as running:
        future = running.schedule_threadsafe(message)
        future.cancel()
        await wait_all_tasks_blocked()

    assert ran == []
    assert message.completed == ["cancel"]


async def test_a_future_that_is_done_cannot_be_cancelled() -> None:
    message = Recorder("job")

    async with executor_of(echo).run() as running:
        future = running.schedule_threadsafe(message)
        await wait_all_tasks_blocked()

        assert not future.cancel()

    assert message.completed == ["success"]


# Messages that are not accepted


async def test_a_full_backlog_is_an_error_in_the_future() -> None:
    message = Recorder("job")

    async with executor_of(echo, max_backlog=1).run() as running:
        running.pause()
        running.schedule(Recorder("job"))
        future = running.schedule_threadsafe(message)
        await wait_all_tasks_blocked()

    assert isinstance(future.exception(), BacklogFullError)
    assert "max_backlog is 1" in str(future.exception())
    assert message.calls == []


async def test_a_future_that_is_cancelled_before_its_message_is_refused_stays_cancelled() -> None:
    message = Recorder("job")

    async with executor_of(echo, max_backlog=1).run() as running:
        running.pause()
        running.schedule(Recorder("job"))
        future = running.schedule_threadsafe(message)
        future.cancel()
        await wait_all_tasks_blocked()

    assert future.cancelled()
    assert message.calls == []


async def test_after_the_end_it_raises_at_once() -> None:
    async with executor_of(echo).run() as running:
        pass

    with pytest.raises(ExecutorClosedError, match="schedule_threadsafe"):
        running.schedule_threadsafe(Recorder("job"))


async def test_a_message_that_comes_too_late_for_the_loop_is_refused_in_the_future() -> None:
    message = Recorder("job")

    async with executor_of(echo).run() as running:
        future = running.schedule_threadsafe(message)
    await wait_all_tasks_blocked()

    assert future.done()
    # Either it was still in time, or it was not: never is it lost.
    if message.calls:
        assert future.result() == Success(None)
    else:
        assert isinstance(future.exception(), ExecutorClosedError)


async def test_after_the_intake_is_closed_a_message_is_accepted_and_cancelled() -> None:
    message = Recorder("job")

    async with executor_of(echo).run() as running:
        await running.drain(0)
        future = running.schedule_threadsafe(message)
        await wait_all_tasks_blocked()

    assert message.completed == ["cancel"]
    assert isinstance(future.result(), Cancelled)


def test_a_loop_that_has_ended_is_an_executor_that_has_ended(anyio_backend: tuple[str, dict[str, Any]]) -> None:
    async def main() -> _runtime.Runtime:
        return _runtime.current()

    engine: Any = SimpleNamespace(
        runtime=anyio.run(main, backend=anyio_backend[0], backend_options=anyio_backend[1]), is_over=False
    )

    with pytest.raises(ExecutorClosedError, match="the event loop of the executor has ended"):
        _threadsafe.schedule_from_thread(engine, lambda: pytest.fail("called"))


# Handlers that wait for a future


def nested(
    outer: Callable[[RunningExecutor[Any, Any, Any], Any], Any], **options: Any
) -> tuple[Executor[Any, Any, Any], list[RunningExecutor[Any, Any, Any]]]:
    """Return an executor whose handler "outer" runs in a thread and is given the running executor."""
    running: list[RunningExecutor[Any, Any, Any]] = []
    registry: Registry[Any, Any, Any] = Registry()
    registry.add("outer", execute_in=ExecuteIn.THREAD)(lambda payload: outer(running[0], payload))
    registry.add("inner")(echo)
    registry.add("forever")(wait_forever)
    return Executor(registry, **options), running


@pytest.mark.parametrize("ask", ["result", "exception"])
async def test_a_handler_in_a_thread_that_waits_lends_its_slot(ask: str) -> None:
    def outer(running: RunningExecutor[Any, Any, Any], payload: int) -> object:
        return getattr(running.schedule_threadsafe(Recorder("inner", payload + 1)), ask)()

    executor, found = nested(outer, max_jobs=1)
    message = Recorder("outer", 4)

    async with executor.run() as running:
        found.append(running)
        running.schedule(message)

    assert message.outcome == Success(Success(5) if ask == "result" else None)


async def test_many_handlers_in_threads_that_wait_progress_with_one_slot() -> None:
    def outer(running: RunningExecutor[Any, Any, Any], depth: int) -> int:
        if depth == 0:
            return 0
        outcome = running.schedule_threadsafe(Recorder("outer", depth - 1)).result()
        assert isinstance(outcome, Success)
        return outcome.result + 1

    executor, found = nested(outer, max_jobs=1)
    messages = [Recorder("outer", 5) for _ in range(4)]

    async with executor.run() as running:
        found.append(running)
        for message in messages:
            running.schedule(message)

    assert [message.outcome for message in messages] == [Success(5)] * 4


async def test_a_thread_that_an_async_handler_waits_for_lends_the_slot_of_that_handler() -> None:
    registry: Registry[int, str, object] = Registry()
    registry.add("inner")(echo)

    @registry.add("outer")
    async def outer(payload: int) -> object:
        return await in_foreign_thread(lambda: running.schedule_threadsafe(Recorder("inner", payload + 1)).result())

    message = Recorder("outer", 4)

    async with Executor(registry, max_jobs=1).run() as running:
        running.schedule(message)

    assert message.outcome == Success(Success(5))


async def test_a_handler_that_waits_for_a_job_of_another_executor_keeps_its_slot() -> None:
    async with executor_of(echo, max_jobs=1).run() as other:

        def outer(payload: int) -> object:
            return other.schedule_threadsafe(Recorder("job", payload + 1)).result()

        registry = registry_of(outer, execute_in=ExecuteIn.THREAD)
        message = Recorder("job", 4)
        async with Executor(registry, max_jobs=1).run() as running:
            running.schedule(message)

    assert message.outcome == Success(Success(5))


async def test_a_future_that_is_done_is_not_waited_for() -> None:
    def outer(running: RunningExecutor[Any, Any, Any], payload: int) -> object:
        future = running.schedule_threadsafe(Recorder("inner", payload + 1))
        return [future.result(), future.result(), future.exception()]

    executor, found = nested(outer, max_jobs=1)
    message = Recorder("outer", 4)

    async with executor.run() as running:
        found.append(running)
        running.schedule(message)

    assert message.outcome == Success([Success(5), Success(5), None])


async def test_a_deadlock_is_raised_in_the_thread_and_the_job_runs_afterwards() -> None:
    inner = Recorder("job", None)
    errors: list[BaseException] = []

    def outer(payload: object) -> None:
        if payload == "outer":
            future = running.schedule_threadsafe(inner)
            with pytest.raises(DeadlockError) as caught:
                future.result()
            errors.append(caught.value)

    registry = registry_of(outer, execute_in=ExecuteIn.THREAD, max_jobs=1)
    message = Recorder("job", "outer")

    async with Executor(registry).run() as running:
        running.schedule(message)
        await running.drain()

    assert message.completed == inner.completed == ["success"]
    assert "they need the same cap or the same group" in str(errors[0])


async def test_a_handler_whose_wait_times_out_goes_on_only_with_a_slot() -> None:
    slow, has_ended, beside = Blocker(), threading.Event(), []

    def outer(_: object) -> None:
        future = running.schedule_threadsafe(Recorder("slow"))
        with pytest.raises(TimeoutError):
            future.result(timeout=0.05)
        beside.append(bool(slow.threads) and not has_ended.is_set())

    def end_slowly(payload: object) -> None:
        slow(payload)
        has_ended.set()

    registry = registry_of(outer, execute_in=ExecuteIn.THREAD)
    registry.add("slow", execute_in=ExecuteIn.THREAD)(end_slowly)
    message = Recorder("job")

    async with Executor(registry, max_jobs=1).run() as running:
        job = running.schedule(message)
        await slow.started()
        with anyio.move_on_after(0.1):  # whoever goes on without a slot does so now
            await job.wait()
        slow.let_go()
        await job.wait()

    assert beside == [False]
    assert message.completed == ["success"]


async def test_a_wait_that_is_given_up_before_the_loop_hears_of_it_is_over_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, call_in_loop = threading.Semaphore(0), _threadsafe.call_in_loop

    def count(engine: Any, function: Callable[[], object]) -> None:
        call_in_loop(engine, function)
        calls.release()

    def outer(running: RunningExecutor[Any, Any, Any], _: object) -> str:
        future = running.schedule_threadsafe(Recorder("forever"))
        with pytest.raises(TimeoutError):
            future.result(timeout=0)
        future.cancel()
        return "went on"

    monkeypatch.setattr(_threadsafe, "call_in_loop", count)
    executor, found = nested(outer, max_jobs=1)
    message = Recorder("outer")

    async with executor.run() as running:
        found.append(running)
        await running.execute(message, wait_for=WaitFor.START)
        # The loop stands still until the thread has scheduled its message, waited for it, and given up.
        for _ in range(3):
            calls.acquire()

    assert message.outcome == Success("went on")


@pytest.mark.parametrize("ask", ["result", "exception"])
async def test_waiting_for_a_future_in_the_loop_itself_is_refused_and_told_the_way_out(ask: str) -> None:
    async with executor_of(wait_forever).run() as running:
        future = running.schedule_threadsafe(Recorder("job"))

        with pytest.raises(WrongThreadError, match=r"await JobHandle\.wait\(\) there"):
            getattr(future, ask)()

        future.cancel()


async def test_a_wait_ends_when_somebody_cancels_the_future() -> None:
    futures: list[concurrent.futures.Future[Any]] = []
    is_lent = anyio.Event()

    class Telling(Recorder[None, str, None]):
        async def get_payload(self) -> None:
            is_lent.set()

    def outer(running: RunningExecutor[Any, Any, Any], _: object) -> str:
        futures.append(running.schedule_threadsafe(Telling("forever")))
        with pytest.raises(concurrent.futures.CancelledError):
            futures[0].result()
        return "went on"

    executor, found = nested(outer, max_jobs=1)
    message = Recorder("outer")

    async with executor.run() as running:
        found.append(running)
        running.schedule(message)
        await is_lent.wait()
        futures[0].cancel()

    assert message.outcome == Success("went on")


async def test_a_wait_for_a_message_that_is_refused_raises_why(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, call_in_loop = threading.Semaphore(0), _threadsafe.call_in_loop

    def count(engine: Any, function: Callable[[], object]) -> None:
        call_in_loop(engine, function)
        calls.release()

    is_full = threading.Event()

    def outer(running: RunningExecutor[Any, Any, Any], _: object) -> None:
        is_full.wait()
        with pytest.raises(BacklogFullError):
            running.schedule_threadsafe(Recorder("inner")).result()

    monkeypatch.setattr(_threadsafe, "call_in_loop", count)
    executor, found = nested(outer, max_backlog=1, max_jobs=1)
    message = Recorder("outer")

    async with executor.run() as running:
        found.append(running)
        job = await running.execute(message, wait_for=WaitFor.START)
        running.schedule(Recorder("inner"))
        is_full.set()
        # The loop stands still until the thread has scheduled its message and waits for it: both come at once.
        calls.acquire()
        calls.acquire()
        await job.wait()

    assert message.completed == ["success"]


async def test_a_thread_handler_schedules_for_the_executor_that_runs_it() -> None:
    follow_up = Recorder[Any, str, Any]("job", False)

    def handle(chains: bool) -> None:  # noqa: FBT001 - the payload
        if chains:
            running.schedule_threadsafe(follow_up)

    async with Executor(registry_of(handle, execute_in=ExecuteIn.THREAD), max_jobs=1).run() as running:
        running.schedule(Recorder("job", True))

    assert follow_up.completed == ["success"]


async def test_a_thread_that_waits_for_a_thread_beyond_the_cap_of_threads_gets_an_error() -> None:
    registry: Registry[int, str, str] = Registry()

    @registry.add("job", execute_in=ExecuteIn.THREAD)
    def handle(depth: int) -> str:
        if depth:
            with pytest.raises(DeadlockError):
                running.schedule_threadsafe(inner).result()
        return "told"

    inner = Recorder("job", 0)

    async with Executor(registry, max_threads=1).run() as running:
        assert await running.submit("job", 1).result() == "told"

    assert inner.completed == ["success"]


async def test_a_thread_that_gives_up_waiting_is_told_so_and_the_job_goes_on() -> None:
    told = threading.Event()
    registry: Registry[None, str, str] = Registry()

    @registry.add("outer", execute_in=ExecuteIn.THREAD)
    def outer(_: None) -> str:
        future = running.schedule_threadsafe(inner)
        with pytest.raises(TimeoutError):
            future.result(0.01)
        with pytest.raises(TimeoutError):
            future.exception(0.01)
        told.set()
        return "gave up"

    @registry.add("inner", execute_in=ExecuteIn.THREAD)
    def handle_inner(_: None) -> str:
        told.wait()
        return "went on"

    inner = Recorder[None, str, str]("inner")

    async with Executor(registry, max_jobs=2).run() as running:
        assert await running.submit("outer", None).result() == "gave up"

    assert inner.outcome == Success("went on")
