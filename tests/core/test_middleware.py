"""Middleware wraps an adapter and forwards everything that it does not override."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from jockey import Adapter, Cancellation, Executor, Middleware, Registry, Success
from jockey.testing import Recorder
from tests.core.story import Told, executor_of, wait_all_tasks_blocked

pytestmark = pytest.mark.anyio


async def echo(payload: object) -> object:
    return payload


async def test_it_forwards_every_call_with_what_it_carries() -> None:
    message = Recorder("key", 5, keys=["other"], group="group")
    wrapped: Middleware[Any, str, Any] = Middleware(message)

    assert list(wrapped.get_keys()) == ["key", "other"]
    assert wrapped.get_group() == "group"
    assert await wrapped.get_payload() == 5
    await wrapped.on_success(7)
    assert message.outcome == Success(7)
    await wrapped.on_failure(ValueError())
    await wrapped.on_cancel(Cancellation("why"))
    await wrapped.on_no_handler()
    await wrapped.on_pulse()

    assert message.completed == ["success", "failure", "cancel", "no_handler", "pulse"]


async def test_it_overrides_every_method_of_an_adapter() -> None:
    own = {name for name in vars(Adapter) if not name.startswith("_")}

    assert own <= set(vars(Middleware))


async def test_its_repr_tells_what_it_wraps() -> None:
    class Timing(Middleware[Any, str, Any]):
        pass

    assert repr(Timing(Recorder("key"))) == "Timing(<Recorder 'key' calls=[]>)"


async def test_the_first_middleware_is_the_outermost() -> None:
    story: list[str] = []

    def telling(name: str) -> type[Middleware[Any, Any, Any]]:
        class Telling(Middleware[Any, Any, Any]):
            async def get_payload(self) -> Any:
                story.append(f"{name} in")
                payload = await super().get_payload()
                story.append(f"{name} out")
                return payload

            async def on_success(self, result: Any, /) -> None:
                story.append(f"{name}: success")
                await super().on_success(result)

        return Telling

    async with executor_of(echo, middleware=[telling("outer"), telling("inner")]).run() as running:
        running.schedule(Told(story, "message"))

    assert story == [
        *["outer in", "inner in", "inner out", "outer out"],
        *["outer: success", "inner: success", "message: success"],
    ]


async def test_it_may_change_key_payload_result_and_group() -> None:
    class Changing(Middleware[Any, Any, Any]):
        def get_keys(self) -> Iterable[Any]:
            return ["job"]

        def get_group(self) -> Hashable:
            return "one group for all"

        async def get_payload(self) -> Any:
            return await super().get_payload() + 1

        async def on_success(self, result: Any, /) -> None:
            await super().on_success(result * 10)

    messages = [Recorder("unknown", number) for number in range(3)]

    async with executor_of(echo, middleware=[Changing]).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.outcome for message in messages] == [Success(10), Success(20), Success(30)]


async def test_it_wraps_what_comes_by_submit_and_execute_too() -> None:
    class Doubling(Middleware[Any, Any, Any]):
        async def get_payload(self) -> Any:
            return 2 * await super().get_payload()

    async with executor_of(echo, middleware=[Doubling]).run() as running:
        submitted = await running.submit("job", 4).result()
        executed = await (await running.execute(Recorder("job", 5))).result()

    assert (submitted, executed) == (8, 10)


async def test_it_may_be_a_dataclass_or_a_function() -> None:
    @dataclass
    class Counting(Middleware[Any, Any, Any]):
        adapter: Adapter[Any, Any, Any]
        count: int = 0

        async def on_success(self, result: Any, /) -> None:
            self.count += 1
            await super().on_success(result)

    wrapped: list[Counting] = []

    def wrap(message: Adapter[Any, Any, Any]) -> Adapter[Any, Any, Any]:
        wrapped.append(Counting(message))
        return wrapped[-1]

    async with executor_of(echo, middleware=(each for each in [wrap])).run() as running:
        for _ in range(3):
            running.schedule(Recorder("job"))

    assert [each.count for each in wrapped] == [1, 1, 1]


async def test_it_can_turn_a_failure_into_something_else() -> None:
    class Forgiving(Middleware[Any, Any, Any]):
        async def on_failure(self, exc: Exception, /) -> None:
            await self.adapter.on_success("forgiven")

    async def fail(_: object) -> None:
        raise ValueError

    message = Recorder("job")

    async with executor_of(fail, middleware=[Forgiving]).run() as running:
        running.schedule(message)

    assert message.outcome == Success("forgiven")


async def test_one_executor_wraps_the_messages_of_each_run_anew() -> None:
    wrapped: list[object] = []

    def note(message: Adapter[Any, Any, Any]) -> Adapter[Any, Any, Any]:
        wrapped.append(message)
        return message

    executor = executor_of(echo, middleware=[note])
    message = Recorder("job")

    for _ in range(2):
        async with executor.run() as running:
            running.schedule(message)
            await wait_all_tasks_blocked()

    assert wrapped == [message, message]
    assert message.completed == ["success", "success"]


async def test_middleware_without_a_handler_hears_of_that_too() -> None:
    story: list[str] = []

    class Telling(Middleware[Any, Any, Any]):
        async def on_no_handler(self) -> None:
            story.append("middleware")
            await super().on_no_handler()

    async with Executor(Registry[Any, str, Any](), middleware=[Telling]).run() as running:
        running.schedule(Told(story, "message"))

    assert story == ["middleware", "message: no handler"]
