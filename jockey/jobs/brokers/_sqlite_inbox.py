"""
The inbox: where other programs put jobs, with nothing but SQLite.

Whichever process of ours writes next, or is asked anything, takes them in, in the same transaction in which they leave
the inbox. So what they say is read in one place for all brokers, and a crash loses and doubles nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from jockey.jobs._codec import decode, encode
from jockey.jobs._errors import DecodeError
from jockey.jobs._ids import new_id
from jockey.jobs._message import Message

if TYPE_CHECKING:
    import sqlite3

    from jockey.jobs.brokers._sqlite_tables import Parcel

# What other programs do is checked by the tables alone, with what any SQLite knows that can open the file at all; what
# bodies say is read where all bodies are. The name of the queue is not in the error: only new versions can do that.
INBOX: Final = """
CREATE TABLE jockey_inbox (
    number INTEGER PRIMARY KEY,     -- the order of arrival
    queue TEXT NOT NULL,
    body TEXT NOT NULL,             -- JSON
    arrived_at REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0)
);
CREATE TRIGGER jockey_inbox_queue BEFORE INSERT ON jockey_inbox
WHEN NOT EXISTS (SELECT 1 FROM jockey_queues WHERE name = NEW.queue)
BEGIN
    SELECT RAISE(ABORT, 'there is no such queue; declare it first, or start a worker for it');
END;
"""

# As bytes: what is no valid text cannot be read as such, and would be in the way for ever.
_FIRST: Final = """
SELECT number, queue, CAST(body AS BLOB), max(0.0, min(?, CAST(arrived_at AS REAL))) FROM jockey_inbox
ORDER BY number LIMIT ?
"""


def has_post(connection: sqlite3.Connection) -> bool:
    """Tell whether anything is in the inbox."""
    return connection.execute("SELECT 1 FROM jockey_inbox LIMIT 1").fetchone() is not None


def taken_out(connection: sqlite3.Connection, now: float, count: int) -> list[Parcel]:
    """Remove the first of what is in the inbox, at most *count*, and return it as what is to be published."""
    rows = connection.execute(_FIRST, (now, count)).fetchall()
    connection.executemany("DELETE FROM jockey_inbox WHERE number = ?", [row[:1] for row in rows])
    return [_parcel(queue, body, arrived_at) for _, queue, body, arrived_at in rows]


def cleared(connection: sqlite3.Connection, queue: str) -> int:
    """Remove all of a queue that is in the inbox; return how many."""
    return connection.execute("DELETE FROM jockey_inbox WHERE queue = ?", (queue,)).rowcount


def _parcel(queue: str, body: bytes, arrived_at: float) -> Parcel:
    try:
        message = decode(body, queue)
    except DecodeError:
        # As with any broker, the worker that takes it finds out why it cannot be read: so it stays what it is.
        return Message(id=new_id(), name="", queue=queue, enqueued_at=arrived_at), body
    message = msgspec.structs.replace(message, enqueued_at=message.enqueued_at or arrived_at)
    return message, encode(message)
