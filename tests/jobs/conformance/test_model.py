"""
Any history, on any broker: what is delivered is what a simple model says, job by job.

Never by two live leases, nothing that was acknowledged again, all that was not again, nothing delayed early, and in
order as far as the `Profile` of the broker promises one. Where time is real, no step has to be quick: what must come is
waited for, and what may come can come.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from jockey.jobs import _stored
from jockey.jobs._broker import Cancelled, Delivery, Died, Published, Record, Released, Retried, Settlement, Succeeded
from jockey.jobs._message import Message, Trouble
from jockey.jobs._state import State
from jockey.jobs.brokers import rabbitmq_intake
from jockey.jobs.brokers.rabbitmq_topology import TICK
from tests.jobs.conformance.carriers import CARRIERS, LEASE, MAX_CRASHES, Carrier, Heard, read, settle
from tests.jobs.conformance.rabbit_carriers import rabbit_carrier
from tests.jobs.rabbit import Rabbit

QUEUES = ("a", "b")
FATES = st.sampled_from(["hold", "hold", "succeed", "keep", "retry at once", "retry later", "die", "cancel", "release"])
SECONDS = st.sampled_from([0, 0, 0.5, 4, 10, LEASE + 1])
# What is drawn never depends on what has happened: where time is real, that is not the same each time.
WHICH = st.integers(0, 999)


@dataclass(eq=False)
class Job:
    """What the model knows of a job."""

    message: Message
    arrival: int
    ready_at: float
    phase: str = "waiting"  # "running", "dead", "kept", "gone", "perhaps": it may come, or not
    has_come: bool = False  # its time has, so that it is in the line of its group
    lease_ends: float = inf
    keeps_until: float = inf
    crashes: int = 0
    flagged: bool = False
    delivery: Delivery | None = None
    worker: int = -1
    is_moved: bool = False  # it has left its place in the order of its queue
    in_doubt: int = 1  # how many crashes may be counted to it that it had no part in

    @property
    def place(self) -> tuple[float, int]:
        return self.ready_at, self.arrival

    @property
    def is_lost(self) -> bool:
        return self.phase == "running" and self.lease_ends < inf


@dataclass
class Model:
    """The semantics in a few lines: every question goes over all jobs."""

    has_groups: bool = True  # across all workers
    has_records: bool = True
    max_crashes: int = MAX_CRASHES
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
            and (job.message.group is None or not self.has_groups or self.turns[job.message.group] is job)
        ]
        return sorted(jobs, key=lambda job: (job.message.priority, *job.place))

    def take(self, queues: tuple[str, ...], count: int, now: float) -> list[Job]:
        for job in sorted(self.jobs, key=lambda job: job.lease_ends):
            if job.phase == "running" and job.lease_ends <= now:
                job.crashes += 1
                if job.crashes >= self.max_crashes:
                    self.over(job, "dead", inf)
                else:
                    self.put_back(job, now)
        taken = self.ready(queues)[:count]
        for job in taken:
            self.begin(job)
        return taken

    def begin(self, job: Job) -> None:
        job.phase = "running"
        job.lease_ends = inf

    def sure(self, queues: tuple[str, ...]) -> list[Job]:
        """Return what is to come without anything else being done, where time is real."""
        lost = [job for job in self.jobs if job.is_lost and job.message.queue in queues and not job.flagged]
        return [job for job in self.ready(queues) + lost if not self.may_die(job)]

    def may_die(self, job: Job) -> bool:
        """Tell whether it may have been counted so many crashes that it is dead, where time is real."""
        return job.crashes + job.is_lost + job.in_doubt >= self.max_crashes

    def take_one(self, id_: str, queues: tuple[str, ...], now: float) -> Job:
        """Return the job that has come, where time is real."""
        job = self.living(id_)
        assert job is not None, "what has ended does not come again"
        assert job.phase in {"waiting", "perhaps"} or job.is_lost, "no two workers have it"
        assert job.message.queue in queues
        assert job.ready_at <= now, "it is early"
        job.crashes += job.is_lost
        assert job.crashes < self.max_crashes, "it has killed so many workers that it is dead"
        self.begin(job)
        return job

    def put_back(self, job: Job, now: float) -> None:
        job.phase = "waiting"
        if job.flagged:
            self.over(job, "kept", now + 86_400)

    def over(self, job: Job, phase: str, keeps_until: float) -> None:
        job.phase = phase if self.has_records or phase == "dead" else "gone"
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

    backend = "asyncio"

    @staticmethod
    def carrier_in(directory: Path) -> Carrier:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.portal = self.stack.enter_context(anyio.from_thread.start_blocking_portal(self.backend))
        directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.carrier = self.carrier_in(Path(directory))
        self.profile = self.carrier.profile
        self.queues = [self.carrier.place(queue) for queue in QUEUES]
        self.model = Model(has_records=self.profile.has_records, max_crashes=self.profile.max_crashes)
        self.numbers = itertools.count()
        self.workers: list[tuple[Any, Any, tuple[str, ...]]] = []
        self.stale: list[tuple[int, Delivery]] = []
        self.newest: dict[tuple[str, int], tuple[float, int]] = {}

    def teardown(self) -> None:
        with self.stack:
            if sys.exc_info()[0] is None and not self.profile.has_clock:
                self.all_that_is_left_comes()
            for manager, _, _ in self.workers:
                manager.__exit__(None, None, None)
            self.portal.call(self.broker.close)

    @initialize()
    def open(self) -> None:
        self.broker = self.carrier.connect()
        self.portal.call(self.broker.open)
        for queue in self.queues:
            self.portal.call(self.broker.declare, queue)
        self.features = self.broker.features
        self.model.has_groups = self.features.groups == "everywhere"
        self.workers = [self.hire(tuple(map(self.carrier.place, queues))) for queues in self.profile.crew]

    def hire(self, queues: tuple[str, ...]) -> tuple[Any, Any, tuple[str, ...]]:
        manager = self.portal.wrap_async_context_manager(
            self.carrier.worker(
                self.broker, queues, Heard().hearing, worker="w", lease=LEASE, max_crashes=self.profile.max_crashes
            )
        )
        return manager, manager.__enter__(), queues

    def lasting(self, seconds: float) -> float:
        """Return how long something is kept: where time is real, until the end."""
        return seconds if self.profile.has_clock else 10_000.0

    def now(self) -> float:
        self.model.advance(self.carrier.now())
        return self.carrier.now()

    @rule(
        count=st.integers(1, 5),
        seconds=SECONDS,
        queue=st.sampled_from(QUEUES),
        delay=st.sampled_from([0, 0, 1, 15, 15]),
        priority=st.integers(0, 2),
        group=st.sampled_from([None, None, "g", "h"]),
        unique=st.sampled_from([None, None, None, "k", "l"]),
        unique_for=st.sampled_from([None, "queued", "unfinished", 12.0]),
    )
    def push(self, count: int, seconds: float, delay: float, **fields: Any) -> None:
        self.time_passes(seconds)
        now = self.now()
        fields["queue"] = self.carrier.place(fields["queue"])
        if not self.features.uniqueness:  # RabbitMQ alone finds no duplicates, and refuses to be asked to
            fields |= {"unique": None, "unique_for": None}
        elif isinstance(fields["unique_for"], float):
            fields["unique_for"] = self.lasting(fields["unique_for"])
        not_before = now + delay * self.profile.pace if delay else 0.0
        messages = [
            Message(id=f"j{next(self.numbers)}", name="t", not_before=not_before, **fields) for _ in range(count)
        ]
        expected = [self.model.push(message, now) for message in messages]
        if delay:
            self.move(*(message.id for message in messages))

        assert self.portal.call(self.broker.publish, messages) == expected

    def move(self, *ids: str) -> None:
        """Note that these have no place in the order any more."""
        for job in self.model.jobs:
            job.is_moved |= job.message.id in ids

    def push_an_id_again(self, which: int) -> None:
        id_ = self.model.jobs[which % len(self.model.jobs)].message.id
        message = Message(id=id_, name="again", queue=self.queues[0])
        expected = [self.model.push(message, self.now()), Published(id_, is_new=False)]

        assert self.portal.call(self.broker.publish, [message, message]) == expected

    @rule(worker=st.integers(0, 1), fates=st.lists(FATES, min_size=1, max_size=4), seconds=SECONDS)
    def work(self, worker: int, fates: list[str], seconds: float) -> None:
        """Take jobs, and let something become of each."""
        self.time_passes(seconds)
        worker %= len(self.workers)
        take = self.take if self.profile.has_clock else self.take_what_may_come
        for (job, delivery), fate in zip(take(worker, len(fates)), fates, strict=False):
            job.delivery, job.worker = delivery, worker
            self.settle(job, fate)

    def take(self, worker: int, count: int) -> list[tuple[Job, Delivery]]:
        _, source, queues = self.workers[worker]
        expected = self.model.take(queues, count, self.now())

        taken = self.portal.call(self.carrier.poll, source, count)

        assert [read(delivery) for delivery in taken] == [job.message for job in expected]
        assert [delivery.crashes for delivery in taken] == [job.crashes for job in expected]
        return list(zip(expected, taken, strict=True))

    def take_what_may_come(self, worker: int, count: int) -> list[tuple[Job, Delivery]]:
        _, source, queues = self.workers[worker]
        self.now()
        sure = min(count, len(self.model.sure(queues)))

        taken = self.portal.call(partial(self.carrier.poll, source, count, sure=sure))

        now = self.now()
        return [(self.check(delivery, queues, now), delivery) for delivery in taken]

    def check(self, delivery: Delivery, queues: tuple[str, ...], now: float) -> Job:
        message = read(delivery)
        job = self.model.take_one(message.id, queues, now)
        assert message == job.message
        assert job.crashes <= delivery.crashes <= job.crashes + job.in_doubt, (job, delivery)
        assert delivery.crashes < self.profile.max_crashes
        if self.profile.keeps_order and not job.is_moved and not delivery.crashes:
            line = message.queue, message.priority
            assert self.newest.get(line, (0, 0)) < job.place, "one that came later was first"
            self.newest[line] = job.place
        return job

    def all_that_is_left_comes(self) -> None:
        """Work, also before anything is due, until there is nothing any more that must come."""
        for worker in range(len(self.workers)):
            for job in self.model.jobs:
                if job.phase == "running" and job.worker == worker and not job.is_lost:
                    self.settle(job, "release")
        while left := [job for job in self.model.jobs if job.phase == "waiting" or (job.is_lost and not job.flagged)]:
            for job, delivery in self.take_what_may_come(0, len(left)):
                job.delivery, job.worker = delivery, 0
                self.settle(job, "succeed")
            self.dead_in_the_end(self.portal.call(self.broker.dead))

    @rule(which=WHICH, fate=FATES)
    def settle_later(self, which: int, fate: str) -> None:
        running = [job for job in self.model.jobs if job.phase == "running" and job.lease_ends == inf]
        if running:
            self.settle(running[which % len(running)], fate)

    @rule(
        which=WHICH, kind=st.sampled_from(["again", "stale", "restart", "cancel", "cancel", "drop", "replay", "purge"])
    )
    def operate(self, which: int, kind: str) -> None:
        """Do what is done less often."""
        if kind == "again" and self.model.jobs and self.features.uniqueness:
            self.push_an_id_again(which)
        elif kind == "stale" and self.stale:
            self.settle_what_is_not_held(which)
        elif kind == "restart" and self.profile.is_durable:
            self.broker_restarts()
        elif kind == "cancel" and self.model.jobs and self.features.cancellation:
            self.cancel(which)
        elif kind in {"drop", "replay"}:
            self.dead_letters(which % 3, is_dropped=kind == "drop")
        elif kind == "purge":
            self.purge(self.queues[which % len(self.queues)])

    def settle(self, job: Job, fate: str) -> None:
        fields = {name: getattr(job.message, name) for name in job.message.__struct_fields__}
        settlement = {
            "succeed": Succeeded(b"1"),
            "keep": Succeeded(b"1", ttl=self.lasting(12)),
            "retry at once": Retried(Message(**fields | {"attempt": 8}), delay=0),
            "retry later": Retried(Message(**fields | {"attempt": 9}), delay=7 * self.profile.pace),
            "die": Died(Trouble(message="no")),
            "cancel": Cancelled("stop"),
            "release": Released(),
        }.get(fate)
        if settlement is None or job.delivery is None:
            return
        self.model.settle(job, settlement, self.now())
        job.is_moved |= isinstance(settlement, Released) or getattr(settlement, "delay", 0) > 0
        if isinstance(settlement, Retried) and not self.profile.has_clock:
            job.crashes = 0  # it is a new message there

        assert self.portal.call(settle, self.workers[job.worker][1], job.delivery, settlement)

        self.stale.append((job.worker, job.delivery))

    def settle_what_is_not_held(self, which: int) -> None:
        worker, delivery = self.stale[which % len(self.stale)]

        assert not self.portal.call(settle, self.workers[worker][1], delivery, Succeeded(b"2"))

    @rule(worker=st.integers(0, 1), is_killed=st.booleans(), seconds=SECONDS)
    def worker_ends(self, worker: int, *, is_killed: bool, seconds: float = 0) -> None:
        now = self.now()
        worker %= len(self.workers)
        manager, source, queues = self.workers[worker]
        for job in self.model.jobs:
            if job.message.queue in queues:
                job.is_moved = True  # the worker may have had it, taken or not
                job.in_doubt += is_killed
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

    @rule(worker=st.integers(0, 1), deaths=st.integers(1, 4))
    def crash_loop(self, worker: int, deaths: int) -> None:
        """Let one worker after the other die of what it has taken first."""
        for _ in range(deaths):
            self.work(worker, ["hold"], 0)
            self.worker_ends(worker, is_killed=True, seconds=LEASE + 1 if self.profile.has_clock else 0)

    def broker_restarts(self) -> None:
        for worker in range(len(self.workers)):
            self.worker_ends(worker, is_killed=True)
        for manager, _, _ in self.workers:
            manager.__exit__(None, None, None)
        self.portal.call(self.broker.close)
        self.open()

    def time_passes(self, seconds: float) -> None:
        self.portal.call(self.carrier.advance, seconds * self.profile.pace)

    def cancel(self, which: int) -> None:
        now = self.now()
        job = self.model.jobs[which % len(self.model.jobs)]
        known = self.model.living(job.message.id)
        if known is not None and known.phase == "waiting":
            self.model.over(known, "kept", max(0.0, known.ready_at - now) + now + 86_400)
        elif known is not None and known.phase == "running":
            known.flagged = True

        record = self.portal.call(self.broker.cancel, job.message.id, "not wanted")

        assert (record is None) == (known is None)

    def dead_letters(self, count: int, *, is_dropped: bool) -> None:
        now = self.now()
        dead = [job for job in self.model.jobs if job.phase == "dead"]
        records = self.portal.call(self.broker.dead)
        if not self.profile.has_clock:
            self.dead_in_the_end(records)
            dead = [job for job in self.model.jobs if job.phase == "dead"]
        assert {record.id for record in records} == {job.message.id for job in dead}
        for job in dead[:count]:
            if is_dropped:
                job.phase = "gone"
                assert self.portal.call(self.broker.drop, [job.message.id]) == 1
            else:
                assert self.portal.call(self.broker.replay, [job.message.id]) == 1
                job.message = self.replayed(job, records)
                job.phase, job.ready_at, job.crashes, job.has_come, job.is_moved = "waiting", now, 0, False, True
                self.model.come(job)

    def dead_in_the_end(self, dead: Sequence[Record]) -> None:
        """Learn which of those that may die of their crashes are dead, where time is real."""
        ids = {record.id for record in dead}
        for job in self.model.jobs:
            if job.message.id in ids and (job.phase in {"waiting", "perhaps"} or job.is_lost):
                assert self.model.may_die(job)
                self.model.over(job, "dead", inf)
                # The store hears of it a little later; what is replayed before that is thrown away.
                while self.profile.has_records and self.state_of(job) is not State.DEAD:
                    self.portal.call(anyio.sleep, 0.01)

    def state_of(self, job: Job) -> State | None:
        record = self.portal.call(self.broker.record, job.message.id)
        return record and record.state

    def replayed(self, job: Job, dead: Sequence[Record]) -> Message:
        """Return what a dead letter has become: from its record, or else from what it was."""
        if self.profile.has_clock:
            dead = [self.portal.call(self.broker.record, job.message.id)]
        [message] = [record.message for record in dead if record.id == job.message.id]
        return msgspec.structs.replace(message, attempt=0, not_before=0.0)

    def purge(self, queue: str) -> None:
        self.now()
        waiting = [job for job in self.model.jobs if job.phase == "waiting" and job.message.queue == queue]
        for job in waiting:
            job.phase = "gone"
        for job in waiting:
            self.model.over(job, "gone", inf)
        if not self.profile.has_clock:
            self.purge_what_can_be_reached(queue, waiting)
            return

        assert self.portal.call(self.broker.purge, queue) == len(waiting)

    def purge_what_can_be_reached(self, queue: str, waiting: list[Job]) -> None:
        """Purge where some is on its way; alone, RabbitMQ counts nothing that could be held against the model."""
        lost = [job for job in self.model.jobs if job.is_lost and job.message.queue == queue]
        for job in waiting if self.profile.has_records else waiting + lost:
            job.phase = "kept" if self.profile.has_records else "perhaps"

        count = self.portal.call(self.broker.purge, queue)

        if self.profile.has_records:
            assert count >= len(waiting)
            assert all(self.state_of(job) is State.CANCELLED for job in waiting)
            # Of the others RabbitMQ has not noticed yet that they are lost.
            for job in (job for job in lost if self.state_of(job) is State.CANCELLED):
                self.model.over(job, "kept", inf)

    @invariant()
    def counts_are_right(self) -> None:
        if not self.workers or not self.profile.has_clock:
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


def hold(carrier_in: Any, backend: str, examples: int, steps: int, **options: Any) -> None:
    """Hold a kind of broker against the model."""
    machine = type("Machine", (Histories,), {"carrier_in": staticmethod(carrier_in), "backend": backend})
    limits = settings(max_examples=examples, stateful_step_count=steps, **options)

    run_state_machine_as_test(machine, settings=limits)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("carrier", "backend", "examples"),
    [("memory", "asyncio", 150), ("memory", "trio", 20), ("sqlite", "asyncio", 60), ("sqlite", "trio", 8)],
)
def test_every_history_is_that_of_the_model(carrier: str, backend: str, examples: int) -> None:
    hold(CARRIERS[carrier], backend, examples, 30)


@pytest.mark.broker
@pytest.mark.ends
@pytest.mark.parametrize(
    ("kind", "backend", "examples"),
    [("alone", "asyncio", 4), ("in order", "trio", 4), ("memory", "trio", 4), ("sqlite", "asyncio", 4)],
)
def test_every_history_on_rabbitmq_is_that_of_the_model(
    kind: str, backend: str, examples: int, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rabbit, numbers = Rabbit(amqp_url), itertools.count()
    monkeypatch.setattr(rabbitmq_intake, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(_stored, "LISTEN_EVERY", 0.05)
    monkeypatch.setattr(rabbitmq_intake, "PATIENCE", 10_000.0 if kind == "in order" else 0.05)

    def carrier_in(directory: Path) -> Carrier:
        return rabbit_carrier(rabbit, kind, next(numbers), directory)

    try:
        # A history that takes its time is told as it was: to look for a shorter one would take minutes.
        hold(carrier_in, backend, examples, 12, phases=(Phase.reuse, Phase.generate))
    finally:
        rabbit.queues = [f"{rabbit.name}-{number}-{queue}" for number in range(next(numbers)) for queue in QUEUES]
        rabbit.buckets = {TICK << power for power in range(4)}
        anyio.run(rabbit.clean)
