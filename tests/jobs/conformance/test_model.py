"""Any history, on any broker that has a clock of ours: what is delivered is what a simple model says, job by job."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jockey.jobs._broker import Cancelled, Delivery, Died, Published, Released, Retried, Settlement, Succeeded
from jockey.jobs._message import Message, Trouble
from tests.jobs.conformance.carriers import CARRIERS, LEASE, Heard, read, settle

MAX_CRASHES = 2
QUEUES = ("a", "b")
FATES = st.sampled_from(["hold", "hold", "succeed", "keep", "retry at once", "retry later", "die", "cancel", "release"])
SECONDS = st.sampled_from([0, 0, 0.5, 4, 10, LEASE + 1])


@dataclass(eq=False)
class Job:
    """What the model knows of a job."""

    message: Message
    arrival: int
    ready_at: float
    phase: str = "waiting"  # "running", "dead", "kept", "gone"
    has_come: bool = False  # its time has, so that it is in the line of its group
    lease_ends: float = inf
    keeps_until: float = inf
    crashes: int = 0
    flagged: bool = False
    delivery: Delivery | None = None
    worker: int = -1

    @property
    def place(self) -> tuple[float, int]:
        return self.ready_at, self.arrival


@dataclass
class Model:
    """The semantics in a few lines: every question goes over all jobs."""

    jobs: list[Job] = field(default_factory=list)
    locks: dict[str, tuple[str, float]] = field(default_factory=dict)
    turns: dict[str, Job] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def living(self, id_: str) -> Job | None:
        return next((job for job in self.jobs if job.message.id == id_ and job.phase != "gone"), None)

    def advance(self, now: float) -> None:
        for job in sorted(self.jobs, key=lambda job: job.place):
            if job.phase == "kept" and job.keeps_until <= now:
                job.phase = "gone"
            if job.phase == "waiting" and job.ready_at <= now and not job.has_come:
                self.come(job)

    def come(self, job: Job) -> None:
        job.has_come = True
        if job.message.group is not None:
            self.turns.setdefault(job.message.group, job)

    def push(self, message: Message, now: float) -> Published:
        if self.living(message.id):
            return Published(message.id, is_new=False)
        if message.unique and (twin := self.twin(message.unique, now)):
            return Published(twin, is_new=False)
        if message.unique and isinstance(message.unique_for, float):
            self.locks[message.unique] = (message.id, now + message.unique_for)
        self.jobs.append(Job(message, next(self.numbers), max(now, message.not_before)))
        self.advance(now)
        return Published(message.id)

    def twin(self, key: str, now: float) -> str | None:
        id_, ends = self.locks.get(key, ("", -inf))
        if ends > now:
            return id_
        for job in self.jobs:
            if job.message.unique == key and not isinstance(job.message.unique_for, float):
                if job.phase == "waiting" or (job.phase == "running" and job.message.unique_for != "queued"):
                    return job.message.id
        return None

    def ready(self, queues: tuple[str, ...]) -> list[Job]:
        jobs = [
            job
            for job in self.jobs
            if job.phase == "waiting"
            and job.has_come
            and job.message.queue in queues
            and (job.message.group is None or self.turns[job.message.group] is job)
        ]
        return sorted(jobs, key=lambda job: (job.message.priority, *job.place))

    def take(self, queues: tuple[str, ...], count: int, now: float) -> list[Job]:
        for job in sorted(self.jobs, key=lambda job: job.lease_ends):
            if job.phase == "running" and job.lease_ends <= now:
                job.crashes += 1
                if job.crashes >= MAX_CRASHES:
                    self.over(job, "dead", inf)
                else:
                    self.put_back(job, now)
        taken = self.ready(queues)[:count]
        for job in taken:
            job.phase = "running"
            job.lease_ends = inf
        return taken

    def put_back(self, job: Job, now: float) -> None:
        job.phase = "waiting"
        if job.flagged:
            self.over(job, "kept", now + 86_400)

    def over(self, job: Job, phase: str, keeps_until: float) -> None:
        job.phase = phase
        job.keeps_until = keeps_until
        job.flagged = False
        group = job.message.group
        if group is not None and self.turns.get(group) is job:
            del self.turns[group]
            line = [other for other in self.jobs if other.phase == "waiting" and other.has_come]
            behind = [other for other in line if other.message.group == group]
            if behind:
                self.turns[group] = min(behind, key=lambda other: other.place)

    def settle(self, job: Job, settlement: Settlement, now: float) -> None:
        if isinstance(settlement, Released):
            self.put_back(job, now)
        elif isinstance(settlement, Retried):
            job.message = settlement.message
            job.ready_at = now + settlement.delay
            job.has_come = False
            self.put_back(job, now)
        elif isinstance(settlement, Died):
            self.over(job, "dead", inf)
        else:
            self.over(job, "gone" if settlement.ttl is None else "kept", now + (settlement.ttl or 0))


class Histories(RuleBasedStateMachine):
    """What can happen to a broker, in any order."""

    carrier_name = "memory"
    backend = "asyncio"

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.portal = self.stack.enter_context(anyio.from_thread.start_blocking_portal(self.backend))
        directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.carrier = CARRIERS[self.carrier_name](Path(directory))
        self.model = Model()
        self.numbers = itertools.count()
        self.workers: list[tuple[Any, Any, tuple[str, ...]]] = []
        self.stale: list[tuple[int, Delivery]] = []

    def teardown(self) -> None:
        with self.stack:
            for manager, _, _ in self.workers:
                manager.__exit__(None, None, None)
            self.portal.call(self.broker.close)

    @initialize()
    def open(self) -> None:
        self.broker = self.carrier.connect()
        self.portal.call(self.broker.open)
        for queue in QUEUES:
            self.portal.call(self.broker.declare, queue)
        self.workers = [self.hire(("a", "b")), self.hire(("a",))]

    def hire(self, queues: tuple[str, ...]) -> tuple[Any, Any, tuple[str, ...]]:
        manager = self.portal.wrap_async_context_manager(
            self.broker.consume(queues, Heard().hearing, worker="w", lease=LEASE, max_crashes=MAX_CRASHES)
        )
        return manager, manager.__enter__(), queues

    def now(self) -> float:
        self.model.advance(self.carrier.now())
        return self.carrier.now()

    @rule(
        count=st.integers(1, 5),
        seconds=SECONDS,
        queue=st.sampled_from(QUEUES),
        delay=st.sampled_from([0, 0, 0, 1, 15]),
        priority=st.integers(0, 2),
        group=st.sampled_from([None, None, "g", "h"]),
        unique=st.sampled_from([None, None, None, "k", "l"]),
        unique_for=st.sampled_from([None, "queued", "unfinished", 12.0]),
    )
    def push(self, count: int, seconds: float, delay: float, **fields: Any) -> None:
        self.time_passes(seconds)
        now = self.now()
        not_before = now + delay if delay else 0.0
        messages = [
            Message(id=f"j{next(self.numbers)}", name="t", not_before=not_before, **fields) for _ in range(count)
        ]
        expected = [self.model.push(message, now) for message in messages]

        assert self.portal.call(self.broker.publish, messages) == expected

    def push_an_id_again(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from([job.message.id for job in self.model.jobs]))
        message = Message(id=id_, name="again", queue="a")
        expected = [self.model.push(message, self.now()), Published(id_, is_new=False)]

        assert self.portal.call(self.broker.publish, [message, message]) == expected

    @rule(worker=st.integers(0, 1), fates=st.lists(FATES, min_size=1, max_size=4), seconds=SECONDS)
    def work(self, worker: int, fates: list[str], seconds: float) -> None:
        """Take jobs, and let something become of each."""
        self.time_passes(seconds)
        _, source, queues = self.workers[worker]
        expected = self.model.take(queues, len(fates), self.now())

        taken = self.portal.call(self.carrier.poll, source, len(fates))

        assert [read(delivery) for delivery in taken] == [job.message for job in expected]
        assert [delivery.crashes for delivery in taken] == [job.crashes for job in expected]
        for job, delivery, fate in zip(expected, taken, fates, strict=False):
            job.delivery, job.worker = delivery, worker
            self.settle(job, fate)

    @rule(data=st.data(), fate=FATES)
    @precondition(lambda self: any(job.phase == "running" for job in self.model.jobs))
    def settle_later(self, data: st.DataObject, fate: str) -> None:
        running = [job for job in self.model.jobs if job.phase == "running" and job.lease_ends == inf]
        if running:
            self.settle(data.draw(st.sampled_from(running)), fate)

    @rule(
        data=st.data(), kind=st.sampled_from(["again", "stale", "restart", "cancel", "cancel", "dead", "dead", "purge"])
    )
    def operate(self, data: st.DataObject, kind: str) -> None:
        """Do what is done less often."""
        if kind == "again" and self.model.jobs:
            self.push_an_id_again(data)
        elif kind == "stale" and self.stale:
            self.settle_what_is_not_held(data)
        elif kind == "restart" and self.carrier.is_durable:
            self.broker_restarts()
        elif kind == "cancel" and self.model.jobs:
            self.cancel(data)
        elif kind == "dead":
            self.dead_letters(data)
        elif kind == "purge":
            self.purge(data.draw(st.sampled_from(QUEUES)))

    def settle(self, job: Job, fate: str) -> None:
        fields = {name: getattr(job.message, name) for name in job.message.__struct_fields__}
        settlement = {
            "succeed": Succeeded(b"1"),
            "keep": Succeeded(b"1", ttl=12),
            "retry at once": Retried(Message(**fields | {"attempt": 8}), delay=0),
            "retry later": Retried(Message(**fields | {"attempt": 9}), delay=7),
            "die": Died(Trouble(message="no")),
            "cancel": Cancelled("stop"),
            "release": Released(),
        }.get(fate)
        if settlement is None or job.delivery is None:
            return
        self.model.settle(job, settlement, self.now())

        assert self.portal.call(settle, self.workers[job.worker][1], job.delivery, settlement)

        self.stale.append((job.worker, job.delivery))

    def settle_what_is_not_held(self, data: st.DataObject) -> None:
        worker, delivery = data.draw(st.sampled_from(self.stale))

        assert not self.portal.call(settle, self.workers[worker][1], delivery, Succeeded(b"2"))

    @rule(worker=st.integers(0, 1), is_killed=st.booleans(), seconds=SECONDS)
    def worker_ends(self, worker: int, *, is_killed: bool, seconds: float = 0) -> None:
        now = self.now()
        manager, source, queues = self.workers[worker]
        for job in self.model.jobs:
            if job.phase == "running" and job.lease_ends == inf and job.worker == worker:
                assert job.delivery is not None
                self.stale.append((worker, job.delivery))
                if is_killed:
                    job.lease_ends = now + LEASE
                else:
                    self.model.put_back(job, now)

        if is_killed:
            self.portal.call(self.carrier.crash, source)
        manager.__exit__(None, None, None)
        self.workers[worker] = self.hire(queues)
        self.time_passes(seconds)

    def broker_restarts(self) -> None:
        for worker in (0, 1):
            self.worker_ends(worker, is_killed=True)
        for manager, _, _ in self.workers:
            manager.__exit__(None, None, None)
        self.portal.call(self.broker.close)
        self.open()

    def time_passes(self, seconds: float) -> None:
        self.portal.call(self.carrier.advance, seconds)

    def cancel(self, data: st.DataObject) -> None:
        now = self.now()
        job = data.draw(st.sampled_from(self.model.jobs))
        known = self.model.living(job.message.id)
        if known is not None and known.phase == "waiting":
            self.model.over(known, "kept", max(0.0, known.ready_at - now) + now + 86_400)
        elif known is not None and known.phase == "running":
            known.flagged = True

        record = self.portal.call(self.broker.cancel, job.message.id, "not wanted")

        assert (record is None) == (known is None)

    def dead_letters(self, data: st.DataObject) -> None:
        is_dropped = data.draw(st.booleans())
        now = self.now()
        dead = [job for job in self.model.jobs if job.phase == "dead"]
        records = self.portal.call(self.broker.dead)
        assert {record.id for record in records} == {job.message.id for job in dead}
        for job in dead[: data.draw(st.integers(0, 2))]:
            if is_dropped:
                job.phase = "gone"
                assert self.portal.call(self.broker.drop, [job.message.id]) == 1
            else:
                assert self.portal.call(self.broker.replay, [job.message.id]) == 1
                [found] = [self.portal.call(self.broker.record, job.message.id)]
                assert found is not None
                assert found.message is not None
                job.message = found.message
                job.phase, job.ready_at, job.crashes, job.has_come = "waiting", now, 0, False
                self.model.come(job)

    def purge(self, queue: str) -> None:
        self.now()
        waiting = [job for job in self.model.jobs if job.phase == "waiting" and job.message.queue == queue]
        for job in waiting:
            job.phase = "gone"
        for job in waiting:
            self.model.over(job, "gone", inf)

        assert self.portal.call(self.broker.purge, queue) == len(waiting)

    @invariant()
    def counts_are_right(self) -> None:
        if not self.workers:
            return
        now = self.now()
        for info in self.portal.call(self.broker.info):
            jobs = [job for job in self.model.jobs if job.message.queue == info.name]
            waiting = [job for job in jobs if job.phase == "waiting"]
            come = [now - job.ready_at for job in waiting if job.has_come]
            assert info.ready == len(come)
            assert info.delayed == len(waiting) - len(come)
            assert info.running == sum(job.phase == "running" for job in jobs)
            assert info.dead == sum(job.phase == "dead" for job in jobs)
            assert info.oldest_wait == max(come, default=0.0)


@pytest.mark.parametrize(
    ("carrier", "backend", "examples"),
    [("memory", "asyncio", 150), ("memory", "trio", 20), ("sqlite", "asyncio", 60), ("sqlite", "trio", 8)],
)
def test_every_history_is_that_of_the_model(carrier: str, backend: str, examples: int) -> None:
    machine = type("Machine", (Histories,), {"carrier_name": carrier, "backend": backend})

    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=30))  # type: ignore[no-untyped-call]
