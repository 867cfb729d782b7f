"""What a user has to write, and what there is by default."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jockey import Adapter, Executor, Registry


class Least(Adapter[int, str, int]):
    """As little as an adapter can be."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ends: list[object] = []

    def get_keys(self) -> tuple[str, ...]:
        return ("double",)

    async def get_payload(self) -> int:
        return self.number

    async def on_success(self, result: int) -> None:
        self.ends.append(result)

    async def on_failure(self, exc: Exception) -> None:
        self.ends.append(exc)

    async def on_cancel(self, exc: asyncio.CancelledError) -> None:
        self.ends.append(exc)


def test_what_has_no_default_must_be_written() -> None:
    assert Adapter.__abstractmethods__ == {"get_keys", "get_payload", "on_success", "on_failure", "on_cancel"}

    class Half(Adapter[int, str, int]):
        def get_keys(self) -> tuple[str, ...]:
            return ()

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]


@pytest.mark.anyio
async def test_the_defaults_are_no_group_and_no_pulse() -> None:
    message = Least(1)

    assert message.get_group() is None
    assert await message.on_pulse() is None  # type: ignore[func-returns-value]


@pytest.mark.anyio
async def test_the_least_adapter_does() -> None:
    registry: Registry[int, str, int] = Registry()

    @registry.add("double", pulse_every=0.001)
    async def double(number: int) -> int:
        return 2 * number

    messages = [Least(number) for number in range(5)]

    async with Executor(registry).run() as running:
        for message in messages:
            running.schedule(message)

    assert [message.ends for message in messages] == [[0], [2], [4], [6], [8]]


@pytest.mark.anyio
async def test_one_message_may_be_scheduled_again_and_ends_each_time() -> None:
    registry: Registry[int, str, int] = Registry()
    message = Least(3)

    @registry.add("double")
    async def double(number: int) -> int:
        return 2 * number

    async with Executor(registry).run() as running:
        handles = [running.schedule(message) for _ in range(3)]

    assert message.ends == [6, 6, 6]
    assert len(set(handles)) == 3


@pytest.mark.anyio
async def test_callbacks_may_be_plain_coroutine_functions_of_any_object_with_the_right_methods() -> None:
    class Duck:
        def __init__(self) -> None:
            self.ends: list[Any] = []
            self.on_failure = self.on_cancel = self.on_success

        def get_keys(self) -> list[str]:
            return ["double"]

        def get_group(self) -> None:
            return None

        async def get_payload(self) -> int:
            return 4

        async def on_success(self, result: Any) -> None:
            self.ends.append(result)

    registry: Registry[int, str, int] = Registry()
    registry.add("double")(lambda number: 2 * number)
    duck: Any = Duck()

    async with Executor(registry).run() as running:
        running.schedule(duck)

    assert duck.ends == [8]
