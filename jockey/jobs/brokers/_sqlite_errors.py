"""The one place where the errors of SQLite become ours."""

from __future__ import annotations

import sqlite3
from typing import Final

from jockey.jobs._errors import BrokerUnavailableError

PATIENCE: Final = 5.0
"""Seconds to wait for a lock that another process has."""

_REASONS: Final = {
    sqlite3.SQLITE_BUSY: f"another process has locked it for {PATIENCE:g} seconds; end its long transaction",
    sqlite3.SQLITE_FULL: "there is no space left on its disk; nothing of this was stored, free some space",
    sqlite3.SQLITE_READONLY: "it cannot be written; make the file and its directory writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; see that it is a file, and that file and directory may be used",
    sqlite3.SQLITE_NOTADB: "it is not a database of SQLite; name another file, or remove this one",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore it from a copy, or recover it with the sqlite3 program",
}


def code_of(error: sqlite3.Error) -> int:
    """Return the primary result code; 0 if Python itself raised the error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another process was in the way, so that it is worth trying again."""
    return code_of(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_full(error: sqlite3.Error) -> bool:
    """Tell whether there is no space: some file systems say so only by a failing write."""
    return code_of(error) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


def unavailable(path: str, error: sqlite3.Error) -> BrokerUnavailableError:
    """Return our error, with the reason and the way out; the other one is its cause."""
    reason = _REASONS.get(code_of(error), "it does not work now")
    ours = BrokerUnavailableError(f"the jobs in {path!r} cannot be used: {reason} ({error})")
    ours.__cause__ = error
    return ours
