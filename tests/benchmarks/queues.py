"""The job queue in memory, in a file of SQLite and through RabbitMQ, next to other job queues."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.benchmarks import shelf
from tests.benchmarks.contender import Contender
from tests.benchmarks.rounds import Plan, Rounds, compete
from tests.benchmarks.table import Row, count, microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/")
PRODUCERS = 16
IDLE = 0.005
"""The share of a core that an idle worker may use."""

LOOKS = 0.2
"""Seconds between two looks of an idle worker for what other processes have put into a file of SQLite."""


@dataclass(frozen=True)
class _Peer:
    folder: str
    requirement: str
    function: str
    times: float


IN_MEMORY: Mapping[str, _Peer] = {
    "repid 1, in memory": _Peer("repid-1.6", "repid[amqp]==1.6.0", "queue_repid:memory", 5),
    "repid 2, in memory": _Peer("repid-2", "repid==2.*", "queue_repid2:memory", 5),
    "taskiq, in memory": _Peer("taskiq", "taskiq", "taskiq_memory:noop", 3),
    "dramatiq, its stub": _Peer("dramatiq", "dramatiq", "queue_dramatiq:memory", 3),
}

MANY, FEW = 1000, 16
OURS_IN_MEMORY = {"jockey": MANY, "few slots": FEW}
"""Slots: as many as a worker of repid has by default (taskiq has no limit), and as many as ours has."""

THROUGH_RABBITMQ: Mapping[str, _Peer] = {
    "taskiq-aio-pika": _Peer("taskiq-aio-pika", "taskiq-aio-pika", "queue_taskiq:rabbitmq", 1.2),
    "dramatiq": _Peer("dramatiq-rabbitmq", "dramatiq[rabbitmq]", "queue_dramatiq:rabbitmq", 1.2),
    "celery": _Peer("celery", "celery", "queue_celery:rabbitmq", 1.2),
    "repid 1 (no quorum queues)": _Peer("repid-1.6", "repid[amqp]==1.6.0", "queue_repid:rabbitmq", 1.2),
}
HUEY = _Peer("huey", "huey", "queue_huey:sqlite", 5)


def rows(plan: Plan) -> Iterator[Row]:
    """Compare jobs that do nothing, from where they are enqueued to their end."""
    yield from _in_memory(plan)
    yield from _in_a_file(plan)
    yield _claims(plan)
    yield _many(plan)
    yield from _through_rabbitmq(plan)
    yield from _idle(plan)


def _in_memory(plan: Plan) -> Iterator[Row]:
    jobs = plan.size(10_000, 100)
    ours = {name: Contender("queue_jockey:memory", jobs=jobs, slots=slots) for name, slots in OURS_IN_MEMORY.items()}
    rounds = compete(plan, {**ours, **_contenders(plan, IN_MEMORY, jobs=jobs)})
    what = f"{count(jobs)} queued no-op jobs in memory"
    for name, peer in IN_MEMORY.items():
        yield _row(rounds, what, (name, peer.times), jobs)
    few, ratio = rounds.median("few slots") / jobs, rounds.ratio("few slots", "jockey")
    yield Row(f"{what}, {FEW} at a time", microseconds(few), f"{MANY} at a time", f"{ratio:.1f} x its time")


def _in_a_file(plan: Plan) -> Iterator[Row]:
    jobs = plan.size(2000, 50)
    for producers, how in ((1, "one after the other"), (PRODUCERS, f"{PRODUCERS} at a time")):
        # Its best with few threads and its best with many are the same, within a tenth.
        peers = _contenders(plan, {"huey": HUEY}, jobs=jobs, producers=producers, workers=4)
        ours = Contender("queue_jockey:sqlite", jobs=jobs, producers=producers)
        rounds = compete(plan, {"jockey": ours, **peers})
        what = f"{count(jobs)} no-op jobs in SQLite, enqueued {how}"
        yield _row(rounds, what, ("huey", HUEY.times), jobs)
        yield _row(rounds, "- enqueue alone", ("huey", None), jobs, "enqueue")
        yield _row(rounds, "- work off alone", ("huey", None), jobs, "work")


def _claims(plan: Plan) -> Row:
    few, many = plan.size(1000, 10), plan.size(1_000_000, 1000)
    claims = plan.size(500, 5)
    contenders = {str(jobs): Contender("queue_claims:latency", rows=jobs, claims=claims) for jobs in (few, many)}
    rounds = compete(plan, contenders)
    return Row(
        f"claim one job in SQLite, {count(many)} wait",
        microseconds(rounds.median(str(many))),
        f"{count(few)} wait: {microseconds(rounds.median(str(few)))}",
        f"{rounds.ratio(str(many), str(few)):.2f} x",
        "≤ 1.3 x",
    )


def _many(plan: Plan) -> Row:
    batches, batch = plan.size(20, 2), plan.size(1000, 10)
    load = {"batches": batches, "batch": batch}
    contenders = {name: Contender(f"queue_{name}:many", **load) for name in ("jockey", "sqlite")}
    rounds = compete(plan, contenders)
    jobs = batches * batch
    return Row(
        f"`enqueue_many` into SQLite, {count(batch)} at a time",
        _rate(jobs, rounds.median("jockey")),
        f"SQLite, the same bytes into a plain table: {_rate(jobs, rounds.median('sqlite'))}",
        f"{rounds.ratio('jockey', 'sqlite'):.1f} x its time",
        "≥ 20 000 a second",
    )


def _through_rabbitmq(plan: Plan) -> Iterator[Row]:
    if not _is_there(AMQP_URL):
        yield Row("no-op jobs through RabbitMQ", "", "RabbitMQ: does not answer", "", "≥ 1.2 x faster")
        return
    jobs = plan.size(2000, 50)
    load = {"url": AMQP_URL, "queue": f"jockey-benchmark-{uuid.uuid4().hex[:8]}", "jobs": jobs, "producers": PRODUCERS}
    peers = {} if plan.quick else _contenders(plan, THROUGH_RABBITMQ, **load)
    rounds = compete(plan, {"jockey": Contender("queue_jockey:rabbitmq", **load), **peers})
    for measure, what in (("enqueue", f"enqueued {PRODUCERS} at a time"), ("work", "worked off")):
        for name, peer in THROUGH_RABBITMQ.items():
            what_all = f"{count(jobs)} no-op jobs {what} through RabbitMQ"
            yield _row(rounds, what_all, (name, peer.times), jobs, measure)


def _idle(plan: Plan) -> Iterator[Row]:
    urls = {"memory": "memory://", "SQLite": "sqlite:///FOLDER/jobs.db"}
    if _is_there(AMQP_URL):
        urls["RabbitMQ"] = AMQP_URL
    seconds, queue = 0.2 if plan.quick else 5.0, f"jockey-benchmark-{uuid.uuid4().hex[:8]}"
    bare = Contender("waking:up", seconds=seconds, pause=LOOKS)
    once = Plan(repeat=min(plan.repeat, 3), quick=plan.quick, install=plan.install)
    for name, url in urls.items():
        ours = Contender("queue_jockey:idle", url=url, queue=queue, seconds=seconds)
        rounds = compete(once, {"jockey": ours, "bare": bare})
        share, least = (f"{rounds.median(one, 'share'):.2%} of a core" for one in ("jockey", "bare"))
        other = f"a bare program that wakes up each {LOOKS} s: {least}"
        yield Row(f"an idle worker, {name}", share, other, target=f"≤ {IDLE:.1%} of a core")


def _contenders(plan: Plan, peers: Mapping[str, _Peer], **load: object) -> dict[str, Contender]:
    return {
        name: Contender(peer.function, folder=shelf.folder(peer.folder, peer.requirement, install=plan.install), **load)
        for name, peer in peers.items()
    }


def _row(rounds: Rounds, what: str, peer: tuple[str, float | None], jobs: int, measure: str = "seconds") -> Row:
    name, times = peer
    ours = microseconds(rounds.median("jockey", measure) / jobs)
    target = "" if times is None else f"≥ {times} x faster"
    if name not in rounds:
        return Row(what, ours, f"{name}: not installed", "", target)
    price = microseconds(rounds.median(name, measure) / jobs)
    other = f"{name} {rounds.versions[name]}: {price}"
    return Row(what, ours, other, f"{rounds.ratio(name, 'jockey', measure):.1f} x faster", target)


def _rate(jobs: int, seconds: float) -> str:
    return f"{count(round(jobs / seconds))} a second"


def _is_there(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "localhost", address.port or 5672), timeout=5).close()
    except OSError:
        return False
    return True
