"""What can happen to the rows, inside of a transaction that somebody else begins and ends. No thread, no waiting."""

from __future__ import annotations

import json
import random
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jockey.jobs._broker import Cancelled, Died, Held, Published, Released, Retried, Succeeded
from jockey.jobs._codec import encode
from jockey.jobs._message import Trouble
from jockey.jobs.brokers._embedded import (
    BLOCKED,
    CANCELLED,
    DEAD,
    DEAD_ELSEWHERE,
    ENDED,
    FAILED,
    ID_KEPT,
    JOIN_KEPT,
    READY,
    SUCCEEDED,
    WAITING,
    Terms,
    cancelled_ttl,
    crashed,
    last_trouble,
    lock_ends,
    renewed,
    undeclared,
)
from jockey.jobs.brokers._sqlite_inbox import taken_out
from jockey.jobs.brokers._sqlite_rows import INSERT, encode_trouble, message_of, row_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from jockey.jobs._broker import Settlement
    from jockey.jobs._message import Join, Message
    from jockey.jobs.brokers._sqlite_rows import Row

Parcel = tuple["Message", bytes]
"""A message and what it is encoded."""


class Run(NamedTuple):
    """A job in the hands of a worker."""

    seq: int
    token: int
    id: str
    team: str | None
    is_child: bool


STEP: Final = 1_000
"""How many rows at most one transaction takes in, prunes, purges, or lets begin: the others wait for as long."""

# A value for each queue comes first, so that the index gives the most urgent of that queue without sorting: the cost
# depends on how many are asked for, and not on how many wait.
_FIRST_OF_QUEUE: Final = """
SELECT * FROM (
    SELECT seq, priority, ready_at FROM jockey_jobs WHERE phase = 2 AND queue = ?
    ORDER BY priority, ready_at, seq LIMIT ?
)
"""

_CLAIM: Final = """
UPDATE jockey_jobs SET phase = 4, token = ?, lease_ends = ?, worker = ?, started_at = ?, attempt = attempt + 1
WHERE seq IN (SELECT seq FROM ({first}) ORDER BY priority, ready_at, seq LIMIT ?)
RETURNING priority, ready_at, seq, id, queue, crashes, body
"""

_TWIN: Final = """
SELECT id FROM jockey_jobs
WHERE unique_key = ? AND (phase IN (0, 1, 2, 3, 8, 9, 10) OR phase IN (4, 11) AND unique_mode <> 'queued')
ORDER BY seq LIMIT 1
"""

_DUE: Final = """
SELECT EXISTS (SELECT 1 FROM jockey_inbox),
    (SELECT min(ready_at) FROM jockey_jobs WHERE phase <= 1),
    (SELECT min(keeps_until) FROM jockey_jobs WHERE keeps_until IS NOT NULL),
    (SELECT min(ends) FROM jockey_locks),
    (SELECT min(keeps_until) FROM jockey_ids),
    (SELECT min(keeps_until) FROM jockey_joins)
"""

_PRUNE: Final = (
    """DELETE FROM jockey_jobs WHERE seq IN
        (SELECT seq FROM jockey_jobs WHERE keeps_until <= :now LIMIT :step) RETURNING id, is_child""",
    """DELETE FROM jockey_locks WHERE key IN
        (SELECT key FROM jockey_locks WHERE ends <= :now LIMIT :step) RETURNING key, 0""",
    """DELETE FROM jockey_ids WHERE id IN
        (SELECT id FROM jockey_ids WHERE keeps_until <= :now LIMIT :step) RETURNING id, 0""",
    """DELETE FROM jockey_joins WHERE id IN
        (SELECT id FROM jockey_joins WHERE keeps_until <= :now LIMIT :step) RETURNING id, 0""",
)


class Tables:
    """
    The tables of one connection.

    Attributes:
        now: Seconds since the epoch, the same for all of one transaction.
        has_news: Whether a job has become ready in this transaction.
        ended: The ids of the jobs that have ended in it.
        has_cancels: Whether a running job is to be cancelled because of it.
        committed: What to call when it is durable.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self.connection = connection
        self._clock = clock
        self._run = connection.execute
        self.begin()

    def begin(self) -> None:
        """Begin anew: note the time, and forget what the last transaction did."""
        self.now = self._clock()
        self.has_news = False
        self.has_cancels = False
        self.ended: list[str] = []
        self.committed: list[Callable[[], object]] = []
        self._declared: set[str] | None = None  # not known yet, or not any more

    def advance(self) -> None:
        """
        Let happen what is due, in small steps.

        What other programs have put into the inbox becomes jobs, jobs whose time has come become ready, and what has
        expired goes.
        """
        has_post, due, *expired = self._run(_DUE).fetchone()
        if has_post:
            self._publish_all(taken_out(self.connection, self.now, STEP))
        if due is not None and due <= self.now:
            self._let_begin()
        for place, when in enumerate(expired):
            if when is not None and when <= self.now:
                self._prune(place)

    # Queues

    def declare(self, queue: str) -> None:
        self._run("INSERT OR IGNORE INTO jockey_queues (name) VALUES (?)", (queue,))
        self._declared = None

    def undeclare(self, queue: str) -> None:
        self._run("DELETE FROM jockey_queues WHERE name = ?", (queue,))
        self._declared = None

    def purge(self, queue: str, upto: int) -> int:
        """Remove some of what waits in the queue and arrived up to that number; return how many, 0 if none is left."""
        rows = self._run(
            """DELETE FROM jockey_jobs WHERE seq IN
            (SELECT seq FROM jockey_jobs WHERE phase <= 3 AND queue = ? AND seq <= ? LIMIT ?)
            RETURNING seq, id, team, is_child""",
            (queue, upto, STEP),
        ).fetchall()
        for seq, id_, team, is_child in rows:
            self._is_over(seq, id_, team)
            self._is_gone(id_, is_child=is_child)
        return len(rows)

    # From the producer to the worker, and back

    def publish(self, parcels: Sequence[Parcel]) -> list[Published]:
        if self._declared is None:
            # Asked once for all who publish in this transaction.
            self._declared = {name for (name,) in self._run("SELECT name FROM jockey_queues")}
        declared = self._declared
        for message, _ in parcels:
            if message.queue not in declared:
                raise undeclared(message.queue, declared)
        return self._publish_all(parcels)

    def claim(self, terms: Terms, count: int) -> list[tuple[int, Held]]:
        """Take at most so many jobs; return them with their numbers, the most urgent first."""
        self._reap(terms)
        token = random.getrandbits(62)  # nobody else has it, and it is not a secret
        first = " UNION ALL ".join([_FIRST_OF_QUEUE] * len(terms.queues))
        limits = [value for queue in terms.queues for value in (queue, count)]
        rows = self._run(
            _CLAIM.format(first=first), (token, self.now + terms.lease, terms.worker, self.now, *limits, count)
        ).fetchall()
        rows.sort()  # RETURNING has no order
        return [(seq, Held(id_, body, queue, token, crashes)) for _, _, seq, id_, queue, crashes, body in rows]

    def renew(self, held: Iterable[tuple[int, int]], lease: float) -> set[int]:
        """Renew the leases of jobs that are told by number and token; return the numbers of those that are lost."""
        renewed_all = [(self.now + lease, seq, token) for seq, token in held]
        cursor = self.connection.executemany(
            "UPDATE jockey_jobs SET lease_ends = ? WHERE seq = ? AND token = ? AND phase = 4", renewed_all
        )
        if cursor.rowcount == len(renewed_all):
            return set()
        tokens = {seq: run.token for seq, run in self._held([seq for _, seq, _ in renewed_all]).items()}
        return {seq for _, seq, token in renewed_all if tokens.get(seq) != token}

    def settle_many(self, ends: Sequence[tuple[int, int, Settlement]]) -> list[bool]:
        """End leases that are told by number and token; return which of them were still held."""
        held = self._held([seq for seq, _, _ in ends])
        answers: list[bool] = []
        successes: list[tuple[Run, Succeeded]] = []
        for seq, token, settlement in ends:
            run = held.get(seq)
            is_held = run is not None and run.token == token
            answers.append(is_held)
            if run is None or not is_held:
                continue
            del held[seq]  # what comes twice is held once
            if isinstance(settlement, Succeeded):
                successes.append((run, settlement))
            else:
                self._settle(seq, settlement)
        self._succeed(successes)
        return answers

    # Dead letters

    def replay(self, ids: Sequence[str]) -> int:
        return sum(self._replay(id_) for id_ in dict.fromkeys(ids))

    def drop(self, ids: Sequence[str]) -> int:
        return sum(self._remove(id_, (DEAD,)) for id_ in dict.fromkeys(ids))

    # What is known of jobs

    def remove(self, id_: str) -> bool:
        return self._remove(id_, tuple(ENDED))

    def arrive(self, join: Join, result: bytes) -> list[bytes] | None:
        self._run(
            "INSERT INTO jockey_joins (id, keeps_until) VALUES (?, ?)"
            " ON CONFLICT (id) DO UPDATE SET keeps_until = excluded.keeps_until",
            (join.id, self.now + JOIN_KEPT),
        )
        self._run(
            "INSERT OR IGNORE INTO jockey_arrivals (id, place, result) VALUES (?, ?, ?)", (join.id, join.index, result)
        )
        rows = self._run("SELECT result FROM jockey_arrivals WHERE id = ? ORDER BY place", (join.id,)).fetchall()
        return [found for (found,) in rows] if len(rows) == join.count else None

    def cancel(self, id_: str, reason: str) -> None:
        """Cancel the job, if it waits; if it runs, note it, for its worker."""
        row = self._run("SELECT seq, phase FROM jockey_jobs WHERE id = ?", (id_,)).fetchone()
        if row is None:
            return
        seq, phase = row
        if phase in WAITING:
            self._cancel_waiting(seq, reason)
        elif phase not in ENDED:
            self._run("UPDATE jockey_jobs SET cancel = coalesce(cancel, ?) WHERE seq = ?", (reason, seq))
            self.has_cancels = True

    # The steps of all that

    def _publish_all(self, parcels: Sequence[Parcel]) -> list[Published]:
        if any(message.unique or message.group or message.parent for message, _ in parcels):
            return [self._publish(message, body) for message, body in parcels]
        return self._publish_plain(parcels)

    def _publish_plain(self, parcels: Sequence[Parcel]) -> list[Published]:
        if len(parcels) == 1:
            [(message, body)] = parcels
            is_new = self._run(INSERT[1], row_of(message, body, self.now)).rowcount == 1
            self.has_news = True
            return [Published(message.id, is_new=is_new)]
        before = self._run("SELECT coalesce(max(seq), 0) FROM jockey_jobs").fetchone()[0]
        added = self._insert([row_of(message, body, self.now) for message, body in parcels])
        self.has_news = True
        if added == len(parcels):
            return [Published(message.id) for message, _ in parcels]
        new = {id_ for (id_,) in self._run("SELECT id FROM jockey_jobs WHERE seq > ?", (before,))}
        published: list[Published] = []
        for message, _ in parcels:
            published.append(Published(message.id, is_new=message.id in new))
            new.discard(message.id)  # what comes twice in this very batch is new once
        return published

    def _insert(self, rows: Sequence[Row]) -> int:
        """Add as many as possible with each statement; return how many of them were not there yet."""
        added = first = 0
        for size, statement in INSERT.items():
            while len(rows) - first >= size:
                values = list(chain.from_iterable(rows[first : first + size]))
                added += self._run(statement, values).rowcount
                first += size
        return added

    def _publish(self, message: Message, body: bytes) -> Published:
        if (twin := self._duplicated(message)) is not None:
            return Published(twin, is_new=False)
        seq = self._add(message, body)
        self.has_news = True
        if message.not_before <= self.now:
            self._line_up(seq, message.group)
        return Published(message.id)

    def _duplicated(self, message: Message) -> str | None:
        if message.parent is not None and self._one("SELECT 1 FROM jockey_ids WHERE id = ?", message.id):
            return message.id
        if self._one("SELECT 1 FROM jockey_jobs WHERE id = ?", message.id):
            return message.id
        return None if message.unique is None else self._twin(message.unique)

    def _add(self, message: Message, body: bytes) -> int:
        seq = self._run(INSERT[1], row_of(message, body, self.now)).lastrowid or 0
        if message.unique is not None and (ends := lock_ends(message, self.now)) is not None:
            self._run("INSERT OR REPLACE INTO jockey_locks VALUES (?, ?, ?)", (message.unique, message.id, ends))
        return seq

    def _twin(self, key: str) -> str | None:
        locked = self._run("SELECT job FROM jockey_locks WHERE key = ? AND ends > ?", (key, self.now)).fetchone()
        found = locked or self._run(_TWIN, (key,)).fetchone()
        return None if found is None else str(found[0])

    def _line_up(self, seq: int, team: str | None) -> None:
        """Make a job ready whose time has come; or one of those that wait for their group's turn."""
        phase = READY
        if team is not None:
            self._run("INSERT OR IGNORE INTO jockey_groups (name, head) VALUES (?, ?)", (team, seq))
            if self._one("SELECT head FROM jockey_groups WHERE name = ?", team) != seq:
                phase = BLOCKED
        self._run("UPDATE jockey_jobs SET phase = ? WHERE seq = ? AND phase <> ?", (phase, seq, phase))
        self.has_news = True

    def _let_begin(self) -> None:
        rows = self._run(
            """SELECT seq, team FROM jockey_jobs WHERE phase <= 1 AND ready_at <= ?
            ORDER BY ready_at, seq LIMIT ?""",
            (self.now, STEP),
        ).fetchall()
        for seq, team in rows:
            self._line_up(seq, team)

    def _prune(self, place: int) -> None:
        rows = self._run(_PRUNE[place], {"now": self.now, "step": STEP}).fetchall()
        if place == 0:
            for id_, is_child in rows:
                self._is_gone(id_, is_child=is_child)
        if place == len(_PRUNE) - 1:
            self.connection.executemany("DELETE FROM jockey_arrivals WHERE id = ?", [(id_,) for id_, _ in rows])

    def _reap(self, terms: Terms) -> None:
        """Take the jobs back whose workers are gone."""
        rows = self._run(
            """SELECT seq, crashes + 1, worker, body, queue FROM jockey_jobs
            WHERE phase = 4 AND lease_ends <= ? ORDER BY lease_ends, seq LIMIT ?""",
            (self.now, STEP),
        ).fetchall()
        for seq, crashes, worker, body, queue in rows:
            self._run("UPDATE jockey_jobs SET crashes = ? WHERE seq = ?", (crashes, seq))
            if crashes < terms.max_crashes:
                self._put_back(seq, spent=1)
            else:
                self._settle(seq, crashed(message_of(body, queue), crashes, worker, terms, self.now))

    def _held(self, numbers: Sequence[int]) -> dict[int, Run]:
        """Return which of these jobs run, by number."""
        rows = self._run(
            """SELECT seq, token, id, team, is_child FROM jockey_jobs
            WHERE seq IN (SELECT value FROM json_each(?)) AND phase = 4""",
            (json.dumps(numbers),),
        )
        return {row[0]: Run(*row) for row in rows}

    def _succeed(self, successes: Sequence[tuple[Run, Succeeded]]) -> None:
        """Do at once for all of them what is done most often."""
        self.connection.executemany(
            """UPDATE jockey_jobs SET phase = 5, token = 0, lease_ends = NULL, cancel = NULL, error = NULL,
            finished_at = ?, keeps_until = ?, result = ? WHERE seq = ?""",
            [(self.now, self.now + end.ttl, end.result, run.seq) for run, end in successes if end.ttl is not None],
        )
        self.connection.executemany(
            "DELETE FROM jockey_jobs WHERE seq = ?", [(run.seq,) for run, end in successes if end.ttl is None]
        )
        for run, end in successes:
            if end.ttl is None:
                self._is_gone(run.id, is_child=run.is_child)
            self._is_over(run.seq, run.id, run.team)
            self._follow(end.successors)

    def _settle(self, seq: int, settlement: Settlement) -> None:
        if isinstance(settlement, Retried):
            self._declare_again(seq)
            self._retry(seq, settlement, FAILED)
            self.has_news = True
        elif isinstance(settlement, Released):
            self._put_back(seq, spent=0)
        elif isinstance(settlement, Died):
            self._die(seq, settlement, DEAD)
            self._follow(settlement.successors)
        else:
            self._conclude(seq, settlement)

    def _conclude(self, seq: int, settlement: Succeeded | Cancelled) -> None:
        if isinstance(settlement, Cancelled):
            self._cancel(seq, settlement.reason, settlement.ttl)
        else:
            self._finish(seq, SUCCEEDED, settlement.ttl, result=settlement.result)

    def _die(self, seq: int, settlement: Died, phase: int) -> None:
        if settlement.message is not None:
            self._run("UPDATE jockey_jobs SET body = ? WHERE seq = ?", (encode(settlement.message), seq))
        self._finish(seq, phase, None, error=settlement.error)

    def _retry(self, seq: int, settlement: Retried, phase: int) -> None:
        error = last_trouble(settlement.message)
        [(cancel,)] = self._run(
            """UPDATE jockey_jobs SET phase = ?, token = 0, lease_ends = NULL, body = ?, error = ?, finished_at = ?,
            ready_at = ? WHERE seq = ? RETURNING cancel""",
            (
                phase,
                encode(settlement.message),
                None if error is None else encode_trouble(error),
                self.now,
                self.now + settlement.delay,
                seq,
            ),
        ).fetchall()
        if cancel is not None:
            self._cancel_waiting(seq, cancel)

    def _put_back(self, seq: int, *, spent: int) -> None:
        """Let a job that nobody works on any more wait in its old place."""
        self._declare_again(seq)
        [(team, cancel)] = self._run(
            """UPDATE jockey_jobs SET phase = ?, token = 0, lease_ends = NULL, attempt = attempt - 1 + ?
            WHERE seq = ? RETURNING team, cancel""",
            (READY, spent, seq),
        ).fetchall()
        if cancel is None:
            self._line_up(seq, team)
        else:
            self._cancel_waiting(seq, cancel)

    def _declare_again(self, seq: int) -> None:
        """See to it that there is the queue of a job that waits again: it may have been deleted while the job ran."""
        self._run("INSERT OR IGNORE INTO jockey_queues SELECT queue FROM jockey_jobs WHERE seq = ?", (seq,))
        self._declared = None

    def _cancel_waiting(self, seq: int, reason: str) -> None:
        body, queue, ready_at = self._run(
            "SELECT body, queue, ready_at FROM jockey_jobs WHERE seq = ?", (seq,)
        ).fetchone()
        self._cancel(seq, reason, cancelled_ttl(message_of(body, queue), ready_at, self.now))

    def _cancel(self, seq: int, reason: str, ttl: float | None) -> None:
        self._finish(seq, CANCELLED, ttl, error=Trouble(message=reason, at=self.now))

    def _finish(
        self, seq: int, phase: int, ttl: float | None, *, error: Trouble | None = None, result: bytes | None = None
    ) -> None:
        if ttl is None and phase not in {DEAD, DEAD_ELSEWHERE}:
            [(id_, team, is_child)] = self._run(
                "DELETE FROM jockey_jobs WHERE seq = ? RETURNING id, team, is_child", (seq,)
            ).fetchall()
            self._is_gone(id_, is_child=is_child)
        else:
            [(id_, team)] = self._run(
                """UPDATE jockey_jobs SET phase = ?, token = 0, lease_ends = NULL, cancel = NULL, finished_at = ?,
                keeps_until = ?, error = ?, result = ? WHERE seq = ? RETURNING id, team""",
                (
                    phase,
                    self.now,
                    None if ttl is None else self.now + ttl,
                    None if error is None else encode_trouble(error),
                    result,
                    seq,
                ),
            ).fetchall()
        self._is_over(seq, id_, team)

    def _is_over(self, seq: int, id_: str, team: str | None) -> None:
        """Let the next job of its group have its turn, if it was this one's."""
        self.ended.append(id_)
        if team is None or self._one("SELECT head FROM jockey_groups WHERE name = ?", team) != seq:
            return
        head = self._run(
            "SELECT seq FROM jockey_jobs WHERE phase = 3 AND team = ? ORDER BY ready_at, seq LIMIT 1", (team,)
        ).fetchone()
        if head is None:
            self._run("DELETE FROM jockey_groups WHERE name = ?", (team,))
        else:
            self._run("UPDATE jockey_groups SET head = ? WHERE name = ?", (head[0], team))
            self._line_up(head[0], team)

    def _is_gone(self, id_: str, *, is_child: bool) -> None:
        """Remember the id of a successor."""
        if is_child:
            self._run("INSERT OR REPLACE INTO jockey_ids (id, keeps_until) VALUES (?, ?)", (id_, self.now + ID_KEPT))

    def _follow(self, successors: Sequence[Message]) -> None:
        for message in successors:
            self.declare(message.queue)
            self._publish(message, encode(message))

    def _replay(self, id_: str) -> bool:
        row = self._run("SELECT seq, body, queue, team FROM jockey_jobs WHERE id = ? AND phase = 7", (id_,)).fetchone()
        if row is None:
            return False
        seq, body, queue, team = row
        message = message_of(body, queue)
        self._run(
            """UPDATE jockey_jobs SET phase = ?, body = ?, attempt = 0, crashes = 0, enqueued_at = ?, ready_at = ?,
            started_at = NULL, finished_at = NULL, error = NULL WHERE seq = ?""",
            (READY, body if message is None else encode(renewed(message, self.now)), self.now, self.now, seq),
        )
        self.declare(queue)
        self._line_up(seq, team)
        return True

    def _remove(self, id_: str, phases: tuple[int, ...]) -> bool:
        rows = self._run(
            """DELETE FROM jockey_jobs WHERE id = ? AND phase IN (SELECT value FROM json_each(?))
            RETURNING id, is_child""",
            (id_, json.dumps(phases)),
        ).fetchall()
        for gone, is_child in rows:
            self._is_gone(gone, is_child=is_child)
        return bool(rows)

    def _one(self, statement: str, value: str) -> Any:  # the one value of the one row, whatever its type; or None
        row = self._run(statement, (value,)).fetchone()
        return None if row is None else row[0]
