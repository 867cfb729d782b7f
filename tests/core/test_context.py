"""A handler sees the context variables of the code that scheduled it, in a copy of its own."""

from __future__ import annotations

import contextvars
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from jockey import ExecuteIn, Executor, Registry, Success
from jockey.testing import Recorder
from tests.core.story import executor_of

pytestmark = pytest.mark.anyio

request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="nothing")


def registry_of_all_kinds() -> Registry[Any, str, Any]:
    registry: Registry[Any, str, Any] = Registry()

    @registry.add("async")
    @registry.add("async thread", execute_in=ExecuteIn.THREAD)
    async def look_async(_: object) -> str:
        await checkpoint()
        seen = request.get()
        request.set("set by a job")
        await checkpoint()
        return seen

    @registry.add("sync")
    @registry.add("thread", execute_in=ExecuteIn.THREAD)
    def look(_: object) -> str:
        seen = request.get()
        request.set("set by a job")
        return seen

    return registry


@pytest.mark.parametrize("key", ["async", "sync", "thread", "async thread"])
async def test_a_handler_sees_the_context_of_the_code_that_scheduled_it(key: str) -> None:
    messages = [Recorder(key) for _ in range(4)]

    async with Executor(registry_of_all_kinds(), max_jobs=1).run() as running:
        for number, message in enumerate(messages):
            request.set(f"request {number}")
            running.schedule(message)
        request.set("later")

    assert [message.outcome for message in messages] == [Success(f"request {number}") for number in range(4)]
    assert request.get() == "later"


@pytest.mark.parametrize("key", ["async", "sync", "thread"])
async def test_a_job_never_writes_into_the_context_of_the_code_that_executes_it(key: str) -> None:
    request.set("mine")

    async with Executor(registry_of_all_kinds()).run() as running:
        await running.execute(Recorder(key))
        await running.submit(key, None).wait()

    assert request.get() == "mine"


async def test_payload_handler_and_callback_of_one_job_share_a_context() -> None:
    seen: list[str] = []

    class Sharing(Recorder[None, str, None]):
        async def get_payload(self) -> None:
            request.set("payload")

        async def on_success(self, result: None, /) -> None:
            seen.append(request.get())

    async def handle(_: object) -> None:
        seen.append(request.get())
        await checkpoint()
        request.set("handler")

    async with executor_of(handle).run() as running:
        running.schedule(Sharing("job"))

    assert seen == ["payload", "handler"]


async def test_tasks_of_a_handler_inherit_its_context() -> None:
    async def handle(_: object) -> list[str]:
        seen: list[str] = []

        async def child() -> None:
            seen.append(request.get())
            request.set("child")

        request.set("parent")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            tasks.start_soon(child)
        return [*seen, request.get()]

    message = Recorder("job")

    async with executor_of(handle).run() as running:
        running.schedule(message)

    assert message.outcome == Success(["parent", "parent", "parent"])


async def test_the_callback_of_a_job_that_never_ran_sees_the_context_too() -> None:
    seen: list[str] = []

    class Looking(Recorder[None, str, None]):
        async def on_no_handler(self) -> None:
            seen.append(request.get())

    request.set("scheduling")

    async with Executor(registry_of_all_kinds()).run() as running:
        running.schedule(Looking("unknown"))
        request.set("later")

    assert seen == ["scheduling"]


async def test_a_token_can_be_reset_in_the_callback() -> None:
    class Resetting(Recorder[None, str, None]):
        async def get_payload(self) -> None:
            self.token = request.set("inside")

        async def on_success(self, result: None, /) -> None:
            request.reset(self.token)
            await super().on_success(result)

    async def handle(_: object) -> None:
        await checkpoint()

    message = Resetting("job")

    async with executor_of(handle).run() as running:
        running.schedule(message)

    assert message.completed == ["success"]


async def test_pulses_see_the_context_of_their_job() -> None:
    seen: list[str] = []
    enough = anyio.Event()

    class Beating(Recorder[None, str, None]):
        async def on_pulse(self) -> None:
            seen.append(request.get())
            enough.set()

    registry: Registry[None, str, None] = Registry()

    @registry.add("job", pulse_every=0.001)
    async def handle(_: None) -> None:
        await enough.wait()

    request.set("scheduling")

    async with Executor(registry).run() as running:
        running.schedule(Beating("job"))
        request.set("later")

    assert set(seen) == {"scheduling"}
