"""Handlers that wait for jobs of their own executor: they lend their slot, and what could never end is an error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from jockey import (
    BacklogFullError,
    Cancelled,
    DeadlockError,
    Executor,
    Failure,
    JobHandle,
    JobState,
    Limit,
    Rate,
    Registry,
    RunningExecutor,
    Success,
    WaitFor,
)
from jockey.testing import Recorder, settle
from tests.core.story import Crowd, Told, executor_of, registry_of, simulated, wait_all_tasks_blocked

AnyRegistry = Registry[Any, Any, Any]
AnyRunning = RunningExecutor[Any, Any, Any]


async def echo(payload: object) -> object:
    return payload


async def sleep(seconds: float) -> None:
    await anyio.sleep(seconds)


def failure_of(message: Recorder[Any, Any, Any]) -> Exception:
    assert isinstance(message.outcome, Failure)
    return message.outcome.error


# Lending a slot


async def by_execute(running: AnyRunning, message: Recorder[Any, Any, Any]) -> object:
    return await (await running.execute(message)).wait()


async def by_wait(running: AnyRunning, message: Recorder[Any, Any, Any]) -> object:
    return await running.schedule(message).wait()


async def by_result(running: AnyRunning, message: Recorder[Any, Any, Any]) -> object:
    return Success(await running.schedule(message).result())


async def by_start(running: AnyRunning, message: Recorder[Any, Any, Any]) -> object:
    handle = await running.execute(message, wait_for=WaitFor.START)
    assert handle.state is not JobState.QUEUED
    return await handle.wait()


ways = pytest.mark.parametrize("way", [by_execute, by_wait, by_result, by_start])


@ways
@simulated
async def test_a_handler_that_waits_progresses_with_one_slot(
    way: Callable[[AnyRunning, Recorder[Any, Any, Any]], Awaitable[object]],
) -> None:
    registry = registry_of(echo, key="inner")

    @registry.add("outer")
    async def outer(payload: int) -> object:
        return await way(running, Recorder("inner", payload + 1))

    messages = [Recorder("outer", number) for number in range(5)]

    async with Executor(registry, max_jobs=1).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.outcome for message in messages] == [Success(Success(number + 1)) for number in range(5)]


@simulated
async def test_handlers_may_wait_for_each_other_as_deep_as_they_like() -> None:
    async def handle(depth: int) -> int:
        return 0 if depth == 0 else 1 + await running.submit("job", depth - 1).result()

    async with executor_of(handle, max_jobs=1).run() as running:
        assert await running.submit("job", 100).result() == 100


@simulated
async def test_a_callback_may_wait_too() -> None:
    class Following(Recorder[Any, Any, Any]):
        async def on_success(self, result: object, /) -> None:
            await super().on_success(await running.submit("job", "following").result())

    message = Following("job", "first")

    async with executor_of(echo, max_jobs=1).run() as running:
        running.schedule(message)

    assert message.outcome == Success("following")


@simulated
async def test_a_callback_of_a_job_that_never_started_may_wait_too() -> None:
    class Following(Recorder[Any, Any, Any]):
        async def on_no_handler(self) -> None:
            await super().on_no_handler()
            self.outcome = await running.submit("job", "following").wait()

    message = Following("unknown")

    async with executor_of(echo, max_jobs=1).run() as running:
        running.schedule(message)

    assert message.outcome == Success("following")


@pytest.mark.parametrize("max_jobs", [1, 2, 3])
@simulated
async def test_never_more_jobs_are_active_than_there_are_slots(max_jobs: int) -> None:
    crowd = Crowd()
    registry: AnyRegistry = Registry()

    @registry.add("inner")
    async def inner(payload: int) -> None:
        with crowd:
            await anyio.sleep(payload % 3)

    @registry.add("outer")
    async def outer(payload: int) -> None:
        with crowd:
            await anyio.sleep(payload % 2)
        await running.execute(Recorder("inner", payload))
        with crowd:
            await anyio.sleep(payload % 5)

    messages = [Recorder("outer", number) for number in range(40)]

    async with Executor(registry, max_jobs=max_jobs).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.completed for message in messages] == [["success"]] * 40
    assert crowd.most == max_jobs


@pytest.mark.parametrize("max_jobs", [1, 3])
@simulated
async def test_a_handler_that_waits_for_many_at_once_lends_one_slot(max_jobs: int) -> None:
    crowd = Crowd()
    registry: AnyRegistry = Registry()

    @registry.add("inner")
    async def inner(_: object) -> None:
        with crowd:
            await anyio.sleep(1)

    @registry.add("outer")
    async def outer(_: object) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(running.execute, Recorder("inner", number))
        with crowd:
            await anyio.sleep(1)

    messages = [Recorder("outer") for _ in range(3)]

    async with Executor(registry, max_jobs=max_jobs).run() as running:
        for message in messages:
            running.schedule(message)

        await running.drain()
        assert running.statistics().succeeded == 3 + 60

    assert crowd.most == max_jobs


@simulated
async def test_the_handler_goes_on_before_what_was_queued_behind_it() -> None:
    story: list[str] = []
    registry = registry_of(echo, key="inner")

    @registry.add("outer")
    async def outer(_: object) -> None:
        await running.execute(Told(story, "inner", "inner"))
        story.append("outer: goes on")

    async with Executor(registry, max_jobs=1).run() as running:
        running.schedule(Told(story, "outer", "outer"))
        running.schedule(Told(story, "queued", "inner"))
        running.schedule(Told(story, "queued too", "inner"))

    # The slot is lent to whoever is next; the handler is the first one to get one when it can go on.
    assert story == ["queued: success", "queued too: success", "inner: success", "outer: goes on", "outer: success"]


@simulated
async def test_a_wait_that_is_over_already_lends_nothing() -> None:
    registry = registry_of(sleep, key="inner")
    stories: list[str] = []

    @registry.add("outer")
    async def outer(handle: JobHandle[Any]) -> object:
        outcome = await handle.wait()
        stories.append("outer")
        return outcome

    async with Executor(registry, max_jobs=1).run() as running:
        first = running.submit("inner", 0)
        await first.wait()
        last = running.submit("outer", first)
        running.schedule(Told(stories, "inner", "inner", 0))

        assert await last.result() == Success(None)

    assert stories == ["outer", "inner: success"]


@simulated
async def test_start_of_a_job_that_has_started_is_not_waited_for() -> None:
    registry = registry_of(echo, key="unknown no more")

    @registry.add("outer")
    async def outer(_: object) -> JobState:
        return (await running.execute(Recorder("unknown"), wait_for=WaitFor.START)).state

    async with Executor(registry, max_jobs=1).run() as running:
        assert await running.submit("outer", None).result() is JobState.NO_HANDLER


@pytest.mark.parametrize("wait_for", [WaitFor.NOTHING, WaitFor.NO_PRESSURE])
@simulated
async def test_what_would_be_waiting_for_itself_is_not_waited_for(wait_for: WaitFor) -> None:
    registry = registry_of(echo, key="inner")
    states: list[JobState] = []

    @registry.add("outer")
    async def outer(_: object) -> None:
        for _number in range(5):
            handle = await running.execute(Recorder("inner"), wait_for=wait_for)
            states.append(handle.state)

    async with Executor(registry, max_jobs=1).run() as running:
        running.submit("outer", None)

    assert states == [JobState.QUEUED] * 5


@simulated
async def test_a_full_backlog_is_an_error_in_a_handler() -> None:
    registry = registry_of(echo, key="inner")
    message = Recorder("inner")

    @registry.add("outer")
    async def outer(_: object) -> None:
        running.schedule(Recorder("inner"))
        await running.execute(message)

    outer_message = Recorder("outer")

    async with Executor(registry, max_jobs=1, max_backlog=1).run() as running:
        running.schedule(outer_message)

    assert isinstance(failure_of(outer_message), BacklogFullError)
    assert message.calls == []


@simulated
async def test_a_handler_that_waits_for_another_executor_keeps_its_slot() -> None:
    crowd = Crowd()

    async with executor_of(sleep, max_jobs=1).run() as other:

        async def handle(_: object) -> None:
            with crowd:
                await other.execute(Recorder("job", 1))

        async with executor_of(handle, max_jobs=1).run() as running:
            for _ in range(3):
                running.submit("job", None)

    assert crowd.most == 1


@pytest.mark.anyio
@pytest.mark.parametrize("wait_for", WaitFor)
@pytest.mark.parametrize("max_jobs", [1, 2])
async def test_handlers_that_execute_handlers_need_no_more_than_one_slot(max_jobs: int, wait_for: WaitFor) -> None:
    async def handle(depth: int) -> None:
        if depth:
            await running.execute(Recorder("job", depth - 1), wait_for=wait_for)

    message = Recorder("job", 20)

    async with executor_of(handle, max_jobs=max_jobs).run() as running:
        running.schedule(message)
        await running.drain()
        assert running.statistics().succeeded == 21

    assert message.completed == ["success"]


@pytest.mark.anyio
async def test_many_handlers_that_wait_for_others_at_once_make_progress() -> None:
    async def handle(depth: int) -> int:
        if not depth:
            return 1
        handles = [running.submit("job", depth - 1) for _ in range(3)]
        return sum([await handle.result() for handle in handles])

    async with executor_of(handle, max_jobs=2).run() as running:
        leaves = await running.submit("job", 4).result()

    assert leaves == 81


@pytest.mark.anyio
async def test_a_callback_of_an_unstarted_job_takes_no_slot_of_the_job_that_scheduled_it() -> None:
    crowd = Crowd()
    registry: Registry[None, str, None] = Registry()

    class Nested(Recorder[None, str, None]):
        async def on_no_handler(self) -> None:
            await running.execute(Recorder("inner"))

    @registry.add("outer")
    async def outer(_: None) -> None:
        with crowd:
            running.schedule(Nested("unknown"))
            await wait_all_tasks_blocked()

    @registry.add("inner")
    async def inner(_: None) -> None:
        with crowd:
            pass

    async with Executor(registry, max_jobs=1).run() as running:
        running.schedule(Recorder("outer"))

    assert crowd.most == 1


@simulated
async def test_a_pulse_that_waits_for_a_job_lends_no_slot_that_the_handler_uses() -> None:
    crowd = Crowd()
    beat = anyio.Event()
    registry: Registry[None, str, None] = Registry()

    class Nested(Recorder[None, str, None]):
        async def on_pulse(self) -> None:
            beat.set()
            await running.execute(Recorder("inner"))

    @registry.add("outer", pulse_every=1)
    async def outer(_: None) -> None:
        with crowd:
            await beat.wait()
            await settle()

    @registry.add("inner")
    async def inner(_: None) -> None:
        with crowd:
            pass

    async with Executor(registry, max_jobs=1).run() as running:
        running.schedule(Nested("outer"))

    assert crowd.most == 1


# Deadlocks


@simulated
async def test_a_job_that_needs_the_cap_of_the_handler_that_waits_is_a_deadlock() -> None:
    inner = Recorder("job", "inner")

    async def handle(payload: str) -> None:
        if payload == "outer":
            running.schedule(inner)
            await running.submit("job", "another").wait()

    outer = Recorder("job", "outer")

    async with Executor(registry_of(handle, max_jobs=1)).run() as running:
        running.schedule(outer)

    error = failure_of(outer)
    assert isinstance(error, DeadlockError)
    name = repr(handle.__qualname__)
    assert str(error) == (
        f"{name} waits for a job of {name} that cannot go on before {name} has ended: they need the same cap or the "
        "same group; use schedule() there and do not wait, or raise that cap"
    )
    assert inner.completed == ["success"]


@simulated
async def test_execute_that_is_a_deadlock_cancels_its_message() -> None:
    inner = Recorder("job", "inner")

    async def handle(_: str) -> None:
        await running.execute(inner)

    outer = Recorder("job", "outer")

    async with Executor(registry_of(handle, max_jobs=1)).run() as running:
        running.schedule(outer)

    assert isinstance(failure_of(outer), DeadlockError)
    assert inner.completed == ["cancel"]


@simulated
async def test_a_handler_that_catches_the_deadlock_goes_on() -> None:
    async def handle(payload: str) -> str:
        if payload == "outer":
            with pytest.raises(DeadlockError):
                await running.submit("job", "inner").wait()
        return "went on"

    async with Executor(registry_of(handle, max_jobs=1)).run() as running:
        assert await running.submit("job", "outer").result() == "went on"


@simulated
async def test_a_limit_that_both_share_is_a_deadlock() -> None:
    registry = registry_of(echo, key="inner", limits=[Limit("other", 5), Limit("db", 1)])

    @registry.add("outer", limits=[Limit("db", 1)])
    async def outer(_: object) -> None:
        await running.submit("inner", None).wait()

    message = Recorder("outer")

    async with Executor(registry).run() as running:
        running.schedule(message)

    assert isinstance(failure_of(message), DeadlockError)


@pytest.mark.parametrize("behind", [0, 1])
@simulated
async def test_a_group_that_both_share_is_a_deadlock(behind: int) -> None:
    registry = registry_of(echo, key="inner")

    @registry.add("outer")
    async def outer(_: object) -> None:
        for _number in range(behind):
            running.schedule(Recorder("inner", group="user"))
        await running.execute(Recorder("inner", group="user"))

    message = Recorder("outer", group="user")

    async with Executor(registry).run() as running:
        running.schedule(message)

    assert isinstance(failure_of(message), DeadlockError)


@pytest.mark.parametrize("free_ones_before", [0, 1, 3])
@simulated
async def test_a_job_behind_one_of_its_group_that_needs_what_the_handler_holds_is_a_deadlock(
    free_ones_before: int,
) -> None:
    registry = registry_of(echo, key="free")
    registry.add("needs db", limits=[Limit("db", 1)])(echo)

    @registry.add("outer", limits=[Limit("db", 1)])
    async def outer(_: object) -> None:
        for _number in range(free_ones_before):
            running.schedule(Recorder("free", group="user"))
        running.schedule(Recorder("needs db", group="user"))
        await running.schedule(last).wait()

    last, message = Recorder("free", group="user"), Recorder("outer")

    async with Executor(registry).run() as running:
        running.schedule(message)

    assert isinstance(failure_of(message), DeadlockError)
    assert last.completed == ["success"]


@simulated
async def test_a_job_behind_one_of_its_group_that_waits_for_somebody_else_is_no_deadlock() -> None:
    registry = registry_of(sleep, key="needs db", limits=[Limit("db", 1)])

    @registry.add("outer", limits=[Limit("other", 1)])
    async def outer(_: object) -> None:
        running.schedule(Recorder("needs db", 1, group="user"))
        await running.execute(Recorder("needs db", 1, group="user"))

    message = Recorder("outer")

    async with Executor(registry).run() as running:
        running.schedule(Recorder("needs db", 5))
        await settle()
        running.schedule(message)

    assert message.completed == ["success"]


@simulated
async def test_another_group_is_no_deadlock() -> None:
    registry = registry_of(echo, key="inner")

    @registry.add("outer")
    async def outer(_: object) -> None:
        await running.execute(Recorder("inner", group="another"))

    message = Recorder("outer", group="user")

    async with Executor(registry, max_jobs=1).run() as running:
        running.schedule(message)

    assert message.completed == ["success"]


@pytest.mark.parametrize("place", ["handler", "callback", "callback of a job that never started"])
@simulated
async def test_a_job_that_waits_for_its_own_end_is_a_deadlock(place: str) -> None:
    errors: list[str] = []

    async def wait_for_myself() -> None:
        with pytest.raises(DeadlockError) as caught:
            await handles[0].wait()
        errors.append(str(caught.value))

    class Waiting(Recorder[Any, Any, Any]):
        async def on_success(self, result: object, /) -> None:
            if place == "callback":
                await wait_for_myself()

        async def on_cancel(self, exc: Any, /) -> None:
            await wait_for_myself()

    async def handle(_: object) -> None:
        if place == "handler":
            await wait_for_myself()

    handles: list[JobHandle[Any]] = []

    async with executor_of(handle).run() as running:
        handles.append(running.schedule(Waiting("job")))
        if place == "callback of a job that never started":
            handles[0].cancel()

    name = repr(handle.__qualname__)
    assert errors == [f"{name} waits for the end of the very job that it is; it could never come"]


@simulated
async def test_of_jobs_that_wait_for_each_other_the_last_one_gets_the_error() -> None:
    handles: list[JobHandle[Any]] = []

    async def handle(number: int) -> str:
        await anyio.sleep(number)
        try:
            await handles[(number + 1) % 3].wait()
        except DeadlockError:
            return "deadlock"
        return "fine"

    async with executor_of(handle).run() as running:
        handles += [running.submit("job", number) for number in range(3)]

        assert [await handle.result() for handle in handles] == ["fine", "fine", "deadlock"]


@simulated
async def test_a_deadlock_through_the_cap_of_a_third_job_is_found() -> None:
    outcomes: dict[str, str] = {}
    registry: AnyRegistry = Registry()
    handles: dict[str, JobHandle[Any]] = {}

    async def wait_for(me: str, other: str) -> None:
        try:
            await handles[other].wait()
            outcomes[me] = "fine"
        except DeadlockError:
            outcomes[me] = "deadlock"

    @registry.add("holder", limits=[Limit("db", 1)])
    async def holder(_: object) -> None:
        await wait_for("holder", "waiter")

    @registry.add("queued", limits=[Limit("db", 1)])
    async def queued(_: object) -> None:
        outcomes["queued"] = "ran"

    @registry.add("waiter")
    async def waiter(_: object) -> None:
        await anyio.sleep(1)
        await wait_for("waiter", "queued")

    async with Executor(registry).run() as running:
        for key in ("holder", "queued", "waiter"):
            handles[key] = running.submit(key, None)

    assert outcomes == {"waiter": "deadlock", "holder": "fine", "queued": "ran"}


@simulated
async def test_a_cap_that_somebody_else_will_give_back_is_no_deadlock() -> None:
    registry = registry_of(sleep, key="inner", limits=[Limit("db", 1)])

    @registry.add("outer")
    async def outer(_: object) -> None:
        await running.submit("inner", 1).wait()

    message = Recorder("outer")

    async with Executor(registry, max_jobs=2).run() as running:
        running.submit("inner", 5)
        await settle()
        running.schedule(message)

    assert message.completed == ["success"]


@simulated
async def test_a_cap_that_the_handler_holds_but_not_alone_is_no_deadlock() -> None:
    async def handle(payload: str) -> None:
        if payload == "outer":
            await running.submit("job", "inner").wait()
        elif payload == "other":
            await anyio.sleep(5)

    message = Recorder("job", "outer")

    async with Executor(registry_of(handle, max_jobs=2)).run() as running:
        running.submit("job", "other")
        await settle()
        running.schedule(message)

    assert message.completed == ["success"]


@simulated
async def test_a_rate_that_both_share_is_no_deadlock() -> None:
    rate = Rate("api", 1, per=10)
    registry = registry_of(echo, key="inner", limits=[rate])

    @registry.add("outer", limits=[rate])
    async def outer(_: object) -> None:
        await running.submit("inner", None).wait()

    message = Recorder("outer")

    async with Executor(registry, max_jobs=1).run() as running:
        running.schedule(message)

    assert message.completed == ["success"]


@simulated
async def test_a_paused_executor_is_no_deadlock() -> None:
    registry = registry_of(echo, key="inner")

    @registry.add("outer")
    async def outer(_: object) -> None:
        running.pause()
        await running.submit("inner", None).wait()

    message = Recorder("outer")

    async with Executor(registry, max_jobs=1).run() as running:
        running.schedule(message)
        await anyio.sleep(1)
        running.resume()

    assert message.completed == ["success"]


@simulated
async def test_one_of_two_waits_that_is_hopeless_is_an_error_as_soon_as_the_other_one_is_over() -> None:
    story: list[str] = []
    registry = registry_of(sleep, key="fine")

    @registry.add("job", max_jobs=1)
    async def outer(payload: str) -> None:
        if payload == "inner":
            return

        async def wait_in_vain() -> None:
            with pytest.raises(DeadlockError):
                await running.submit("job", "inner").wait()
            story.append("deadlock")

        async def wait_for_the_other() -> None:
            await running.submit("fine", 5).wait()
            story.append("fine")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_the_other)
            await settle_in_a_handler()
            tasks.start_soon(wait_in_vain)

    async def settle_in_a_handler() -> None:
        await anyio.sleep(1)

    async with Executor(registry, max_jobs=5).run() as running:
        await running.submit("job", "outer").result()

    assert sorted(story) == ["deadlock", "fine"]


@pytest.mark.parametrize("method", ["drain", "consume"])
@simulated
async def test_what_waits_for_all_handlers_is_refused_in_one(method: str) -> None:
    async def handle(_: object) -> None:
        await (running.drain() if method == "drain" else running.consume(None))  # type: ignore[arg-type]

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        running.schedule(message)

    error = failure_of(message)
    assert isinstance(error, DeadlockError)
    assert (
        str(error)
        == f"{method}() in {handle.__qualname__!r} would wait for that very handler; call it outside of handlers"
    )


# Giving up


@simulated
async def test_who_gives_up_waiting_goes_on_only_with_a_slot() -> None:
    crowd = Crowd()
    registry: AnyRegistry = Registry()

    @registry.add("slow")
    async def slow(seconds: float) -> None:
        with crowd:
            await anyio.sleep(seconds)

    @registry.add("outer")
    async def outer(_: object) -> float:
        with anyio.move_on_after(1) as scope:
            await running.execute(Recorder("slow", 3))
        assert scope.cancelled_caught
        with crowd:
            await anyio.sleep(1)
        return anyio.current_time()

    async with Executor(registry, max_jobs=1).run() as running:
        began = anyio.current_time()
        running.submit("slow", 0.5)
        outer_job = running.submit("outer", None)
        running.submit("slow", 10)

        # It gave up at 1.5, when "slow" had the slot, which has it for 10 seconds; then one second of its own.
        assert await outer_job.result() - began == pytest.approx(0.5 + 10 + 1)

    assert crowd.most == 1


@simulated
async def test_execute_that_is_given_up_cancels_its_job_and_wait_does_not() -> None:
    registry = registry_of(sleep, key="inner")
    executed, waited = Recorder("inner", 5), Recorder("inner", 5)

    @registry.add("outer")
    async def outer(_: object) -> None:
        with anyio.move_on_after(1):
            await running.execute(executed)
        with anyio.move_on_after(1):
            await running.schedule(waited).wait()

    async with Executor(registry, max_jobs=1).run() as running:
        running.submit("outer", None)

    assert isinstance(executed.outcome, Cancelled)
    assert executed.outcome.error.reason == "the code that waited for it was cancelled"
    assert waited.completed == ["success"]


@simulated
async def test_a_job_that_is_cancelled_while_it_waits_is_reported_and_gives_its_slot_back() -> None:
    registry = registry_of(sleep, key="inner")
    inner = Recorder("inner", 5)

    @registry.add("outer")
    async def outer(_: object) -> None:
        await running.execute(inner)

    message = Recorder("outer")

    async with Executor(registry, max_jobs=1).run() as running:
        job = running.schedule(message)
        await anyio.sleep(1)
        job.cancel()
        await job.wait()

        assert await running.submit("inner", 1).result() is None

    assert message.completed == inner.completed == ["cancel"]


@simulated
async def test_a_job_that_times_out_while_it_waits_is_reported_and_gives_its_slot_back() -> None:
    registry = registry_of(sleep, key="inner")

    @registry.add("outer", job_timeout=1)
    async def outer(_: object) -> None:
        await running.execute(Recorder("inner", 5))

    messages = [Recorder("outer") for _ in range(3)]

    async with Executor(registry, max_jobs=1).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.completed for message in messages] == [["failure"]] * 3


@simulated
async def test_stopping_the_executor_reaches_handlers_that_wait_and_what_they_wait_for() -> None:
    registry = registry_of(sleep, key="inner")
    inner, outer_message = Recorder("inner", 50), Recorder("outer")

    @registry.add("outer")
    async def outer(_: object) -> None:
        await running.execute(inner)

    async with Executor(registry, max_jobs=1).run() as running:
        running.schedule(outer_message)
        await anyio.sleep(1)
        await running.drain(0)

    assert inner.completed == outer_message.completed == ["cancel"]


@pytest.mark.anyio
async def test_those_who_wait_to_take_back_their_slot_are_let_go_at_the_end() -> None:
    async def handle(depth: int) -> None:
        if depth:
            await running.execute(Recorder("job", 0))
        else:
            await checkpoint()
        running.schedule(Recorder("tail"))

    messages = [Recorder("job", 1) for _ in range(10)]

    with anyio.CancelScope() as scope:
        async with executor_of(handle, max_jobs=1).run() as running:
            for message in messages:
                running.schedule(message)
            for _ in range(15):
                await checkpoint()
            scope.cancel()

    assert all(len(message.completed) == 1 for message in messages)


@simulated
@pytest.mark.parametrize("stopped_by", ["cancel", "timeout"])
async def test_a_handler_that_is_stopped_while_it_waits_for_a_handle_ends_at_once(stopped_by: str) -> None:
    registry: Registry[None, str, None] = Registry()

    @registry.add("outer", job_timeout=2)
    async def outer(_: None) -> None:
        await inner.wait()

    @registry.add("inner")
    async def sleep(_: None) -> None:
        await anyio.sleep(1000)

    message = Recorder("outer")
    start = anyio.current_time()

    async with Executor(registry, max_jobs=1).run() as running:
        handle = running.schedule(message)
        inner = running.schedule(Recorder("inner"))
        await anyio.sleep(1)
        if stopped_by == "cancel":
            handle.cancel()
        await handle.wait()
        took = anyio.current_time() - start

    assert took <= 2.1
    assert message.completed == (["cancel"] if stopped_by == "cancel" else ["failure"])


@pytest.mark.anyio
async def test_waiting_for_the_end_of_what_has_ended_returns_at_once() -> None:
    async def handle(_: object) -> None: ...

    async with executor_of(handle).run() as running:
        job: Any = running.schedule(Recorder("job"))
        await running.drain()
        await job.owner.wait_for_end(job)
