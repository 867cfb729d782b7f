"""Code that waits until a condition holds."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from jockey._gate import Gate, Gates
from jockey._watchdog import Watchdog
from tests.core.story import wait_all_tasks_blocked

pytestmark = pytest.mark.anyio


class Room:
    """Places behind a gate."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.passed: list[int] = []
        self.gates = Gates()
        self.gate = Gate(self.gates, lambda: self.places > 0, lambda: self.add(-1), lambda: self.add(1))

    def add(self, places: int) -> None:
        self.places += places

    async def enter(self, number: int) -> None:
        await self.gate.wait()
        self.passed.append(number)


async def test_who_comes_to_an_open_gate_passes_at_once() -> None:
    room = Room(2)

    await room.enter(1)
    await room.enter(2)

    assert (room.passed, room.places) == ([1, 2], 0)


async def test_those_who_wait_pass_in_order_and_only_as_many_as_the_condition_lets() -> None:
    room = Room(0)

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(room.enter, number)
            await wait_all_tasks_blocked()
        room.add(2)
        room.gate.poke()
        await wait_all_tasks_blocked()
        assert sorted(room.passed) == [0, 1]
        room.add(2)
        room.gate.poke()

    assert sorted(room.passed) == [0, 1, 2, 3]


async def test_one_who_gives_up_is_passed_over() -> None:
    room = Room(0)
    scope = anyio.CancelScope()

    async with anyio.create_task_group() as tasks:

        async def give_up() -> None:
            with scope:
                await room.enter(0)

        tasks.start_soon(give_up)
        await wait_all_tasks_blocked()
        tasks.start_soon(room.enter, 1)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        room.add(1)
        room.gate.poke()

    assert room.passed == [1]


async def test_a_turn_that_was_not_used_is_passed_on(anyio_backend_name: str) -> None:
    room = Room(0)

    async with anyio.create_task_group() as tasks:
        if anyio_backend_name == "asyncio":  # only a native cancellation comes between a turn and its use
            first = asyncio.create_task(room.enter(0))
            await wait_all_tasks_blocked()
            tasks.start_soon(room.enter, 1)
            await wait_all_tasks_blocked()
            room.add(1)
            room.gate.poke()
            first.cancel()
        else:
            room.add(1)
            tasks.start_soon(room.enter, 1)

    assert room.passed == [1]
    assert room.places == 0


async def test_those_who_wait_at_several_gates_are_counted_together() -> None:
    gates, is_open = Gates(), False
    one, two = (Gate(gates, lambda: is_open) for _ in range(2))
    scope = anyio.CancelScope()

    async with anyio.create_task_group() as tasks:

        async def give_up() -> None:
            with scope:
                await two.wait()

        for task in (one.wait, one.wait, two.wait, give_up):
            tasks.start_soon(task)
        await wait_all_tasks_blocked()
        counts = [gates.waiting]
        scope.cancel()
        await wait_all_tasks_blocked()
        counts.append(gates.waiting)
        is_open = True
        one.poke()
        counts.append(gates.waiting)
        two.poke()

    assert [*counts, gates.waiting] == [4, 3, 1, 0]


async def test_the_watchdog_wakes_for_the_earliest_deadline_and_again_for_the_next() -> None:
    checks: list[float] = []
    enough = anyio.Event()
    start = anyio.current_time()
    deadlines = [start + 0.02, start + 0.04]

    def check(now: float) -> float:
        checks.append(now)
        while deadlines and deadlines[0] <= now:
            deadlines.pop(0)
        if not deadlines:
            enough.set()
            return float("inf")
        return deadlines[0]

    dog = Watchdog(anyio.current_time, check)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dog.run)
        await wait_all_tasks_blocked()
        dog.watch(start + 1000)
        dog.watch(start + 0.02)
        dog.watch(start + 500)
        await enough.wait()
        tasks.cancel_scope.cancel()

    assert checks[0] >= start + 0.02
    assert len(checks) >= 2 or checks[0] >= start + 0.04
