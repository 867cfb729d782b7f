"""One registry and one executor serve many runs, one after the other and at once."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from jockey import Executor, RegistrationError, Registry, Success
from jockey.testing import Recorder
from tests.core.story import Crowd, executor_of, wait_all_tasks_blocked

pytestmark = pytest.mark.anyio


async def echo(payload: object) -> object:
    return payload


async def test_one_executor_runs_again_and_again() -> None:
    executor = executor_of(echo)
    messages = [Recorder("job", number) for number in range(3)]

    for message in messages:
        async with executor.run() as running:
            running.schedule(message)

    assert [message.outcome for message in messages] == [Success(number) for number in range(3)]


async def test_one_executor_runs_twice_at_once_and_each_run_has_slots_and_jobs_of_its_own() -> None:
    crowd, go = Crowd(), anyio.Event()

    async def handle(_: object) -> None:
        with crowd:
            await go.wait()

    executor = executor_of(handle, max_jobs=1)

    async with executor.run() as one, executor.run() as two:
        for running in (one, two):
            running.schedule(Recorder("job"))
            running.schedule(Recorder("job"))
        await wait_all_tasks_blocked()
        assert crowd.now == 2
        assert (one.statistics().running, two.statistics().running) == (1, 1)
        go.set()


async def test_one_run_ends_without_the_other() -> None:
    executor = executor_of(echo)

    async with executor.run() as outer:
        async with executor.run() as inner:
            inner.schedule(Recorder("job"))
        message = Recorder("job", 1)
        await outer.execute(message)

    assert message.outcome == Success(1)


async def test_an_executor_may_run_inside_a_handler() -> None:
    async def nest(depth: int) -> int:
        if not depth:
            return 0
        async with executor.run() as running:
            result = await running.submit("job", depth - 1).result()
        return 1 + int(result)

    executor = executor_of(nest, max_jobs=1)

    async with executor.run() as running:
        assert await running.submit("job", 3).result() == 3


async def test_a_registry_in_use_cannot_be_changed() -> None:
    registry: Registry[Any, str, Any] = Registry()
    early = registry.add("early")
    more: Registry[Any, str, Any] = Registry()
    more.add("more")(echo)

    async with Executor(registry).run():
        with pytest.raises(RegistrationError, match="'late'.*in use.*before"):
            registry.add("late")
        with pytest.raises(RegistrationError, match="'early'.*in use"):
            early(echo)
        with pytest.raises(RegistrationError, match="in use"):
            registry.include(more)
    early(echo)
    registry.include(more)

    assert list(registry.items())[1][0] == "more"


async def test_a_registry_stays_in_use_until_its_last_run_has_ended() -> None:
    registry: Registry[Any, str, Any] = Registry()

    async with Executor(registry).run():
        async with Executor(registry).run():
            pass
        with pytest.raises(RegistrationError):
            registry.add("late")

    registry.add("late")(echo)
    assert "late" in registry


async def test_a_registry_is_free_again_after_a_run_that_failed() -> None:
    registry: Registry[Any, str, Any] = Registry()

    with pytest.raises(LookupError):
        async with Executor(registry).run():
            raise LookupError

    registry.add("late")(echo)


async def test_what_is_included_later_in_another_registry_is_not_in_this_one() -> None:
    one: Registry[Any, str, Any] = Registry()
    two: Registry[Any, str, Any] = Registry()
    two.add("early")(echo)
    one.include(two)
    two.add("late")(echo)

    assert [key for key, _ in one.items()] == ["early"]


async def test_a_registry_may_be_changed_between_two_runs() -> None:
    registry: Registry[Any, str, Any] = Registry()
    executor = Executor(registry)
    messages = [Recorder("job") for _ in range(2)]

    async with executor.run() as running:
        running.schedule(messages[0])
    registry.add("job")(echo)
    async with executor.run() as running:
        running.schedule(messages[1])

    assert [message.completed for message in messages] == [["no_handler"], ["success"]]


def test_an_executor_serves_one_event_loop_after_the_other(anyio_backend_name: str) -> None:
    executor = executor_of(echo)

    async def main() -> Any:
        async with executor.run() as running:
            return await running.submit("job", 5).result()

    results = [anyio.run(main, backend=anyio_backend_name) for _ in range(3)]

    assert results == [5, 5, 5]
