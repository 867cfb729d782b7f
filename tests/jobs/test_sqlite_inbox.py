"""What other programs put into the inbox, with nothing but SQLite, is a job like any other; and no body does harm."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jockey import jobs
from jockey.jobs._broker import Succeeded
from jockey.jobs._codec import encode
from jockey.jobs._message import Message
from jockey.jobs.brokers import _sqlite_schema, _sqlite_tables, _sqlite_writer
from jockey.jobs.brokers._sqlite_ledger import LedgerTables
from tests.jobs.conformance.carriers import new, read, settle
from tests.jobs.sqlite_files import Clock, Stopped, locked, opened, raw, working

pytestmark = pytest.mark.anyio

INSERT = "INSERT INTO jockey_inbox (queue, body) VALUES (?, ?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def post(path: Path, *bodies: object, queue: str = "default") -> None:
    """Be another program, in whatever language."""
    with raw(path) as connection:
        for body in bodies:
            text = body if isinstance(body, str | bytes) else json.dumps(body)
            connection.execute(INSERT, (queue, text))


@pytest.mark.parametrize(
    "body",
    [
        {"v": 1, "name": "send", "args": ["a@b.c"], "kwargs": {"subject": "hi"}},
        {"name": "send", "args": ["a@b.c"], "kwargs": {"subject": "hi"}, "namespace": "elsewhere"},
        {"job": {"name": "send", "args": ["a@b.c"], "kwargs": {"subject": "hi"}}},
    ],
)
async def test_all_forms_become_jobs(path: Path, body: dict[str, Any]) -> None:
    clock = Stopped()
    async with opened(path, clock) as broker, working(broker) as source:
        post(path, body, json.dumps(body).encode())
        clock.ahead += 60

        messages = [read(delivery) for delivery in await source.poll(9)]

    assert {(message.name, message.args, *message.kwargs.items()) for message in messages} == {
        ("send", ("a@b.c",), ("subject", "hi"))
    }
    assert len({message.id for message in messages}) == 2
    assert {message.queue for message in messages} == {"default"}


async def test_what_the_body_says_holds_as_for_any_job(path: Path) -> None:
    clock = Stopped()
    async with opened(path, clock) as broker, working(broker) as source:
        post(
            path,
            {"v": 1, "id": "later", "name": "a", "not_before": clock() + 60},
            {"v": 1, "id": "normal", "name": "a", "enqueued_at": 7},
            {"v": 1, "id": "urgent", "name": "a", "priority": 0},
            {"v": 1, "id": "head", "name": "a", "group": "g"},
            {"v": 1, "id": "next", "name": "a", "group": "g"},
        )

        now = await source.poll(9)
        clock.ahead += 61
        later = await source.poll(9)
        await settle(source, now[-1], Succeeded(b"1"))
        last = await source.poll(9)

    taken = [[delivery.id for delivery in some] for some in (now, later, last)]
    assert taken == [["urgent", "normal", "head"], ["later"], ["next"]]
    assert read(now[1]).enqueued_at == 7


async def test_duplicates_are_not_enqueued(path: Path) -> None:
    async with opened(path) as broker, working(broker) as source:
        await broker.publish([new(id="x"), new(id="first", unique="key")])
        post(path, *[{"name": "a", "id": id_} for id_ in ("x", "y", "y")])
        post(path, {"v": 1, "name": "a", "id": "second", "unique": "key"})

        assert [delivery.id for delivery in await source.poll(9)] == ["x", "first", "y"]


async def test_queue_that_is_not_there_is_refused_at_once(path: Path) -> None:
    async with opened(path):
        for queue in ("mail", None, 5):
            with raw(path) as connection, pytest.raises(sqlite3.IntegrityError, match="no such queue; declare it fir"):
                connection.execute("INSERT OR IGNORE INTO jockey_inbox (queue, body) VALUES (?, '{}')", (queue,))
        with raw(path) as connection, pytest.raises(sqlite3.IntegrityError, match=r"NOT NULL .*jockey_inbox\.body"):
            connection.execute(INSERT, ("default", None))


async def test_worker_that_waits_hears_of_it(path: Path) -> None:
    taken: list[str] = []
    async with opened(path) as broker, working(broker) as source:

        async def take() -> None:
            taken.extend(delivery.id for delivery in await source.take(5))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            post(path, {"name": "a", "id": "x"})

    assert taken == ["x"]


async def test_many_are_taken_in_in_small_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite_tables, "STEP", 2)
    async with opened(path) as broker, working(broker) as source:
        # The first ones are nothing for this worker: still it goes on without waiting for another change.
        await broker.declare("other")
        post(path, *[{"name": "a"}] * 5, queue="other")
        post(path, *[{"name": "a", "id": str(number)} for number in range(5)])

        taken: list[str] = []
        while len(taken) < 5:
            taken += [delivery.id for delivery in await source.take(5)]

    assert taken == ["0", "1", "2", "3", "4"]


async def test_who_asks_sees_it(path: Path) -> None:
    async with opened(path) as broker:
        post(path, {"name": "a", "id": "x"})
        record = await broker.record("x")
        assert record is not None
        assert record.state is jobs.State.QUEUED

        post(path, {"name": "a", "id": "y"})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(broker.wait, "y")  # which would fail if nothing were known of it
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

        post(path, {"name": "a", "id": "z"})
        assert [info.ready for info in await broker.info("default")] == [3]


async def test_who_asks_is_answered_while_it_cannot_be_taken_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite_writer, "PATIENCE", 0.02)
    async with opened(path) as broker:
        post(path, {"name": "a", "id": "x"})
        with locked(path):
            assert await broker.record("x") is None
        assert await broker.record("x") is not None


async def test_purged_queue_has_nothing_in_the_inbox(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite_tables, "STEP", 2)
    async with opened(path) as broker:
        await broker.declare("other")
        post(path, *[{"name": "a"}] * 7)
        post(path, {"name": "a"}, queue="other")

        assert await broker.purge("default") == 7
        assert [(info.name, info.ready) for info in await broker.info()] == [("default", 0), ("other", 1)]


async def test_time_of_arrival_is_that_of_the_job(path: Path) -> None:
    clock = Clock()
    async with opened(path, clock) as broker:
        earliest = time.time()
        post(path, {"name": "a", "id": "x"}, "unreadable")
        with raw(path) as connection:
            for id_, arrived_at in (("a", "yesterday"), ("b", -5), ("c", 9e999), ("d", -9e999), ("e", b"\xff")):
                connection.execute(
                    "INSERT INTO jockey_inbox (queue, body, arrived_at) VALUES ('default', ?, ?)",
                    (json.dumps({"name": "a", "id": id_}), arrived_at),
                )
        latest = time.time()
        clock.ahead += 3600

        records = {record.id: record async for record in broker.records()}

    times = {id_: record.enqueued_at for id_, record in records.items()}
    # What is no time, or is not over yet, is now.
    assert all(times.pop(id_) >= latest + 3600 for id_ in "abcde")
    assert len(times) == 2
    assert all(earliest - 0.001 <= arrived_at <= latest + 0.001 for arrived_at in times.values())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("oops", "the message cannot be read: JSON is malformed"),
        ("", "the message cannot be read"),
        (b"\xff\xfe", "the message cannot be read"),
        ('{"v": 99, "name": "send"}', "the message has the version 99; this jockey reads version 1"),
        ({"args": []}, "missing required field `name`"),
        ({"v": 1, "name": "send", "attempt": 10**30}, "attempt must be"),
        ({"name": "unknown"}, "this worker knows no task 'unknown'"),
        ({"name": "send", "args": [5]}, "to"),
    ],
)
async def test_what_cannot_be_run_is_a_dead_letter_with_the_reason(path: Path, body: Any, reason: str) -> None:
    app = jobs.App(f"sqlite:///{path}")
    sent: list[str] = []

    @app.task(queue="mail")
    async def send(to: str) -> None:
        sent.append(to)

    async with app:
        post(path, body, {"name": "send", "args": ["a@b.c"]}, queue="mail")

        counts = await jobs.Worker(app, burst=True, handle_signals=()).run()
        [dead] = await app.dead.list()

    assert (counts.taken, counts.succeeded, counts.dead) == (2, 1, 1)
    assert sent == ["a@b.c"]
    assert dead.error is not None
    assert reason in dead.error.message


PROGRAM = """
import sqlite3, sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=250)
for number in range(10**9):
    connection.execute(
        "INSERT INTO jockey_inbox (queue, body) VALUES ('default', json_object('name', 'a', 'id', ?))", (str(number),)
    )
    print(number, flush=True)
"""


async def test_what_a_killed_program_has_put_there_comes_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqlite_writer, "PATIENCE", 10_000.0)
    taken: list[str] = []
    async with opened(path) as broker, working(broker) as source:
        process = await anyio.open_process([sys.executable, "-c", PROGRAM, str(path)], stderr=subprocess.DEVNULL)
        async with process:
            while len(taken) < 50:
                taken += [delivery.id for delivery in await source.take(5)]
            process.kill()
            assert process.stdout is not None
            said = b"".join([chunk async for chunk in process.stdout])
        while deliveries := await source.poll(100):
            taken += [delivery.id for delivery in deliveries]

    confirmed = said.count(b"\n")
    assert taken == [str(number) for number in range(len(taken))]
    assert len(taken) - confirmed in {0, 1}


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    connection = _sqlite_schema.connect(str(path), "normal")
    connection.execute("INSERT INTO jockey_queues VALUES ('default')")
    yield connection
    connection.close()


async def test_process_that_dies_while_it_takes_something_in_loses_nothing(
    path: Path, connection: sqlite3.Connection
) -> None:
    post(path, {"name": "a", "id": "x"})
    connection.execute("BEGIN IMMEDIATE")
    tables = LedgerTables(connection, time.time)
    tables.advance()
    assert connection.execute("SELECT id FROM jockey_jobs").fetchall() == [("x",)]
    connection.close()  # without a commit, as `kill -9` does it

    async with opened(path) as broker, working(broker) as source:
        assert [delivery.id for delivery in await source.poll(9)] == ["x"]


async def test_file_of_the_version_before_gets_an_inbox(path: Path) -> None:
    job = new("kept")
    with raw(path) as connection:
        connection.executescript("CREATE TABLE jockey_schema (version INTEGER NOT NULL);")
        connection.execute("INSERT INTO jockey_schema VALUES (2)")
        for script in _sqlite_schema.MIGRATIONS[:2]:
            connection.executescript(script)
        connection.execute(
            """INSERT INTO jockey_jobs
            (id, name, queue, phase, priority, ready_at, enqueued_at, attempt, is_child, body)
            VALUES (?, 'kept', 'default', 2, 1, 0, 0, 0, 0, ?)""",
            (job.id, encode(job)),
        )

    async with opened(path) as broker, working(broker) as source:
        post(path, {"name": "a", "id": "x"})

        assert [delivery.id for delivery in await source.poll(9)] == [job.id, "x"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**30) | st.floats() | st.text(max_size=5),
    lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text(max_size=5), items, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from([*Message.__struct_fields__, "v", "job", "namespace"])
bodies = st.dictionaries(fields, values, max_size=5).map(lambda said: json.dumps({"name": "a"} | said))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerTables]:
    connection = _sqlite_schema.connect(str(tmp_path_factory.mktemp("inbox") / "jobs.db"), "normal")
    connection.execute("INSERT INTO jockey_queues VALUES ('default')")
    yield LedgerTables(connection, time.time)
    connection.close()


@given(st.lists(bodies | st.text(max_size=20) | st.binary(max_size=20), min_size=1, max_size=3))
@example([json.dumps({"v": 1, "name": "a", "attempt": 2**63})])
@example([json.dumps({"name": "a", "id": "\0"}), json.dumps({"name": "\ud800"})])
def test_no_body_is_in_the_way_of_others(shared: LedgerTables, drawn: list[str | bytes]) -> None:
    run = shared.connection.execute
    run("BEGIN IMMEDIATE")
    for body in drawn:
        run(INSERT, ("default", body))
    shared.begin()

    shared.advance()

    assert run("SELECT count(*) FROM jockey_inbox").fetchone() == (0,)
    assert run("SELECT count(*) FROM jockey_jobs").fetchone()[0] > 0
    run("ROLLBACK")
