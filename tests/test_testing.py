"""What `jockey.testing` promises."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import socket
import threading
import time
from importlib.util import find_spec
from typing import Any, assert_type

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

import jockey
from jockey import Cancelled, Failure, NoHandler, Success
from jockey.testing import Backend, Recorder, StalledError, run, settle

BACKENDS: list[Backend] = ["asyncio"] if find_spec("trio") is None else ["asyncio", "trio"]

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture
def registry() -> jockey.Registry[Any, str, Any]:
    registry = jockey.Registry[Any, str, Any]()

    @registry.add("double")
    def double(payload: int) -> int:
        return payload * 2

    @registry.add("fail")
    def fail(payload: BaseException) -> None:
        raise payload

    @registry.add("sleep", pulse_every=1.0)
    async def sleep(payload: float) -> None:
        await anyio.sleep(payload)

    return registry


# The clock


def test_clock_jumps_over_sleep(backend: Backend) -> None:
    async def sleeper() -> float:
        start = anyio.current_time()
        await anyio.sleep(80_000)
        return anyio.current_time() - start

    assert run(sleeper, backend=backend) == pytest.approx(80_000)


def test_clock_stands_still_while_anything_can_run(backend: Backend) -> None:
    async def busy() -> float:
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 1)
            for _ in range(1_000):
                await anyio.sleep(0)
            end = anyio.current_time()
            tasks.cancel_scope.cancel()
        return end - start

    assert run(busy, backend=backend) == 0


def test_timers_fire_in_their_order(backend: Backend) -> None:
    async def several() -> list[int]:
        order: list[int] = []

        async def wake(seconds: int) -> None:
            await anyio.sleep(seconds)
            order.append(seconds)

        async with anyio.create_task_group() as tasks:
            for seconds in (3, 1, 2):
                tasks.start_soon(wake, seconds)
        return order

    assert run(several, backend=backend) == [1, 2, 3]


def test_function_gets_its_arguments_and_its_result_is_returned(backend: Backend) -> None:
    async def add(left: int, right: float) -> float:
        return left + right

    assert_type(run(add, 1, 0.5, backend=backend), float)
    assert run(add, 1, 0.5, backend=backend) == 1.5


def test_exception_comes_out_unchanged(backend: Backend) -> None:
    error = LookupError("mine")

    async def fail() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        run(fail, backend=backend)

    assert caught.value is error


def test_program_that_waits_forever_is_an_error_that_tells_where(backend: Backend) -> None:
    async def wait_for_nobody() -> None:
        await anyio.Event().wait()

    with pytest.raises(StalledError, match="wait_for_nobody"):
        run(wait_for_nobody, backend=backend)


def test_endless_sleep_is_no_timer(backend: Backend) -> None:
    with pytest.raises(StalledError, match="sleep_forever"):
        run(anyio.sleep_forever, backend=backend)


def test_shielded_program_that_waits_forever_is_an_error_too(backend: Backend) -> None:
    async def wait_behind_shields() -> None:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                tasks.cancel_scope.shield = True
                tasks.start_soon(anyio.sleep_forever)

    with pytest.raises(StalledError, match="wait_behind_shields"):
        run(wait_behind_shields, backend=backend)


def test_program_that_goes_on_forever_is_given_up_at_the_limit(backend: Backend) -> None:
    async def tick() -> None:
        with anyio.CancelScope(shield=True):
            for _ in itertools.count():
                await anyio.sleep(1)

    with pytest.raises(StalledError, match="has not ended after 1000 virtual seconds"):
        run(tick, backend=backend, limit=1_000)


def test_clock_waits_for_a_thread(backend: Backend) -> None:
    async def call_thread() -> tuple[str, float]:
        start = anyio.current_time()
        with anyio.fail_after(1_000):
            result = await anyio.to_thread.run_sync(_last_thread_work)
        return result, anyio.current_time() - start

    result, seconds = run(call_thread, backend=backend)

    assert result == "worked"
    assert seconds < 1_000


def test_handler_in_a_thread_is_waited_for(backend: Backend) -> None:
    registry = jockey.Registry[None, str, str]()

    @registry.add("work", execute_in=jockey.ExecuteIn.THREAD, job_timeout=1_000)
    def work(payload: None) -> str:
        return _last_thread_work()

    message = Recorder("work")

    async def main() -> None:
        async with jockey.Executor(registry).run() as executor:
            await executor.execute(message)

    run(main, backend=backend)

    assert message.outcome == Success("worked")


def test_thread_can_call_back(backend: Backend) -> None:
    async def call_thread() -> int:
        return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run_sync(lambda: 7))

    assert run(call_thread, backend=backend) == 7


def test_timer_fires_while_a_thread_is_stuck(backend: Backend) -> None:
    async def give_up() -> bool:
        release = threading.Event()
        with anyio.move_on_after(0.01) as scope:
            await anyio.to_thread.run_sync(release.wait, abandon_on_cancel=True)
        release.set()
        return scope.cancelled_caught

    assert run(give_up, backend=backend)


def test_socket_is_waited_for(backend: Backend) -> None:
    async def echo() -> bytes:
        left, right = socket.socketpair()
        async with (
            await anyio.abc.UNIXSocketStream.from_socket(left) as sender,
            await anyio.abc.UNIXSocketStream.from_socket(right) as receiver,
        ):
            thread = threading.Thread(target=_send_late, args=(left,))
            thread.start()
            try:
                return await receiver.receive()
            finally:
                thread.join()
                del sender

    assert run(echo, backend=backend) == b"late"


def test_backend_must_be_known(backend: Backend) -> None:
    with pytest.raises(ValueError, match="backend must be one of asyncio, trio, got 'curio'"):
        run(anyio.sleep, 0, backend="curio")  # type: ignore[arg-type]


def test_trio_must_be_installed(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(ImportError, match="pip install trio"):
        run(anyio.sleep, 0, backend="trio")


def test_executors_of_asyncio_are_waited_for(backend: Backend) -> None:
    async def call_default_executor() -> str:
        return await asyncio.get_running_loop().run_in_executor(None, _last_thread_work)

    assert run(call_default_executor) == "worked"


# The order


def test_same_seed_gives_the_same_order_and_another_seed_another(backend: Backend) -> None:
    orders = {seed: run(_order_of_ten, backend=backend, seed=seed) for seed in range(5)}

    assert orders == {seed: run(_order_of_ten, backend=backend, seed=seed) for seed in range(5)}
    assert len(set(orders.values())) > 1


def test_each_task_gets_its_turn_before_any_gets_two(backend: Backend) -> None:
    order = run(_order_of_ten, backend=backend, seed=3)

    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))


def test_callbacks_keep_their_order(backend: Backend) -> None:
    async def call_soon() -> list[int]:
        order: list[int] = []
        loop = asyncio.get_running_loop()
        tasks = []
        for number in range(10):
            loop.call_soon(order.append, number)
            tasks.append(loop.create_task(asyncio.sleep(0)))
        await asyncio.wait(tasks)
        return order

    assert all(run(call_soon, seed=seed) == list(range(10)) for seed in range(10))


def test_chance_of_others_is_left_alone(backend: Backend) -> None:
    if backend == "asyncio":
        run(_order_of_ten, backend=backend, seed=3)
        return
    from trio._core import _run

    before = _run._r.getstate(), _run._ALLOW_DETERMINISTIC_SCHEDULING
    run(_order_of_ten, backend=backend, seed=3)

    assert (_run._r.getstate(), _run._ALLOW_DETERMINISTIC_SCHEDULING) == before


# Settling


def test_settle_lets_all_others_run_and_no_time_pass(backend: Backend) -> None:
    async def look() -> tuple[int, float]:
        turns = 0

        async def work() -> None:
            nonlocal turns
            for _ in range(100):
                await anyio.sleep(0)
                turns += 1
            await anyio.sleep(1)

        async with anyio.create_task_group() as tasks:
            start = anyio.current_time()
            tasks.start_soon(work)
            await settle()
            time_passed = anyio.current_time() - start
        return turns, time_passed

    assert run(look, backend=backend) == (100, 0)


def test_settle_refuses_a_loop_that_it_does_not_know(backend: Backend) -> None:
    with pytest.raises(RuntimeError, match=r"needs the event loop of jockey\.testing\.run"):
        asyncio.run(settle())


# The recorder


def test_recorder_tells_the_callback_and_the_outcome(
    backend: Backend, registry: jockey.Registry[Any, str, Any]
) -> None:
    error = ValueError()
    success, failure, nobody = Recorder("double", 21), Recorder("fail", error), Recorder("unknown")
    cancelled = Recorder("sleep", 10)

    async def main() -> None:
        async with jockey.Executor(registry).run() as executor:
            for message in (success, failure, nobody):
                executor.schedule(message)
            executor.schedule(cancelled).cancel("enough")

    run(main, backend=backend)

    assert (success.calls, success.outcome) == (["success"], Success(42))
    assert (failure.calls, failure.outcome) == (["failure"], Failure(error))
    assert (nobody.calls, nobody.outcome) == (["no_handler"], NoHandler())
    assert cancelled.calls == ["cancel"]
    assert isinstance(cancelled.outcome, Cancelled)
    assert cancelled.outcome.error.reason == "enough"


def test_recorder_records_pulses(backend: Backend, registry: jockey.Registry[Any, str, Any]) -> None:
    message = Recorder("sleep", 2.5)

    async def main() -> None:
        async with jockey.Executor(registry).run() as executor:
            await executor.execute(message)

    run(main, backend=backend)

    assert message.calls == ["pulse", "pulse", "success"]


def test_recorder_tries_further_keys(backend: Backend, registry: jockey.Registry[Any, str, Any]) -> None:
    message = Recorder("unknown", 4, keys=["double"])

    async def main() -> None:
        async with jockey.Executor(registry).run() as executor:
            executor.schedule(message)

    run(main, backend=backend)

    assert message.outcome == Success(8)


def test_recorder_has_a_group(backend: Backend) -> None:
    assert Recorder("key", group="somebody").get_group() == "somebody"
    assert Recorder("key").get_group() is None


@pytest.mark.parametrize("callback", ["get_keys", "get_group", "get_payload"])
def test_fault_before_the_handler_fails_the_job(
    backend: Backend, registry: jockey.Registry[Any, str, Any], callback: Any
) -> None:
    error = OSError("gone")
    message = Recorder("double", 1, faults={callback: error})

    async def main() -> None:
        async with jockey.Executor(registry).run() as executor:
            executor.schedule(message)

    run(main, backend=backend)

    assert message.outcome == Failure(error)


def test_callback_with_a_fault_is_called_but_not_completed(
    backend: Backend, registry: jockey.Registry[Any, str, Any]
) -> None:
    error = OSError("gone")
    message = Recorder("double", 1, faults={"on_success": error})

    async def main() -> None:
        async with jockey.Executor(registry).run() as executor:
            with pytest.raises(OSError, match="gone"):
                await executor.execute(message)

    run(main, backend=backend)

    assert message.calls == ["success"]
    assert message.completed == []


def test_callback_can_be_blocked(backend: Backend, registry: jockey.Registry[Any, str, Any]) -> None:
    async def main() -> None:
        release = anyio.Event()
        message = Recorder("double", 1, faults={"on_success": release})
        async with jockey.Executor(registry).run() as executor:
            executor.schedule(message)
            await settle()
            assert (message.calls, message.completed) == (["success"], [])
            release.set()
        assert message.completed == ["success"]

    run(main, backend=backend)


def test_fault_must_be_of_a_callback(backend: Backend) -> None:
    with pytest.raises(ValueError, match=r"got 'on_succes'; use get_keys, .*, on_pulse"):
        Recorder("key", faults={"on_succes": OSError()})  # type: ignore[dict-item]


def test_plain_function_cannot_be_blocked(backend: Backend) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="get_keys cannot wait"):
            Recorder("key", faults={"get_keys": anyio.Event()})

    run(main, backend=backend)


def test_recorder_shows_what_it_has_seen(backend: Backend) -> None:
    assert repr(Recorder("key")) == "<Recorder 'key' calls=[]>"


def test_recorder_has_the_types_that_it_was_built_from(backend: Backend) -> None:
    assert_type(Recorder("key", 3), Recorder[int, str, Any])
    assert_type(Recorder(5), Recorder[None, int, Any])


def _last_thread_work() -> str:
    time.sleep(0.01)  # real work takes real time
    return "worked"


def _send_late(sender: socket.socket) -> None:
    time.sleep(0.01)  # after the event loop has begun to wait, most likely; correct either way
    sender.send(b"late")


async def _order_of_ten() -> tuple[int, ...]:
    order: list[int] = []

    async def step(number: int) -> None:
        order.append(number)
        await anyio.sleep(0)
        order.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(step, number)
    return tuple(order)
