"""What is asked of a file at the same time is done together: in one transaction, and with few statements."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import anyio
import pytest

from jockey.jobs import BrokerUnavailableError
from jockey.jobs._broker import Delivery, Died, Published, Settlement, Succeeded
from jockey.jobs._message import Message, Trouble
from jockey.jobs._state import State
from jockey.jobs.brokers import _sqlite_queries
from jockey.jobs.brokers.sqlite import SqliteBroker
from tests.jobs.conformance.carriers import new, read
from tests.jobs.sqlite_files import Held, opened, traced, working

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def at_once(broker: SqliteBroker, *calls: Any) -> list[Any]:
    """Call all of *calls* while the thread is held up; return their answers in this order."""
    hold = Held()
    answers: dict[int, Any] = {}

    async def answer(place: int, call: Any) -> None:
        answers[place] = await call()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(broker.look, hold)
        await hold.wait()
        for place, call in enumerate(calls):
            tasks.start_soon(answer, place, call)
            await anyio.wait_all_tasks_blocked()
        hold.may_go.set()
    return [answers[place] for place in sorted(answers)]


def starting(statements: list[str], *words: str) -> list[str]:
    """Return the words with which these statements start; others are left out."""
    return [word for statement in statements for word in words if statement.strip().startswith(word)]


async def test_many_who_publish_share_a_few_statements(path: Path) -> None:
    async with opened(path) as broker:
        messages = [new() for _ in range(81)]
        [first] = await broker.publish(messages[:1])
        statements = await traced(broker)

        answers = await at_once(broker, *(lambda message=message: broker.publish([message]) for message in messages))

        # 64 + 8 + 8 + 1
        assert starting(statements, "INSERT", "COMMIT") == ["INSERT"] * 4 + ["COMMIT"]
        assert answers == [
            [Published(first.id, is_new=False)],
            *([Published(message.id)] for message in messages[1:]),
        ]


async def test_those_who_publish_get_their_own_answers_whatever_comes_between_them(path: Path) -> None:
    async with opened(path) as broker:
        known, one, two, three = (new() for _ in range(4))
        await broker.publish([known])

        answers = await at_once(
            broker,
            lambda: broker.publish([one, known]),
            lambda: broker.publish([]),
            lambda: broker.publish([two]),
            lambda: broker.drop(["none"]),
            lambda: broker.publish([three, two]),
        )

        assert answers == [
            [Published(one.id), Published(known.id, is_new=False)],
            [],
            [Published(two.id)],
            0,
            [Published(three.id), Published(two.id, is_new=False)],
        ]


async def test_many_ends_are_one_transaction(path: Path) -> None:
    async with opened(path) as broker, working(broker) as source:
        child = new("child")
        await broker.publish([new(), new(), new(), lost := new(group="x"), follower := new(group="x")])
        kept, gone, dead, grouped = await source.poll(5)
        statements = await traced(broker)

        ends: list[tuple[Delivery, Settlement]] = [
            (kept, Succeeded(b"1", ttl=60)),
            (gone, Succeeded(b"2", successors=[child])),
            (kept, Succeeded(b"3", ttl=60)),
            (dead, Died(Trouble(message="no"))),
            (grouped, Succeeded(b"4", ttl=60)),
        ]
        answers = await source.settle_many(ends)

        assert answers == [True, True, False, True, True]
        assert starting(statements, "COMMIT") == ["COMMIT"]
        record = await broker.record(kept.id)
        assert record is not None
        assert (record.state, record.result) == (State.SUCCEEDED, b"1")
        assert await broker.record(gone.id) is None
        assert {delivery.id for delivery in await source.poll(5)} == {child.id, follower.id}
        assert grouped.id == lost.id
        assert await source.settle_many(ends) == [False] * 5


async def test_end_that_is_refused_leaves_the_others_alone(path: Path) -> None:
    async with opened(path) as broker, working(broker) as source:
        await broker.publish([new(), new(), new()])
        first, second, third = await source.poll(3)
        unwritable = Message(id="\ud800", name="task")

        answers = await source.settle_many(
            [
                (first, Succeeded(b"1", ttl=60)),
                (second, Succeeded(b"2", ttl=60, successors=[unwritable])),
                (third, Succeeded(b"3")),
            ]
        )

        assert answers == [True, answers[1], True]
        assert isinstance(answers[1], UnicodeEncodeError)
        assert await source.settle_many([(second, Succeeded(b"2"))]) == [True]


async def test_who_takes_does_not_wait_until_others_are_on_the_disk(path: Path) -> None:
    async with opened(path) as broker, working(broker) as source:
        await broker.publish([new(), new()])
        [running] = await source.poll(1)
        statements = await traced(broker)

        [[taken], settled] = await at_once(
            broker, lambda: source.take(1), lambda: source.settle_many([(running, Succeeded(b"1"))])
        )

        assert settled == [True]
        assert taken.id != running.id
        words = ("UPDATE", "DELETE", "COMMIT", "PRAGMA synchronous = full")
        assert starting(statements, *words) == ["UPDATE", "COMMIT", "PRAGMA synchronous = full", "DELETE", "COMMIT"]


async def test_cancelled_scope_is_left_with_the_answer(path: Path) -> None:
    async with opened(path) as broker:
        message = new()
        hold = Held()
        answers: list[Any] = []

        async def publish(scope: anyio.CancelScope) -> None:
            with scope:
                answers.append(await broker.publish([message]))
                await anyio.lowlevel.checkpoint()
                answers.append("not cancelled")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(broker.look, hold)
            await hold.wait()
            tasks.start_soon(publish, scope := anyio.CancelScope())
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            before = list(answers)
            hold.may_go.set()

        assert before == []
        assert answers == [[Published(message.id)]]


async def test_nothing_is_published_in_a_cancelled_scope(path: Path) -> None:
    async with opened(path) as broker:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await broker.publish([new()])

        assert scope.cancelled_caught
        assert (await broker.info())[0].ready == 0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_cancellation_is_never_swallowed(path: Path, anyio_backend: str) -> None:
    async with opened(path) as broker:
        hold = Held()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(broker.look, hold)
            await hold.wait()
            publishing = asyncio.ensure_future(broker.publish([new()]))
            await anyio.wait_all_tasks_blocked()
            publishing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await publishing
            hold.may_go.set()

        assert publishing.cancelled()
        assert (await broker.info())[0].ready == 1


async def test_who_waits_goes_on_waiting_when_what_he_got_is_rolled_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_change = _sqlite_queries.next_change
    failures = [sqlite3.OperationalError("disk I/O error")]

    def fail_once(connection: sqlite3.Connection) -> float | None:
        change = next_change(connection)
        if failures and connection.in_transaction:
            raise failures.pop()
        return change

    taken: list[Any] = []
    async with opened(path) as broker, working(broker) as source:

        async def take() -> None:
            taken.extend(await source.take(1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            await broker.info()
            monkeypatch.setattr(_sqlite_queries, "next_change", fail_once)
            with pytest.raises(BrokerUnavailableError, match="disk I/O error"):
                await broker.publish([new()])
            await broker.declare("another")
            last = new()
            await broker.publish([last])

    assert [read(delivery).id for delivery in taken] == [last.id]


async def test_what_is_published_while_a_queue_is_emptied_stays(path: Path) -> None:
    async with opened(path) as broker:
        await broker.publish([new(), new()])
        last = await broker.look(lambda tables: _sqlite_queries.last(tables.connection))
        await broker.publish([new("late")])

        # The steps of `purge`, of which there can be many.
        assert await broker.ask(lambda tables: tables.purge("default", last)) == 2
        assert await broker.ask(lambda tables: tables.purge("default", last)) == 0

        assert [record.name for record in await broker.peek("default", 9)] == ["late"]
