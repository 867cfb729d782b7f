"""The tables of what brokers can do, and of what they promise, say what they do."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from jockey.jobs import App, QueueNotDeclaredError, UnsupportedError, Worker, _codec
from jockey.jobs._broker import Broker
from jockey.jobs._features import check_features
from jockey.jobs._message import Join, Message, Step
from jockey.jobs.brokers import _sqlite_writer, connect, rabbitmq, rabbitmq_intake, rabbitmq_messages, sqlite
from jockey.jobs.brokers.rabbitmq_topology import TICK, bucket_arguments, dead_arguments, work_arguments
from tests.jobs import (
    test_rabbitmq,
    test_rabbitmq_connection,
    test_rabbitmq_parts,
    test_sqlite_faults,
    test_sqlite_files,
    test_sqlite_kills,
)
from tests.jobs.conformance import test_delivery, test_model
from tests.jobs.conformance.carriers import new
from tests.jobs.shop import burst

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "brokers.md"
COLUMNS = ["`memory://`", "`sqlite:///`", "`amqp://`", "`amqp://` and `results=`"]


def row_of(beginning: str) -> dict[str, str]:
    """Return the cells of the row that begins like that."""
    [row] = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith(f"| {beginning}")]
    return dict(zip(COLUMNS, [cell.strip() for cell in row.split("|")[2:-1]], strict=True))


def app_on(column: str) -> App:
    if column == COLUMNS[3]:
        return App("amqp://localhost/", results="memory://")
    return App({"`memory://`": "memory://", "`sqlite:///`": "sqlite:///jobs.db"}.get(column, "amqp://localhost/"))


def broker_of(app: App) -> Broker:
    return app._broker


def is_refused(app: App, step: Step) -> bool:
    try:
        check_features(step, broker_of(app).features, {}, has_store=app._has_store)
    except Exception:
        return True
    return False


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(
    ("beginning", "step"),
    [
        ("`delay=`", Step(name="a", options={"delay": 3.0})),
        ("`priority=`", Step(name="a", options={"priority": 0})),
        ("`id=`", Step(name="a", options={"id": "b"})),
        ("`group=`", Step(name="a", options={"group": "b"})),
        ("a group that is followed", Step(name="a", join=Join(id="b", index=0, count=1, then=Step(name="c")))),
    ],
)
def test_what_is_refused_is_in_the_table(beginning: str, step: Step, column: str) -> None:
    cell = row_of(beginning)[column]

    assert is_refused(app_on(column), step) == (cell == "refused")


@pytest.mark.parametrize("column", COLUMNS)
def test_what_jobs_can_be_asked_is_in_the_table(column: str) -> None:
    app = app_on(column)

    assert broker_of(app).features.cancellation == (row_of("`cancel()`")[column] != "refused")
    assert app._has_store == (row_of("`result()`")[column] != "refused")


@pytest.mark.parametrize("url", ["memory://", "sqlite:///jobs.db", "amqp://localhost/"])
def test_how_far_a_group_reaches_is_in_the_table(url: str) -> None:
    column = {"memory://": COLUMNS[0], "sqlite:///jobs.db": COLUMNS[1]}.get(url, COLUMNS[2])
    told = {"everywhere": "across all workers", "worker": "within each worker"}

    assert told[connect(url).features.groups] in row_of("`group=`")[column]


def test_which_workers_are_seen_is_in_the_table(tmp_path: Path) -> None:
    async def ask(app: App) -> list[str]:
        async with app:
            return [info.name for info in await app.queues.workers()]

    cells = row_of("`app.queues.workers()`")
    for column, url in ((COLUMNS[0], "memory://"), (COLUMNS[1], f"sqlite:///{tmp_path / 'jobs.db'}")):
        assert cells[column] == "native"
        assert anyio.run(ask, App(url)) == []
    assert cells[COLUMNS[2]].startswith("refused")
    with pytest.raises(UnsupportedError, match="RabbitMQ tells how many workers take from a queue, and not which"):
        anyio.run(broker_of(app_on(COLUMNS[2])).workers)
    assert cells[COLUMNS[3]] == "by the store, only those that run jobs"
    assert callable(broker_of(app_on(COLUMNS[3])).workers)


# What they promise about time and loss. What is a number comes from the code; what takes a server, a crash or a clock
# is held by a test elsewhere, which is named.

LEASE = inspect.signature(Worker).parameters["lease"].default
WORDS = {1.0: "a second", 10: "ten seconds", 10_000: "ten thousand"}
MIB = 1024 * 1024

PROMISES: dict[str, tuple[str, str, str]] = {
    "what `enqueue` has returned for survives": (
        "nothing: the end of the process is the end",
        "`kill -9` of anything, and a power cut (`?synchronous=normal`: not the last seconds before a power cut)",
        "what a quorum queue survives, with the broker's confirmation",
    ),
    "`enqueue_many`": ("all or none", f"all or none, by {WORDS[sqlite.AT_ONCE]}", "each for itself"),
    "a job ends, and what follows is enqueued": (
        "in one step",
        "in one transaction",
        "what follows first; after a crash in between it may come twice, unless a store knows it",
    ),
    "the jobs of a worker that was killed come again": (
        "–",
        f"when its lease ends, after {LEASE:g} seconds unless you say otherwise",
        f"at once, or {WORDS[rabbitmq_intake.LOOK_EVERY]} later; if its machine is gone, after three heartbeats of "
        f"{WORDS[rabbitmq.HEARTBEAT]} (or a third of the lease, if that is shorter)",
    ),
    "a new job is noticed": (
        "at once",
        f"at once in its process, in others within {_sqlite_writer.POLL_LAST:g} seconds",
        "at once",
    ),
    "a job that shall start later": ("on time", "on time", f"on time, on a grain of {TICK} milliseconds"),
    "equal jobs in several queues of one worker": (
        "the one that has waited longest",
        "the one that has waited longest",
        "in no order that is promised",
    ),
    "the largest job": (
        "as memory allows",
        f"{_codec.MAX_SIZE // MIB} MiB; a larger one ends among the dead letters",
        f"{math.ceil(rabbitmq_messages.LARGEST / MIB)} MiB; a larger one is refused",
    ),
}

HELD_ELSEWHERE: dict[str, list[Callable[..., Any]]] = {
    "what `enqueue` has returned for survives": [
        test_sqlite_kills.test_what_a_killed_producer_knows_to_be_published_is_there,
        test_sqlite_files.test_only_what_must_survive_a_power_cut_waits_for_the_disk,
        test_rabbitmq_connection.test_connection_that_breaks_at_any_step_loses_nothing,
    ],
    "`enqueue_many`": [test_delivery.test_nothing_is_published_if_one_queue_is_not_declared],
    "a job ends, and what follows is enqueued": [
        test_delivery.test_successors_are_enqueued_with_the_end_of_their_parent,
        test_rabbitmq.test_successors_are_published_before_the_end_and_to_new_queues_too,
    ],
    "the jobs of a worker that was killed come again": [
        test_sqlite_kills.test_jobs_of_a_killed_worker_come_again_and_settled_ones_do_not,
        test_rabbitmq.test_job_whose_worker_is_killed_comes_again_and_is_dead_in_the_end,
        test_rabbitmq_connection.test_silent_connection_is_noticed,
    ],
    "a new job is noticed": [
        test_delivery.test_take_waits_for_what_comes,
        test_sqlite_faults.test_other_processes_are_heard_of,
        test_rabbitmq.test_take_waits_for_what_comes_and_a_cancelled_one_loses_nothing,
    ],
    "a job that shall start later": [
        test_delivery.test_delayed_job_is_never_early,
        test_rabbitmq_parts.test_buckets_add_up_to_the_delay_and_to_less_than_one_tick_more,
    ],
    "equal jobs in several queues of one worker": [
        test_delivery.test_queues_are_taken_from_as_if_they_were_one,
        test_model.test_every_history_is_that_of_the_model,
    ],
    "the largest job": [],  # below
}


def promises() -> dict[str, tuple[str, ...]]:
    """Return the second table, as it is written."""
    table = PAGE.read_text("utf-8").split("And this is what they promise about time and loss:")[1].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()[2:]]
    return {name: tuple(cells) for name, *cells in rows}


def test_what_is_promised_is_what_the_code_says() -> None:
    assert promises() == PROMISES


def test_each_promise_is_held_by_a_test() -> None:
    assert HELD_ELSEWHERE.keys() == PROMISES.keys()


def test_nothing_in_memory_survives() -> None:
    async def ready_in_turn() -> list[int]:
        sizes: list[int] = []
        for _ in range(2):
            broker = connect("memory://")
            await broker.open()
            await broker.declare("default")
            await broker.publish([new()])
            sizes += [info.ready for info in await broker.info()]
            await broker.close()
        return sizes

    assert anyio.run(ready_in_turn) == [1, 1]


@pytest.mark.parametrize(("query", "synchronous"), [("", "full"), ("?synchronous=normal", "normal")])
def test_power_cuts_are_thought_of_unless_they_are_not_to_be(query: str, synchronous: str) -> None:
    broker = connect(f"sqlite:///jobs.db{query}")

    assert isinstance(broker, sqlite.SqliteBroker)
    assert broker._synchronous == synchronous


def test_all_queues_of_rabbitmq_are_quorum_queues_that_lose_nothing_on_the_way() -> None:
    ways: list[dict[str, Any]] = [work_arguments("mail"), bucket_arguments(TICK)]

    assert {table["x-queue-type"] for table in [*ways, dead_arguments()]} == {"quorum"}
    assert {table["x-dead-letter-strategy"] for table in ways} == {"at-least-once"}


def test_many_are_enqueued_in_steps_each_of_which_is_all_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "AT_ONCE", 2)

    async def left_over(url: str) -> int:
        broker = connect(url)
        await broker.open()
        await broker.declare("default")
        with pytest.raises(QueueNotDeclaredError):
            await broker.publish([new(), new(), new(), new(queue="nowhere")])
        [info] = await broker.info("default")
        await broker.purge("default")
        await broker.close()
        return info.ready

    assert anyio.run(left_over, "memory://") == 0
    assert anyio.run(left_over, f"sqlite:///{tmp_path / 'jobs.db'}") == 2


@pytest.mark.parametrize(("column", "ends"), [("memory://", "succeeded"), ("sqlite:///jobs.db", "dead")])
def test_what_is_too_large_ends_as_the_table_says(
    column: str, ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_codec, "MAX_SIZE", 1_000)
    monkeypatch.chdir(tmp_path)
    app = App(column)

    @app.task
    async def work(text: str) -> int:
        return len(text)

    async def run() -> dict[str, int]:
        async with app:
            await work.enqueue("x" * 2_000)
            counts = await burst(app)
            return {"succeeded": counts.succeeded, "dead": counts.dead}

    assert anyio.run(run) == {"succeeded": 0, "dead": 0} | {ends: 1}


def test_what_is_too_large_for_rabbitmq_is_refused_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq_messages, "LARGEST", 1_000)

    # Without a connection: it never gets that far.
    with pytest.raises(UnsupportedError, match=r"RabbitMQ takes at most 1000: put what is large elsewhere"):
        anyio.run(connect("amqp://localhost/").publish, [Message(id="a", name="b", args=("x" * 2_000,))])


@pytest.mark.broker
@pytest.mark.parametrize(("lease", "heartbeat"), [(LEASE, 10), (9.0, 3), (1.0, 1)])
def test_heartbeats_are_a_third_of_a_short_lease(
    lease: float, heartbeat: int, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, int] = {}
    really = rabbitmq.connect

    async def noting(url: str, *, heartbeat: int, name: str) -> Any:
        asked[name] = heartbeat
        return await really(url, heartbeat=heartbeat, name=name)

    monkeypatch.setattr(rabbitmq, "connect", noting)

    async def run() -> None:
        app = App(amqp_url)
        await Worker(app, ["jockey-test-heartbeat"], burst=True, name="w", lease=lease, handle_signals=()).run()
        async with app:
            await app.queues.delete("jockey-test-heartbeat")

    anyio.run(run)

    assert asked["w"] == heartbeat
