"""The records of jobs that another broker carries, beside those of our own. In tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from jockey.jobs._broker import Died, Published, Released, Retried
from jockey.jobs._codec import encode
from jockey.jobs.brokers import _sqlite_queries as queries
from jockey.jobs.brokers._embedded import (
    DEAD_ELSEWHERE,
    ENDED,
    FAILED_ELSEWHERE,
    QUEUED_ELSEWHERE,
    RUNNING_ELSEWHERE,
    SCHEDULED_ELSEWHERE,
)
from jockey.jobs.brokers._sqlite_rows import message_of
from jockey.jobs.brokers._sqlite_tables import Tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jockey.jobs._broker import Settlement
    from jockey.jobs._message import Message
    from jockey.jobs.brokers._sqlite_rows import Row
    from jockey.jobs.brokers._sqlite_tables import Parcel


class LedgerTables(Tables):
    """The tables of one connection, with the records of jobs that another broker carries."""

    def enter(self, parcels: Sequence[Parcel]) -> list[Published]:
        return [self._enter(message, body) for message, body in parcels]

    def withdraw(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            rows = self._run(
                "DELETE FROM jockey_jobs WHERE id = ? AND phase IN (?, ?) RETURNING id",
                (id_, SCHEDULED_ELSEWHERE, QUEUED_ELSEWHERE),
            ).fetchall()
            if rows:
                self._run("DELETE FROM jockey_locks WHERE job = ?", (id_,))
                self.ended.append(id_)

    def begin_try(self, message: Message, worker: str, crashes: int) -> Row:
        row = self._run("SELECT seq, phase, body, queue FROM jockey_jobs WHERE id = ?", (message.id,)).fetchone()
        if row is None:
            self._start(self._add(message, encode(message)), message, worker, crashes)
        else:
            seq, phase, body, queue = row
            known = message_of(body, queue)
            if phase not in ENDED and (known is None or known.attempt <= message.attempt):
                self._start(seq, message, worker, crashes)
        found = queries.record(self.connection, message.id, self.now)
        assert found is not None  # noqa: S101 - for the type checkers: it was there, or was added
        return found

    def end_try(self, id_: str, settlement: Settlement) -> None:
        row = self._run("SELECT seq, phase, cancel FROM jockey_jobs WHERE id = ?", (id_,)).fetchone()
        if row is None or row[1] in ENDED:
            return
        seq, phase, cancel = row
        if isinstance(settlement, Retried):
            self._retry(seq, settlement, FAILED_ELSEWHERE)
        elif isinstance(settlement, Released):
            self._run(
                "UPDATE jockey_jobs SET phase = ?, attempt = attempt - ? WHERE seq = ?",
                (QUEUED_ELSEWHERE, phase == RUNNING_ELSEWHERE, seq),
            )
            if cancel is not None:
                self._cancel_waiting(seq, cancel)
        elif isinstance(settlement, Died):
            self._die(seq, settlement, DEAD_ELSEWHERE)
        else:
            self._conclude(seq, settlement)

    def cancelled(self, ids: Sequence[str]) -> dict[str, str]:
        return dict(
            self._run(
                """SELECT id, cancel FROM jockey_jobs
                WHERE id IN (SELECT value FROM json_each(?)) AND phase = ? AND cancel IS NOT NULL""",
                (json.dumps(ids), RUNNING_ELSEWHERE),
            ).fetchall()
        )

    def _enter(self, message: Message, body: bytes) -> Published:
        if (twin := self._duplicated(message)) is not None:
            return Published(twin, is_new=False)
        seq = self._add(message, body)
        self._run(
            "UPDATE jockey_jobs SET phase = iif(ready_at > ?, ?, ?), team = NULL WHERE seq = ?",
            (self.now, SCHEDULED_ELSEWHERE, QUEUED_ELSEWHERE, seq),
        )
        return Published(message.id)

    def _start(self, seq: int, message: Message, worker: str, crashes: int) -> None:
        self._run(
            """UPDATE jockey_jobs SET phase = ?, team = NULL, body = ?, attempt = ?, crashes = ?, worker = ?,
            started_at = ? WHERE seq = ?""",
            (RUNNING_ELSEWHERE, encode(message), message.attempt + crashes + 1, crashes, worker, self.now, seq),
        )
