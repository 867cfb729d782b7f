"""From the producer to the worker: what is delivered, in which order, and to how many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from jockey.jobs._broker import Died, Published, Released, Retried, Succeeded
from jockey.jobs._errors import QueueNotDeclaredError
from jockey.jobs._message import Message, Trouble
from jockey.jobs._state import State
from tests.jobs.conformance.carriers import LEASE, Bench, Worker, new, read

pytestmark = pytest.mark.anyio


async def test_what_was_published_is_delivered_once(bench: Bench) -> None:
    message = new("add", args=(1, [2.5, None]), kwargs={"x": {"y": "ü"}})

    published = await bench.publish(message)

    async with bench.worker() as one, bench.worker() as other:
        delivery = await one.one()
        assert read(delivery) == message
        assert (delivery.queue, delivery.crashes) == ("default", 0)
        assert not await one.poll()
        assert not await other.poll()
    assert published == [Published(message.id)]


async def test_nothing_is_published_if_one_queue_is_not_declared(bench: Bench) -> None:
    with pytest.raises(QueueNotDeclaredError, match=r"no queue 'mial' \(declared: 'default'\); declare it first"):
        await bench.publish(new(), new(queue="mial"))

    async with bench.worker() as worker:
        assert not await worker.poll()


async def test_urgent_jobs_come_first_and_equal_ones_in_their_order(bench: Bench) -> None:
    await bench.publish(new("c", priority=2), new("b1"), new("a1", priority=0))
    await bench.publish(new("b2"), new("a2", priority=0))

    async with bench.worker() as worker:
        assert await worker.names(2) == ["a1", "a2"]
        assert await worker.names() == ["b1", "b2", "c"]


async def test_queues_are_taken_from_as_if_they_were_one(bench: Bench) -> None:
    for queue in "xyz":
        await bench.broker.declare(queue)
    await bench.publish(new("y1", queue="y"), new("x1", queue="x"), new("z", queue="z"), new("y2", queue="y"))
    await bench.publish(new("x2", queue="x", priority=0))

    async with bench.worker("x", "y") as worker:
        assert await worker.names(3) == ["x2", "y1", "x1"]
        assert await worker.names() == ["y2"]


async def test_take_waits_for_what_comes(bench: Bench) -> None:
    async with bench.worker() as worker, anyio.create_task_group() as tasks:

        async def take() -> None:
            [delivery] = await worker.take(5)
            assert read(delivery).name == "late"

        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        await bench.publish(new("late"))


@asynccontextmanager
async def two_who_wait(bench: Bench) -> AsyncIterator[list[str]]:
    """Have two workers wait for one job each in the block; it gets the names of what they have taken, in the end."""
    taken: list[str] = []

    async def take(worker: Worker) -> None:
        taken.extend(read(delivery).name for delivery in await worker.take(1))

    async with bench.worker() as one, bench.worker() as other, anyio.create_task_group() as tasks:
        tasks.start_soon(take, one)
        tasks.start_soon(take, other)
        await anyio.wait_all_tasks_blocked()
        yield taken


async def test_all_who_wait_hear_of_what_comes(bench: Bench) -> None:
    async with two_who_wait(bench) as taken:
        await bench.publish(new("a"))
        await bench.publish(new("b"))

    assert sorted(taken) == ["a", "b"]


async def test_all_who_wait_get_their_share_of_what_comes_at_once(bench: Bench) -> None:
    async with two_who_wait(bench) as taken:
        await bench.broker.info()  # both have asked
        await bench.publish(new("a"), new("b"))

    assert sorted(taken) == ["a", "b"]


async def test_cancelled_take_leaves_nothing_behind(bench: Bench) -> None:
    async with bench.worker() as worker:
        with anyio.move_on_after(0):
            await worker.take(1)
        await bench.publish(new("a"))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await worker.take(1)

        assert await worker.names() == ["a"]


async def test_delayed_job_is_never_early(bench: Bench) -> None:
    await bench.publish(new("later", not_before=bench.carrier.now() + 10), new("now"))

    async with bench.worker() as worker:
        assert await worker.names() == ["now"]
        await bench.carrier.advance(9.75)
        assert await worker.names() == []
        await bench.carrier.advance(0.25)
        assert await worker.names() == ["later"]


async def test_delayed_job_has_the_place_of_its_time(bench: Bench) -> None:
    await bench.publish(new("second", not_before=bench.carrier.now() + 2))
    await bench.carrier.advance(1)
    await bench.publish(new("first"))
    await bench.carrier.advance(2)
    await bench.publish(new("third"))

    async with bench.worker() as worker:
        assert await worker.names() == ["first", "second", "third"]


async def test_settled_job_never_comes_again(bench: Bench) -> None:
    await bench.publish(*(new(name) for name in "abcd"))

    async with bench.worker() as worker:
        ends = [Succeeded(b"1"), Succeeded(b"1", ttl=60), Died(Trouble(message="no")), Released()]
        taken = await worker.poll()
        assert [await worker.settle(delivery, end) for delivery, end in zip(taken, ends, strict=True)] == [True] * 4
        assert [await worker.settle(delivery, Succeeded(b"2")) for delivery in taken] == [False] * 4
        assert await worker.names() == ["d"]


async def test_released_job_has_its_old_place_and_no_attempt_spent(bench: Bench) -> None:
    job = new("a")
    await bench.publish(job, new("b"))

    async with bench.worker() as worker:
        delivery = await worker.one()
        await worker.settle(delivery, Released())
        record = await bench.broker.record(job.id)
        assert record is not None
        assert (record.state, record.attempt) == (State.QUEUED, 0)
        assert await worker.names() == ["a", "b"]


async def test_leaving_releases_what_was_taken(bench: Bench) -> None:
    await bench.publish(new("a"), new("b"))

    async with bench.worker() as worker:
        await worker.poll()
    async with bench.worker() as worker:
        taken = await worker.poll()

    assert [(read(delivery).name, delivery.crashes) for delivery in taken] == [("a", 0), ("b", 0)]


async def test_retried_job_comes_again_after_its_delay_as_it_was_given_back(bench: Bench) -> None:
    job = new("a")
    await bench.publish(job)
    trouble = Trouble(message="not yet", at=bench.carrier.now())
    again = Message(id=job.id, name="a", attempt=1, troubles=(trouble,))

    async with bench.worker() as worker:
        await worker.settle(await worker.one(), Retried(again, delay=5))
        record = await bench.broker.record(job.id)
        assert record is not None
        assert (record.state, record.attempt, record.error) == (State.FAILED, 1, trouble)
        assert not await worker.poll()
        await bench.carrier.advance(5)
        assert read(await worker.one()) == again


async def test_lost_job_comes_again_when_its_lease_is_over(bench: Bench) -> None:
    await bench.publish(new("a"))

    async with bench.worker(worker="w1") as one, bench.worker(worker="w2") as other:
        lost = await one.one()
        await one.crash()
        await bench.carrier.advance(LEASE - 0.5)
        assert not await other.poll()
        await bench.carrier.advance(1)
        delivery = await other.one()
        assert delivery.crashes == 1
        assert not await one.settle(lost, Succeeded(b"1"))
        assert await other.settle(delivery, Succeeded(b"2", ttl=60))


async def test_leases_of_living_workers_do_not_end(bench: Bench) -> None:
    await bench.publish(new("a"))

    async with bench.worker() as one, bench.worker() as other:
        delivery = await one.one()
        for _ in range(10):
            await bench.carrier.advance(LEASE / 2)
            assert not await other.poll()
        assert await one.settle(delivery, Succeeded(b"1"))


async def test_lease_is_renewed_although_more_is_taken_all_the_time(bench: Bench) -> None:
    await bench.publish(*(new() for _ in range(12)))

    async with bench.worker() as one, bench.worker(worker="w2") as other:
        held = []
        for _ in range(12):
            held.append(await one.one())
            await bench.carrier.advance(LEASE / 4)
        assert not await other.poll()
        assert [await one.settle(delivery, Succeeded(b"1")) for delivery in held] == [True] * 12


async def test_job_that_kills_its_workers_is_dead(bench: Bench) -> None:
    job, follower = new("poison"), new("follower")
    await bench.publish(job)

    for number in range(3):
        async with bench.worker(worker=f"w{number}") as worker:
            assert (await worker.one()).crashes == number
            await worker.crash()
            await bench.carrier.advance(LEASE)
    hearing = type(bench.heard.hearing)(print, print, lambda message, trouble: [follower] if trouble.message else [])
    async with bench.worker(hearing=hearing) as worker:
        assert await worker.names() == ["follower"]

    [record] = await bench.broker.dead("default")
    assert (record.id, record.state, record.crashes, record.attempt) == (job.id, State.DEAD, 3, 3)
    assert record.error is not None
    assert record.error.message.endswith("3 times; the last was 'w2'")


async def test_groups_run_in_order_and_one_at_a_time(bench: Bench) -> None:
    await bench.publish(*(new(f"{group}{number}", group=group) for number in range(3) for group in "xy"), new("free"))

    async with bench.worker() as one, bench.worker() as other:
        [x0, y0, _] = await one.poll()
        assert await other.names() == []
        await one.settle(x0, Succeeded(b"1"))
        x1 = await other.one()
        assert read(x1).name == "x1"
        await one.settle(y0, Died(Trouble(message="no")))
        y1 = await one.one()
        await one.settle(y1, Retried(read(y1), 5))
        await other.settle(x1, Released())
        assert await one.names() == ["x1"]
        await bench.carrier.advance(5)
        assert await one.names() == ["y1"]


async def test_scheduled_job_joins_its_group_when_its_time_comes(bench: Bench) -> None:
    now = bench.carrier.now()
    await bench.publish(new("late", group="g", not_before=now + 10), new("b", group="g"), new("c", group="g"))

    async with bench.worker() as worker:
        b = await worker.one()
        await bench.carrier.advance(10)
        assert not await worker.poll()
        await worker.settle(b, Succeeded(b"1"))
        c = await worker.one()
        assert read(c).name == "c"
        await worker.settle(c, Succeeded(b"1"))
        assert await worker.names() == ["late"]


async def test_successors_are_enqueued_with_the_end_of_their_parent(bench: Bench) -> None:
    job = new("parent")
    child = new("child", queue="new", parent=job.id)
    await bench.publish(job)

    async with bench.worker() as worker, bench.worker("new") as other:
        assert await worker.settle(await worker.one(), Succeeded(b"1", successors=[child]))
        delivery = await other.one()
        assert read(delivery) == child
        await other.settle(delivery, Succeeded(b"1"))

        await bench.broker.declare("new")
        assert await bench.publish(child) == [Published(child.id, is_new=False)]
        await bench.carrier.advance(100_000)
        assert await bench.publish(child) == [Published(child.id)]
