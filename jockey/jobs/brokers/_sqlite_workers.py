"""The workers that are there, whether they run anything or not: each signs the file now and then."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final

from jockey.jobs._broker import WorkerInfo

if TYPE_CHECKING:
    import sqlite3

    from jockey.jobs.brokers._sqlite_tickets import Holder

SIGN_EVERY: Final = 15.0
"""Seconds between two signatures of a worker: each is a transaction, which nobody waits for."""

SEEN_FOR: Final = 3 * SIGN_EVERY
"""Seconds after its last signature for which a worker is taken to be there."""

WORKERS: Final = """
CREATE TABLE jockey_workers (
    name TEXT PRIMARY KEY,
    queues TEXT NOT NULL,           -- an array of names, in JSON
    seen_until REAL NOT NULL        -- if nothing more is heard of it
) WITHOUT ROWID;
"""


def sign(connection: sqlite3.Connection, holder: Holder, now: float) -> None:
    """Note that a worker is there, and forget those that have not been seen for long."""
    holder.sign_at = now + SIGN_EVERY  # even if this fails: no job depends on it
    connection.execute("DELETE FROM jockey_workers WHERE seen_until <= ?", (now,))
    connection.execute(
        "INSERT OR REPLACE INTO jockey_workers (name, queues, seen_until) VALUES (?, ?, ?)",
        (holder.terms.worker, json.dumps(holder.terms.queues), now + SEEN_FOR),
    )


def sign_off(connection: sqlite3.Connection, holder: Holder) -> None:
    """Note that a worker has left."""
    connection.execute("DELETE FROM jockey_workers WHERE name = ?", (holder.terms.worker,))


def workers(connection: sqlite3.Connection, now: float) -> list[WorkerInfo]:
    """Return those that were seen lately, or have jobs in their hands, by name."""
    queues = {
        name: tuple(json.loads(taken_from))
        for name, taken_from in connection.execute(
            "SELECT name, queues FROM jockey_workers WHERE seen_until > ?", (now,)
        )
    }
    running = dict(
        connection.execute("SELECT worker, count(*) FROM jockey_jobs WHERE phase = 4 GROUP BY worker").fetchall()
    )
    return [
        WorkerInfo(name, queues.get(name, ()), running.get(name, 0)) for name in sorted(queues.keys() | running.keys())
    ]


def workers_by_queue(connection: sqlite3.Connection, now: float) -> Counter[str]:
    """Return how many workers take from each queue."""
    rows = connection.execute(
        "SELECT value, count(*) FROM jockey_workers, json_each(queues) WHERE seen_until > ? GROUP BY value", (now,)
    )
    return Counter(dict(rows.fetchall()))
