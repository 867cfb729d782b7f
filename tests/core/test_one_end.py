"""Each message that was accepted comes to exactly one end, and its callback is awaited, whatever happens."""

from __future__ import annotations

import anyio
import pytest

from jockey import (
    Cancellation,
    Cancelled,
    Executor,
    Failure,
    HandlerCrashedError,
    JobState,
    Middleware,
    NoHandler,
    Registry,
    Success,
    WaitFor,
)
from jockey.testing import Recorder
from tests.core.story import Fatal, Told, executor_of, wait_all_tasks_blocked

pytestmark = pytest.mark.anyio


async def echo(payload: object) -> object:
    return payload


async def wait_forever(_: object) -> None:
    await anyio.sleep_forever()


async def test_a_handler_that_returns_ends_in_on_success_with_its_result() -> None:
    message = Recorder("job", 5)

    async with executor_of(echo).run() as running:
        running.schedule(message)

    assert message.completed == ["success"]
    assert message.outcome == Success(5)


async def test_a_handler_that_raises_ends_in_on_failure_with_that_very_exception() -> None:
    error = ZeroDivisionError()

    async def handle(_: object) -> None:
        raise error

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        running.schedule(message)

    assert message.completed == ["failure"]
    assert isinstance(message.outcome, Failure)
    assert message.outcome.error is error


async def test_a_message_without_a_handler_ends_in_on_no_handler() -> None:
    message = Recorder("unknown")

    async with executor_of(echo).run() as running:
        handle = running.schedule(message)

    assert message.completed == ["no_handler"]
    assert message.outcome == NoHandler()
    assert handle.state is JobState.NO_HANDLER


async def test_a_message_without_any_key_ends_in_on_no_handler() -> None:
    class Keyless(Recorder[None, str, None]):
        def get_keys(self) -> list[str]:
            return []

    message = Keyless("job")

    async with executor_of(echo).run() as running:
        running.schedule(message)

    assert message.completed == ["no_handler"]


async def test_keys_are_tried_in_order() -> None:
    registry: Registry[None, str, str] = Registry()

    @registry.add("second")
    async def second(_: None) -> str:
        return "second"

    @registry.add("third")
    async def third(_: None) -> str:
        return "third"

    message = Recorder[None, str, str]("first", keys=["second", "third"])

    async with Executor(registry).run() as running:
        running.schedule(message)

    assert message.outcome == Success("second")


async def test_an_error_in_get_keys_is_a_failure() -> None:
    error = RuntimeError("no key")
    message = Recorder("job", faults={"get_keys": error})
    bystander = Recorder("job")

    async with executor_of(echo).run() as running:
        running.schedule(message)
        running.schedule(bystander)

    assert message.outcome == Failure(error)
    assert bystander.completed == ["success"]


async def test_an_error_in_the_middle_of_get_keys_is_a_failure() -> None:
    class Generating(Recorder[None, str, None]):
        def get_keys(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            yield "unknown"
            raise LookupError("no more keys")

    message = Generating("job")

    async with executor_of(echo).run() as running:
        running.schedule(message)

    assert message.completed == ["failure"]


async def test_a_key_that_cannot_be_hashed_is_a_failure() -> None:
    message = Recorder(["a list"])

    async with executor_of(echo).run() as running:
        running.schedule(message)

    assert message.completed == ["failure"]
    assert isinstance(message.outcome, Failure)
    assert isinstance(message.outcome.error, TypeError)


async def test_what_is_no_exception_in_get_keys_is_a_failure_too() -> None:
    error = Fatal("get_keys")
    message = Recorder("job", faults={"get_keys": error})

    async with executor_of(echo).run() as running:
        running.schedule(message)

    assert message.completed == ["failure"]
    assert isinstance(message.outcome, Failure)
    assert isinstance(message.outcome.error, HandlerCrashedError)
    assert message.outcome.error.__cause__ is error


async def test_an_error_in_get_payload_is_a_failure() -> None:
    error = ValueError("no payload")
    message = Recorder("job", faults={"get_payload": error})

    async with executor_of(echo).run() as running:
        running.schedule(message)

    assert message.completed == ["failure"]
    assert message.outcome == Failure(error)


@pytest.mark.parametrize("place", ["get_payload", "handler"])
@pytest.mark.parametrize(
    "error",
    [Fatal("boom"), BaseExceptionGroup("boom", [Fatal()]), GeneratorExit("boom")],
    ids=lambda error: type(error).__name__,
)
async def test_what_is_no_exception_arrives_wrapped_with_its_cause(error: BaseException, place: str) -> None:
    async def handle(_: object) -> None:
        raise error

    message = Recorder("job", faults={"get_payload": error} if place == "get_payload" else {})
    bystander = Recorder("other")
    executor = executor_of(handle)

    async with executor.run() as running:
        running.schedule(message)
        running.schedule(bystander)

    assert message.completed == ["failure"]
    assert isinstance(message.outcome, Failure)
    assert isinstance(message.outcome.error, HandlerCrashedError)
    assert message.outcome.error.__cause__ is error
    assert repr(error) in str(message.outcome.error)
    assert bystander.completed == ["no_handler"]


async def test_an_exception_group_arrives_untouched() -> None:
    error = ExceptionGroup("two", [ValueError(), KeyError()])

    async def handle(_: object) -> None:
        raise error

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        running.schedule(message)

    assert isinstance(message.outcome, Failure)
    assert message.outcome.error is error


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_stop_iteration_of_a_handler_harms_nobody_else(is_async: bool) -> None:  # noqa: FBT001
    def handle(_: object) -> None:
        raise StopIteration("odd")

    async def handle_async(_: object) -> None:
        raise StopIteration("odd")

    message, bystander = Recorder("job"), Recorder("unknown")

    async with executor_of(handle_async if is_async else handle, max_jobs=1).run() as running:
        running.schedule(message)
        running.schedule(bystander)

    assert message.completed == ["failure"]
    assert bystander.completed == ["no_handler"]


async def test_a_job_that_never_ran_is_cancelled_and_never_failed() -> None:
    ran: list[object] = []

    async def handle(payload: object) -> None:
        ran.append(payload)
        await anyio.sleep_forever()

    first, queued = Recorder("job", 1), Recorder("job", 2)

    with anyio.CancelScope() as scope:
        async with executor_of(handle, max_jobs=1).run() as running:
            running.schedule(first)
            running.schedule(queued)
            await wait_all_tasks_blocked()
            scope.cancel()

    assert ran == [1]
    assert first.completed == queued.completed == ["cancel"]


async def test_a_message_is_owned_from_the_call_on_even_if_its_waiter_is_cancelled_at_once() -> None:
    message = Recorder("job")

    async with executor_of(wait_forever).run() as running:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await running.execute(message)

    assert message.completed == ["cancel"]


@pytest.mark.parametrize("wait_for", WaitFor)
async def test_a_cancelled_waiter_never_loses_its_message(wait_for: WaitFor) -> None:
    blocker, message = Recorder("job"), Recorder("job")

    waiting = anyio.CancelScope()

    async def wait() -> None:
        with waiting:
            await running.execute(message, wait_for=wait_for)

    with anyio.CancelScope() as body:
        async with executor_of(wait_forever, max_jobs=1).run() as running, anyio.create_task_group() as waiters:
            for other in (blocker, Recorder("job"), Recorder("job")):
                running.schedule(other)
            waiters.start_soon(wait)
            await wait_all_tasks_blocked()
            waiting.cancel()
            await wait_all_tasks_blocked()
            body.cancel()

    assert message.completed == ["cancel"]


async def test_a_slot_is_freed_only_after_the_callback() -> None:
    story: list[str] = []
    acknowledge = anyio.Event()

    async def handle(name: str) -> None:
        story.append(f"{name}: start")

    async with executor_of(handle, max_jobs=1).run() as running:
        running.schedule(Told(story, "a", payload="a", faults={"on_success": acknowledge}))
        running.schedule(Told(story, "b", payload="b"))
        await wait_all_tasks_blocked()
        assert story == ["a: start", "a: success"]
        acknowledge.set()

    assert story == ["a: start", "a: success", "b: start", "b: success"]


@pytest.mark.parametrize("callback", ["on_success", "on_failure", "on_cancel", "on_no_handler"])
async def test_no_callback_is_cut_by_the_end_of_the_block(callback: str) -> None:
    go = anyio.Event()
    key = {"on_success": "good", "on_failure": "bad", "on_cancel": "good"}.get(callback, "unknown")
    registry: Registry[None, str, None] = Registry()
    registry.add("good")(echo)

    @registry.add("bad")
    async def bad(_: None) -> None:
        raise ValueError

    message = Recorder(key, faults={callback: go})  # type: ignore[dict-item]

    async with anyio.create_task_group() as others, Executor(registry).run() as running:
        handle = running.schedule(message)
        if callback == "on_cancel":
            handle.cancel()

        async def open_late() -> None:
            await wait_all_tasks_blocked()
            go.set()

        others.start_soon(open_late)

    assert message.completed == [callback.removeprefix("on_")]


async def test_the_end_of_the_message_is_told_to_the_middleware_that_wraps_it() -> None:
    story: list[str] = []

    class Telling(Middleware[object, str, object]):
        async def on_success(self, result: object, /) -> None:
            story.append("middleware")
            await super().on_success(result)

    async with executor_of(echo, middleware=[Telling]).run() as running:
        running.schedule(Told(story, "message"))

    assert story == ["middleware", "message: success"]


async def test_middleware_that_raises_is_a_failure_of_that_message() -> None:
    error = RuntimeError("no wrap")

    def refuse(_: object) -> Recorder[object, str, object]:
        raise error

    message = Recorder("job")

    async with executor_of(echo, middleware=[refuse]).run() as running:
        running.schedule(message)

    assert message.outcome == Failure(error)


async def test_on_cancel_is_told_why_on_every_backend() -> None:
    message = Recorder("job")

    async with executor_of(wait_forever).run() as running:
        handle = running.schedule(message)
        await wait_all_tasks_blocked()
        handle.cancel("no more need")

    assert isinstance(message.outcome, Cancelled)
    assert type(message.outcome.error) is Cancellation
    assert message.outcome.error.reason == "no more need"


async def test_a_handler_that_cancels_its_own_job_hears_of_it_once() -> None:
    message = Recorder("job")

    async with executor_of(wait_forever).run() as running:

        class SelfCancelling(Middleware[object, str, object]):
            async def get_payload(self) -> None:
                handle.cancel("by itself")

        handle = running.schedule(SelfCancelling(message))

    assert message.completed == ["cancel"]
    assert isinstance(message.outcome, Cancelled)
    assert message.outcome.error.reason == "by itself"


async def test_many_jobs_of_all_kinds_each_come_to_their_one_end() -> None:
    registry: Registry[int, str, int] = Registry()

    @registry.add("good", max_jobs=3)
    async def good(payload: int) -> int:
        await anyio.sleep(0)
        return payload

    @registry.add("bad")
    async def bad(payload: int) -> int:
        await anyio.sleep(0)
        raise ValueError(payload)

    keys = ["good", "bad", "unknown"]
    messages = [Recorder(keys[number % 3], number) for number in range(300)]

    async with Executor(registry, max_jobs=7).run() as running:
        handles = [running.schedule(message) for message in messages]
        for handle in handles[::5]:
            handle.cancel()

    expected = [
        ["cancel"]
        if number % 5 == 0 and keys[number % 3] != "unknown"
        else [["success"], ["failure"], ["no_handler"]][number % 3]
        for number in range(300)
    ]
    assert [message.completed for message in messages] == expected
