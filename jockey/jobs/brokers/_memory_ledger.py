"""The records of jobs that another broker carries, beside those of our own. In memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jockey.jobs._broker import Cancelled, Died, Published, Released, Retried
from jockey.jobs.brokers._embedded import (
    DEAD_ELSEWHERE,
    ENDED,
    FAILED_ELSEWHERE,
    QUEUED_ELSEWHERE,
    RUNNING_ELSEWHERE,
    SCHEDULED_ELSEWHERE,
    cancelled_ttl,
    last_trouble,
)
from jockey.jobs.brokers._memory_jobs import Jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jockey.jobs._broker import Record, Settlement
    from jockey.jobs._message import Message
    from jockey.jobs.brokers._memory_entry import Entry


class LedgerJobs(Jobs):
    """All jobs of a broker in memory, and the records of those that another one carries."""

    def enter(self, messages: Sequence[Message]) -> list[Published]:
        now = self._advance()
        return [self._enter(message, now) for message in messages]

    def withdraw(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            entry = self._entries.get(id_)
            if entry is not None and entry.phase in {SCHEDULED_ELSEWHERE, QUEUED_ELSEWHERE}:
                self._keys.withdraw(entry)
                self._forget(entry)
                self._ids.pop(id_, None)

    def begin(self, message: Message, worker: str, crashes: int) -> Record:
        now = self._advance()
        entry = self._entries.get(message.id) or self._add(message, now)
        if entry.phase not in ENDED and entry.message.attempt <= message.attempt:
            entry.phase = RUNNING_ELSEWHERE
            entry.message = message
            entry.attempt = message.attempt + crashes + 1
            entry.crashes = crashes
            entry.worker = worker
            entry.started_at = now
        return entry.record()

    def end(self, id_: str, settlement: Settlement) -> None:
        now = self._advance()
        entry = self._entries.get(id_)
        if entry is None or entry.phase in ENDED:
            return
        if isinstance(settlement, Retried):
            entry.message = settlement.message
            entry.error = last_trouble(settlement.message)
            entry.finished_at = now
            entry.ready_at = now + settlement.delay
            self._wait_again(entry, FAILED_ELSEWHERE, now)
        elif isinstance(settlement, Released):
            entry.attempt -= entry.phase == RUNNING_ELSEWHERE
            self._wait_again(entry, QUEUED_ELSEWHERE, now)
        elif isinstance(settlement, Died):
            entry.message = settlement.message or entry.message
            entry.error = settlement.error
            self._finish(entry, DEAD_ELSEWHERE, None, now)
        elif isinstance(settlement, Cancelled):
            self._cancel(entry, settlement.reason, now, settlement.ttl)
        else:
            self._succeed(entry, settlement, now)

    def cancelled(self, ids: Sequence[str]) -> dict[str, str]:
        found = (self._entries.get(id_) for id_ in ids)
        return {
            entry.message.id: entry.cancel
            for entry in found
            if entry is not None and entry.phase == RUNNING_ELSEWHERE and entry.cancel is not None
        }

    def _enter(self, message: Message, now: float) -> Published:
        if (twin := self._duplicated(message, now)) is not None:
            return Published(twin, is_new=False)
        entry = self._add(message, now)
        entry.phase = SCHEDULED_ELSEWHERE if entry.ready_at > now else QUEUED_ELSEWHERE
        return Published(message.id)

    def _wait_again(self, entry: Entry, phase: int, now: float) -> None:
        entry.phase = phase
        if entry.cancel is not None:
            self._cancel(entry, entry.cancel, now, cancelled_ttl(entry.message, entry.ready_at, now))
