"""Jobs without an adapter, and jobs from a source that is read only as fast as slots become free."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from jockey import (
    BacklogFullError,
    Cancelled,
    DeadlockError,
    ExecuteIn,
    Executor,
    ExecutorClosedError,
    Failure,
    JobCancelledError,
    JobState,
    NoHandlerError,
    Priority,
    RunningExecutor,
    Success,
)
from jockey.testing import Recorder
from tests.core.outside import Blocker
from tests.core.story import executor_of, registry_of, wait_all_tasks_blocked, wait_forever

pytestmark = pytest.mark.anyio


async def echo(payload: object) -> object:
    return payload


class Gatekeeper:
    """A handler that lets jobs end one by one."""

    def __init__(self) -> None:
        self.started: list[object] = []
        self._go = anyio.Semaphore(0)

    async def __call__(self, payload: object) -> object:
        self.started.append(payload)
        await self._go.acquire()
        return payload

    async def let_go(self, times: int = 1) -> None:
        for _ in range(times):
            self._go.release()
        await wait_all_tasks_blocked()


class Source:
    """Messages that tell how many of them were taken."""

    def __init__(self, messages: Sequence[Recorder[Any, Any, Any]], *, ends: bool = True) -> None:
        self.taken = 0
        self._messages = messages
        self._ends = ends

    async def __aiter__(self) -> AsyncIterator[Recorder[Any, Any, Any]]:
        for message in self._messages:
            self.taken += 1
            yield message
        if not self._ends:
            await anyio.sleep_forever()


def jobs(count: int, key: str = "job") -> list[Recorder[Any, Any, Any]]:
    return [Recorder(key, number) for number in range(count)]


# submit


async def test_submit_gives_the_result() -> None:
    async with executor_of(echo).run() as running:
        handle = running.submit("job", 5)

        assert await handle.result() == 5
        assert await handle.wait() == Success(5)
        assert handle.state is JobState.SUCCEEDED


async def test_submit_of_a_handler_that_fails_raises_that_very_error() -> None:
    error = ValueError("no")

    async def handle(_: object) -> None:
        raise error

    async with executor_of(handle).run() as running:
        job = running.submit("job", None)

        with pytest.raises(ValueError, match="no") as caught:
            await job.result()

        assert caught.value is error
        assert await job.wait() == Failure(error)


async def test_submit_of_a_job_that_is_cancelled_tells_the_reason() -> None:
    async with executor_of(wait_forever).run() as running:
        job = running.submit("job", None)
        job.cancel("no more need")

        with pytest.raises(JobCancelledError, match="the job was cancelled: no more need"):
            await job.result()


async def test_submit_for_an_unknown_key_is_an_error_at_once() -> None:
    async with executor_of(echo).run() as running:
        with pytest.raises(NoHandlerError, match="the key 'jbo' has no handler; add one with Registry.add"):
            running.submit("jbo", 5)

        assert running.statistics().no_handler == 0


async def test_submit_for_a_key_that_cannot_be_hashed_is_an_error_at_once() -> None:
    async with executor_of(echo).run() as running:
        with pytest.raises(TypeError, match="unhashable"):
            running.submit(["job"], 5)

        await running.drain()


async def test_submit_after_the_end_is_an_error() -> None:
    async with executor_of(echo).run() as running:
        pass

    with pytest.raises(ExecutorClosedError, match=r"submit\(\) after the executor has ended"):
        running.submit("job", 5)


async def test_submit_minds_priority_backlog_and_caps() -> None:
    keeper = Gatekeeper()

    async with executor_of(keeper, max_jobs=1, max_backlog=2).run() as running:
        running.submit("job", "first")
        await wait_all_tasks_blocked()
        running.submit("job", "low", priority=Priority.LOW)
        running.submit("job", "high", priority=Priority.HIGH)
        with pytest.raises(BacklogFullError):
            running.submit("job", "too much")
        await keeper.let_go(3)

    assert keeper.started == ["first", "high", "low"]


async def test_a_submitted_job_is_known_by_its_key_and_its_payload() -> None:
    async with executor_of(wait_forever).run() as running:
        job = running.submit("job", 5)

        assert repr(job) == "<job wait_forever queued: submit('job', 5)>"

        job.cancel()


# consume


async def test_consume_takes_all_messages_and_returns_while_the_last_ones_run() -> None:
    keeper, messages = Gatekeeper(), jobs(5)

    async with executor_of(keeper, max_jobs=2).run() as running, anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.let_go, 4)
        await running.consume(Source(messages))  # only with a free slot does it ask whether there are more
        await wait_all_tasks_blocked()

        assert running.statistics().running == 1

        await keeper.let_go()

    assert [message.completed for message in messages] == [["success"]] * 5
    assert keeper.started == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("max_jobs", [1, 3])
async def test_consume_takes_exactly_as_many_messages_as_there_are_slots(max_jobs: int) -> None:
    keeper, source = Gatekeeper(), Source(jobs(10))

    async with executor_of(keeper, max_jobs=max_jobs).run() as running, anyio.create_task_group() as tasks:
        tasks.start_soon(running.consume, source)

        for ended in range(10):
            await wait_all_tasks_blocked()
            assert source.taken == min(max_jobs + ended, 10)
            await keeper.let_go()


async def test_a_slot_is_free_for_consume_only_after_the_callback() -> None:
    acknowledge = anyio.Event()
    source = Source([Recorder("job", faults={"on_success": acknowledge}), Recorder("job")])

    async with executor_of(echo, max_jobs=1).run() as running, anyio.create_task_group() as tasks:
        tasks.start_soon(running.consume, source)
        await wait_all_tasks_blocked()

        assert source.taken == 1

        acknowledge.set()

    assert source.taken == 2


async def test_consume_leaves_slots_to_what_was_scheduled_otherwise() -> None:
    keeper, source = Gatekeeper(), Source(jobs(5))

    async with executor_of(keeper, max_jobs=3).run() as running, anyio.create_task_group() as tasks:
        running.submit("job", "other")
        running.submit("job", "other")
        tasks.start_soon(running.consume, source)
        await wait_all_tasks_blocked()

        assert source.taken == 1

        await keeper.let_go(7)


async def test_consume_goes_on_past_messages_without_a_handler_and_those_that_fail() -> None:
    messages = [*jobs(3, "unknown"), *jobs(2), Recorder("job", faults={"get_keys": ValueError()}), *jobs(3)]

    async with executor_of(echo, max_jobs=1).run() as running:
        await running.consume(Source(messages))

    ends = [["no_handler"]] * 3 + [["success"]] * 2 + [["failure"]] + [["success"]] * 3
    assert [message.completed for message in messages] == ends


async def test_consume_takes_nothing_while_paused() -> None:
    source = Source(jobs(3))

    async with executor_of(echo).run() as running, anyio.create_task_group() as tasks:
        running.pause()
        tasks.start_soon(running.consume, source)
        await wait_all_tasks_blocked()

        assert source.taken == 0

        running.resume()

    assert source.taken == 3


async def test_pause_stops_consume_in_the_middle_and_what_it_waited_for_waits() -> None:
    keeper, source = Gatekeeper(), Source(jobs(5))

    async with executor_of(keeper, max_jobs=1).run() as running, anyio.create_task_group() as tasks:
        tasks.start_soon(running.consume, source)
        await wait_all_tasks_blocked()
        running.pause()
        await keeper.let_go()

        assert (source.taken, keeper.started) == (1, [0])

        running.resume()
        await keeper.let_go(4)

    assert keeper.started == [0, 1, 2, 3, 4]


async def test_two_consumers_share_the_slots() -> None:
    keeper, sources = Gatekeeper(), [Source(jobs(4)), Source(jobs(4))]

    async with executor_of(keeper, max_jobs=3).run() as running, anyio.create_task_group() as tasks:
        for source in sources:
            tasks.start_soon(running.consume, source)

        for ended in range(8):
            await wait_all_tasks_blocked()
            assert sum(source.taken for source in sources) == min(3 + ended, 8)
            await keeper.let_go()

    assert [source.taken for source in sources] == [4, 4]


async def test_a_consumer_whose_source_is_empty_for_now_holds_only_one_slot() -> None:
    keeper = Gatekeeper()
    idle, busy = Source([], ends=False), Source(jobs(6))

    async with executor_of(keeper, max_jobs=3).run() as running, anyio.create_task_group() as tasks:
        tasks.start_soon(running.consume, idle)
        await wait_all_tasks_blocked()
        tasks.start_soon(running.consume, busy)
        await wait_all_tasks_blocked()

        assert busy.taken == 2

        await keeper.let_go(6)

        assert busy.taken == 6

        tasks.cancel_scope.cancel()


async def test_an_idle_consumer_keeps_no_job_from_starting() -> None:
    async with executor_of(echo, max_jobs=1).run() as running, anyio.create_task_group() as tasks:
        tasks.start_soon(running.consume, Source([], ends=False))
        await wait_all_tasks_blocked()

        assert await running.submit("job", 5).result() == 5

        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("ends", [True, False])
async def test_drain_with_a_timeout_ends_consume(ends: bool) -> None:  # noqa: FBT001
    messages = jobs(5)
    source = Source(messages, ends=ends)
    returned: list[bool] = []

    async def consume(running: RunningExecutor[Any, Any, Any]) -> None:
        await running.consume(source)
        returned.append(True)

    async with executor_of(wait_forever, max_jobs=2).run() as running, anyio.create_task_group() as tasks:
        tasks.start_soon(consume, running)
        await wait_all_tasks_blocked()
        await running.drain(0)

    assert returned == [True]
    assert source.taken == 2
    assert [message.completed for message in messages[:2]] == [["cancel"], ["cancel"]]


@pytest.mark.parametrize("waits_for", ["slot", "message"])
@pytest.mark.parametrize("how", ["drain", "cancel"])
async def test_the_source_is_closed_before_consume_ends(how: str, waits_for: str) -> None:
    story: list[str] = []

    class Connection:
        async def __aiter__(self) -> AsyncIterator[Recorder[Any, Any, Any]]:
            try:
                yield Recorder("job")
                await anyio.sleep_forever()
            finally:
                story.append("closed")

    async with executor_of(wait_forever, max_jobs=1 if waits_for == "slot" else 2).run() as running:
        async with anyio.create_task_group() as tasks:

            async def consume() -> None:
                try:
                    await running.consume(Connection())
                finally:
                    story.append("consume ends")

            tasks.start_soon(consume)
            await wait_all_tasks_blocked()
            if how == "drain":
                await running.drain(0)
            else:
                tasks.cancel_scope.cancel()
        await running.drain(0)

    assert story == ["closed", "consume ends"]


async def test_a_source_may_be_any_async_iterator() -> None:
    messages = jobs(3)

    class Plain:
        def __init__(self) -> None:
            self.left = iter(messages)

        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> Recorder[Any, Any, Any]:
            message = next(self.left, None)
            if message is None:
                raise StopAsyncIteration
            return message

    async with executor_of(echo).run() as running:
        await running.consume(Plain())

    assert [message.completed for message in messages] == [["success"]] * 3


async def test_drain_with_a_timeout_ends_a_consume_that_waits_for_its_source() -> None:
    async with executor_of(echo).run() as running, anyio.create_task_group() as tasks:
        source = Source(jobs(2), ends=False)
        tasks.start_soon(running.consume, source)
        await wait_all_tasks_blocked()
        await running.drain(0)

    assert source.taken == 2


async def test_consume_after_the_intake_is_closed_takes_nothing() -> None:
    source = Source(jobs(2))

    async with executor_of(echo).run() as running:
        await running.drain(0)
        await running.consume(source)

    assert source.taken == 0


async def test_consume_after_the_end_is_an_error() -> None:
    async with executor_of(echo).run() as running:
        pass

    with pytest.raises(ExecutorClosedError, match=r"consume\(\)"):
        await running.consume(Source(jobs(2)))


async def test_an_error_of_the_source_comes_out_and_the_jobs_go_on() -> None:
    error = ConnectionError("gone")
    message = Recorder("job")

    async def source() -> AsyncIterator[Recorder[Any, Any, Any]]:
        yield message
        raise error

    keeper = Gatekeeper()
    async with executor_of(keeper, max_jobs=2).run() as running:
        with pytest.raises(ConnectionError) as caught:
            await running.consume(source())
        await keeper.let_go()

        later = running.submit("job", 5)
        await keeper.let_go()
        assert await later.result() == 5

    assert caught.value is error
    assert message.completed == ["success"]


async def test_an_error_of_one_source_does_not_cost_the_other_a_slot() -> None:
    async def broken() -> AsyncIterator[Recorder[Any, Any, Any]]:
        await wait_all_tasks_blocked()
        raise ConnectionError
        yield

    source = Source(jobs(3))

    async with executor_of(echo, max_jobs=1).run() as running, anyio.create_task_group() as tasks:

        async def consume_broken() -> None:
            with pytest.raises(ConnectionError):
                await running.consume(broken())

        tasks.start_soon(consume_broken)
        tasks.start_soon(running.consume, source)

    assert source.taken == 3


@pytest.mark.parametrize("waits_for", ["slot", "message"])
async def test_a_consume_that_is_cancelled_loses_no_message_and_no_slot(waits_for: str) -> None:
    keeper, messages = Gatekeeper(), jobs(1 if waits_for == "message" else 5)
    source = Source(messages, ends=False)

    async with executor_of(keeper, max_jobs=2).run() as running:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.consume, source)
            await wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

        taken = source.taken
        following = Source(jobs(1))
        await keeper.let_go(taken)
        await running.consume(following)
        await keeper.let_go()

    assert taken == (1 if waits_for == "message" else 2)
    assert [message.completed for message in messages[:taken]] == [["success"]] * taken
    assert following.taken == 1


async def test_a_consume_that_is_cancelled_when_its_turn_has_come_passes_it_on() -> None:
    keeper, second = Gatekeeper(), Source(jobs(1))

    async with executor_of(keeper, max_jobs=1).run() as running, anyio.create_task_group() as tasks:
        running.submit("job", None)
        await wait_all_tasks_blocked()
        scope = anyio.CancelScope()
        first = Source(jobs(1))

        async def consume_first() -> None:
            with scope:
                await running.consume(first)

        tasks.start_soon(consume_first)
        await wait_all_tasks_blocked()
        tasks.start_soon(running.consume, second)
        await wait_all_tasks_blocked()

        class Cancelling(Recorder[Any, Any, Any]):
            async def on_success(self, result: object, /) -> None:
                scope.cancel()

        running.schedule(Cancelling("job"))
        await keeper.let_go(3)

    assert second.taken == 1


async def test_consume_minds_max_backlog() -> None:
    keeper, source = Gatekeeper(), Source(jobs(4))
    registry = registry_of(keeper, max_jobs=1)

    async with Executor(registry, max_jobs=10, max_backlog=1).run() as running, anyio.create_task_group() as tasks:
        tasks.start_soon(running.consume, source)
        await wait_all_tasks_blocked()

        # One runs, one waits; the backlog is full.
        assert source.taken == 2

        await keeper.let_go(4)

    assert source.taken == 4


async def test_consume_without_a_cap_takes_all_at_once() -> None:
    keeper, source = Gatekeeper(), Source(jobs(100))

    async with executor_of(keeper, max_jobs=None).run() as running:
        await running.consume(source)

        assert source.taken == 100

        await keeper.let_go(100)


async def test_consume_in_a_handler_would_wait_for_that_handler_and_is_refused() -> None:
    source = Source(jobs(1))

    async def handle(_: object) -> None:
        await running.consume(source)

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        running.schedule(message)

    assert isinstance(message.outcome, Failure)
    assert isinstance(message.outcome.error, DeadlockError)
    assert str(message.outcome.error).startswith("consume() in 'test_consume_in_a_handler")
    assert source.taken == 0


async def test_consume_in_a_handler_of_another_executor_is_fine() -> None:
    async with executor_of(echo).run() as other:
        source = Source(jobs(3))

        async def handle(_: object) -> None:
            await other.consume(source)

        async with executor_of(handle).run() as running:
            await running.submit("job", None).result()

    assert source.taken == 3


@pytest.mark.parametrize("source", [None, [Recorder("job")], 5], ids=["None", "list", "int"])
async def test_consume_of_what_is_no_async_iterable_is_an_error_and_leaves_nothing(source: Any) -> None:
    async with executor_of(echo).run() as running:
        with pytest.raises(TypeError):
            await running.consume(source)

        await running.consume(Source(jobs(1)))


async def test_the_body_that_is_cancelled_in_consume_cancels_what_it_took() -> None:
    messages = jobs(3)

    with anyio.CancelScope() as scope:
        async with executor_of(wait_forever, max_jobs=2).run() as running, anyio.create_task_group() as tasks:
            tasks.start_soon(running.consume, Source(messages))
            await wait_all_tasks_blocked()
            scope.cancel()

    assert [message.completed for message in messages] == [["cancel"], ["cancel"], []]
    assert isinstance(messages[0].outcome, Cancelled)


async def test_consume_never_queues_a_message_however_it_ends() -> None:
    queued: list[int] = []
    source = Source(jobs(100))

    async def handle(number: int) -> None:
        for _ in range(number % 4):
            await checkpoint()
        queued.append(sum(running.statistics().queued.values()))

    async with executor_of(handle, max_jobs=3).run() as running:
        await running.consume(source)

    assert max(queued) <= 3


async def test_a_slot_that_is_held_by_a_stuck_thread_is_not_free() -> None:
    blocker = Blocker()
    registry = registry_of(blocker, key="stuck", execute_in=ExecuteIn.THREAD)
    registry.add("job")(echo)
    source = Source(jobs(2))

    async with Executor(registry, max_jobs=1, on_error=lambda *_: None).run() as running:
        stuck = running.submit("stuck", None)
        await blocker.started()
        stuck.cancel()
        await stuck.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.consume, source)
            await wait_all_tasks_blocked()
            taken = source.taken
            blocker.let_go()

    assert (taken, source.taken) == (0, 2)
