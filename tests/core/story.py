"""What the tests of the core share: messages that write a story together, and tests on a virtual clock."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from jockey import Executor, Registry
from jockey.testing import Recorder, run


class Told(Recorder[Any, Any, Any]):
    """A message that writes what happens to it into a story that it shares with others."""

    def __init__(self, story: list[str], name: str, key: Hashable = "job", payload: Any = None, **options: Any) -> None:
        super().__init__(key, payload, **options)
        self.story = story
        self.name = name

    async def on_success(self, result: Any, /) -> None:
        self.story.append(f"{self.name}: success")
        await super().on_success(result)

    async def on_failure(self, exc: Exception, /) -> None:
        self.story.append(f"{self.name}: failure")
        await super().on_failure(exc)

    async def on_cancel(self, exc: Any, /) -> None:
        self.story.append(f"{self.name}: cancel")
        await super().on_cancel(exc)

    async def on_no_handler(self) -> None:
        self.story.append(f"{self.name}: no handler")
        await super().on_no_handler()

    async def on_pulse(self) -> None:
        self.story.append(f"{self.name}: pulse")
        await super().on_pulse()


class SlowToCancel(Recorder[Any, Any, Any]):
    """It takes its time in `on_cancel`."""

    async def on_cancel(self, exc: Any, /) -> None:
        for _ in range(5):
            await checkpoint()
        await super().on_cancel(exc)


class Crowd:
    """Count how many are inside at once, and the most there have ever been."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    def __enter__(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        self.now -= 1


class Clock:
    """The clock of an executor, which only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Fatal(BaseException):
    """What is no `Exception`, and nothing that Python itself raises."""


async def wait_all_tasks_blocked() -> None:
    """
    Return when all other tasks wait.

    On asyncio anyio's own looks once, and from then on only every tenth of a second; so first most of it may happen.
    """
    for _ in range(50):
        await checkpoint()
    await anyio.wait_all_tasks_blocked()


async def wait_forever(_: object) -> None:
    """Be a handler that only ends by being stopped."""
    await anyio.sleep_forever()


def executor_of(handler: Callable[[Any], Any], *, key: Hashable = "job", **options: Any) -> Executor[Any, Any, Any]:
    """Return an executor that has one handler; *options* are those of the executor."""
    return Executor(registry_of(handler, key=key), **options)


def registry_of(handler: Callable[[Any], Any], *, key: Hashable = "job", **options: Any) -> Registry[Any, Any, Any]:
    """Return a registry that has one handler; *options* are those of `add`."""
    registry: Registry[Any, Any, Any] = Registry()
    registry.add(key, **options)(handler)
    return registry


def simulated(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a virtual clock, once on asyncio and once on trio; what would hang, is an error at once."""

    @pytest.mark.parametrize("simulation", ["asyncio", "trio"])
    @functools.wraps(test)
    def run_test(simulation: Any, **fixtures: Any) -> None:
        run(functools.partial(test, **fixtures), backend=simulation)

    signature = inspect.signature(test)
    first = inspect.Parameter("simulation", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run_test.__signature__ = signature.replace(parameters=[first, *signature.parameters.values()])  # type: ignore[attr-defined]
    return run_test
