"""What SQLite itself costs: the messages of a job queue written to a plain table, in the same batches."""

from __future__ import annotations

import sqlite3
import tempfile
import time

from jockey.jobs import Message
from jockey.jobs._codec import encode
from jockey.jobs._ids import new_id


def many(batches: int, batch: int) -> dict[str, float]:
    """Measure one durable commit for each batch; the messages are there before."""
    bodies = [(encode(Message(id=new_id(), name="noop", args=(payload,))),) for payload in range(batch)]
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(f"{folder}/jobs.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA synchronous = full")
        connection.execute("CREATE TABLE bodies (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        started = time.perf_counter()
        for _ in range(batches):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO bodies (body) VALUES (?)", bodies)
            connection.execute("COMMIT")
        seconds = time.perf_counter() - started
        connection.close()
    return {"seconds": seconds}
