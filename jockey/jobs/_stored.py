"""A broker that keeps no records, beside a store that does: together they can what an embedded broker can."""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import msgspec

from jockey.jobs import _codec
from jockey.jobs._broker import Broker, Cancelled, Died, Hearing, Ledger, Released, Succeeded, WorkerInfo
from jockey.jobs._errors import BrokerUnavailableError, DecodeError, QueueNotDeclaredError, ResultUnavailableError
from jockey.jobs._message import Trouble
from jockey.jobs._options import DEFAULT_RESULT_TTL
from jockey.jobs._state import ENDED, WAITING, State
from jockey.jobs._together import together

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Container, Sequence

    from jockey.jobs._broker import Delivery, Features, Published, QueueInfo, Record, Settlement, Source
    from jockey.jobs._carrier import Carrier, Removed
    from jockey.jobs._message import Join, Message

LISTEN_EVERY: Final = 0.5
"""Seconds between two looks for running jobs that were cancelled; nobody looks while nothing runs."""

NOTED_WITHIN: Final = 10 * LISTEN_EVERY
"""Seconds after which a death that is not noted yet will not be any more: the worker has died as well."""

_FINAL: Final = (Succeeded, Cancelled)
"""Settlements after which no other worker may begin the job again."""


class LedgerBroker(Broker, Ledger, Protocol):
    """What an embedded broker is: only the store in it is used here."""


class Stored:
    """
    Carries jobs by one broker, and keeps their records in another one.

    Two systems cannot settle a job in one step. So what must not be lost goes first, and a crash between two steps
    repeats the last ones: the store sees that a job has ended already, and then it is not run again.

    Args:
        broker: Carries the jobs.
        ledger: Keeps the records.
    """

    def __init__(self, broker: Carrier, ledger: LedgerBroker) -> None:
        self._broker = broker
        self._ledger = ledger

    @property
    def features(self) -> Features:
        return replace(self._broker.features, uniqueness=True, cancellation=True)

    @property
    def path(self) -> str | None:
        """Of the file with the records, if they are in one."""
        return getattr(self._ledger, "path", None)

    async def open(self) -> None:
        await self._ledger.open()
        try:
            await self._broker.open()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._ledger.close()
            raise

    async def close(self) -> None:
        try:
            await self._broker.close()
        finally:
            with anyio.CancelScope(shield=True):
                await self._ledger.close()

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        published = await self._ledger.enter(messages)
        new = [message for message, twin in zip(messages, published, strict=True) if twin.is_new]
        try:
            if new:
                await self._broker.publish(new)
        except BaseException:
            # Those that have been published after all are entered again when they arrive.
            with anyio.CancelScope(shield=True):
                await self._ledger.withdraw([message.id for message in new])
            raise
        return published

    async def publish_next(self, messages: Sequence[Message]) -> None:
        """Publish what follows from a job, to queues that may be new; what was published before is not repeated."""
        for queue in dict.fromkeys(message.queue for message in messages):
            some = [message for message in messages if message.queue == queue]
            try:
                await self.publish(some)
            except QueueNotDeclaredError:
                await self._broker.declare(queue)
                await self.publish(some)

    @asynccontextmanager
    async def consume(
        self, queues: Sequence[str], hearing: Hearing, *, worker: str, lease: float, max_crashes: int
    ) -> AsyncGenerator[Source]:
        source = StoredSource(self, self._ledger, hearing, worker)
        consuming = self._broker.consume(queues, source.hearing, worker=worker, lease=lease, max_crashes=max_crashes)
        error: Exception | None = None
        try:
            async with consuming as source.inner, anyio.create_task_group() as tasks:
                tasks.start_soon(source.listen)
                try:
                    yield source
                except Exception as raised:
                    error = raised  # as it was raised, and not in a group
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await source.note_the_rest()
        if error is not None:
            raise error

    async def declare(self, queue: str) -> None:
        await self._broker.declare(queue)

    async def info(self, queue: str | None = None) -> Sequence[QueueInfo]:
        return await self._broker.info(queue)

    async def workers(self) -> Sequence[WorkerInfo]:
        """Return those that run something: the store knows who runs which job, and the broker no names."""
        running = Counter([record.worker async for record in self.records(state=State.RUNNING)])
        return [WorkerInfo(name, running=count) for name, count in sorted(running.items())]

    async def peek(self, queue: str, count: int) -> Sequence[Record]:
        return await self._broker.peek(queue, count)

    async def purge(self, queue: str) -> int:
        """Remove all that waits; what the broker cannot reach now is cancelled, and not run when it comes."""
        reason = "the queue was purged"
        removed = await self._broker.take_out(queue, partial(self._end_removed, reason))
        return removed + await self._end_all(queue, WAITING, reason)

    async def delete(self, queue: str) -> None:
        """Remove the queue with all that is in it; its workers lose what they have of it."""
        reason = "the queue was deleted"
        with contextlib.suppress(QueueNotDeclaredError):
            await self._broker.take_out(queue, partial(self._end_removed, reason))
        await self._broker.delete(queue)
        await self._end_all(queue, WAITING | {State.RUNNING}, reason)

    async def _end_removed(self, reason: str, removed: Sequence[Removed]) -> None:
        """End jobs of which nothing is left; before they are gone, so that a crash loses none."""
        for each in removed:
            record = each.message and await self._ledger.record(each.message.id)
            if record and (record.state in WAITING or (record.state is State.RUNNING and _is_over(record, each))):
                await self._end(record, reason)

    async def _end_all(self, queue: str, states: Container[State], reason: str) -> int:
        records = [record async for record in self.records(queue=queue) if record.state in states]
        for record in records:
            await self._end(record, reason)
        return len(records)

    async def _end(self, record: Record, reason: str) -> None:
        if record.state is State.RUNNING:
            ttl = None if record.message is None else record.message.result_ttl
            await self._ledger.end(record.id, Cancelled(reason, DEFAULT_RESULT_TTL if ttl is None else ttl))
        else:
            await self._ledger.cancel(record.id, reason)

    async def dead(self, queue: str | None = None, *, count: int = 100) -> Sequence[Record]:
        return await self._broker.dead(queue, count=count)

    async def replay(self, ids: Sequence[str]) -> int:
        """
        Put back what is dead for the broker too: it may have no such dead letter any more, and then the job stays dead.

        If the end of a job is not noted yet, that is waited for, a few seconds at most.
        """
        return await self._broker.put_back(ids, self._revive_all)

    async def _revive_all(self, letters: Sequence[Record]) -> list[str]:
        by_id = {letter.id: letter for letter in letters}
        revived = await together(partial(self._revive, letter) for letter in by_id.values())
        for answer in revived:
            if isinstance(answer, Exception):
                raise answer
        return [id_ for id_, is_revived in zip(by_id, revived, strict=True) if is_revived]

    async def _revive(self, letter: Record) -> bool:
        """Note that it waits again, before it does; return False if it has ended otherwise, for all the store knows."""
        record = await self._ledger.record(letter.id)
        if record is not None and record.state not in ENDED:
            await self._bury(letter)
            record = await self._ledger.record(letter.id)
        if record is None or letter.message is None:
            return True  # it is noted as it begins
        if record.state is not State.DEAD:
            return False
        # Should it not be put back after all, it is a dead letter still, and whoever tries again comes by here again.
        await self._ledger.remove(letter.id)
        await self._ledger.enter([msgspec.structs.replace(letter.message, attempt=0, not_before=0.0)])
        return True

    async def _bury(self, letter: Record) -> None:
        """Wait until its worker has noted the death, or do it if that does not come; later it would end a replay."""
        with contextlib.suppress(ResultUnavailableError), anyio.move_on_after(NOTED_WITHIN):
            await self._ledger.wait(letter.id)
        await self._ledger.end(letter.id, Died(letter.error or Trouble(), letter.message))

    async def drop(self, ids: Sequence[str]) -> int:
        number = await self._broker.drop(ids)
        for id_ in ids:
            await self._ledger.remove(id_)
        return number

    async def record(self, id: str) -> Record | None:  # noqa: A002 - the protocol's name
        return await self._ledger.record(id)

    async def wait(self, id: str) -> Record:  # noqa: A002 - the protocol's name
        return await self._ledger.wait(id)

    def records(self, *, queue: str | None = None, state: State | None = None) -> AsyncIterator[Record]:
        return self._ledger.records(queue=queue, state=state)

    async def remove(self, id: str) -> bool:  # noqa: A002 - the protocol's name
        return await self._ledger.remove(id)

    async def arrive(self, join: Join, result: bytes) -> Sequence[bytes] | None:
        return await self._ledger.arrive(join, result)

    async def cancel(self, id: str, reason: str) -> Record | None:  # noqa: A002 - the protocol's name
        return await self._ledger.cancel(id, reason)


def _is_over(record: Record, removed: Removed) -> bool:
    """Tell whether the try that runs, for all the store knows, is one of which this message was all that is left."""
    attempt, running = (message.attempt if message else 0 for message in (removed.message, record.message))
    # Else it may be a copy of what a worker has: whoever does not hear of a confirmation publishes it once more.
    return attempt > running or (attempt == running and removed.was_taken)


class StoredSource:
    """
    Takes from the broker, and notes in the ledger what becomes of it.

    Attributes:
        inner: The source of the broker.
        hearing: What the broker shall tell.
    """

    inner: Source

    def __init__(self, stored: Stored, ledger: Ledger, hearing: Hearing, worker: str) -> None:
        self._stored = stored
        self._ledger = ledger
        self._worker = worker
        self._outer = hearing
        self.hearing = replace(hearing, on_lost=self._lose, on_crashed=self._bury, wants_ids=True)
        self._running: dict[int, tuple[Delivery, Message]] = {}  # by the identity of the delivery
        self._told: set[int] = set()  # those whose worker has heard that they are cancelled; as above
        self._dead = deque[tuple[str, Died]]()  # of which the store is still to be told

    async def take(self, count: int) -> Sequence[Delivery]:
        while True:
            deliveries = await self.inner.take(count)
            # They are ours already: none may be forgotten because somebody gives up waiting for them.
            with anyio.CancelScope(shield=True):
                if begun := await self._begin_all(deliveries):
                    return begun

    async def settle_many(self, ends: Sequence[tuple[Delivery, Settlement]]) -> Sequence[bool | Exception]:
        answers: Sequence[bool | Exception] = ()
        with anyio.CancelScope(shield=True):
            answers = await self._settle_many(ends)
        return answers  # noqa: RET504 - a scope may leave its block early, for all that type checkers know

    async def _settle_many(self, ends: Sequence[tuple[Delivery, Settlement]]) -> Sequence[bool | Exception]:
        left = await together(partial(self._prepare, *end) for end in ends)
        told = [(end[0], rest) for end, rest in zip(ends, left, strict=True) if not isinstance(rest, Exception)]
        settled = iter(await self.inner.settle_many(told))
        answers = [rest if isinstance(rest, Exception) else next(settled) for rest in left]
        return await together(partial(self._conclude, *end, answer) for end, answer in zip(ends, answers, strict=True))

    async def _prepare(self, delivery: Delivery, settlement: Settlement) -> Settlement:
        """Do what comes before the broker is told; return what that is told."""
        known = self._running.get(id(delivery))
        if known is None:
            return settlement
        if isinstance(settlement, Succeeded | Died):
            await self._stored.publish_next(settlement.successors)
            settlement = msgspec.structs.replace(settlement, successors=())
        if isinstance(settlement, _FINAL):
            # Whoever gets it after a crash now finds that it has ended.
            await self._ledger.end(known[1].id, settlement)
        return settlement

    async def _conclude(
        self,
        delivery: Delivery,
        settlement: Settlement,
        answer: bool | Exception,  # noqa: FBT001 - what the broker says
    ) -> bool | Exception:
        if isinstance(answer, Exception):
            return answer
        known = self._running.get(id(delivery))
        self._forget(delivery)
        if known is not None and answer and not isinstance(settlement, _FINAL):
            # Not before it is safe elsewhere: this says that what was here may be thrown away.
            await self._note(known[1], settlement)
        return answer

    async def _note(self, message: Message, settlement: Settlement) -> None:
        try:
            await self._ledger.end(message.id, settlement)
        except BrokerUnavailableError:
            # The broker has it already. The next try will be noted as it begins; after a death there is none.
            if isinstance(settlement, Died):
                self._dead.append((message.id, settlement))

    async def _begin_all(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return those whose tries begin; give back those that the store, which is away, cannot be told of."""
        begun: list[Delivery] = []
        for place, delivery in enumerate(deliveries):
            try:
                if await self._begin(delivery):
                    begun.append(delivery)
            except BrokerUnavailableError:
                with anyio.CancelScope(shield=True):  # each of them, also when nobody waits any more
                    for other in deliveries[place:]:
                        with contextlib.suppress(BrokerUnavailableError):  # then the broker takes it back by itself
                            await self._tell(other, Released())  # noqa: ASYNC120 - shielded
                if not begun:
                    raise
                break
        return begun

    async def _begin(self, delivery: Delivery) -> bool:
        """Note that a try begins; return False, and throw it away, if the job has ended or gone on without it."""
        try:
            message = delivery.message or _codec.decode(delivery.body, delivery.queue)
        except DecodeError:
            return True
        record = await self._ledger.begin(message, worker=self._worker, crashes=delivery.crashes)
        if record.state in ENDED or (record.message is not None and record.message.attempt > message.attempt):
            await self._tell(delivery, Cancelled("it has ended already"))
            return False
        self._running[id(delivery)] = (delivery, message)
        return True

    async def _tell(self, delivery: Delivery, settlement: Settlement) -> None:
        [answer] = await self.inner.settle_many([(delivery, settlement)])
        if isinstance(answer, Exception):
            raise answer

    def _lose(self, delivery: Delivery) -> None:
        self._forget(delivery)
        self._outer.on_lost(delivery)

    def _forget(self, delivery: Delivery) -> None:
        self._running.pop(id(delivery), None)
        self._told.discard(id(delivery))

    def _bury(self, message: Message, trouble: Trouble) -> Sequence[Message]:
        """Note it for the ledger; in whatever thread."""
        self._dead.append((message.id, Died(trouble, message)))
        return self._outer.on_crashed(message, trouble)

    async def listen(self) -> None:
        """Tell the worker of running jobs that were cancelled, and the ledger of those that are dead."""
        while True:
            await anyio.sleep(LISTEN_EVERY)
            try:
                await self._note_dead()
                await self._hear_of_cancelled()
            except BrokerUnavailableError:
                continue

    async def _note_dead(self) -> None:
        while self._dead:
            await self._ledger.end(*self._dead[0])
            self._dead.popleft()

    async def _hear_of_cancelled(self) -> None:
        if not self._running:
            return
        cancelled = await self._ledger.cancelled([message.id for _, message in self._running.values()])
        for delivery, message in list(self._running.values()):
            if message.id in cancelled and id(delivery) not in self._told:
                self._told.add(id(delivery))
                self._outer.on_cancel(delivery, cancelled[message.id])

    async def note_the_rest(self) -> None:
        """Note what the broker does with the jobs of a worker that leaves: it releases them."""
        await self._note_dead()
        for _, message in self._running.values():
            await self._ledger.end(message.id, Released())
