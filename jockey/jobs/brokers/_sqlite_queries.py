"""What can be asked about the rows without changing them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from jockey.jobs._broker import QueueInfo
from jockey.jobs.brokers._embedded import ENDED
from jockey.jobs.brokers._sqlite_inbox import has_post
from jockey.jobs.brokers._sqlite_rows import RECORD
from jockey.jobs.brokers._sqlite_workers import workers_by_queue

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from jockey.jobs.brokers._sqlite_rows import Row

WINDOW: Final = 5_000
"""How many rows one look for records goes over, so that it never holds up the jobs for long."""

_COUNTS: Final = """
SELECT queue, 'ready', count(*), min(ready_at) FROM jockey_jobs WHERE phase = 2 GROUP BY queue
UNION ALL SELECT queue, 'blocked', count(*), min(ready_at) FROM jockey_jobs WHERE phase = 3 GROUP BY queue
UNION ALL SELECT queue, 'delayed', count(*), NULL FROM jockey_jobs WHERE phase <= 1 GROUP BY queue
UNION ALL SELECT queue, 'running', count(*), NULL FROM jockey_jobs WHERE phase = 4 GROUP BY queue
UNION ALL SELECT queue, 'dead', count(*), NULL FROM jockey_jobs WHERE phase = 7 GROUP BY queue
"""

_WAITING: Final = f"""
SELECT {RECORD} FROM (
    SELECT * FROM (
        SELECT *, 0 AS is_early, priority AS urgency FROM jockey_jobs WHERE phase = 2 AND queue = :queue
        ORDER BY priority, ready_at, seq LIMIT :count
    )
    UNION ALL SELECT *, 0, priority FROM jockey_jobs WHERE phase = 3 AND queue = :queue
    UNION ALL SELECT * FROM (
        SELECT *, 1, 0 FROM jockey_jobs WHERE phase <= 1 AND queue = :queue ORDER BY ready_at, seq LIMIT :count
    )
) ORDER BY is_early, urgency, ready_at, seq LIMIT :count
"""  # noqa: S608 - names of columns, and no values


def version(connection: sqlite3.Connection) -> int:
    """Return a number that changes when another connection has changed anything."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def info(connection: sqlite3.Connection, now: float) -> list[QueueInfo]:
    """Return what is in each queue that is declared or has jobs."""
    found = {name: QueueInfo(name) for (name,) in connection.execute("SELECT name FROM jockey_queues")}
    for name, kind, count, since in connection.execute(_COUNTS):
        one = found.get(name) or QueueInfo(name)
        if kind in {"ready", "blocked"}:
            oldest = max(one.oldest_wait, now - since)
            found[name] = replace(one, ready=one.ready + count, oldest_wait=oldest)
        else:
            found[name] = replace(one, **{kind: count})
    workers = workers_by_queue(connection, now)
    return [replace(found[name], workers=workers[name]) for name in sorted(found)]


def peek(connection: sqlite3.Connection, queue: str, count: int) -> list[Row]:
    """Return the first that wait: those that are ready, or blocked by their group, before those whose time comes."""
    return connection.execute(_WAITING, {"queue": queue, "count": count}).fetchall()


def dead(connection: sqlite3.Connection, queue: str | None, count: int) -> list[Row]:
    """Return dead letters, the newest first."""
    return connection.execute(
        f"""SELECT {RECORD} FROM jockey_jobs WHERE phase = 7 AND (:queue IS NULL OR queue = :queue)
        ORDER BY finished_at DESC, seq DESC LIMIT :count""",  # noqa: S608 - as above
        {"queue": queue, "count": count},
    ).fetchall()


def record(connection: sqlite3.Connection, id_: str, now: float) -> Row | None:
    """Return the row of one job, unless its time is over."""
    found: Row | None = connection.execute(
        f"SELECT {RECORD} FROM jockey_jobs WHERE id = ? AND (keeps_until IS NULL OR keeps_until > ?)",  # noqa: S608 - as above
        (id_, now),
    ).fetchone()
    return found


def last(connection: sqlite3.Connection) -> int:
    """Return the number of the last job that has arrived; 0 if there is none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM jockey_jobs").fetchone()[0])


def records(
    connection: sqlite3.Connection, upto: int, queue: str | None, phases: Sequence[int], now: float
) -> list[Row]:
    """Return those among the `WINDOW` jobs that arrived last up to the number *upto*, the newest first."""
    return connection.execute(
        f"""SELECT {RECORD} FROM jockey_jobs WHERE seq BETWEEN :upto - :window + 1 AND :upto
        AND (:queue IS NULL OR queue = :queue) AND phase IN (SELECT value FROM json_each(:phases))
        AND (keeps_until IS NULL OR keeps_until > :now) ORDER BY seq DESC""",  # noqa: S608 - as above
        {"upto": upto, "window": WINDOW, "queue": queue, "phases": json.dumps(phases), "now": now},
    ).fetchall()


def has_ended(connection: sqlite3.Connection, ids: Sequence[str]) -> set[str]:
    """Return which of these jobs have ended, or are gone."""
    rows = connection.execute(
        """SELECT id FROM jockey_jobs WHERE id IN (SELECT value FROM json_each(?))
        AND phase NOT IN (SELECT value FROM json_each(?))""",
        (json.dumps(ids), json.dumps(tuple(ENDED))),
    )
    return set(ids) - {id_ for (id_,) in rows}


def cancels(connection: sqlite3.Connection) -> list[tuple[int, int, str]]:
    """Return which running jobs shall be cancelled, by number and token, and why."""
    return connection.execute("SELECT seq, token, cancel FROM jockey_jobs WHERE cancel IS NOT NULL").fetchall()


def next_change(connection: sqlite3.Connection) -> float | None:
    """Return when a job becomes ready by itself: its time comes, the lease of its worker ends, or it is taken in."""
    row = connection.execute(
        """SELECT (SELECT min(ready_at) FROM jockey_jobs WHERE phase <= 1),
        (SELECT min(lease_ends) FROM jockey_jobs WHERE phase = 4),
        (SELECT 0.0 FROM jockey_inbox LIMIT 1)"""
    ).fetchone()
    return min((when for when in row if when is not None), default=None)


def has_ready(connection: sqlite3.Connection, queues: Sequence[str]) -> bool:
    """Tell whether there is something to take in these queues, or may be."""
    return has_post(connection) or any(
        connection.execute("SELECT 1 FROM jockey_jobs WHERE phase = 2 AND queue = ? LIMIT 1", (queue,)).fetchone()
        for queue in queues
    )
