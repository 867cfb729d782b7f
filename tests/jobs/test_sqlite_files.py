"""The file: its name, how it is made, shared, upgraded and looked after, and what is said when it cannot be used."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import anyio
import pytest

from jockey.jobs._broker import Broker, Ledger, Published, WorkerInfo
from jockey.jobs._codec import encode
from jockey.jobs._errors import BrokerUnavailableError, QueueNotDeclaredError, UnsupportedError
from jockey.jobs.brokers import _sqlite_files, _sqlite_schema, _sqlite_writer, connect
from jockey.jobs.brokers._sqlite_ledger import LedgerTables
from jockey.jobs.brokers.memory import MemoryBroker
from jockey.jobs.brokers.sqlite import SqliteBroker
from tests.jobs.conformance.carriers import new
from tests.jobs.sqlite_files import Clock, Held, Stopped, locked, opened, raw, traced, working

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///jobs.db", "jobs.db"),
        ("sqlite:///data/my%20jobs.db?synchronous=normal", "data/my jobs.db"),
        ("sqlite:////var/lib/jobs.db?synchronous=full", "/var/lib/jobs.db"),
    ],
)
async def test_url_names_the_file(url: str, path: str) -> None:
    broker = connect(url)

    assert isinstance(broker, SqliteBroker)
    assert broker.path == path
    assert broker.features.is_store


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://jobs.db", "three slashes and a path, got 'sqlite://jobs.db'"),
        ("sqlite:///", "three slashes and a path"),
        ("sqlite:///:memory:", "kept in a file, got the path ':memory:'; use 'memory://'"),
        ("sqlite:///jobs.db?mode=ro", "no option 'mode', only 'synchronous'"),
        ("sqlite:///jobs.db?synchronous=off", "synchronous must be 'full' or 'normal', got 'off'"),
        ("memory://jobs", "has no name and no options, got 'memory://jobs'"),
        ("postgres://host", "must begin with memory:, sqlite: or amqp"),
    ],
)
async def test_url_that_makes_no_sense_is_refused(url: str, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        connect(url)


async def test_brokers_are_ledgers_too(path: Path) -> None:
    brokers: list[Broker] = [connect("memory://"), connect(f"sqlite:///{path}")]
    ledgers: list[Ledger] = [MemoryBroker(), SqliteBroker(str(path))]

    assert [type(broker) for broker in brokers] == [type(ledger) for ledger in ledgers]
    assert [broker.features.is_store for broker in brokers] == [True, True]


async def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailableError, match=r"the directory '.*nowhere' for the jobs does not exist; make it"):
        await SqliteBroker(str(tmp_path / "nowhere" / "jobs.db")).open()


async def test_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_bytes(b"my novel" * 1000)  # noqa: ASYNC240 - a local file, a short look

    with pytest.raises(BrokerUnavailableError, match="it is not a database of SQLite") as caught:
        await SqliteBroker(str(path)).open()

    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    assert path.read_bytes() == b"my novel" * 1000  # noqa: ASYNC240 - a local file, a short look


async def test_directory_in_its_place_is_named(path: Path) -> None:
    path.mkdir()  # noqa: ASYNC240 - a local file, a short look

    with pytest.raises(BrokerUnavailableError, match="it cannot be opened; see that it is a file"):
        await SqliteBroker(str(path)).open()


async def test_file_that_cannot_be_written_is_refused_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path):
        pass
    connect_to = sqlite3.connect
    # Root may write to any file, so its permissions would not tell.
    monkeypatch.setattr(
        _sqlite_schema.sqlite3,
        "connect",
        lambda name, **options: connect_to(f"file:{name}?mode=ro", uri=True, **options),
    )

    with pytest.raises(BrokerUnavailableError, match="it cannot be written; make the file and its directory writable"):
        await SqliteBroker(str(path)).open()


async def test_locked_file_is_not_waited_for_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite_writer, "PATIENCE", 0.02)
    async with opened(path) as broker:
        with locked(path):
            with pytest.raises(BrokerUnavailableError, match="another process has locked it"):
                await SqliteBroker(str(path)).open()
            with pytest.raises(BrokerUnavailableError, match="another process has locked it"):
                await broker.publish([new()])

        assert (await broker.publish([new()]))[0].is_new


async def test_lock_that_ends_in_time_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, pause = set[int](), _sqlite_writer._pause

    def note() -> None:
        waiting.add(threading.get_ident())
        pause()

    monkeypatch.setattr(_sqlite_writer, "PATIENCE", 10_000.0)
    monkeypatch.setattr(_sqlite_writer, "_pause", note)
    async with opened(path) as broker, anyio.create_task_group() as tasks:
        with locked(path):
            tasks.start_soon(broker.publish, [new()])
            tasks.start_soon(SqliteBroker.open, other := SqliteBroker(str(path), clock=Clock()))
            while len(waiting) < 2:
                await anyio.sleep(0.001)
    await other.close()


async def test_old_sqlite_is_refused() -> None:
    with pytest.raises(BrokerUnavailableError, match=r"SQLite 3\.35\.0 or newer is needed, this Python has 3\.34\.1"):
        _sqlite_schema.check_version((3, 34, 1))


async def test_older_file_is_upgraded_with_what_is_in_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = new("kept")
    async with opened(path) as broker:
        await broker.publish([job])
    newer = "CREATE TABLE jockey_new (x); -- with a comment\nINSERT INTO jockey_new VALUES ('a;b');"
    monkeypatch.setattr(_sqlite_schema, "MIGRATIONS", [*_sqlite_schema.MIGRATIONS, newer])

    async with opened(path) as broker:
        assert (await broker.peek("default", 1))[0].message == job
    async with opened(path):
        pass

    with raw(path) as connection:
        assert connection.execute("SELECT * FROM jockey_new").fetchall() == [("a;b",)]
        assert connection.execute("SELECT * FROM jockey_schema").fetchall() == [(len(_sqlite_schema.MIGRATIONS),)]


async def test_file_of_a_newer_version_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    with raw(path) as connection:
        connection.execute("UPDATE jockey_schema SET version = 9")

    last = len(_sqlite_schema.MIGRATIONS)
    with pytest.raises(
        BrokerUnavailableError, match=f"tables of version 9, this jockey knows none after {last}; upgrade jockey"
    ):
        await SqliteBroker(str(path)).open()


async def test_file_may_have_other_tables(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE customers (name)")

    async with opened(path) as broker:
        assert (await broker.publish([new()]))[0].is_new


async def test_closed_broker_says_so(path: Path) -> None:
    broker = SqliteBroker(str(path))
    with pytest.raises(BrokerUnavailableError, match="is not open; open it first"):
        await broker.info()
    await broker.open()
    await broker.close()
    await broker.close()

    with pytest.raises(BrokerUnavailableError, match="is not open; open it first"):
        await broker.publish([new()])


async def test_brokers_on_one_file_share_its_writer(path: Path) -> None:
    one, other = SqliteBroker(str(path)), SqliteBroker(os.path.relpath(path))  # noqa: ASYNC240 - a local file, a short look
    await one.open()
    await other.open()
    await one.declare("default")
    async with working(other) as source, anyio.create_task_group() as tasks:
        tasks.start_soon(source.take, 1)
        await anyio.wait_all_tasks_blocked()
        await one.publish([new()])
    await one.close()

    assert (await other.info())[0].ready == 1
    await other.close()


async def test_removed_file_is_noticed_before_anything_is_lost_with_it(path: Path) -> None:
    async with opened(path) as broker:
        path.rename(path.with_suffix(".old"))  # noqa: ASYNC240 - a local file, a short look
        with pytest.raises(BrokerUnavailableError, match="was removed or replaced while it was in use"):
            await broker.publish([new()])
        path.with_suffix(".old").rename(path)
        assert (await broker.publish([new()]))[0].is_new


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
async def test_broker_does_not_work_in_a_forked_child_but_a_new_one_does(path: Path) -> None:
    hold = Held()
    async with opened(path) as broker, anyio.create_task_group() as tasks:
        # A thread that is inside SQLite during the fork would leave locks there that nobody in the child can open.
        tasks.start_soon(broker.look, hold)
        await hold.wait()
        child = os.fork()
        if child == 0:
            os._exit(0 if works_in_child(broker, path) else 1)
        hold.may_go.set()
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - a local file, a short look

        assert os.waitstatus_to_exitcode(status) == 0
        assert [info.ready for info in await broker.info()] == [1]


def works_in_child(broker: SqliteBroker, path: Path) -> bool:
    """In the child: there is no event loop, the parent's has stayed there."""
    try:
        broker.look(lambda tables: tables.now).send(None)
    except BrokerUnavailableError as error:
        if "open a broker of its own after the fork" not in str(error):
            return False
    mine = _sqlite_files.FILES.acquire(str(path), "full", broker._clock)
    with raw(path) as connection:
        connection.execute("PRAGMA busy_timeout = 240000")
        connection.execute(
            """INSERT INTO jockey_jobs
            (id, name, queue, phase, priority, ready_at, enqueued_at, attempt, is_child, body)
            VALUES ('x', 'x', 'default', 2, 1, 0, 0, 0, 0, '')"""
        )
    return mine.pid == os.getpid()


async def test_log_is_emptied_when_nothing_happens(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite_writer, "QUIET", 0.01)
    log = path.with_name("jobs.db-wal")

    async with opened(path) as broker:
        await broker.publish([new()])
        while log.stat().st_size:
            await anyio.sleep(0.01)


async def test_nothing_is_done_while_nobody_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite_writer, "QUIET", 0.0)

    async with opened(path) as broker:
        writer, _ = broker._use()
        while writer._timeout() is not None:
            await anyio.sleep(0.01)


async def test_idle_worker_only_asks_whether_others_have_changed_anything(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sqlite_writer, "QUIET", 0.0)
    # In this time, which does not pass, no worker has to sign the file.
    async with opened(path, Stopped()) as broker, working(broker) as source, anyio.create_task_group() as tasks:
        writer, _ = broker._use()
        tasks.start_soon(source.take, 1)
        await anyio.wait_all_tasks_blocked()
        await broker.declare("default")  # what was asked before is done now
        while writer._quiet_at is not None:
            await anyio.sleep(0.01)
        statements = await traced(broker)
        while len(statements) < 5:
            await anyio.sleep(0.01)
        idle = set(statements)
        tasks.cancel_scope.cancel()

    assert idle == {"PRAGMA data_version"}


@pytest.mark.parametrize("synchronous", ["full", "normal"])
async def test_only_what_must_survive_a_power_cut_waits_for_the_disk(path: Path, synchronous: str) -> None:
    async with opened(path, synchronous=synchronous) as broker, working(broker) as source:
        statements = await traced(broker)
        await broker.publish([new()])
        await broker.publish([new()])
        await source.poll(1)
        await source.poll(1)

    needed = {"PRAGMA synchronous = full", "PRAGMA synchronous = normal", "COMMIT"}
    both = ["PRAGMA synchronous = full", "COMMIT", "COMMIT", "PRAGMA synchronous = normal", "COMMIT", "COMMIT"]
    expected = both if synchronous == "full" else ["COMMIT"] * 4
    assert [one for one in statements if one in needed][: len(expected)] == expected


async def test_queues_are_those_of_the_moment_for_all_who_share_a_transaction(path: Path) -> None:
    async with opened(path) as broker:
        messages = [new(queue="mail"), new(queue="mail"), new(queue="news")]
        mail, other_mail, news = [(message, encode(message)) for message in messages]

        def change(tables: LedgerTables) -> list[Published]:
            tables.declare("mail")
            published = tables.publish([mail]) + tables.publish([other_mail])
            tables.declare("news")
            published += tables.publish([news]) + tables.publish([news])
            tables.undeclare("mail")
            with pytest.raises(QueueNotDeclaredError):
                tables.publish([mail])
            return published

        published = await broker.ask(change)

    assert [one.is_new for one in published] == [True, True, True, False]


async def test_worker_signs_the_file_now_and_then(path: Path) -> None:
    clock = Clock()
    async with opened(path, clock) as broker, working(broker):
        statements = await traced(broker)
        clock.ahead += 14
        await broker.declare("mail")
        clock.ahead += 2
        await broker.declare("mail")
        await broker.declare("mail")

    assert sum(statement.startswith("INSERT OR REPLACE INTO jockey_workers") for statement in statements) == 1


async def test_worker_that_was_killed_is_seen_for_a_while(path: Path) -> None:
    clock = Clock()
    async with opened(path, clock) as broker:
        with raw(path) as connection:
            connection.execute("INSERT INTO jockey_workers VALUES ('killed', '[\"mail\"]', ?)", (clock() + 45,))
        await broker.declare("mail")
        before = await broker.workers(), (await broker.info("mail"))[0].workers
        clock.ahead += 46

        assert before == ([WorkerInfo("killed", ("mail",))], 1)
        assert await broker.workers() == []
        assert (await broker.info("mail"))[0].workers == 0
        async with working(broker):
            pass
        with raw(path) as connection:
            assert connection.execute("SELECT * FROM jockey_workers").fetchall() == []
