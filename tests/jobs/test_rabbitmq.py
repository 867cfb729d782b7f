"""Jobs in RabbitMQ: where they wait, in which order they come, and what becomes of them."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from jockey.jobs import App
from jockey.jobs._broker import Cancelled, Died, Hearing, Published, Released, Retried, Succeeded
from jockey.jobs._carrier import Removed
from jockey.jobs._errors import BrokerUnavailableError, QueueNotDeclaredError, UnsupportedError
from jockey.jobs._message import Trouble
from jockey.jobs._state import State
from jockey.jobs._stored import Stored
from jockey.jobs.brokers import rabbitmq_client, rabbitmq_intake, rabbitmq_removal
from jockey.jobs.brokers.memory import MemoryBroker
from jockey.jobs.brokers.rabbitmq import RabbitBroker
from jockey.jobs.brokers.rabbitmq_client import Channel, Parcel
from jockey.jobs.brokers.rabbitmq_frames import EMPTY_TABLE, published, written_properties
from jockey.jobs.brokers.rabbitmq_topology import DEAD
from tests.jobs.conformance.rabbit_carriers import cut_when_idle
from tests.jobs.rabbit import Proxy, Rabbit, names, new, read, settle, take

# The thread's business alone: it is asyncio on both sides.
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
pytestmark = [pytest.mark.anyio, pytest.mark.broker]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """All that talks to RabbitMQ is in a thread of its own; so two kinds of loop are enough for the other side."""
    return request.param


@pytest.fixture
async def rabbit(amqp_url: str) -> AsyncIterator[Rabbit]:
    rabbit = Rabbit(amqp_url)
    yield rabbit
    await rabbit.clean()


@pytest.fixture
async def broker(rabbit: Rabbit) -> AsyncIterator[RabbitBroker]:
    async with rabbit.open() as broker:
        await broker.declare(rabbit.queue)
        yield broker


async def ready(broker: RabbitBroker, queue: str) -> int:
    [info] = await broker.info(queue)
    return info.ready


async def send_raw(broker: RabbitBroker, place: str, body: bytes, **headers: object) -> None:
    await broker._call(lambda sender: sender.send([Parcel(body, place, headers)]))


async def test_urgent_jobs_come_first_and_equal_ones_in_their_order(rabbit: Rabbit, broker: RabbitBroker) -> None:
    jobs = [
        new(rabbit.queue, name, priority=priority) for name, priority in zip("cbadbe", (2, 1, 0, 2, 1, 0), strict=True)
    ]
    jobs = [new(rabbit.queue, job.name + str(number), priority=job.priority) for number, job in enumerate(jobs)]

    assert await broker.publish(jobs) == [Published(job.id) for job in jobs]

    assert [record.name for record in await broker.peek(rabbit.queue, 6)] == [
        "a2",
        "e5",
        "b1",
        "b4",
        "c0",
        "d3",
    ]
    async with rabbit.consume(broker) as source:
        taken = await take(source, 6)
        assert sorted(read(delivery).name for delivery in taken) == ["a2", "b1", "b4", "c0", "d3", "e5"]
        assert all(not delivery.crashes for delivery in taken)


async def test_peeking_changes_neither_the_order_nor_the_count_of_crashes(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await broker.publish([new(rabbit.queue, name) for name in "abc"])

    for _ in range(4):
        assert [record.name for record in await broker.peek(rabbit.queue, 2)] == ["a", "b"]

    async with rabbit.consume(broker) as source:
        taken = await take(source, 3)
    assert [(read(delivery).name, delivery.crashes) for delivery in taken] == [("a", 0), ("b", 0), ("c", 0)]


@on_asyncio
async def test_empty_queue_has_nothing_to_peek_at(rabbit: Rabbit, broker: RabbitBroker) -> None:
    assert await broker.peek(rabbit.queue, 5) == []
    with pytest.raises(QueueNotDeclaredError, match="there is no queue 'nowhere'"):
        await broker.peek("nowhere", 5)


@on_asyncio
async def test_undeclared_queue_is_an_error_and_nothing_is_published(rabbit: Rabbit, broker: RabbitBroker) -> None:
    with pytest.raises(QueueNotDeclaredError, match="there is no queue 'nowhere'"):
        await broker.publish([new("nowhere"), new("nowhere")])
    with pytest.raises(QueueNotDeclaredError, match="there is no queue 'nowhere"):
        await broker.publish([new(rabbit.queue), new("nowhere")])
    with pytest.raises(QueueNotDeclaredError, match="there is no queue 'nowhere'"):
        await broker.publish([new("nowhere", not_before=time.time() + 60)])
    with pytest.raises(QueueNotDeclaredError, match="there is no queue 'nowhere'"):
        async with rabbit.consume(broker, "nowhere"):
            pass
    for look in (broker.info, broker.dead):
        with pytest.raises(QueueNotDeclaredError, match=rf"there is no queue 'nowhere' \(declared: '{rabbit.queue}'\)"):
            await look("nowhere")

    assert await ready(broker, rabbit.queue) == 0


@on_asyncio
async def test_shorter_delay_overtakes_a_longer_one(rabbit: Rabbit, broker: RabbitBroker) -> None:
    now = time.time()
    # The one is still on its way when the other has come, however long this takes.
    await broker.publish(
        [new(rabbit.queue, "later", not_before=now + 3600), new(rabbit.queue, "soon", not_before=now + 0.9)]
    )

    async with rabbit.consume(broker) as source:
        [delivery] = await source.take(5)
        arrived = time.time()
        await settle(source, delivery, Succeeded(b"1"))

    assert read(delivery).name == "soon"
    assert arrived >= read(delivery).not_before


@on_asyncio
async def test_delayed_job_keeps_its_priority(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await broker.publish([new(rabbit.queue, priority=0, not_before=time.time() + 0.1)])

    async with rabbit.consume(broker) as source:
        [delivery] = await take(source, 1)
        await settle(source, delivery, Released())
        [delivery] = await take(source, 1)
    assert delivery.priority == 0  # type: ignore[attr-defined]


async def test_retried_job_comes_after_its_delay_and_at_once_without_one(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await broker.publish([new(rabbit.queue, "first")])
    begun = time.time()

    async with rabbit.consume(broker) as source:
        for attempt, delay in ((1, 0.2), (2, 0.0)):
            [delivery] = await take(source, 1)
            again = new(rabbit.queue, f"try-{attempt}", attempt=attempt)
            assert await settle(source, delivery, Retried(again, delay))
        [delivery] = await take(source, 1)

    assert read(delivery).attempt == 2
    assert time.time() - begun >= 0.2


async def test_settled_job_never_comes_again(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await broker.publish([new(rabbit.queue, name) for name in "abcd"])

    async with rabbit.consume(broker) as source:
        taken = await take(source, 4)
        ends = [Succeeded(b"1"), Died(Trouble(message="no")), Cancelled("enough"), Released()]
        assert [await settle(source, delivery, end) for delivery, end in zip(taken, ends, strict=True)] == [True] * 4
        assert [await settle(source, delivery, Succeeded(b"1")) for delivery in taken] == [False] * 4
        assert await names(source, 1) == ["d"]


async def test_each_of_many_settlements_has_its_own_answer(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await broker.publish([new(rabbit.queue, name) for name in "abcd"])

    async with rabbit.consume(broker) as source:
        a, b, c, d = await take(source, 4)
        too_large = Retried(new(rabbit.queue, args=("x" * 17_000_000,)), 0)
        foreign: Any = "delivery"
        done = Succeeded(b"1")
        ends = [(b, done), (foreign, done), (a, Retried(new(rabbit.queue, "again"), 0)), (b, done), (c, too_large)]
        answers = await source.settle_many([*ends, (d, done)])
        assert [answer if isinstance(answer, bool) else type(answer) for answer in answers] == [
            True,
            UnsupportedError,
            True,
            False,
            UnsupportedError,
            True,
        ]
        assert await settle(source, c, done)
        assert await names(source, 1) == ["again"]
    assert [record.name for record in await broker.peek(rabbit.queue, 2)] == ["again"]


async def test_older_ones_stay_when_younger_ones_are_settled(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await broker.publish([new(rabbit.queue, name) for name in "abcdef"])
    async with rabbit.consume(broker) as source:
        a, b, c, d, e, f = await take(source, 6)
        done = Succeeded(b"1")
        assert await source.settle_many([(c, done), (b, done)]) == [True, True]
        assert await source.settle_many([(a, done), (f, done)]) == [True, True]
        assert await source.settle_many([(e, done)]) == [True]
        assert not d.crashes

    assert [record.name for record in await broker.peek(rabbit.queue, 6)] == ["d"]


@on_asyncio
async def test_name_that_amqp_cannot_carry_is_refused(rabbit: Rabbit, broker: RabbitBroker) -> None:
    with pytest.raises(UnsupportedError, match="at most 255 bytes"):
        await broker.publish([new(rabbit.queue), new(rabbit.queue, id="x" * 256)])

    assert not (await broker.info(rabbit.queue))[0].ready


@on_asyncio
async def test_closed_channel_settles_nothing(broker: RabbitBroker) -> None:
    async def ack(channel: Any) -> None:
        await channel.close()
        with pytest.raises(BrokerUnavailableError, match="was closed"):
            channel.ack([1])

    await broker._control(ack)


async def test_released_job_comes_before_those_that_wait_and_spends_nothing(
    rabbit: Rabbit, broker: RabbitBroker
) -> None:
    await broker.publish([new(rabbit.queue, name) for name in "abc"])
    async with rabbit.consume(broker) as source:
        [a, b] = await take(source, 2)
        assert await settle(source, a, Released())
        assert await settle(source, b, Succeeded(b"1"))

    assert [record.name for record in await broker.peek(rabbit.queue, 3)] == ["a", "c"]
    for _ in range(4):
        async with rabbit.consume(broker) as source:
            assert not any(delivery.crashes for delivery in await take(source, 2))


@on_asyncio
async def test_successors_are_published_before_the_end_and_to_new_queues_too(
    rabbit: Rabbit, broker: RabbitBroker
) -> None:
    other = f"{rabbit.queue}-next"
    rabbit.queues.append(other)
    await broker.publish([new(rabbit.queue), new(rabbit.queue)])

    async with rabbit.consume(broker) as source:
        for end in (
            Succeeded(b"1", successors=[new(other, "good")]),
            Died(Trouble(message="no"), successors=[new(other, "bad")]),
        ):
            [delivery] = await take(source, 1)
            assert await settle(source, delivery, end)

    async with rabbit.consume(broker, other) as source:
        assert await names(source, 2) == ["good", "bad"]


@on_asyncio
async def test_settlement_that_is_refused_leaves_the_job_unsettled(rabbit: Rabbit, broker: RabbitBroker) -> None:
    other = f"{rabbit.queue}-next"
    rabbit.queues.append(other)
    await broker.publish([new(rabbit.queue)])
    await broker.declare(other)

    async with rabbit.consume(broker) as source:
        [delivery] = await take(source, 1)
        await broker.delete(other)
        with pytest.raises(QueueNotDeclaredError, match="there is no queue"):
            await settle(source, delivery, Retried(new(other), 0))
        with pytest.raises(UnsupportedError, match=r"has 1\d+ bytes, RabbitMQ takes at most 16776192"):
            await settle(source, delivery, Retried(new(rabbit.queue, args=("x" * 17_000_000,)), 0))
        assert await settle(source, delivery, Died(Trouble(message="nobody wants it")))


@on_asyncio
async def test_dead_letters_keep_job_reason_and_history(rabbit: Rabbit, broker: RabbitBroker) -> None:
    troubles = (Trouble(type="ValueError", message="first"), Trouble(message="second"))
    job = new(rabbit.queue, "a", args=(1,), priority=0)
    await broker.publish([job])
    await send_raw(broker, rabbit.queue, b"{nonsense")

    async with rabbit.consume(broker) as source:
        for delivery in await take(source, 2):
            if delivery.body == b"{nonsense":
                await settle(source, delivery, Died(Trouble(message="unreadable", at=1.0)))
            else:
                dead = new(rabbit.queue, "a", id=job.id, attempt=2, troubles=troubles)
                error = Trouble(message="x" * 100_000, traceback="y" * 100_000, at=2.0)
                await settle(source, delivery, Died(error, message=dead))

    for _ in range(2):
        records = await broker.dead(rabbit.queue)
        assert [record.state for record in records] == [State.DEAD, State.DEAD]
        ends = [record.finished_at or 0 for record in records]
        assert ends == sorted(ends, reverse=True)
    assert await broker.dead(count=1) == records[:1]
    [record, unreadable] = sorted(records, key=lambda record: record.body is not None)
    assert record.id == job.id
    assert record.message is not None
    assert (record.name, record.attempt, record.message.troubles) == ("a", 2, troubles)
    assert record.error is not None
    assert record.error.message.startswith("xxx")
    assert (unreadable.body, unreadable.error) == (b"{nonsense", Trouble(message="unreadable", at=1.0))
    # RabbitMQ counts a little later.
    while [info.dead for info in await broker.info()] != [2]:
        await anyio.sleep(0.01)


async def test_workers_are_counted_and_have_no_names(rabbit: Rabbit, broker: RabbitBroker) -> None:
    async def count() -> int:
        [info] = await broker.info(rabbit.queue)
        return info.workers

    assert await count() == 0
    async with rabbit.consume(broker) as source, anyio.create_task_group() as tasks:
        tasks.start_soon(source.take, 1)
        while await count() != 1:
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    with pytest.raises(UnsupportedError, match="how many workers take from a queue, and not which; give the app a st"):
        await broker.workers()


async def test_dead_letters_are_replayed_and_dropped(rabbit: Rabbit, broker: RabbitBroker) -> None:
    jobs = [new(rabbit.queue, name) for name in "abc"]
    await broker.publish(jobs)
    await send_raw(broker, rabbit.queue, b"{nonsense")
    async with rabbit.consume(broker) as source:
        for delivery in await take(source, 4):
            await settle(source, delivery, Died(Trouble(message="no"), message=None))
    [unreadable] = [record.id for record in await broker.dead() if record.body]

    assert await broker.replay([jobs[0].id, unreadable, "unknown"]) == 2
    assert await broker.drop([jobs[1].id]) == 1
    assert await broker.drop([]) == 0

    assert [record.id for record in await broker.dead()] == [jobs[2].id]
    async with rabbit.consume(broker) as source:
        [first, second] = await take(source, 2)
    assert read(first) == jobs[0]
    assert second.body == b"{nonsense"


@on_asyncio
async def test_only_the_dead_letters_that_are_chosen_are_put_back(rabbit: Rabbit, broker: RabbitBroker) -> None:
    jobs = [new(rabbit.queue, name) for name in "abc"]
    await broker.publish(jobs)
    async with rabbit.consume(broker) as source:
        for delivery in await take(source, 3):
            await settle(source, delivery, Died(Trouble(message="no")))
    seen: list[list[str]] = []

    async def choose(letters: Any) -> list[str]:
        seen.append([letter.name for letter in letters])
        return [letter.id for letter in letters if letter.name == "b"]

    async def fail(_: object) -> list[str]:
        raise ZeroDivisionError

    ids = [job.id for job in jobs[:2]]
    with pytest.raises(ZeroDivisionError):
        await broker.put_back(ids, fail)
    assert await broker.put_back(ids, choose) == 1

    assert seen == [["a", "b"]]
    assert {record.name for record in await broker.dead()} == {"a", "c"}
    async with rabbit.consume(broker) as source:
        assert await names(source, 1) == ["b"]


@on_asyncio
async def test_job_whose_dead_letter_was_deleted_with_its_queue_stays_dead_in_the_store(rabbit: Rabbit) -> None:
    stored = Stored(rabbit.broker(), MemoryBroker())
    await stored.open()
    await stored.declare(rabbit.queue)
    await stored.publish([job := new(rabbit.queue)])
    async with rabbit.consume(stored) as source:
        [delivery] = await take(source, 1)
        await settle(source, delivery, Died(Trouble(message="no"), job))
    await stored.delete(rabbit.queue)
    await stored.declare(rabbit.queue)

    assert await stored.replay([job.id]) == 0

    record = await stored.record(job.id)
    assert record is not None
    assert record.state is State.DEAD
    await stored.close()


@on_asyncio
async def test_job_that_came_without_an_id_has_one_record_however_often_it_comes(rabbit: Rabbit) -> None:
    with Proxy(rabbit.url) as proxy:
        carrier = rabbit.broker(proxy.url)
        stored = Stored(carrier, MemoryBroker())
        await stored.open()
        await stored.declare(rabbit.queue)
        await send_with_headers(carrier, rabbit.queue, b'{"name": "send"}', EMPTY_TABLE)
        async with rabbit.consume(stored) as source:
            [lost] = await take(source, 1)
            # Not before the one without an id is gone, or there would be two.
            inner: Any = source.inner  # type: ignore[attr-defined]
            await inner._thread.call(lambda: cut_when_idle(inner.intake, proxy.cut))
            [again] = await take(source, 1)
            assert again.crashes == 1
            await settle(source, again, Retried(replace(again.message, attempt=1), 0))
            [last] = await take(source, 1)
            await settle(source, last, Succeeded(b"1", ttl=60))

        assert lost.message is not None
        records = [record async for record in stored.records()]
        assert [(record.id, record.state) for record in records] == [(lost.message.id, State.SUCCEEDED)]
        await stored.close()


@on_asyncio
async def test_queue_that_somebody_has_deleted_is_forgotten(rabbit: Rabbit, broker: RabbitBroker) -> None:
    async with rabbit.open() as other:
        await other.delete(rabbit.queue)

    assert await broker.info() == []
    assert await broker.dead() == []
    assert await broker.replay(["x"]) == 0


@on_asyncio
async def test_what_rabbitmq_gives_up_is_a_dead_letter_too(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await broker.publish([new(rabbit.queue)])

    async def reject(channel: Any) -> None:
        arrival = await channel.get(rabbit.queue)
        await channel._channel.basic_reject(arrival.tag, requeue=False)

    await broker._control(reject)

    with anyio.fail_after(20):
        while not (records := await broker.dead(rabbit.queue)):
            await anyio.sleep(0.01)
    [record] = records
    assert record.error is not None
    assert record.error.message == "RabbitMQ gave it up: rejected"


@on_asyncio
async def test_purge_removes_what_is_ready(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await broker.publish([new(rabbit.queue, priority=priority) for priority in range(3)])

    assert await broker.purge(rabbit.queue) == 3
    assert await ready(broker, rabbit.queue) == 0


async def until_ready(broker: RabbitBroker, queue: str, count: int) -> None:
    """Wait until RabbitMQ has noticed that so many have come, or have come back."""
    while await ready(broker, queue) != count:
        await anyio.sleep(0.01)


async def test_what_is_taken_out_is_told_and_what_a_worker_has_stays(
    rabbit: Rabbit, broker: RabbitBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq_removal, "AT_ONCE", 2)
    told: list[list[Removed]] = []

    async def tell(removed: Any) -> None:
        told.append(removed)

    held, lost, *jobs = (new(rabbit.queue, name) for name in ("held", "lost", "a", "b"))
    await broker.publish([held])
    async with rabbit.consume(broker) as source:
        [delivery] = await take(source, 1)
        await broker.publish([lost])
        await lose(broker, rabbit.queue)
        await broker.publish(jobs)
        await send_raw(broker, rabbit.queue, b"{nonsense")
        await until_ready(broker, rabbit.queue, 4)

        assert await broker.take_out(rabbit.queue, tell) == 4
        assert await broker.take_out(rabbit.queue, tell) == 0
        assert await settle(source, delivery, Succeeded(b"1"))

    assert [len(removed) for removed in told] == [2, 2]
    assert {(each.message and each.message.name, each.was_taken) for removed in told for each in removed} == {
        ("lost", True),
        ("a", False),
        ("b", False),
        (None, False),
    }


@on_asyncio
async def test_what_nobody_could_be_told_of_stays(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await broker.publish([new(rabbit.queue, name) for name in "ab"])

    async def fail(_: object) -> None:
        raise ZeroDivisionError

    async def give_up(_: object) -> None:
        scope.cancel()
        await anyio.sleep(0)

    with pytest.raises(ZeroDivisionError):
        await broker.take_out(rabbit.queue, fail)
    await until_ready(broker, rabbit.queue, 2)
    with anyio.CancelScope() as scope:
        await broker.take_out(rabbit.queue, give_up)
    assert scope.cancelled_caught
    await until_ready(broker, rabbit.queue, 2)
    with pytest.raises(QueueNotDeclaredError):
        await broker.take_out("nowhere", fail)


@on_asyncio
async def test_purge_with_a_store_ends_the_jobs_of_dead_workers_and_of_no_others(
    rabbit: Rabbit, broker: RabbitBroker
) -> None:
    ledger = MemoryBroker()
    stored = Stored(broker, ledger)
    held, lost = new(rabbit.queue), new(rabbit.queue)
    await stored.publish([held])

    async with rabbit.consume(stored) as source:
        [delivery] = await take(source, 1)
        await stored.publish([lost])
        await ledger.begin(lost, worker="w2", crashes=0)
        await lose(broker, rabbit.queue)
        await until_ready(broker, rabbit.queue, 1)
        assert await stored.purge(rabbit.queue) == 1
        assert await settle(source, delivery, Succeeded(b"1", ttl=60))

    assert [(await stored.wait(job.id)).state for job in (held, lost)] == [State.SUCCEEDED, State.CANCELLED]


@on_asyncio
async def test_deleted_queue_with_a_store_leaves_nobody_waiting(rabbit: Rabbit, broker: RabbitBroker) -> None:
    stored = Stored(broker, MemoryBroker())
    held, waiting = new(rabbit.queue), new(rabbit.queue)
    await stored.publish([held])

    async with rabbit.consume(stored) as source:
        [delivery] = await take(source, 1)
        await stored.publish([waiting])
        await stored.delete(rabbit.queue)
        await rabbit.has_lost.wait()
        assert not await settle(source, delivery, Succeeded(b"1", ttl=60))

    assert [(await stored.wait(job.id)).state for job in (held, waiting)] == [State.CANCELLED, State.CANCELLED]


@on_asyncio
async def test_jobs_of_other_programs_are_taken(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await send_raw(broker, rabbit.queue, b'{"name": "add", "args": [1, 2]}', **{"jockey-crashes": "many"})

    async with rabbit.consume(broker) as source:
        [delivery] = await take(source, 1)

    assert (read(delivery).name, read(delivery).args, delivery.crashes) == ("add", (1, 2), 0)


@on_asyncio
async def test_jobs_of_other_programs_are_looked_at_whatever_their_headers_are(
    rabbit: Rabbit, broker: RabbitBroker
) -> None:
    name_that_is_no_text = b"\x01\xff" + b"I\0\0\0\1"
    time_in_milliseconds = b"\x04time" + b"T" + (1_700_000_000_000_000).to_bytes(8)
    for place in (rabbit.queue, rabbit.queue + DEAD):
        for number, content in enumerate((name_that_is_no_text, time_in_milliseconds)):
            await send_with_headers(broker, place, b'{"name": "t%d"}' % number, len(content).to_bytes(4) + content)

    assert [record.name for record in await broker.peek(rabbit.queue, 5)] == ["t0", "t1"]
    assert {record.name for record in await broker.dead(rabbit.queue)} == {"t0", "t1"}
    async with rabbit.consume(broker) as source:
        assert await names(source, 2) == ["t0", "t1"]


async def send_with_headers(broker: RabbitBroker, place: str, body: bytes, table: bytes) -> None:
    """Publish what the client library could not."""

    async def publish(channel: Channel) -> None:
        properties = written_properties(table, "", None)
        sent = published(channel._channel.number, "", place, properties, body, longest=1000)
        before = await channel.size(place)
        channel._outlet.send([sent])
        while await channel.size(place) == before:
            await asyncio.sleep(0.01)

    await broker._control(publish)


async def test_take_waits_for_what_comes_and_a_cancelled_one_loses_nothing(
    rabbit: Rabbit, broker: RabbitBroker
) -> None:
    async with rabbit.consume(broker) as source:
        with anyio.move_on_after(0.05):
            await source.take(1)
        await broker.publish([new(rabbit.queue, name) for name in "ab"])
        async with anyio.create_task_group() as tasks:

            async def take_one() -> None:
                assert await names(source, 1) == ["a"]

            tasks.start_soon(take_one)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await source.take(1)
            await anyio.sleep(0)
        assert scope.cancelled_caught


async def test_worker_that_is_busy_leaves_the_rest_to_others(
    rabbit: Rabbit, broker: RabbitBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq_intake, "PATIENCE", 0.1)
    jobs = [new(rabbit.queue, f"{priority}{number}", priority=priority) for priority in (0, 1) for number in range(2)]
    await broker.publish(jobs)

    async with rabbit.consume(broker) as busy, rabbit.consume(broker, worker="w2") as idle:
        mine = await take(busy, 2)
        others = await take(idle, 2)
        assert {read(delivery).name for delivery in [*mine, *others]} == {"00", "01", "10", "11"}
        for delivery in mine:
            assert await settle(busy, delivery, Succeeded(b"1"))
        for delivery in others:
            assert await settle(idle, delivery, Released())
        # It wants something again, and so it gets something again.
        again = await take(busy, 2)
        assert {read(delivery).name for delivery in again} == {read(delivery).name for delivery in others}


@on_asyncio
async def test_more_room_means_more_jobs(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await broker.publish([new(rabbit.queue, str(number)) for number in range(8)])

    async with rabbit.consume(broker) as source:
        taken = await take(source, 1)
        taken += await take(source, 3)
        taken += await take(source, 4)

    assert [read(delivery).name for delivery in taken] == list("01234567")


@on_asyncio
async def test_job_whose_worker_is_killed_comes_again_and_is_dead_in_the_end(
    rabbit: Rabbit, broker: RabbitBroker
) -> None:
    follower = new(rabbit.queue, "follower")
    await broker.publish([new(rabbit.queue, "poison")])

    for crashes in (1, 2):
        await anyio.to_thread.run_sync(die_with_a_job, rabbit.url, rabbit.queue)
        async with rabbit.consume(broker) as source:
            [delivery] = await take(source, 1)
            assert delivery.crashes == crashes
            await settle(source, delivery, Released())
    await anyio.to_thread.run_sync(die_with_a_job, rabbit.url, rabbit.queue)
    hearing = Hearing(on_cancel=print, on_lost=print, on_crashed=lambda message, trouble: [follower])
    async with rabbit.consume(broker, hearing=hearing) as source:
        assert await names(source, 1) == ["follower"]

    [record] = await broker.dead(rabbit.queue)
    assert (record.name, record.crashes) == ("poison", 3)
    assert record.error is not None
    assert record.error.message == "3 workers were lost while they had this job"


async def lose(broker: RabbitBroker, place: str, count: int = 1) -> None:
    """Take what is next in *place* as a worker does that is lost before it starts it."""

    async def get(channel: Any) -> None:
        for _ in range(count):
            while await channel.get(place) is None:
                await anyio.sleep(0.01)

    await broker._control(get)


async def test_what_no_worker_has_started_is_not_dead_however_often_it_comes_back(
    rabbit: Rabbit, broker: RabbitBroker
) -> None:
    await broker.publish([new(rabbit.queue, "a")])

    for _ in range(4):
        await lose(broker, rabbit.queue)

    for _ in range(2):
        async with rabbit.consume(broker, max_crashes=1) as source:
            [delivery] = await take(source, 1)
            # Nobody knows whether one of them had started it; that alone kills no job.
            assert delivery.crashes == 1
            await settle(source, delivery, Released())
    assert await broker.dead() == []


@on_asyncio
async def test_what_was_lost_before_is_taken_only_to_be_started(rabbit: Rabbit, broker: RabbitBroker) -> None:
    urgent = [new(rabbit.queue, f"urgent{number}", priority=0) for number in range(2)]
    await broker.publish([new(rabbit.queue, "a"), new(rabbit.queue, "b"), *urgent])
    await lose(broker, rabbit.queue, 2)
    async with rabbit.consume(broker) as source:
        taken = [(await take(source, 1))[0] for _ in range(4)]
        assert {read(delivery).name for delivery in taken} == {"a", "b", "urgent0", "urgent1"}
        assert {read(delivery).name for delivery in taken if delivery.crashes} == {"a", "b"}
        for delivery in taken:
            if not delivery.crashes:
                await settle(source, delivery, Succeeded(b"1"))

    async with rabbit.consume(broker, worker="w1") as first, rabbit.consume(broker, worker="w2") as second:
        [mine] = await take(first, 1)
        [other] = await take(second, 1)
        assert {read(delivery).name for delivery in (mine, other)} == {"a", "b"}
        assert (mine.crashes, other.crashes) == (1, 1)


def die_with_a_job(url: str, queue: str) -> None:
    """Be a worker in a process of its own, which is killed in the middle of a job."""
    code = f"""
import anyio
from tests.jobs.rabbit import Proxy, Rabbit, take
async def main():
    rabbit = Rabbit({url!r})
    async with rabbit.open() as broker, rabbit.consume(broker, {queue!r}) as source:
        await take(source, 1)
        print("taken", flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        process.kill()


@on_asyncio
async def test_unreadable_message_that_kills_workers_is_dead_too(rabbit: Rabbit, broker: RabbitBroker) -> None:
    await send_raw(broker, rabbit.queue, b"{nonsense", **{"jockey-crashes": 3})
    await broker.publish([new(rabbit.queue, "next")])

    async with rabbit.consume(broker) as source:
        assert await names(source, 1) == ["next"]

    assert [record.body for record in await broker.dead()] == [b"{nonsense"]


async def name_is_refused(broker: RabbitBroker, name: str) -> None:
    looks: list[Any] = [
        lambda: broker.info(name),
        lambda: broker.peek(name, 1),
        lambda: broker.purge(name),
        lambda: broker.take_out(name, None),  # type: ignore[arg-type]
        lambda: broker.delete(name),
        lambda: broker.dead(name),
        lambda: broker.consume([name], Hearing(print, print), worker="w", lease=30, max_crashes=3).__aenter__(),
    ]
    for look in looks:
        with pytest.raises(UnsupportedError, match=f"only letters from A to Z, digits, spaces and .*, got '{name}'"):
            await look()


@on_asyncio
async def test_what_rabbitmq_cannot_do_is_refused(rabbit: Rabbit, broker: RabbitBroker) -> None:
    for name in ("", "x" * 300, "mail.dead", "amq.mail", "a\0b", "sch\u00f6n"):
        with pytest.raises(UnsupportedError, match="name"):
            await broker.declare(name)
    await name_is_refused(broker, "sch\u00f6n")
    with pytest.raises(UnsupportedError, match="max_crashes must be at most 100 on RabbitMQ, got 101"):
        async with rabbit.consume(broker, max_crashes=101):
            pass
    async with rabbit.consume(broker) as source:
        with pytest.raises(UnsupportedError, match="comes from another broker"):
            await settle(source, "delivery", Released())  # type: ignore[arg-type]


async def test_broker_that_is_not_open_says_so(rabbit: Rabbit) -> None:
    broker = rabbit.broker()

    with pytest.raises(BrokerUnavailableError, match="the broker is not open"):
        await broker.publish([new(rabbit.queue)])
    await broker.close()


@on_asyncio
async def test_wrong_address_is_told_at_once(rabbit: Rabbit) -> None:
    with pytest.raises(BrokerUnavailableError, match="RabbitMQ cannot be reached at 127.0.0.1:1, or refuses: "):
        await rabbit.broker("amqp://guest:guest@127.0.0.1:1/").open()


@on_asyncio
async def test_host_without_a_port_is_told_with_the_port_that_was_tried(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(rabbitmq_client.aiormq, "connect", connect)

    for scheme, port in (("amqp", 5672), ("amqps", 5671)):
        with pytest.raises(BrokerUnavailableError, match=f"at rabbit.example:{port}, or .*not known") as caught:
            await rabbit.broker(f"{scheme}://guest:secret@rabbit.example/").open()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("amqp://me:secret@localhost:99999/", "'amqp://***@localhost:99999/'"),
        ("amqp://me:sec/ret@localhost:5672/", "'amqp://***@localhost:5672/'; in a user and a password write %2F,"),
        ("amqp://me:secret@[::1/", "'amqp://***@[::1/'"),
        ("amqp://", "'amqp://'"),
        ("amqp:///vhost", "'amqp:///vhost'"),
    ],
)
def test_url_that_cannot_be_read_is_refused_when_the_app_is_made(url: str, told: str) -> None:
    with pytest.raises(UnsupportedError, match="with a host and a port of at most 65535, got ") as caught:
        App(url)

    assert told in str(caught.value)
    story = "".join(traceback.format_exception(caught.value))
    assert "secret" not in story
    assert "sec/ret" not in story


def test_missing_client_library_is_named_with_the_way_to_get_it() -> None:
    code = """
import sys
sys.modules["aiormq"] = None
try:
    import jockey.jobs.brokers.rabbitmq
except ImportError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "pip install 'jockey[rabbitmq]'" in ran.stdout
