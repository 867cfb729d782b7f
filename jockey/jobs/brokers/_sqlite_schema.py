"""The file: how it is opened, which tables it has, and how older ones become newer ones."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jockey.jobs._errors import BrokerUnavailableError
from jockey.jobs.brokers._sqlite_inbox import INBOX
from jockey.jobs.brokers._sqlite_workers import WORKERS

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST: Final = """
CREATE TABLE jockey_queues (name TEXT PRIMARY KEY) WITHOUT ROWID;

CREATE TABLE jockey_jobs (
    seq INTEGER PRIMARY KEY,        -- the order of arrival
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    queue TEXT NOT NULL,
    phase INTEGER NOT NULL,         -- as in _embedded.py
    priority INTEGER NOT NULL,
    ready_at REAL NOT NULL,         -- since when, or from when, it may run
    enqueued_at REAL NOT NULL,
    attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL DEFAULT 0,
    team TEXT,                      -- its group
    unique_key TEXT,                -- unless it is for a time, then it is in jockey_locks
    unique_mode TEXT,
    is_child INTEGER NOT NULL,
    worker TEXT NOT NULL DEFAULT '',
    token INTEGER NOT NULL DEFAULT 0,
    lease_ends REAL,
    started_at REAL,
    finished_at REAL,
    keeps_until REAL,
    cancel TEXT,                    -- why it shall be cancelled, while it runs
    error BLOB,
    result BLOB,
    body BLOB NOT NULL
);
-- Each index has only the jobs that are looked for by it, so that those that have ended, or wait for their time, cost
-- those nothing that are ready.
CREATE INDEX jockey_ready ON jockey_jobs (queue, priority, ready_at) WHERE phase = 2;
CREATE INDEX jockey_due ON jockey_jobs (ready_at, queue) WHERE phase <= 1;
CREATE INDEX jockey_blocked ON jockey_jobs (team, ready_at, queue) WHERE phase = 3;
CREATE INDEX jockey_leases ON jockey_jobs (lease_ends, queue) WHERE phase = 4;
CREATE INDEX jockey_dead ON jockey_jobs (finished_at, queue) WHERE phase = 7;
CREATE INDEX jockey_cancels ON jockey_jobs (seq) WHERE cancel IS NOT NULL;
CREATE INDEX jockey_unique ON jockey_jobs (unique_key) WHERE unique_key IS NOT NULL;
CREATE INDEX jockey_expiring ON jockey_jobs (keeps_until) WHERE keeps_until IS NOT NULL;

CREATE TABLE jockey_groups (name TEXT PRIMARY KEY, head INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE jockey_locks (key TEXT PRIMARY KEY, job TEXT NOT NULL, ends REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX jockey_locks_end ON jockey_locks (ends);

CREATE TABLE jockey_ids (id TEXT PRIMARY KEY, keeps_until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX jockey_ids_end ON jockey_ids (keeps_until);

CREATE TABLE jockey_joins (id TEXT PRIMARY KEY, keeps_until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX jockey_joins_end ON jockey_joins (keeps_until);
CREATE TABLE jockey_arrivals (
    id TEXT NOT NULL,               -- of the join
    place INTEGER NOT NULL,
    result BLOB NOT NULL,
    PRIMARY KEY (id, place)
) WITHOUT ROWID;
"""

MIGRATIONS: Sequence[str] = [FIRST, WORKERS, INBOX]
"""What makes version n + 1 of version n, from the empty file on. Never changed, only added to."""

OLDEST_SQLITE: Final = (3, 35, 0)
"""The first that knows RETURNING."""


def connect(path: str, synchronous: str) -> sqlite3.Connection:
    """
    Open the file, and see to it that it has the tables.

    A file of an older version is upgraded, in one transaction.

    Raises:
        BrokerUnavailableError: There is no such directory, or it is the file of a newer version.
        sqlite3.Error: Whatever else is wrong with it; a lock is not waited for.
    """
    check_version(sqlite3.sqlite_version_info)
    directory = Path(path).parent
    if not directory.is_dir():
        raise BrokerUnavailableError(f"the directory {str(directory)!r} for the jobs does not exist; make it first")
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("BEGIN IMMEDIATE")
        migrate(connection, path)
        connection.execute("COMMIT")
    except BaseException:
        connection.close()  # which takes back what was begun
        raise
    return connection


def check_version(version: tuple[int, int, int]) -> None:
    """Raise an error if this SQLite is too old."""
    if version < OLDEST_SQLITE:
        needed, found = (".".join(map(str, numbers)) for numbers in (OLDEST_SQLITE, version))
        raise BrokerUnavailableError(f"SQLite {needed} or newer is needed, this Python has {found}")


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the tables to the newest version, inside a transaction."""
    connection.execute("CREATE TABLE IF NOT EXISTS jockey_schema (version INTEGER NOT NULL)")
    row = connection.execute("SELECT version FROM jockey_schema").fetchone()
    version = 0 if row is None else int(row[0])
    if version > len(MIGRATIONS):
        raise BrokerUnavailableError(
            f"{path!r} has tables of version {version}, this jockey knows none after {len(MIGRATIONS)}; upgrade jockey"
        )
    for script in MIGRATIONS[version:]:
        for statement in statements(script):
            connection.execute(statement)
    if row is None:
        connection.execute("INSERT INTO jockey_schema (version) VALUES (?)", (len(MIGRATIONS),))
    else:  # even if it is the same: now we know that the file can be written
        connection.execute("UPDATE jockey_schema SET version = ?", (len(MIGRATIONS),))


def statements(script: str) -> list[str]:
    """Split a script: `executescript` would commit the transaction first."""
    found: list[str] = []
    begun = ""
    for line in script.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            found.append(begun.strip())
            begun = ""
    return found
