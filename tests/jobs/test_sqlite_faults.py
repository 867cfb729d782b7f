"""What happens when the disk is full, the file is locked or damaged, a loop ends or blocks, or our own code fails."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from jockey.jobs._broker import Published, Released, Retried, Succeeded
from jockey.jobs._errors import BrokerUnavailableError, QueueNotDeclaredError
from jockey.jobs._state import State
from jockey.jobs.brokers import _sqlite_queries, _sqlite_tables, _sqlite_writer, sqlite
from jockey.jobs.brokers._embedded import Terms
from jockey.jobs.brokers._sqlite_ledger import LedgerTables
from jockey.jobs.brokers._sqlite_tickets import Holder, Take
from jockey.jobs.brokers.sqlite import SqliteBroker
from tests.jobs.conformance.carriers import LEASE, Heard, new, read, settle
from tests.jobs.sqlite_files import Clock, Held, Stopped, locked, opened, raw, traced, working

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def limit_pages(broker: SqliteBroker, more: int) -> None:
    """Let the disk be full when the file has grown by so many pages."""

    def limit(tables: Any) -> None:
        [(pages,)] = tables.connection.execute("PRAGMA page_count")
        tables.connection.execute(f"PRAGMA max_page_count = {pages + more}").fetchall()

    await broker.look(limit)


async def test_full_disk_loses_nothing_and_work_goes_on_when_there_is_space(path: Path) -> None:
    async with opened(path) as broker, working(broker) as source:
        kept = [new() for _ in range(3)]
        await broker.publish(kept)
        await limit_pages(broker, 2)
        statements = await traced(broker)

        with pytest.raises(
            BrokerUnavailableError, match="no space left on its disk; nothing of this was stored"
        ) as caught:
            await broker.publish([new(args=("x" * 100_000,))])
        await broker.look(lambda _: None)
        assert "PRAGMA wal_checkpoint(RESTART)" in statements, "the log is begun anew, so that it needs no more space"
        [delivery, *_] = await source.poll(3)
        assert await settle(source, delivery, Succeeded(b"1"))
        await limit_pages(broker, 1_000)
        await broker.publish([new(args=("x" * 100_000,))])

        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        [info] = await broker.info()
        assert (info.ready, info.running) == (1, 2)


async def test_what_fails_alone_does_not_take_the_others_with_it(path: Path) -> None:
    async with opened(path) as broker, working(broker) as source:
        await broker.publish([new(), waiting := new()])
        [delivery] = await source.poll(1)
        await limit_pages(broker, 2)
        hold = Held()
        answers: dict[str, object] = {}

        async def keep(name: str, work: Any) -> None:
            try:
                answers[name] = await work
            except Exception as error:
                answers[name] = type(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(broker.look, hold)
            await hold.wait()
            tasks.start_soon(keep, "big", broker.publish([new(args=("x" * 100_000,))]))
            tasks.start_soon(keep, "small", broker.publish([small := new()]))
            tasks.start_soon(keep, "undeclared", broker.publish([new(queue="other")]))
            tasks.start_soon(keep, "settled", settle(source, delivery, Succeeded(b"1")))
            tasks.start_soon(keep, "taken", source.take(1))
            await anyio.wait_all_tasks_blocked()
            hold.may_go.set()

        [taken] = answers.pop("taken")  # type: ignore[misc]
        assert read(taken) == waiting
        assert answers == {
            "big": BrokerUnavailableError,
            "small": [Published(small.id)],
            "undeclared": QueueNotDeclaredError,
            "settled": True,
        }


async def test_what_is_asked_at_the_same_time_shares_one_transaction(path: Path) -> None:
    async with opened(path) as broker:
        statements = await traced(broker)
        hold = Held()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(broker.look, hold)
            await hold.wait()
            for _ in range(200):
                tasks.start_soon(broker.publish, [new()])
            await anyio.wait_all_tasks_blocked()
            hold.may_go.set()

        assert statements.count("COMMIT") == 1
        assert (await broker.info())[0].ready == 200


async def test_settling_is_tried_again_until_the_file_can_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sqlite_writer, "PATIENCE", 0.001)
    monkeypatch.setattr(_sqlite_writer, "RETRY", 0.001)
    # It is tried for as long as a lease: that must not end, however long this process stands still.
    async with opened(path) as broker, working(broker, lease=100_000.0) as source:
        await broker.publish([new()])
        [delivery] = await source.poll(1)
        settled: list[bool] = []

        async def settle_it() -> None:
            settled.append(await settle(source, delivery, Succeeded(b"1")))

        async with anyio.create_task_group() as tasks:
            with locked(path):
                tasks.start_soon(settle_it)
                with pytest.raises(BrokerUnavailableError):
                    await broker.publish([new()])
                with pytest.raises(BrokerUnavailableError):
                    await broker.publish([new()])
                assert settled == []

    assert settled == [True]


async def test_settling_is_given_up_after_a_lease_and_the_job_comes_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sqlite_writer, "PATIENCE", 0.001)
    clock = Clock()
    async with opened(path, clock) as broker, working(broker, lease=0.05) as source:
        await broker.publish([new()])
        [delivery] = await source.poll(1)
        with locked(path), pytest.raises(BrokerUnavailableError, match="locked"):
            await settle(source, delivery, Succeeded(b"1"))
        clock.ahead += 1

        [again] = await source.take(1)

        assert again.crashes == 1


async def test_those_who_wait_are_told_when_nothing_can_be_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite_writer, "PATIENCE", 0.001)
    clock = Clock()
    async with opened(path, clock) as broker, working(broker) as source:
        await broker.publish([new(not_before=clock() + 1_000)])
        errors: list[BrokerUnavailableError] = []

        async def take() -> None:
            try:
                await source.take(1)
            except BrokerUnavailableError as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            with locked(path):
                clock.ahead += 1_001
                while not errors:
                    await anyio.sleep(0.01)
        assert len(await source.take(1)) == 1


async def test_worker_that_cannot_release_leaves_it_to_the_leases(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_sqlite_writer, "PATIENCE", 0.001)
    clock = Clock()
    async with opened(path, clock) as broker:
        await broker.publish([new()])
        async with working(broker) as source:
            await source.poll(1)
            lock = locked(path)
            lock.__enter__()
        lock.__exit__(None, None, None)
        clock.ahead += LEASE + 1
        async with working(broker) as source:
            [delivery] = await source.poll(1)

    assert delivery.crashes == 1
    assert "jobs of w come again when their leases end" in caplog.text


async def test_blocked_event_loop_keeps_its_leases(path: Path) -> None:
    clock = Clock()
    async with opened(path, clock) as broker, working(broker) as source:
        await broker.publish([new()])
        await source.poll(1)

        with raw(path) as connection:
            query = "SELECT lease_ends FROM jockey_jobs"
            [(before,)] = connection.execute(query)
            clock.ahead += LEASE / 2
            # It may be renewed in the old time once more.
            while connection.execute(query).fetchone() < (before + LEASE / 2,):
                time.sleep(0.005)


async def test_lease_that_could_not_be_renewed_is_renewed_soon(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Stopped()
    renew, failures = LedgerTables.renew, [sqlite3.OperationalError("disk I/O error")]

    def fail_once(tables: LedgerTables, *arguments: Any) -> set[int]:
        if failures:
            raise failures.pop()
        return renew(tables, *arguments)

    async with opened(path, clock) as broker, working(broker) as source:
        await broker.publish([new()])
        [delivery] = await source.poll(1)
        monkeypatch.setattr(LedgerTables, "renew", fail_once)
        clock.ahead += LEASE / 2
        with contextlib.suppress(BrokerUnavailableError):
            await broker.info()  # unless the thread has tried by itself
        clock.ahead += _sqlite_writer.RETRY
        await broker.info()

        with raw(path) as connection:
            [(lease_ends,)] = connection.execute("SELECT lease_ends FROM jockey_jobs")
        assert not failures
        assert lease_ends == clock() + LEASE
        assert await settle(source, delivery, Succeeded(b"1"))


async def test_lost_lease_is_heard_of(path: Path) -> None:
    clock, heard = Clock(), Heard()
    async with opened(path, clock) as broker, working(broker, heard) as source:
        lost, kept, stolen, taken_back = (new() for _ in range(4))
        await broker.publish([lost, kept])
        deliveries = await source.poll(2)
        with raw(path) as connection:
            connection.execute("UPDATE jockey_jobs SET token = 1 WHERE id = ?", (lost.id,))
        clock.ahead += LEASE / 2
        await broker.info()

        assert heard.lost == [lost.id]
        assert [await settle(source, delivery, Succeeded(b"1")) for delivery in deliveries] == [False, True]

        await broker.publish([stolen, taken_back])
        deliveries = await source.poll(2)
        with raw(path) as connection:
            connection.execute("UPDATE jockey_jobs SET token = 1")
        ends = [Succeeded(b"1"), Released()]
        assert [await settle(source, *both) for both in zip(deliveries, ends, strict=True)] == [False, False]


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_jobs_of_a_loop_that_has_ended_are_released(path: Path, *, is_waiting: bool) -> None:
    clock = Clock()
    dead = SqliteBroker(str(path), clock=clock)

    async def end_without_a_word() -> None:
        await dead.open()
        await dead.declare("default")
        writer, runtime = dead._use()
        holder = Holder(Terms(("default",), "w", LEASE, 3, Heard().hearing), runtime)
        await dead.ask(lambda _: writer.join(holder))
        if is_waiting:
            writer.submit(Take(runtime, holder, 1))
            await dead.info()
        else:
            await dead.publish([new("a")])
            await dead.take(holder, 1)

    def in_a_loop_of_its_own() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(end_without_a_word())
        loop.close()

    await anyio.to_thread.run_sync(in_a_loop_of_its_own)
    async with opened(path, clock) as broker, working(broker) as source:
        if is_waiting:
            await broker.publish([new("a")])
        else:
            clock.ahead += LEASE / 2
        [delivery] = await source.take(1)
        assert (read(delivery).name, delivery.crashes) == ("a", 0)
    await dead.close()


async def test_error_in_what_is_asked_reaches_who_asked(path: Path) -> None:
    async with opened(path) as broker:
        with pytest.raises(ZeroDivisionError):
            await broker.ask(lambda _: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await broker.look(lambda _: 1 // 0)
        with pytest.raises(BrokerUnavailableError, match="it does not work now"):
            await broker.look(lambda tables: tables.connection.execute("nonsense"))
        hold = Held()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(broker.look, hold)
            await hold.wait()
            tasks.start_soon(broker.publish, [new()])
            tasks.start_soon(ask_in_vain, broker)
            await anyio.wait_all_tasks_blocked()
            hold.may_go.set()
        assert (await broker.publish([new()]))[0].is_new


async def ask_in_vain(broker: SqliteBroker) -> None:
    with pytest.raises(QueueNotDeclaredError):
        await broker.publish([new(queue="other")])


def busy(_tables: object) -> None:
    raise sqlite3.OperationalError("some other time")


async def test_end_of_the_thread_reaches_all_who_wait(path: Path) -> None:
    def fail(_tables: object) -> None:
        raise SystemExit("thread")

    broker = SqliteBroker(str(path), clock=Clock())
    await broker.open()
    await broker.declare("default")
    job = new(not_before=time.time() + 1_000)
    await broker.publish([job])
    errors: list[str] = []

    async def hear(work: Any) -> None:
        with pytest.raises(BrokerUnavailableError, match="thread that writes .* has failed: SystemExit") as caught:
            await work
        errors.append(str(caught.value))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear, broker.wait(job.id))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(hear, broker.ask(busy, patience=1_000))
        while not broker._use()[0]._again:
            await anyio.sleep(0.001)
        hold = Held()
        tasks.start_soon(broker.look, hold)
        await hold.wait()
        tasks.start_soon(hear, broker.ask(fail))
        tasks.start_soon(hear, broker.info())
        await anyio.wait_all_tasks_blocked()
        hold.may_go.set()
    await hear(broker.info())
    await broker.close()

    assert len(errors) == 5


async def test_questions_that_fail_are_asked_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[str] = []
    version = _sqlite_queries.version

    def fail_once(connection: sqlite3.Connection) -> int:
        if not failed:
            failed.append("version")
            raise sqlite3.OperationalError("not now")
        return version(connection)

    async with opened(path) as broker, opened(path) as other, working(broker) as source:
        monkeypatch.setattr(_sqlite_queries, "version", fail_once)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.take, 1)
            while not failed:
                await anyio.sleep(0.01)
            await other.publish([new()])


async def test_log_that_cannot_be_emptied_harms_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite_writer, "QUIET", 0.0)
    tried: list[str] = []

    class Failing:
        def __init__(self, connection: sqlite3.Connection) -> None:
            self.connection = connection

        def execute(self, statement: str, *values: Any) -> Any:
            if "wal_checkpoint" in statement:
                tried.append(statement)
                raise sqlite3.OperationalError("database table is locked")
            return self.connection.execute(statement, *values)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.connection, name)

    async with opened(path) as broker:
        writer, _ = broker._use()
        assert writer.connection is not None
        monkeypatch.setattr(writer, "connection", Failing(writer.connection))
        await broker.publish([new()])
        while not tried:
            await anyio.sleep(0.01)
        assert (await broker.publish([new()]))[0].is_new


async def test_unreadable_job_is_delivered_as_it_is_and_never_lost(path: Path) -> None:
    clock = Clock()
    jobs = [new() for _ in range(4)]
    async with opened(path, clock) as broker:
        await broker.publish(jobs)
        with raw(path) as connection:
            connection.execute("UPDATE jockey_jobs SET body = ?", (b'{"v": 99}',))
        dying, cancelled, *_ = jobs

        await broker.cancel(cancelled.id, "not wanted")
        for _ in range(3):
            async with working(broker) as source:
                deliveries = await source.poll(3)
                assert [delivery.body for delivery in deliveries] == [b'{"v": 99}'] * 3
                await source.vanish()
            clock.ahead += LEASE + 1
        async with working(broker) as source:
            assert await source.poll(3) == []
        assert await broker.replay([dying.id]) == 1
        records = {record.id: record async for record in broker.records()}

    assert [records[job.id].state for job in jobs] == [State.QUEUED, State.CANCELLED, State.DEAD, State.DEAD]
    assert {(record.message, record.body) for record in records.values()} == {(None, b'{"v": 99}')}


async def test_big_things_are_done_in_small_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite_tables, "STEP", 2)
    monkeypatch.setattr(_sqlite_queries, "WINDOW", 2)
    monkeypatch.setattr(sqlite, "AT_ONCE", 2)
    monkeypatch.setattr(_sqlite_writer, "BATCH", 2)
    clock = Clock()
    async with opened(path, clock) as broker, working(broker) as source:
        jobs = [new(str(number), not_before=clock() + 5) for number in range(5)]
        assert all(published.is_new for published in await broker.publish(jobs))
        assert [record.name async for record in broker.records()] == ["4", "3", "2", "1", "0"]
        clock.ahead += 6
        taken: list[str] = []
        while len(taken) < 5:
            taken += [read(delivery).name for delivery in await source.take(5)]
        assert taken == ["0", "1", "2", "3", "4"]

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(broker.publish, [new()])
        assert await broker.purge("default") == 5


async def test_take_that_is_cancelled_too_late_gives_back_what_it_got(path: Path) -> None:
    async with opened(path) as broker, working(broker) as source:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.take, 1)
            await anyio.wait_all_tasks_blocked()
            with raw(path) as connection:
                connection.execute("PRAGMA busy_timeout = 240000")
                connection.execute(
                    """INSERT INTO jockey_jobs
                    (id, name, queue, phase, priority, ready_at, enqueued_at, attempt, is_child, body)
                    VALUES ('x', 'x', 'default', 2, 1, 0, 0, 0, 0, '')"""
                )
                # The event loop is blocked until the job is taken: the answer cannot come before the cancellation.
                while connection.execute("SELECT 1 FROM jockey_jobs WHERE phase = 4").fetchone() is None:
                    time.sleep(0.005)
            tasks.cancel_scope.cancel()

        assert [(delivery.id, delivery.crashes) for delivery in await source.poll(1)] == [("x", 0)]


async def test_settling_twice_at_once_counts_once(path: Path) -> None:
    async with opened(path) as broker, working(broker) as source:
        await broker.publish([new()])
        [delivery] = await source.poll(1)
        settled: list[bool] = []

        async def settle_it() -> None:
            settled.append(await settle(source, delivery, Released()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle_it)
            tasks.start_soon(settle_it)

        assert sorted(settled) == [False, True]


async def test_other_processes_are_heard_of(path: Path) -> None:
    heard = Heard()
    async with opened(path) as broker, opened(path) as other, working(broker, heard) as source:
        first, second = new("first"), new("second")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.take, 1)
            await anyio.wait_all_tasks_blocked()
            await other.publish([first])

        await other.cancel(first.id, "not wanted")
        while not heard.cancelled:
            await anyio.sleep(0.01)
        assert heard.cancelled == [(first.id, "not wanted")]

        await broker.publish([second])
        [delivery] = await source.poll(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other.wait, second.id)
            await anyio.wait_all_tasks_blocked()
            await settle(source, delivery, Succeeded(b"1", ttl=60))
        assert await source.poll(1) == []
        assert isinstance(delivery, type(delivery))
        assert not await settle(source, delivery, Retried(second, 1))
