"""What is known of jobs: records, results, uniqueness, joins, cancellation, and records kept for other brokers."""

from __future__ import annotations

import anyio
import msgspec
import pytest

from jockey.jobs._broker import Cancelled, Died, Published, Record, Released, Retried, Succeeded
from jockey.jobs._errors import ResultUnavailableError
from jockey.jobs._message import Join, Message, Step, Trouble
from jockey.jobs._state import ENDED, State
from tests.jobs.conformance.carriers import LEASE, Bench, new, read

pytestmark = pytest.mark.anyio


async def known(bench: Bench, job: Message) -> Record:
    record = await bench.broker.record(job.id)
    assert record is not None
    return record


async def test_record_follows_the_job_from_state_to_state(bench: Bench) -> None:
    start = bench.carrier.now()
    job = new("a", not_before=start + 5, enqueued_at=start - 1)
    await bench.publish(job)
    scheduled = await known(bench, job)
    await bench.carrier.advance(5)
    async with bench.worker(worker="w7") as worker:
        delivery = await worker.one()
        running = await known(bench, job)
        await bench.carrier.advance(2)
        await worker.settle(delivery, Succeeded(b"[42]", ttl=60))
    ended = await known(bench, job)

    assert (scheduled.state, scheduled.message, scheduled.attempt) == (State.SCHEDULED, job, 0)
    assert (scheduled.enqueued_at, scheduled.not_before, scheduled.started_at) == (start - 1, start + 5, None)
    assert (running.state, running.attempt, running.worker) == (State.RUNNING, 1, "w7")
    assert (running.started_at, running.finished_at) == (start + 5, None)
    assert (ended.state, ended.result, ended.finished_at, ended.error) == (State.SUCCEEDED, b"[42]", start + 7, None)


async def test_success_after_failures_is_a_success(bench: Bench) -> None:
    job = new()
    await bench.publish(job)
    failed = msgspec.structs.replace(job, attempt=1, troubles=(Trouble(message="no"),))

    async with bench.worker() as worker:
        await worker.settle(await worker.one(), Retried(failed, 0))
        assert (await known(bench, job)).error == Trouble(message="no")
        await worker.settle(await worker.one(), Succeeded(b"1", ttl=60))

    ended = await known(bench, job)
    assert (ended.state, ended.error, ended.attempt) == (State.SUCCEEDED, None, 2)
    assert ended.message == failed, "its history stays"


async def test_results_are_kept_for_their_time(bench: Bench) -> None:
    kept, forgotten = new(), new(parent="p")
    await bench.publish(kept, forgotten)
    async with bench.worker() as worker:
        one, other = await worker.poll()
        await worker.settle(one, Succeeded(b"null", ttl=60))
        await worker.settle(other, Succeeded(b"null"))

    await bench.carrier.advance(59)
    assert (await known(bench, kept)).result == b"null"
    assert await bench.broker.record(forgotten.id) is None
    await bench.carrier.advance(1)
    assert await bench.broker.record(kept.id) is None
    assert await bench.publish(kept) == [Published(kept.id)]


async def test_job_that_has_the_id_of_a_removed_one_stays_when_the_time_of_that_is_over(bench: Bench) -> None:
    job = new()
    await bench.publish(job)
    async with bench.worker() as worker:
        await worker.settle(await worker.one(), Succeeded(b"1", ttl=60))
    await bench.broker.remove(job.id)
    await bench.publish(job)

    await bench.carrier.advance(60)

    assert (await known(bench, job)).state is State.QUEUED


async def test_successor_of_which_nothing_is_kept_is_known_for_a_day(bench: Bench) -> None:
    child = new(parent="p")
    await bench.publish(child)
    async with bench.worker() as worker:
        await worker.settle(await worker.one(), Succeeded(b"1"))

    await bench.carrier.advance(86_400 - 1)
    assert await bench.publish(child) == [Published(child.id, is_new=False)]
    await bench.carrier.advance(1)
    assert await bench.publish(child) == [Published(child.id)]


async def test_removed_records_are_gone_and_others_stay(bench: Bench) -> None:
    ended, waiting = new(), new()
    await bench.publish(ended, waiting)
    async with bench.worker() as worker:
        await worker.settle(await worker.one(), Cancelled("why", ttl=60))

    assert [await bench.broker.remove(id_) for id_ in (ended.id, ended.id, waiting.id, "unknown")] == [
        True,
        False,
        False,
        False,
    ]
    assert await bench.broker.record(ended.id) is None
    await bench.carrier.advance(60)
    assert await bench.broker.record(waiting.id) is not None


async def test_records_come_newest_first_and_can_be_chosen(bench: Bench) -> None:
    await bench.broker.declare("other")
    await bench.publish(new("a"), new("b", queue="other"), new("c"), new("d"))
    async with bench.worker() as worker:
        await worker.settle(await worker.one(), Succeeded(b"1", ttl=60))

    async def names(**choice: object) -> list[str]:
        return [record.name async for record in bench.broker.records(**choice)]  # type: ignore[arg-type]

    assert await names() == ["d", "c", "b", "a"]
    assert await names(queue="default") == ["d", "c", "a"]
    assert await names(state=State.QUEUED) == ["d", "c", "b"]
    assert await names(queue="other", state=State.SUCCEEDED) == []


@pytest.mark.parametrize("end", [Succeeded(b"1", ttl=60), Died(Trouble(message="no")), Cancelled("why", ttl=60)])
async def test_wait_returns_when_the_job_has_ended(bench: Bench, end: Succeeded | Died | Cancelled) -> None:
    job = new()
    await bench.publish(job)
    records: list[Record] = []

    async def wait() -> None:
        records.append(await bench.broker.wait(job.id))

    async with bench.worker() as worker, anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await worker.settle(await worker.one(), end)
    await wait()

    assert [record.state in ENDED for record in records] == [True] * 3


async def test_wait_says_when_nothing_is_kept(bench: Bench) -> None:
    job = new()
    await bench.publish(job)

    async def wait() -> None:
        with pytest.raises(ResultUnavailableError, match=f"the job '{job.id}'"):
            await bench.broker.wait(job.id)

    async with bench.worker() as worker, anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await worker.settle(await worker.one(), Succeeded(b"1"))
    with pytest.raises(ResultUnavailableError, match="the job 'unknown'"):
        await bench.broker.wait("unknown")


async def test_somebody_may_stop_waiting(bench: Bench) -> None:
    job = new()
    await bench.publish(job)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.broker.wait, job.id)
        tasks.start_soon(bench.broker.wait, job.id)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert (await known(bench, job)).state is State.QUEUED


@pytest.mark.parametrize(
    ("unique_for", "while_waiting", "while_running", "after"),
    [
        ("queued", False, True, True),
        ("unfinished", False, False, True),
        (None, False, False, True),
        (50.0, False, False, False),
    ],
)
async def test_keys_are_unique_for_as_long_as_they_say(
    bench: Bench, unique_for: str | float | None, *, while_waiting: bool, while_running: bool, after: bool
) -> None:
    async def try_again() -> bool:
        twin = new(unique="k", unique_for="queued", queue="other")
        [published] = await bench.publish(twin)
        if published.is_new:
            await bench.broker.purge("other")
        else:
            assert published == Published(job.id, is_new=False)
        return published.is_new

    await bench.broker.declare("other")
    job = new(unique="k", unique_for=unique_for)
    [first, second] = await bench.publish(job, new(unique="k", unique_for=unique_for))
    assert (first.is_new, second) == (True, Published(job.id, is_new=False))

    async with bench.worker() as worker:
        assert await try_again() == while_waiting
        delivery = await worker.one()
        assert await try_again() == while_running
        await worker.settle(delivery, Retried(read(delivery), 5))
        assert await try_again() is False
        await bench.carrier.advance(5)
        await worker.settle(await worker.one(), Succeeded(b"1"))
        assert await try_again() == after
    await bench.carrier.advance(50)
    assert await try_again()


async def test_id_that_is_known_is_not_enqueued_again(bench: Bench) -> None:
    job = new("a")

    twice = await bench.publish(job, job)
    again = await bench.publish(new("b"), Message(id=job.id, name="other"), new("c"))

    assert [published.is_new for published in [*twice, *again]] == [True, False, True, False, True]
    async with bench.worker() as worker:
        assert await worker.names() == ["a", "b", "c"]


async def test_join_returns_all_results_when_none_is_missing(bench: Bench) -> None:
    joins = [Join(id="g", index=index, count=3, then=Step(name="sum")) for index in range(3)]

    assert await bench.broker.arrive(joins[2], b"2") is None
    assert await bench.broker.arrive(joins[0], b"0") is None
    assert await bench.broker.arrive(joins[2], b"other") is None
    assert await bench.broker.arrive(joins[1], b"1") == [b"0", b"1", b"2"]
    assert await bench.broker.arrive(joins[0], b"other") == [b"0", b"1", b"2"]
    await bench.carrier.advance(91 * 86_400)
    assert await bench.broker.arrive(Join(id="h", index=0, count=1, then=Step(name="sum")), b"x") == [b"x"]
    await bench.publish(new())  # whatever is done next, what is old goes
    assert await bench.broker.arrive(joins[0], b"0") is None


async def test_join_is_kept_for_its_time_from_the_last_arrival_on(bench: Bench) -> None:
    joins = [Join(id="g", index=index, count=3, then=Step(name="sum")) for index in range(3)]

    for join in joins[:2]:
        assert await bench.broker.arrive(join, b"x") is None
        await bench.carrier.advance(80 * 86_400)
        await bench.publish(new())  # what is old goes

    assert await bench.broker.arrive(joins[2], b"x") == [b"x"] * 3


async def test_waiting_job_is_cancelled_at_once(bench: Bench) -> None:
    job = new(result_ttl=10)
    await bench.publish(job)

    record = await bench.broker.cancel(job.id, "not wanted")

    assert record is not None
    assert (record.state, record.error) == (State.CANCELLED, Trouble(message="not wanted", at=bench.carrier.now()))
    async with bench.worker() as worker:
        assert not await worker.poll()
    assert await bench.broker.cancel(job.id, "again") == record
    await bench.carrier.advance(10)
    assert await bench.broker.cancel(job.id, "again") is None


async def test_worker_hears_once_that_its_job_is_cancelled(bench: Bench) -> None:
    job = new()
    await bench.publish(job)

    async with bench.worker() as worker:
        delivery = await worker.one()
        record = await bench.broker.cancel(job.id, "not wanted")
        assert record is not None
        assert record.state is State.RUNNING
        await bench.broker.cancel(job.id, "really not")
        await bench.broker.info()
        assert bench.heard.cancelled == [(job.id, "not wanted")]
        await worker.settle(delivery, Cancelled("not wanted", ttl=5))
    assert (await known(bench, job)).state is State.CANCELLED


@pytest.mark.parametrize("how", ["released", "retried", "lost", "lost before"])
async def test_cancelled_job_does_not_come_again(bench: Bench, how: str) -> None:
    job = new()
    await bench.publish(job)

    async with bench.worker() as worker:
        delivery = await worker.one()
        if how == "lost before":
            await worker.crash()
        await bench.broker.cancel(job.id, "not wanted")
        await bench.broker.cancel(job.id, "said before")
        if how == "lost":
            await worker.crash()
        if how.startswith("lost"):
            await bench.carrier.advance(LEASE)
        else:
            await worker.settle(delivery, Released() if how == "released" else Retried(read(delivery), 5))
        assert not await worker.poll()

    record = await known(bench, job)
    assert record.state is State.CANCELLED
    assert record.error is not None
    assert record.error.message == "not wanted"


async def test_cancelled_job_may_still_succeed(bench: Bench) -> None:
    job = new()
    await bench.publish(job)

    async with bench.worker() as worker:
        delivery = await worker.one()
        await bench.broker.cancel(job.id, "too late")
        await worker.settle(delivery, Succeeded(b"1", ttl=5))

    assert (await known(bench, job)).state is State.SUCCEEDED


async def test_records_of_jobs_that_another_broker_carries(bench: Bench) -> None:
    store = bench.broker
    job = new("a", queue="elsewhere", group="g", not_before=bench.carrier.now() + 5)

    assert [one.is_new for one in await store.enter([job, job, new("b", queue="elsewhere")])] == [True, False, True]
    assert (await known(bench, job)).state is State.SCHEDULED
    async with bench.worker("elsewhere", "default") as worker:
        await bench.carrier.advance(5)
        assert not await worker.poll()
    running = await store.begin(job, worker="w1", crashes=1)
    again = Message(id=job.id, name="a", queue="elsewhere", attempt=1, troubles=(Trouble(message="no"),))
    await store.end(job.id, Retried(again, 5))
    failed = await known(bench, job)
    stale = await store.begin(job, worker="w2", crashes=0)
    await store.begin(again, worker="w2", crashes=1)
    await store.end(job.id, Released())
    released = await known(bench, job)
    await store.begin(again, worker="w3", crashes=1)
    await store.end(job.id, Succeeded(b"1", ttl=60))
    await store.end(job.id, Died(Trouble(message="late")))
    ended = await store.begin(again, worker="w4", crashes=2)

    assert (running.state, running.attempt, running.worker) == (State.RUNNING, 2, "w1")
    assert (failed.state, failed.message, failed.error) == (State.FAILED, again, Trouble(message="no"))
    assert stale == failed
    assert (released.state, released.attempt) == (State.QUEUED, 2)
    assert (ended.state, ended.result, ended.worker) == (State.SUCCEEDED, b"1", "w3")
    assert [info.name for info in await store.info()] == ["default"]


async def test_jobs_of_another_broker_can_be_unique_unknown_dead_and_withdrawn(bench: Bench) -> None:
    store = bench.broker
    job, unknown, timed = new(unique="k"), new("foreign"), new(unique="t", unique_for=60.0)
    await store.enter([job, timed])

    assert await store.enter([new(unique="k")]) == [Published(job.id, is_new=False)]
    await store.withdraw([job.id, timed.id, "unknown"])
    assert await store.record(job.id) is None
    assert [one.is_new for one in await store.enter([new(unique="k"), new(unique="t")])] == [True, True]
    assert (await store.begin(unknown, worker="w", crashes=0)).state is State.RUNNING
    await store.withdraw([unknown.id])
    await store.end(unknown.id, Died(Trouble(message="no")))
    assert (await known(bench, unknown)).state is State.DEAD
    assert (await store.wait(unknown.id)).state is State.DEAD
    assert await store.dead() == []
    assert await store.replay([unknown.id]) == 0
    assert await store.remove(unknown.id)
    await store.end(unknown.id, Released())
    assert await store.record(unknown.id) is None


@pytest.mark.parametrize(("unique_for", "is_new"), [(None, False), ("unfinished", False), ("queued", True)])
async def test_keys_of_jobs_of_another_broker_hold_while_these_run(
    bench: Bench, unique_for: str | None, *, is_new: bool
) -> None:
    store = bench.broker
    job = new(unique="k", unique_for=unique_for)
    await store.enter([job])
    await store.begin(job, worker="w", crashes=0)

    [again] = await store.enter([new(unique="k", unique_for=unique_for)])

    assert again.is_new is is_new


async def test_a_key_that_was_withdrawn_and_is_taken_again_is_taken_for_its_time(bench: Bench) -> None:
    store = bench.broker
    first, second, third = (new(unique="k", unique_for=60.0) for _ in range(3))
    await store.enter([first])
    await store.withdraw([first.id])
    await bench.carrier.advance(30)

    assert await store.enter([second]) == [Published(second.id)]
    await bench.carrier.advance(40)
    assert await store.enter([third]) == [Published(second.id, is_new=False)]
    await store.withdraw([second.id])
    await bench.carrier.advance(40)
    assert await store.enter([third]) == [Published(third.id)]


async def test_jobs_of_another_broker_can_be_cancelled(bench: Bench) -> None:
    store = bench.broker
    waiting, one, other, third = (new(not_before=bench.carrier.now() + 200_000) for _ in range(4))
    await store.enter([waiting, one, other, third])

    record = await store.cancel(waiting.id, "not wanted")
    for job in (one, other, third):
        await store.begin(job, worker="w", crashes=0)
    for job in (one, other):
        await store.cancel(job.id, "stop")

    assert record is not None
    assert record.state is State.CANCELLED
    assert await store.cancelled([waiting.id, one.id, other.id, third.id, "unknown"]) == {
        one.id: "stop",
        other.id: "stop",
    }
    await store.end(one.id, Released())
    await store.end(other.id, Retried(other, 5))
    await store.end(third.id, Cancelled("stop", ttl=200_000))
    assert (await known(bench, other)).state is State.CANCELLED
    await bench.carrier.advance(199_999)
    for job in (waiting, one, third):
        assert (await store.begin(job, worker="w", crashes=0)).state is State.CANCELLED
