"""Messages as rows, and rows as records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from jockey.jobs._broker import Record
from jockey.jobs._codec import decode
from jockey.jobs._errors import DecodeError
from jockey.jobs._message import Trouble
from jockey.jobs.brokers._embedded import READY, SCHEDULED, STATES, UNIQUE_WHILE_UNFINISHED, lock_ends

if TYPE_CHECKING:
    from jockey.jobs._message import Message

Row = tuple[Any, ...]
"""What SQLite returns: each column has a type of its own."""

_INSERT: Final = """
INSERT OR IGNORE INTO jockey_jobs
    (id, name, queue, phase, priority, ready_at, enqueued_at, attempt, team, unique_key, unique_mode, is_child, body)
VALUES {values}
"""
_VALUES: Final = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

INSERT: Final = {size: _INSERT.format(values=", ".join([_VALUES] * size)) for size in (64, 8, 1)}
"""By the number of rows, the biggest first, how they are added: a few texts, so that SQLite compiles each only once."""

RECORD: Final = """
    id, name, queue, phase, body, enqueued_at, ready_at, started_at, finished_at,
    attempt, crashes, worker, error, result
"""
"""The columns that `record_of` wants."""

_trouble = msgspec.json.Decoder(Trouble)
encode_trouble: Final = msgspec.json.Encoder().encode


def row_of(message: Message, body: bytes, now: float) -> Row:
    """Return the values for one row of `INSERT`."""
    ready_at = max(now, message.not_before)
    has_key = message.unique is not None and lock_ends(message, now) is None
    return (
        message.id,
        message.name,
        message.queue,
        SCHEDULED if ready_at > now else READY,
        message.priority,
        ready_at,
        message.enqueued_at or now,
        message.attempt,
        message.group,
        message.unique if has_key else None,
        (message.unique_for or UNIQUE_WHILE_UNFINISHED) if has_key else None,
        message.parent is not None,
        body,
    )


def record_of(row: Row) -> Record:
    """Return what is known of a job."""
    id_, name, queue, phase, body, enqueued_at, ready_at, started_at, finished_at, *rest = row
    attempt, crashes, worker, error, result = rest
    message = message_of(body, queue)
    return Record(
        id=id_,
        name=name,
        queue=queue,
        state=STATES[int(phase)],
        message=message,
        enqueued_at=enqueued_at,
        not_before=ready_at,
        started_at=started_at,
        finished_at=finished_at,
        attempt=attempt,
        crashes=crashes,
        worker=worker,
        error=None if error is None else _trouble.decode(error),
        result=result,
        body=body if message is None else None,
    )


def message_of(body: bytes, queue: str) -> Message | None:
    """Return the message; None if it cannot be read: a newer version of this library may have written it."""
    try:
        return decode(body, queue=queue)
    except DecodeError:
        return None
