"""A broker without records, and a store beside it: what is known of jobs, and what that decides."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest

from jockey.jobs import _stored
from jockey.jobs._broker import Broker, Cancelled, Delivery, Died, Hearing, Released, Retried, Succeeded, WorkerInfo
from jockey.jobs._carrier import Removed
from jockey.jobs._errors import BrokerUnavailableError, QueueNotDeclaredError
from jockey.jobs._message import Join, Step, Trouble
from jockey.jobs._state import State
from jockey.jobs._stored import Stored
from jockey.jobs.brokers.memory import MemoryBroker
from tests.jobs.conformance.carriers import settle
from tests.jobs.rabbit import new, read, take

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stored, "LISTEN_EVERY", 0.01)


class Carrier(MemoryBroker):
    """A broker whose own records nobody looks at, and which can be told to fail."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: self.time)
        self.time = 1_000_000.0
        self.fails_with: Exception | None = None

    async def publish(self, messages: Any) -> Any:
        if self.fails_with is not None:
            raise self.fails_with
        return await super().publish(messages)

    async def take_out(self, queue: str, tell: Any) -> int:
        await self.info(queue)
        ready = [record for record in await self.peek(queue, 100) if record.state is State.QUEUED]
        await tell([Removed(record.message, was_taken=False) for record in ready])
        await self.purge(queue)
        return len(ready)

    async def put_back(self, ids: Any, choose: Any) -> int:
        return await self.replay(await choose([letter for letter in await self.dead() if letter.id in ids]))


class Bench:
    def __init__(self) -> None:
        self.carrier = Carrier()
        self.ledger = MemoryBroker()
        self.stored = Stored(self.carrier, self.ledger)
        self.cancelled: list[tuple[str, str]] = []
        self.lost: list[str] = []
        self.has_heard = anyio.Event()

    def hear(self, delivery: Delivery, reason: str) -> None:
        self.cancelled.append((read(delivery).name, reason))
        self.has_heard.set()

    @asynccontextmanager
    async def worker(self, broker: Broker | None = None, **terms: Any) -> AsyncIterator[Any]:
        hearing = Hearing(self.hear, lambda delivery: self.lost.append(read(delivery).name))
        terms = {"hearing": hearing, "worker": "w1", "lease": 30.0, "max_crashes": 3} | terms
        async with (broker or self.stored).consume(["mail"], **terms) as source:
            yield source

    async def state(self, id_: str) -> State | None:
        record = await self.stored.record(id_)
        return record and record.state


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.stored.open()
    await bench.stored.declare("mail")
    yield bench
    await bench.stored.close()


async def test_record_follows_the_job(bench: Bench) -> None:
    job = new("mail", "a")
    [published] = await bench.stored.publish([job])
    assert published.is_new
    assert await bench.state(job.id) is State.QUEUED

    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        assert await bench.state(job.id) is State.RUNNING
        assert await settle(source, delivery, Released())
        assert await bench.state(job.id) is State.QUEUED
        [delivery] = await take(source, 1)
        await settle(source, delivery, Retried(new("mail", "a", id=job.id, attempt=1), 0))
        assert await bench.state(job.id) is State.FAILED
        [delivery] = await take(source, 1)
        await settle(source, delivery, Succeeded(b"42", ttl=60))

    record = await bench.stored.wait(job.id)
    assert (record.state, record.result, record.worker) == (State.SUCCEEDED, b"42", "w1")
    assert [record.id async for record in bench.stored.records(queue="mail")] == [job.id]
    assert await bench.stored.remove(job.id)


async def test_workers_that_run_something_are_known(bench: Bench) -> None:
    await bench.stored.publish([new("mail"), new("mail")])
    async with bench.worker() as source:
        assert await bench.stored.workers() == []
        await take(source, 2)

        assert await bench.stored.workers() == [WorkerInfo("w1", running=2)]


async def test_duplicate_is_not_published(bench: Bench) -> None:
    first = new("mail", unique="key")
    await bench.stored.publish([first])

    again = await bench.stored.publish([first, new("mail", unique="key"), new("mail")])

    assert [(twin.id == first.id, twin.is_new) for twin in again] == [(True, False), (True, False), (False, True)]
    assert await bench.stored.publish([first]) == again[:1]
    assert [info.ready for info in await bench.stored.info("mail")] == [2]
    assert len(await bench.stored.peek("mail", 5)) == 2


async def test_job_that_could_not_be_published_is_not_remembered(bench: Bench) -> None:
    job = new("mail")
    bench.carrier.fails_with = BrokerUnavailableError("gone")

    with pytest.raises(BrokerUnavailableError):
        await bench.stored.publish([job])
    bench.carrier.fails_with = None

    assert await bench.state(job.id) is None
    [published] = await bench.stored.publish([job])
    assert published.is_new


async def test_job_that_has_ended_is_not_run_again(bench: Bench) -> None:
    job = new("mail", "a")
    await bench.stored.publish([job])
    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        # Done, noted, and then the worker dies before it can tell the broker.
        await bench.ledger.end(job.id, Succeeded(b"1", ttl=60))
        await settle(source.inner, delivery, Released())

        await bench.stored.publish([new("mail", "b")])
        assert [read(delivery).name for delivery in await take(source, 1)] == ["b"]

    assert [info.ready for info in await bench.stored.info("mail")] == [1]


async def test_try_that_has_been_overtaken_is_not_run(bench: Bench) -> None:
    job = new("mail", "a", attempt=1)
    await bench.stored.publish([job])
    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        await bench.carrier.publish([new("mail", "first try", id="copy")])
        await bench.ledger.begin(new("mail", "second try", id="copy", attempt=1), worker="w2", crashes=0)
        await bench.stored.publish([new("mail", "b")])

        assert [read(delivery).name for delivery in await take(source, 1)] == ["b"]
        assert await settle(source, delivery, Cancelled("enough"))
    assert await bench.state(job.id) in {State.CANCELLED, None}


async def test_job_of_another_producer_gets_a_record_when_it_arrives(bench: Bench) -> None:
    job = new("mail")
    await bench.carrier.publish([job])

    async with bench.worker() as source:
        await take(source, 1)
        assert await bench.state(job.id) is State.RUNNING
    assert await bench.state(job.id) is State.QUEUED


async def test_successors_are_published_once_and_to_new_queues(bench: Bench) -> None:
    parent, child = new("mail", "parent"), new("next", "child")
    await bench.stored.publish([parent])

    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        await bench.stored.publish_next([child])
        await settle(source, delivery, Succeeded(b"1", ttl=60, successors=[child]))

    assert [info.ready for info in await bench.stored.info("next")] == [1]


@pytest.mark.parametrize("end", ["succeeded", "died"])
async def test_what_follows_is_published_with_the_end_and_has_a_record(bench: Bench, end: str) -> None:
    parent, child, other = new("mail", "parent"), new("next", "child"), new("mail", "other")
    await bench.stored.publish([parent])

    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        following = [child, other]
        settlement = Succeeded(b"1", 60, following) if end == "succeeded" else Died(Trouble(), parent, following)
        await settle(source, delivery, settlement)

    assert [await bench.state(job.id) for job in following] == [State.QUEUED, State.QUEUED]
    assert {info.name: info.ready for info in await bench.carrier.info()} == {"mail": 1, "next": 1}


async def test_dead_job_is_replayed_and_dropped(bench: Bench) -> None:
    jobs = [new("mail", name) for name in "ab"]
    await bench.stored.publish(jobs)
    async with bench.worker() as source:
        for delivery in await take(source, 2):
            await settle(source, delivery, Died(Trouble(message="no")))
    assert await bench.state(jobs[0].id) is State.DEAD
    assert len(await bench.stored.dead()) == 2

    assert await bench.stored.replay([jobs[0].id, "unknown"]) == 1
    assert await bench.stored.drop([jobs[1].id]) == 1

    assert await bench.state(jobs[0].id) is State.QUEUED
    assert await bench.state(jobs[1].id) is None
    async with bench.worker() as source:
        assert [read(delivery).name for delivery in await take(source, 1)] == ["a"]


async def die(bench: Bench) -> str:
    """Have a job die, and return its id."""
    await bench.stored.publish([job := new("mail", "a")])
    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        await settle(source, delivery, Died(Trouble(message="no"), job))
    return job.id


async def test_dead_job_that_the_broker_has_no_more_is_not_replayed_and_stays_dead(bench: Bench) -> None:
    id_ = await die(bench)
    await bench.carrier.drop([id_])  # as if its queue had been deleted

    assert await bench.stored.replay([id_]) == 0

    record = await bench.stored.record(id_)
    assert record is not None
    assert record.error is not None
    assert (record.state, record.error.message) == (State.DEAD, "no")


async def test_replay_waits_until_the_death_is_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stored, "NOTED_WITHIN", 1_000_000)
    id_ = await die(bench)
    await bench.ledger.remove(id_)
    await bench.ledger.begin(job := new("mail", "a", id=id_), worker="w1", crashes=0)
    numbers: list[int] = []

    async def replay() -> None:
        numbers.append(await bench.stored.replay([id_]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(replay)
        await anyio.wait_all_tasks_blocked()
        assert await bench.state(id_) is State.RUNNING
        await bench.ledger.end(id_, Died(Trouble(message="no"), job))

    assert numbers == [1]
    async with bench.worker() as source:
        assert [read(delivery).id for delivery in await take(source, 1)] == [id_]


@pytest.mark.parametrize("attempt", [0, 2])
async def test_job_whose_death_nobody_notes_any_more_can_be_replayed(
    bench: Bench, attempt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stored, "NOTED_WITHIN", 0.01)
    id_ = await die(bench)
    await bench.ledger.remove(id_)
    await bench.ledger.begin(new("mail", "a", id=id_, attempt=attempt), worker="killed", crashes=0)

    assert await bench.stored.replay([id_]) == 1

    assert await bench.state(id_) is State.QUEUED
    async with bench.worker() as source:
        assert [read(delivery).id for delivery in await take(source, 1)] == [id_]


@pytest.mark.parametrize(("ttl", "number", "state"), [(60, 0, State.SUCCEEDED), (None, 1, None)])
async def test_dead_letter_of_a_job_that_has_ended_otherwise_is_replayed_if_nothing_is_known_of_that(
    bench: Bench, ttl: float | None, number: int, state: State | None
) -> None:
    id_ = await die(bench)
    await bench.ledger.remove(id_)
    await bench.ledger.begin(new("mail", "a", id=id_), worker="w1", crashes=0)
    await bench.ledger.end(id_, Succeeded(b"1", ttl=ttl))

    assert await bench.stored.replay([id_]) == number

    assert await bench.state(id_) is state


async def test_store_that_is_away_during_a_replay_is_told_and_nothing_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = await die(bench)
    with monkeypatch.context() as patch:
        fail(bench, patch, "remove", 1)
        with pytest.raises(BrokerUnavailableError):
            await bench.stored.replay([id_])

    assert await bench.state(id_) is State.DEAD
    assert await bench.stored.replay([id_]) == 1


async def test_cancelled_job_is_not_run_or_its_worker_hears_of_it(bench: Bench) -> None:
    running, waiting = new("mail", "running"), new("mail", "waiting")
    await bench.stored.publish([running])

    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        await bench.stored.publish([waiting, new("mail", "last")])
        await bench.stored.cancel(waiting.id, "not needed")
        await bench.stored.cancel(running.id, "too slow")
        await bench.has_heard.wait()
        await source._hear_of_cancelled()
        assert [read(other).name for other in await take(source, 1)] == ["last"]
        assert await settle(source, delivery, Cancelled("too slow", ttl=60))
        assert not source._told, "another delivery may be where this one was in memory"
    assert bench.cancelled == [("running", "too slow")]
    assert await bench.state(running.id) is State.CANCELLED


async def test_purged_jobs_are_cancelled_wherever_they_wait(bench: Bench) -> None:
    ready, later = new("mail"), new("mail", not_before=4e9)
    await bench.stored.publish([ready, later])

    assert await bench.stored.purge("mail") == 2
    assert [await bench.state(job.id) for job in (ready, later)] == [State.CANCELLED, State.CANCELLED]


async def note(bench: Bench, *removed: Removed) -> None:
    """Purge what the broker says that it removes."""

    async def take_out(_: str, tell: Any) -> int:
        await tell(removed)
        return len(removed)

    bench.carrier.take_out = take_out  # type: ignore[method-assign]
    assert await bench.stored.purge("mail") == len(removed)


async def test_purge_ends_what_workers_had_that_are_no_more(bench: Bench) -> None:
    lost, retried, flagged = (new("mail", result_ttl=ttl) for ttl in (None, 60.0, None))
    for job in (lost, retried, flagged):
        await bench.ledger.begin(job, worker="gone", crashes=0)
    await bench.ledger.cancel(flagged.id, "not needed")

    async with anyio.create_task_group() as tasks:
        for job in (lost, retried, flagged):
            tasks.start_soon(bench.stored.wait, job.id)
        await anyio.wait_all_tasks_blocked()
        await note(
            bench,
            Removed(lost, was_taken=True),
            # Its worker had no time to note that it failed.
            Removed(msgspec.structs.replace(retried, attempt=1), was_taken=False),
            Removed(flagged, was_taken=True),
        )

    for job in (lost, retried, flagged):
        record = await bench.stored.record(job.id)
        assert record is not None
        assert (record.state, record.attempt) == (State.CANCELLED, 1)
        assert record.error is not None
        assert record.error.message == "the queue was purged"


async def test_purge_leaves_alone_what_a_worker_has(bench: Bench) -> None:
    copied, ahead = new("mail"), new("mail", attempt=1)
    await bench.stored.publish([copied, ahead])

    async with bench.worker() as source:
        deliveries = await take(source, 2)
        await note(
            bench,
            Removed(copied, was_taken=False),  # published twice, since the first confirmation did not come
            Removed(msgspec.structs.replace(ahead, attempt=0), was_taken=True),
            Removed(new("mail"), was_taken=True),
            Removed(None, was_taken=True),
        )
        for delivery in deliveries:
            assert await settle(source, delivery, Succeeded(b"1", ttl=60))
    assert [await bench.state(job.id) for job in (copied, ahead)] == [State.SUCCEEDED] * 2


async def test_purge_leaves_alone_what_has_ended(bench: Bench) -> None:
    job = new("mail")
    await bench.stored.publish([job])
    await bench.ledger.end(job.id, Succeeded(b"1", ttl=60))

    await note(bench, Removed(job, was_taken=True))

    assert await bench.state(job.id) is State.SUCCEEDED


async def test_queue_is_deleted_with_all_that_is_in_it(bench: Bench) -> None:
    jobs = [new("mail", name) for name in ("running", "waiting", "later")]
    await bench.ledger.begin(jobs[0], worker="w1", crashes=0)
    await bench.stored.publish([jobs[1], msgspec.structs.replace(jobs[2], not_before=4e9)])

    await bench.stored.delete("mail")
    await bench.stored.delete("mail")

    assert [await bench.state(job.id) for job in jobs] == [State.CANCELLED] * 3
    with pytest.raises(QueueNotDeclaredError):
        await bench.stored.publish([new("mail")])


async def test_group_meets_in_the_store(bench: Bench) -> None:
    join = Join(id="g", index=0, count=1, then=Step(name="then"))

    assert await bench.stored.arrive(join, b"1") == [b"1"]


async def test_unreadable_message_goes_to_the_worker(bench: Bench) -> None:
    class Odd:
        message = None
        body, queue, crashes = b"{nonsense", "mail", 0

    async with bench.worker() as source:
        settled: list[Any] = []

        class Inner:
            async def take(self, count: int) -> list[Any]:
                return [Odd()]

            async def settle_many(self, ends: Any) -> list[bool]:
                settled.extend(settlement for _, settlement in ends)
                return [True] * len(ends)

        source.inner, inner = Inner(), source.inner
        [delivery] = await source.take(1)
        assert await settle(source, delivery, Died(Trouble(message="unreadable")))
        source.inner = inner
    assert settled == [Died(Trouble(message="unreadable"))]


async def test_job_that_kills_its_workers_is_dead_in_the_store_too(bench: Bench) -> None:
    job = new("mail", "poison")
    await bench.stored.publish([job])
    async with bench.worker() as source:
        await take(source, 1)
        source.hearing.on_crashed(job, Trouble(message="three workers"))
        while await bench.state(job.id) is not State.DEAD:
            await anyio.sleep(0.05)


async def test_death_that_is_not_noted_yet_is_noted_when_the_worker_leaves(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stored, "LISTEN_EVERY", 1_000_000)
    await bench.stored.publish([job := new("mail", "poison")])

    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        source.hearing.on_crashed(job, Trouble(message="three workers"))
        source.hearing.on_lost(delivery)

    assert await bench.state(job.id) is State.DEAD


async def test_lost_job_is_not_settled_here_any_more(bench: Bench) -> None:
    await bench.stored.publish([job := new("mail", "a")])

    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        source.hearing.on_lost(delivery)
        source.inner.vanish()
        assert await settle(source, delivery, Succeeded(b"1", ttl=60)) is False
    assert bench.lost == ["a"]
    assert await bench.state(job.id) is State.RUNNING


async def test_settlement_that_comes_too_late_is_not_noted(bench: Bench) -> None:
    await bench.stored.publish([job := new("mail", "a")])

    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        source.inner.vanish()
        bench.carrier.time += 100
        async with bench.worker(bench.carrier) as other:
            await take(other, 1)
            assert await settle(source, delivery, Died(Trouble(message="late"))) is False
    assert await bench.state(job.id) is not State.DEAD


async def test_error_of_the_worker_comes_out_as_it_is(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        async with bench.worker():
            raise ZeroDivisionError


async def test_store_that_is_away_for_a_while_stops_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench.worker() as source:
        await bench.stored.publish([job := new("mail", "a")])
        await take(source, 1)
        tries: list[int] = []
        ask = bench.ledger.cancelled

        async def cancelled(ids: Any) -> Any:
            tries.append(len(ids))
            if len(tries) == 1:
                raise BrokerUnavailableError("locked")
            return await ask(ids)

        monkeypatch.setattr(bench.ledger, "cancelled", cancelled)
        await bench.stored.cancel(job.id, "enough")
        await bench.has_heard.wait()
    assert len(tries) >= 2


def fail(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, *times: int) -> None:
    """Let these calls of a method of the store, counted from 1, fail."""
    method, calls = getattr(bench.ledger, name), itertools.count(1)

    async def failing(*arguments: Any, **options: Any) -> Any:
        if next(calls) in times:
            raise BrokerUnavailableError("locked")
        return await method(*arguments, **options)

    monkeypatch.setattr(bench.ledger, name, failing)


async def test_jobs_that_the_store_cannot_be_told_of_are_given_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.stored.publish([new("mail", name) for name in "abc"])
    fail(bench, monkeypatch, "begin", 1, 3)

    async with bench.worker() as source:
        with pytest.raises(BrokerUnavailableError, match="locked"):
            await source.take(3)
        assert [read(delivery).name for delivery in await source.take(3)] == ["a"]
        assert [read(delivery).name for delivery in await source.take(3)] == ["b", "c"]


async def test_jobs_come_back_by_themselves_if_the_broker_is_away_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.stored.publish([new("mail", "a")])
    fail(bench, monkeypatch, "begin", 1)

    async def settle_many(*_: object) -> list[bool]:
        raise BrokerUnavailableError("away")

    async with bench.worker() as source:
        monkeypatch.setattr(source.inner, "settle_many", settle_many)
        with pytest.raises(BrokerUnavailableError, match="locked"):
            await source.take(1)


async def test_an_end_that_the_broker_cannot_be_told_of_is_not_noted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job, other] = [new("mail", name) for name in "ab"]
    await bench.stored.publish([job, other])

    async with bench.worker() as source:
        settle_many = source.inner.settle_many

        async def settle_all_but_the_first(ends: Any) -> list[bool | Exception]:
            return [BrokerUnavailableError("away"), *await settle_many(ends[1:])]

        [first, second] = await take(source, 2)
        with monkeypatch.context() as patch:
            patch.setattr(source.inner, "settle_many", settle_all_but_the_first)
            [away, done] = await source.settle_many([(first, Released()), (second, Released())])
        assert (str(away), done) == ("away", True)
        assert [await bench.state(one.id) for one in (job, other)] == [State.RUNNING, State.QUEUED]
        assert await settle(source, first, Released())
    assert await bench.state(job.id) is State.QUEUED


async def test_broker_that_is_away_when_a_job_is_given_back_takes_it_back_by_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.stored.publish([new("mail", "a")])
    fail(bench, monkeypatch, "begin", 1)

    async def settle_many(*_: object) -> list[bool | Exception]:
        return [BrokerUnavailableError("away")]

    async with bench.worker() as source:
        with monkeypatch.context() as patch:
            patch.setattr(source.inner, "settle_many", settle_many)
            with pytest.raises(BrokerUnavailableError, match="locked"):
                await source.take(1)


async def test_a_death_that_the_store_cannot_be_told_of_now_it_is_told_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.stored.publish([job := new("mail", "a")])

    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        fail(bench, monkeypatch, "end", 1)
        assert await settle(source, delivery, Died(Trouble(message="no"), job))

        assert (await bench.stored.wait(job.id)).state is State.DEAD
        assert [letter.id for letter in await bench.stored.dead()] == [job.id]


async def test_another_try_that_the_store_cannot_be_told_of_is_noted_as_it_begins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.stored.publish([job := new("mail", "a")])

    async with bench.worker() as source:
        [delivery] = await take(source, 1)
        fail(bench, monkeypatch, "end", 1)
        assert await settle(source, delivery, Retried(new("mail", "a", id=job.id, attempt=1), 0))
        [again] = await take(source, 1)
        record = await bench.stored.record(job.id)
        assert record is not None
        assert (record.state, record.attempt) == (State.RUNNING, 2)
        assert await settle(source, again, Succeeded(b"1", ttl=60))
    assert await bench.state(job.id) is State.SUCCEEDED


async def test_broker_that_cannot_be_opened_leaves_the_store_closed() -> None:
    class Away(MemoryBroker):
        async def open(self) -> None:
            raise BrokerUnavailableError("away")

    class Noted(MemoryBroker):
        is_closed = False

        async def close(self) -> None:
            self.is_closed = True

    ledger = Noted()
    with pytest.raises(BrokerUnavailableError, match="away"):
        await Stored(Away(), ledger).open()
    assert ledger.is_closed


async def test_nobody_looks_for_cancelled_jobs_while_nothing_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.ledger, "cancelled", None)

    async with bench.worker() as source:
        await source._hear_of_cancelled()


def test_features_are_those_of_both() -> None:
    stored = Stored(MemoryBroker(), MemoryBroker())

    assert stored.features.uniqueness
    assert stored.features.cancellation
