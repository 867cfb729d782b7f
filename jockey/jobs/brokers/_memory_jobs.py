"""All jobs of a broker in memory, and what can happen to them. No await, no I/O, and no clock but the given one."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

from jockey.jobs._broker import Died, Published, QueueInfo, Released, Retried, Succeeded
from jockey.jobs._message import Trouble
from jockey.jobs.brokers._embedded import (
    BLOCKED,
    CANCELLED,
    DEAD,
    DEAD_ELSEWHERE,
    ENDED,
    FAILED,
    ID_KEPT,
    PHASES,
    READY,
    RUNNING,
    SCHEDULED,
    STATES,
    SUCCEEDED,
    WAITING,
    cancelled_ttl,
    crashed,
    last_trouble,
    renewed,
    undeclared,
)
from jockey.jobs.brokers._memory_entry import Entry, InMemory
from jockey.jobs.brokers._memory_groups import Groups
from jockey.jobs.brokers._memory_joins import Joins
from jockey.jobs.brokers._memory_keys import Keys
from jockey.jobs.brokers._memory_lane import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from jockey.jobs._broker import Record, Settlement
    from jockey.jobs._message import Join, Message
    from jockey.jobs._state import State
    from jockey.jobs.brokers._embedded import Terms


class Jobs:
    """
    All jobs, by id, and in the orders in which they are asked for.

    Entries in the heaps are not taken out when a job goes elsewhere, but passed over when their turn comes.

    Args:
        clock: Seconds since the epoch.
        on_news: Called when there may be something to take.
        on_end: Called with the id of a job that has ended or is gone.
        on_cancel: Called with a job that runs and shall be cancelled.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        on_news: Callable[[], object],
        on_end: Callable[[str], object],
        on_cancel: Callable[[Entry], object],
    ) -> None:
        self._clock = clock
        self._on_news = on_news
        self._on_end = on_end
        self._on_cancel = on_cancel
        self._numbers = itertools.count(1)
        self._entries: dict[str, Entry] = {}
        self._ready: dict[str, Lane] = {}  # by queue; its keys are the declared queues
        self._due: list[tuple[float, int, Entry]] = []
        self._leases: list[tuple[float, int, Entry]] = []  # of workers that are gone; the others need none
        self._expiring: list[tuple[float, int, Entry]] = []
        self._groups = Groups()
        self._keys = Keys()
        self._ids: dict[str, float] = {}  # forgotten but for the id, the oldest first
        self._joins = Joins()

    # Queues

    def declare(self, queue: str) -> None:
        if queue not in self._ready:
            self._ready[queue] = Lane()

    def delete(self, queue: str) -> None:
        self.purge(queue)
        self._ready.pop(queue, None)

    def purge(self, queue: str) -> int:
        now = self._advance()
        waiting = [entry for entry in self._entries.values() if entry.message.queue == queue and entry.phase < RUNNING]
        if queue in self._ready:
            self._ready[queue].clear()
        for entry in waiting:
            self._finish(entry, CANCELLED, None, now)
        return len(waiting)

    def peek(self, queue: str, count: int) -> list[Record]:
        self._advance()
        waiting = (entry for entry in self._entries.values() if entry.message.queue == queue and entry.phase < RUNNING)
        return [entry.record() for entry in heapq.nsmallest(count, waiting, key=_place)]

    def info_of(self, queue: str) -> QueueInfo:
        for info in self.info():
            if info.name == queue:
                return info
        raise undeclared(queue, self._ready)

    def info(self) -> list[QueueInfo]:
        now = self._advance()
        found: dict[str, list[Entry]] = {name: [] for name in self._ready}
        for entry in self._entries.values():
            found.setdefault(entry.message.queue, []).append(entry)
        return [_info(name, found[name], now) for name in sorted(found) if name in self._ready or _counts(found[name])]

    # From the producer to the worker, and back

    def publish(self, messages: Sequence[Message]) -> list[Published]:
        for message in messages:
            if message.queue not in self._ready:
                raise undeclared(message.queue, self._ready)
        now = self._advance()
        published = [self._publish(message, now) for message in messages]
        self._on_news()
        return published

    def claim(self, terms: Terms, count: int) -> list[InMemory]:
        now = self._advance()
        self._reap(terms, now)
        claimed: list[InMemory] = []
        for entry in self._pop_ready(terms.queues, count):
            entry.phase = RUNNING
            entry.attempt += 1
            entry.started_at = now
            entry.worker = terms.worker
            entry.terms = terms
            claimed.append(InMemory(entry, entry.message, entry.crashes))
        return claimed

    def settle(self, ends: Iterable[tuple[Entry, Settlement]]) -> None:
        """Settle jobs that their worker still has: as long as that lives, nobody else gets them."""
        now = self._advance()
        for entry, settlement in ends:
            self._settle(entry, settlement, now)

    def next_change(self) -> float | None:
        """Return when something may become ready by itself; None: never."""
        times = [heap[0][0] for heap in (self._due, self._leases) if heap]
        return min(times, default=None)

    def vanish(self, entry: Entry, lease: float) -> None:
        """Let the lease of a job begin to run out: its worker is gone."""
        heapq.heappush(self._leases, (self._clock() + lease, next(self._numbers), entry))
        self._on_news()

    # Dead letters

    def dead(self, queue: str | None, count: int) -> list[Record]:
        dead = [
            entry for entry in self._entries.values() if entry.phase == DEAD and queue in {None, entry.message.queue}
        ]
        newest = heapq.nlargest(count, dead, key=lambda entry: (entry.finished_at, entry.arrival))
        return [entry.record() for entry in newest]

    def replay(self, ids: Sequence[str]) -> int:
        now = self._advance()
        dead = [self._entries[id_] for id_ in dict.fromkeys(ids) if self._is_dead(id_)]
        for entry in dead:
            entry.message = renewed(entry.message, now)
            entry.enqueued_at = entry.ready_at = now
            entry.attempt = entry.crashes = 0
            entry.error = entry.started_at = entry.finished_at = None
            self.declare(entry.message.queue)
            self._keys.take_again(entry)
            self._line_up(entry)
        self._on_news()
        return len(dead)

    def drop(self, ids: Sequence[str]) -> int:
        dead = [self._entries[id_] for id_ in dict.fromkeys(ids) if self._is_dead(id_)]
        for entry in dead:
            self._forget(entry)
        return len(dead)

    # What is known of jobs

    def record(self, id_: str) -> Record | None:
        self._advance()
        entry = self._entries.get(id_)
        return None if entry is None else entry.record()

    def records(self, queue: str | None, state: State | None) -> Iterator[Record]:
        self._advance()
        newest = sorted(self._entries.values(), key=lambda entry: -entry.arrival)
        phases = range(len(STATES)) if state is None else PHASES[state]
        for entry in newest:
            if queue in {None, entry.message.queue} and entry.phase in phases and entry.message.id in self._entries:
                yield entry.record()

    def remove(self, id_: str) -> bool:
        self._advance()
        entry = self._entries.get(id_)
        if entry is None or entry.phase not in ENDED:
            return False
        self._forget(entry)
        return True

    def arrive(self, join: Join, result: bytes) -> list[bytes] | None:
        return self._joins.arrive(join, result, self._clock())

    def cancel(self, id_: str, reason: str) -> Record | None:
        now = self._advance()
        entry = self._entries.get(id_)
        if entry is not None and entry.phase in WAITING:
            self._cancel(entry, reason, now, cancelled_ttl(entry.message, entry.ready_at, now))
        elif entry is not None and entry.phase not in ENDED and entry.cancel is None:
            entry.cancel = reason
            self._on_cancel(entry)
        return None if entry is None else entry.record()

    def unfinished(self) -> list[Message]:
        """Return all that has not ended, in the order of arrival."""
        return [entry.message for entry in self._entries.values() if entry.phase <= RUNNING]

    # The steps of all that

    def _publish(self, message: Message, now: float) -> Published:
        if (twin := self._duplicated(message, now)) is not None:
            return Published(twin, is_new=False)
        entry = self._add(message, now)
        if entry.ready_at > now:
            heapq.heappush(self._due, (entry.ready_at, entry.arrival, entry))
        else:
            self._line_up(entry)
        return Published(message.id)

    def _duplicated(self, message: Message, now: float) -> str | None:
        if message.id in self._entries or message.id in self._ids:
            return message.id
        return None if message.unique is None else self._keys.holder(message.unique, now)

    def _add(self, message: Message, now: float) -> Entry:
        ready_at = max(now, message.not_before)
        entry = Entry(message, next(self._numbers), ready_at, message.enqueued_at or now, SCHEDULED, message.attempt)
        self._entries[message.id] = entry
        if message.unique is not None:
            self._keys.take(entry, message.unique, now)
        return entry

    def _line_up(self, entry: Entry) -> None:
        """Make a job ready whose time has come; or one of those that wait for their group's turn."""
        message = entry.message
        if message.group is not None and not self._groups.admit(entry, message.group):
            return
        entry.phase = READY
        lane = self._ready.get(message.queue)
        if lane is None:  # it was deleted while the job ran
            lane = self._ready[message.queue] = Lane()
        lane.add(entry)

    def _pop_ready(self, queues: Sequence[str], count: int) -> list[Entry]:
        lanes = [lane for queue in queues if (lane := self._ready.get(queue)) is not None]
        if len(lanes) == 1:
            return lanes[0].pop(count)
        popped: list[Entry] = []
        while len(popped) < count and (firsts := [(place, lane) for lane in lanes if (place := lane.first())]):
            popped += min(firsts)[1].pop(1)
        return popped

    def _advance(self) -> float:
        """Let everything happen whose time has come; return the time."""
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            ready_at, _, entry = heapq.heappop(self._due)
            if entry.phase <= FAILED and entry.ready_at == ready_at:
                self._line_up(entry)
        while self._expiring and self._expiring[0][0] <= now:
            entry = heapq.heappop(self._expiring)[-1]
            if self._entries.get(entry.message.id) is entry:
                self._forget(entry)
        if self._keys.unlocking:
            self._keys.unlock(now)
        while self._ids and self._ids[oldest := next(iter(self._ids))] <= now:
            del self._ids[oldest]
        return now

    def _reap(self, terms: Terms, now: float) -> None:
        """Take the jobs back whose workers are gone."""
        while self._leases and self._leases[0][0] <= now:
            entry = heapq.heappop(self._leases)[-1]
            entry.crashes += 1
            if entry.crashes < terms.max_crashes:
                self._put_back(entry, now)
            else:
                self._settle(entry, crashed(entry.message, entry.crashes, entry.worker, terms, now), now)

    def _settle(self, entry: Entry, settlement: Settlement, now: float) -> None:
        if isinstance(settlement, Succeeded):
            self._succeed(entry, settlement, now)
            if settlement.successors:
                self._follow(settlement.successors, now)
        elif isinstance(settlement, Retried):
            self._retry(entry, settlement, now)
        elif isinstance(settlement, Released):
            entry.attempt -= 1
            self._put_back(entry, now)
        elif isinstance(settlement, Died):
            entry.message = settlement.message or entry.message
            entry.error = settlement.error
            self._finish(entry, DEAD, None, now)
            self._follow(settlement.successors, now)
        else:
            self._cancel(entry, settlement.reason, now, settlement.ttl)

    def _succeed(self, entry: Entry, settlement: Succeeded, now: float) -> None:
        entry.result = settlement.result
        entry.error = None
        self._finish(entry, SUCCEEDED, settlement.ttl, now)

    def _retry(self, entry: Entry, settlement: Retried, now: float) -> None:
        entry.message = settlement.message
        entry.error = last_trouble(settlement.message)
        entry.finished_at = now
        entry.ready_at = now + settlement.delay
        self._let_go(entry, FAILED)
        if entry.cancel is not None:
            self._cancel(entry, entry.cancel, now, cancelled_ttl(entry.message, entry.ready_at, now))
            return
        heapq.heappush(self._due, (entry.ready_at, entry.arrival, entry))
        self._on_news()

    def _put_back(self, entry: Entry, now: float) -> None:
        """Let a job that nobody works on any more wait in its old place."""
        self._let_go(entry, READY)
        if entry.cancel is not None:
            self._cancel(entry, entry.cancel, now, cancelled_ttl(entry.message, entry.ready_at, now))
            return
        self._line_up(entry)
        self._on_news()

    def _cancel(self, entry: Entry, reason: str, now: float, ttl: float | None) -> None:
        entry.error = Trouble(message=reason, at=now)
        self._finish(entry, CANCELLED, ttl, now)

    def _finish(self, entry: Entry, phase: int, ttl: float | None, now: float) -> None:
        self._let_go(entry, phase)
        message = entry.message
        entry.cancel = None
        entry.finished_at = now
        if ttl is not None:
            heapq.heappush(self._expiring, (now + ttl, entry.arrival, entry))
        elif phase not in {DEAD, DEAD_ELSEWHERE}:
            self._forget(entry)
        if message.group is not None:
            self._pass_on(entry, message.group)
        if message.unique is not None:
            self._keys.release(entry, message.unique)
        self._on_end(message.id)

    def _let_go(self, entry: Entry, phase: int) -> None:
        entry.phase = phase
        entry.terms = None

    def _pass_on(self, entry: Entry, group: str) -> None:
        following = self._groups.pass_on(entry, group)
        if following is not None:
            self._line_up(following)
            self._on_news()

    def _follow(self, successors: Sequence[Message], now: float) -> None:
        for message in successors:
            self.declare(message.queue)
            self._publish(message, now)
        if successors:
            self._on_news()

    def _forget(self, entry: Entry) -> None:
        message = entry.message
        del self._entries[message.id]
        if message.parent is not None:
            self._ids[message.id] = self._clock() + ID_KEPT
        self._on_end(message.id)

    def _is_dead(self, id_: str) -> bool:
        entry = self._entries.get(id_)
        return entry is not None and entry.phase == DEAD


def _place(entry: Entry) -> tuple[bool, int, float, int]:
    is_early = entry.phase <= FAILED
    return is_early, 0 if is_early else entry.message.priority, entry.ready_at, entry.arrival


def _counts(entries: list[Entry]) -> bool:
    return any(entry.phase <= RUNNING or entry.phase == DEAD for entry in entries)


def _info(name: str, entries: list[Entry], now: float) -> QueueInfo:
    ready = [entry for entry in entries if entry.phase in {READY, BLOCKED}]
    return QueueInfo(
        name,
        ready=len(ready),
        delayed=sum(entry.phase <= FAILED for entry in entries),
        running=sum(entry.phase == RUNNING for entry in entries),
        dead=sum(entry.phase == DEAD for entry in entries),
        oldest_wait=max((now - entry.ready_at for entry in ready), default=0.0),
    )
