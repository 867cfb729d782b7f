"""What can be done with whole queues, and with dead letters."""

from __future__ import annotations

import pytest

from jockey.jobs._broker import Died, Published, QueueInfo, Retried, Succeeded, WorkerInfo
from jockey.jobs._errors import QueueNotDeclaredError
from jockey.jobs._message import Trouble
from jockey.jobs._state import State
from tests.jobs.conformance.carriers import LEASE, Bench, new, read

pytestmark = pytest.mark.anyio


async def test_info_counts_what_is_in_each_queue(bench: Bench) -> None:
    now = bench.carrier.now()
    await bench.broker.declare("empty")
    await bench.broker.declare("mail")
    await bench.publish(new(queue="mail"), new(group="g"), new(group="g"), new(not_before=now + 100), new(), new())
    async with bench.worker() as worker:
        first, second = await worker.poll(2)
        await worker.settle(first, Died(Trouble(message="no")))
        await bench.carrier.advance(7)

        assert await bench.broker.info() == [
            QueueInfo("default", ready=2, delayed=1, running=1, dead=1, oldest_wait=7, workers=1),
            QueueInfo("empty"),
            QueueInfo("mail", ready=1, oldest_wait=7),
        ]
        assert await bench.broker.info("empty") == [QueueInfo("empty")]
        await worker.settle(second, Succeeded(b"1"))


async def test_workers_are_seen_busy_or_idle(bench: Bench) -> None:
    await bench.broker.declare("mail")
    await bench.publish(new())
    async with bench.worker(worker="b") as busy, bench.worker("mail", "default", worker="a"):
        taken = await busy.poll(5)

        assert await bench.broker.workers() == [
            WorkerInfo("a", ("mail", "default")),
            WorkerInfo("b", ("default",), running=1),
        ]
        assert [info.workers for info in await bench.broker.info()] == [2, 1]
        await busy.settle(taken[0], Succeeded(b"1"))

    assert await bench.broker.workers() == []
    assert [info.workers for info in await bench.broker.info()] == [0, 0]


async def test_queue_that_is_not_there_is_an_error_to_whoever_asks_for_it(bench: Bench) -> None:
    with pytest.raises(QueueNotDeclaredError, match="there is no queue '.*nowhere'"):
        await bench.broker.info("nowhere")
    with pytest.raises(QueueNotDeclaredError, match="there is no queue '.*nowhere'"):
        await bench.broker.peek("nowhere", 10)
    with pytest.raises(QueueNotDeclaredError, match="there is no queue '.*nowhere'"):
        await bench.broker.purge("nowhere")
    with pytest.raises(QueueNotDeclaredError, match=r"there is no queue 'nowhere' \(declared: 'default'\)"):
        await bench.broker.dead("nowhere")
    assert await bench.broker.dead("default") == []
    await bench.broker.delete("nowhere")

    assert await bench.broker.info("default") == [QueueInfo("default")]
    assert await bench.broker.peek("default", 10) == []
    assert await bench.broker.purge("default") == 0


async def test_declaring_again_keeps_what_is_there(bench: Bench) -> None:
    await bench.publish(new("a"))

    await bench.broker.declare("default")

    async with bench.worker() as worker:
        assert await worker.names() == ["a"]


async def test_peek_shows_what_comes_and_leaves_it(bench: Bench) -> None:
    now = bench.carrier.now()
    await bench.publish(
        new("late", not_before=now + 20),
        new("later", not_before=now + 30),
        new("low", priority=2),
        new("first", priority=0, group="g"),
        new("behind", group="g"),
    )

    records = await bench.broker.peek("default", 10)

    assert [record.name for record in records] == ["first", "behind", "low", "late", "later"]
    assert [record.state for record in records] == [State.QUEUED] * 3 + [State.SCHEDULED] * 2
    assert [record.name for record in await bench.broker.peek("default", 1)] == ["first"]
    async with bench.worker() as worker:
        assert await worker.names() == ["first", "low"]


async def test_purge_removes_what_waits_and_nothing_else(bench: Bench) -> None:
    await bench.broker.declare("other")
    await bench.publish(
        new("running"),
        new(),
        new(not_before=bench.carrier.now() + 5),
        new(group="g"),
        new(group="g"),
        new(queue="other"),
    )
    await bench.publish(new("next", queue="other", group="g"))

    async with bench.worker() as worker, bench.worker("other") as other:
        delivery = await worker.one()
        assert await bench.broker.purge("default") == 4
        assert await bench.broker.purge("default") == 0
        await bench.carrier.advance(10)
        assert await worker.names() == []
        assert await worker.settle(delivery, Succeeded(b"1"))
        assert await other.names() == ["task", "next"]


async def test_deleted_queue_takes_no_more_jobs_until_one_of_them_comes_back(bench: Bench) -> None:
    await bench.publish(new("a"), new("b"), new("c"))

    async with bench.worker() as worker:
        a, b = await worker.poll(2)
        await bench.broker.delete("default")
        assert await worker.names() == []
        with pytest.raises(QueueNotDeclaredError, match="no queue 'default'"):
            await bench.publish(new())
        await worker.settle(a, Retried(read(a), 1))
        await worker.settle(b, Succeeded(b"1"))
        await bench.carrier.advance(1)
        assert await worker.names() == ["a"]
        await bench.publish(new("d"))
        assert await worker.names() == ["d"]


async def test_dead_letters_keep_the_job_and_the_reason(bench: Bench) -> None:
    await bench.broker.declare("other")
    jobs = [new("a"), new("b"), new("c", queue="other")]
    await bench.publish(*jobs)
    failed = Trouble(type="builtins.ValueError", message="bad", traceback="...", at=1.0, worker="w1")

    async with bench.worker("default", "other") as worker:
        for delivery in await worker.poll():
            message = read(delivery)
            ended = type(message)(id=message.id, name=message.name, queue=message.queue, attempt=1, troubles=(failed,))
            await worker.settle(delivery, Died(failed, message=ended if message.name == "a" else None))
            await bench.carrier.advance(1)

    dead = await bench.broker.dead()
    assert [record.name for record in dead] == ["c", "b", "a"]
    assert [record.error for record in dead] == [failed] * 3
    assert dead[2].message is not None
    assert dead[2].message.troubles == (failed,)
    assert [record.name for record in await bench.broker.dead("default", count=1)] == ["b"]


async def test_replayed_dead_letters_begin_anew(bench: Bench) -> None:
    job, other = new("a", attempt=2, group="g"), new("b")
    await bench.publish(job, other)
    async with bench.worker() as worker:
        a, b = await worker.poll()
        await worker.settle(a, Died(Trouble(message="no")))
        await worker.settle(b, Succeeded(b"1", ttl=60))
        await bench.broker.delete("default")

        assert await bench.broker.replay([job.id, job.id, other.id, "unknown"]) == 1

        again = await worker.one()
        assert (read(again).attempt, read(again).group, again.crashes) == (0, "g", 0)
        record = await bench.broker.record(job.id)
        assert record is not None
        assert (record.state, record.attempt, record.error) == (State.RUNNING, 1, None)
    assert await bench.broker.dead() == []


async def test_replayed_dead_letter_has_cost_no_worker_yet_and_its_queue_is_there(bench: Bench) -> None:
    job = new()
    await bench.publish(job)
    async with bench.worker(max_crashes=2) as worker, bench.worker(max_crashes=2) as other:
        for each in (worker, other):
            await each.one()
            await each.crash()
            await bench.carrier.advance(LEASE)
    async with bench.worker(max_crashes=2) as worker:
        assert not await worker.poll()
        assert [(record.id, record.crashes) for record in await bench.broker.dead()] == [(job.id, 2)]
        await bench.broker.delete("default")

        await bench.broker.replay([job.id])

        await bench.publish(new("next"))
        assert [delivery.crashes for delivery in await worker.poll()] == [0, 0]


async def test_replayed_job_is_found_by_its_key_again(bench: Bench) -> None:
    job = new(unique="k")
    await bench.publish(job)
    async with bench.worker() as worker:
        await worker.settle(await worker.one(), Died(Trouble(message="no")))
    await bench.broker.replay([job.id])

    [published] = await bench.publish(new(unique="k"))

    assert (published.id, published.is_new) == (job.id, False)


async def test_key_of_a_replayed_job_holds_no_longer_than_it_was_told_to(bench: Bench) -> None:
    job = new(unique="k", unique_for=12.0)
    await bench.publish(job)
    async with bench.worker() as worker:
        await worker.settle(await worker.one(), Died(Trouble(message="no")))
    await bench.broker.replay([job.id])
    await bench.carrier.advance(13)

    [published] = await bench.publish(new(unique="k"))

    assert published.is_new


async def test_duplicate_of_several_is_told_of_the_first(bench: Bench) -> None:
    first, second = new(unique="k"), new(unique="k")
    await bench.publish(first)
    async with bench.worker() as worker:
        await worker.settle(await worker.one(), Died(Trouble(message="no")))
    await bench.publish(second)
    await bench.broker.replay([first.id])

    assert await bench.publish(new(unique="k")) == [Published(first.id, is_new=False)]


async def test_dropped_dead_letters_are_gone(bench: Bench) -> None:
    job, waiting = new("a", parent="p"), new("b")
    await bench.publish(job, waiting)
    async with bench.worker() as worker:
        await worker.settle(await worker.one(), Died(Trouble(message="no")))

    assert await bench.broker.drop([job.id, job.id, waiting.id]) == 1

    assert await bench.broker.dead() == []
    assert await bench.broker.record(job.id) is None
    assert await bench.broker.record(waiting.id) is not None
