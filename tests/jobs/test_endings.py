"""Settlements beside the slots."""

from __future__ import annotations

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from jockey.jobs._endings import Endings, _Ending, executor_of_endings

pytestmark = pytest.mark.anyio


class Broker:
    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.go = anyio.Event()

    async def settle(self, number: int) -> None:
        self.begun.append(number)
        await self.go.wait()
        self.ended.append(number)


async def test_they_are_done_side_by_side_and_no_more_than_there_may_be() -> None:
    broker = Broker()

    async with executor_of_endings(2, 10).run() as running:
        endings = Endings(running, 2)
        taken = [endings.take(lambda number=number: broker.settle(number)) for number in range(3)]
        await wait_all_tasks_blocked()
        assert (taken, sorted(broker.begun), broker.ended) == ([True, True, False], [0, 1], [])

        broker.go.set()
        await running.drain()
        assert endings.take(lambda: broker.settle(3))

    assert sorted(broker.ended) == [0, 1, 3]


async def test_a_cancellation_waits_for_them_begun_or_not() -> None:
    broker = Broker()

    with anyio.CancelScope() as scope:
        async with executor_of_endings(2, 10).run() as running:
            endings = Endings(running, 2)
            endings.take(lambda: broker.settle(0))
            await wait_all_tasks_blocked()
            endings.take(lambda: broker.settle(1))
            broker.go.set()
            scope.cancel()

    assert sorted(broker.ended) == [0, 1]


async def test_an_error_of_one_is_told_and_makes_room(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("a bug")

    async with executor_of_endings(1, 10).run() as running:
        endings = Endings(running, 1)
        for _ in range(2):
            assert endings.take(fail)
            await running.drain()

    assert caplog.text.count("ValueError: a bug") >= 2


async def test_whatever_becomes_of_the_job_that_carries_it_a_settlement_is_done() -> None:
    broker = Broker()
    broker.go.set()

    async with executor_of_endings(1, 10).run() as running:
        endings = Endings(running, 1)
        await _Ending(lambda: broker.settle(5), endings).on_failure(RuntimeError())

    assert broker.ended == [5]
