"""Settlements beside the slots: many at once, in order, and not cut before their time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from jockey.jobs import BrokerUnavailableError, UnsupportedError
from jockey.jobs._broker import Died, Released, Source, Succeeded
from jockey.jobs._endings import GRACE, Endings
from jockey.jobs._outage import Outage
from jockey.jobs._settler import Settler
from tests.core.story import simulated
from tests.jobs.conformance.carriers import new

pytestmark = pytest.mark.anyio

AWAY = BrokerUnavailableError("connection refused")


class Ended:
    """A delivery that has ended."""

    message = new()

    def __init__(self, name: str) -> None:
        self.delivery: Any = name
        self.settlement: Any = Succeeded(b"1")
        self.ends: list[object] = []
        self.is_lost = False

    def end(self) -> None:
        self.ends.append(type(self.settlement))

    def end_lost(self, error: Exception | None = None) -> None:
        self.ends.append(str(error) if error else "lost")


class Broker:
    """
    A source that says what it is told to, when it is told to.

    Attributes:
        calls: The names of the deliveries that were settled together.
        answers: By name, what is said of them the next times; True if nothing else is there.
    """

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.answers: dict[str, list[bool | Exception]] = {}
        self.error: Exception | None = None
        self.go = anyio.Event()

    async def settle_many(self, ends: Sequence[tuple[Any, Any]]) -> list[bool | Exception]:
        names = [name for name, _ in ends]
        self.calls.append(names)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return [self.answers[name].pop(0) if self.answers.get(name) else True for name in names]


@asynccontextmanager
async def telling(broker: Broker, most: int = 100) -> AsyncGenerator[Endings]:
    outage = Outage("w1")
    endings = Endings(Settler(cast("Source", broker), None, outage, lambda: 0.0), outage, most)
    async with endings.run():
        yield endings


def add(endings: Endings, names: str) -> list[Ended]:
    ended = [Ended(name) for name in names]
    for one in ended:
        endings.add(one)
    return ended


async def test_all_that_gathers_while_the_broker_writes_goes_with_the_next_call() -> None:
    broker = Broker()

    async with telling(broker) as endings:
        ended = add(endings, "a")
        await wait_all_tasks_blocked()
        ended += add(endings, "bcd")
        broker.go.set()
        await endings.drain()
        await endings.drain()

    assert broker.calls == [["a"], ["b", "c", "d"]]
    assert [one.ends for one in ended] == [[Succeeded]] * 4


async def test_slots_are_not_freed_for_more_than_there_may_be() -> None:
    broker = Broker()

    async with telling(broker, most=2) as endings:
        has_room = [endings.add(Ended(name)) for name in "abc"]
        broker.go.set()
        await endings.drain()
        has_room += [endings.add(Ended("d"))]

    assert has_room == [True, True, False, True]


async def test_each_gets_the_answer_that_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    broker.go.set()
    broker.answers = {
        "b": [False],
        "c": [UnsupportedError("too long"), True],
        "d": [UnsupportedError("no"), UnsupportedError("no")],
    }

    async with telling(broker) as endings:
        a, b, c, d, e = add(endings, "abcde")
        d.settlement = Released()
        e.is_lost = True
        await endings.drain()

    assert broker.calls == [["a", "b", "c", "d"], ["c"]]
    assert (a.ends, c.ends, e.ends) == ([Succeeded], [Died], ["lost"])
    assert b.ends == ["the broker has given the job to somebody else"]
    assert d.ends == ["the broker has refused everything that could be told of the job"]
    assert caplog.text.count("the broker has refused") == 2


@simulated
async def test_those_of_which_it_cannot_be_told_now_go_with_the_others_later() -> None:
    broker = Broker()
    broker.go.set()
    broker.answers = {"a": [AWAY, AWAY, AWAY]}

    async with telling(broker) as endings:
        a, b = add(endings, "ab")
        await anyio.sleep(0.01)
        c, d = add(endings, "cd")
        d.is_lost = True
        await endings.drain()

    assert broker.calls == [["a", "b"], ["a", "c"], ["a"], ["a"]]
    assert [one.ends for one in (a, b, c, d)] == [[Succeeded], [Succeeded], [Succeeded], ["lost"]]


@simulated
async def test_an_error_for_all_of_them_is_one_of_each() -> None:
    broker = Broker()
    broker.go.set()
    broker.error = AWAY

    async with telling(broker) as endings:
        ended = add(endings, "ab")
        await anyio.sleep(10)
        assert len(broker.calls) > 3
        broker.error = None
        await endings.drain()

    assert [one.ends for one in ended] == [[Succeeded]] * 2


async def test_a_cancellation_waits_for_them_begun_or_not() -> None:
    broker = Broker()
    ended: list[Ended] = []

    with anyio.CancelScope() as scope:
        async with telling(broker) as endings:
            ended += add(endings, "a")
            await wait_all_tasks_blocked()
            ended += add(endings, "b")
            broker.go.set()
            scope.cancel()
            await anyio.sleep_forever()

    assert [one.ends for one in ended] == [[Succeeded]] * 2


async def test_an_error_in_the_block_waits_for_them_and_is_raised_as_it_is() -> None:
    broker = Broker()
    broker.go.set()
    ended: list[Ended] = []

    with pytest.raises(KeyboardInterrupt):
        async with telling(broker) as endings:
            ended += add(endings, "ab")
            raise KeyboardInterrupt

    assert [one.ends for one in ended] == [[Succeeded]] * 2


@simulated
async def test_at_the_end_they_have_their_time_and_then_they_are_lost() -> None:
    broker = Broker()

    async with telling(broker) as endings:
        ended = add(endings, "a")
        await anyio.sleep(1)
        ended += add(endings, "b")
        await endings.drain(5)
        assert anyio.current_time() == 6
        assert [one.ends for one in ended] == [[], []]
        await endings.drain()
        assert anyio.current_time() == 6 + GRACE

    assert [one.ends for one in ended] == [["lost"], ["lost"]]


@simulated
async def test_a_cancelled_block_waits_no_longer_than_that() -> None:
    broker = Broker()

    with anyio.move_on_after(1):
        async with telling(broker) as endings:
            [ended] = add(endings, "a")
            await anyio.sleep_forever()

    assert anyio.current_time() == 1 + GRACE
    assert ended.ends == ["lost"]


@simulated
async def test_each_ends_once_although_the_others_are_cut() -> None:
    broker = Broker()

    async with telling(broker) as endings:
        a, b = add(endings, "ab")
        b.is_lost = True

    assert anyio.current_time() == GRACE
    assert [one.ends for one in (a, b)] == [["lost"], ["lost"]]
