"""The scheduler, which is pure: no event loop, and a clock that is a number."""

from __future__ import annotations

import math
from collections.abc import Hashable
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jockey import ExecuteIn, Limit, Priority, Rate
from jockey._caps import Cap, RateCap, SlotCap, cap_of
from jockey._handler import Handler, Options
from jockey._job import Job, JobState
from jockey._route import Route
from jockey._scheduler import STARVATION_BOUND, Scheduler

HIGH, NORMAL, LOW = Priority


class Desk:
    """A scheduler, and what a running executor does around it."""

    def __init__(self, max_jobs_per_group: int = 1) -> None:
        self.scheduler = Scheduler(max_jobs_per_group)
        self.now = 0.0
        self.running: list[Job[Any]] = []
        self.group_of: dict[Job[Any], Hashable] = {}

    def push(self, *caps: Cap, priority: Priority = NORMAL, group: Hashable = None, name: str = "") -> Job[Any]:
        job: Job[Any] = Job(SimpleNamespace(), name, copy_context(), self.now)  # type: ignore[arg-type]
        job.route = Route(name, _handler(), priority, self.scheduler.line(caps, priority), len)  # type: ignore[arg-type]
        self.group_of[job] = group
        self.scheduler.push(job, group)
        return job

    def take(self) -> Job[Any] | None:
        job = self.scheduler.take(self.now)
        if job is not None:
            job.phase = JobState.RUNNING
            self.running.append(job)
        return job

    def take_all(self) -> list[Any]:
        """Take until there is nothing to take, and return the names."""
        return [job.message for job in iter(self.take, None)]

    def end(self, job: Job[Any]) -> None:
        self.running.remove(job)
        job.phase = JobState.SUCCEEDED
        self.scheduler.release(job, self.now)

    def drop(self, job: Job[Any]) -> None:
        job.phase = JobState.CANCELLED
        self.scheduler.drop(job)


def _handler() -> Handler[Any, Any]:
    return Handler.of(len, Options(ExecuteIn.MAIN, None, None, None, NORMAL, ()))


# One by one


def test_jobs_without_caps_start_in_the_order_in_which_they_came() -> None:
    desk = Desk()

    for name in "abc":
        desk.push(name=name)

    assert desk.take_all() == ["a", "b", "c"]


def test_an_empty_scheduler_has_nothing_to_take() -> None:
    desk = Desk()

    assert desk.take() is None
    assert not desk.scheduler.has_ready()
    assert desk.scheduler.next_alarm() == math.inf


def test_a_job_of_a_higher_priority_overtakes_a_whole_backlog() -> None:
    desk = Desk()
    for _ in range(10_000):
        desk.push(priority=LOW)
    for _ in range(10_000):
        desk.push(priority=NORMAL)

    high = desk.push(priority=HIGH)

    assert desk.take() is high


def test_the_priorities_of_one_handler_are_served_from_high_to_low() -> None:
    desk = Desk()

    for priority in (LOW, HIGH, NORMAL):
        desk.push(priority=priority, name=priority.name)

    assert desk.take_all() == ["HIGH", "NORMAL", "LOW"]


def test_a_full_cap_blocks_nobody_else() -> None:
    desk = Desk()
    full = SlotCap(1)
    desk.push(full, name="first")
    desk.push(full, name="blocked")
    desk.push(name="free")

    assert desk.take_all() == ["first", "free"]

    desk.end(desk.running[0])

    assert desk.take_all() == ["blocked"]


def test_a_job_that_waits_for_one_cap_holds_no_other() -> None:
    desk = Desk()
    narrow, wide = SlotCap(1), SlotCap(1)
    holder = desk.push(narrow, name="holder")
    assert desk.take() is holder

    desk.push(wide, narrow, name="needs both")
    desk.push(wide, name="needs one")

    assert desk.take_all() == ["needs one"]


def test_a_job_that_waits_for_two_caps_starts_when_both_have_room() -> None:
    desk = Desk()
    one, two = SlotCap(1), SlotCap(1)
    desk.push(one, name="one")
    desk.push(two, name="two")
    assert desk.take_all() == ["one", "two"]
    desk.push(one, two, name="both")

    desk.end(desk.running[0])
    assert desk.take_all() == []
    desk.end(desk.running[0])

    assert desk.take_all() == ["both"]


def test_room_that_one_line_cannot_use_goes_to_the_next() -> None:
    desk = Desk()
    shared, other = SlotCap(1), SlotCap(1)
    holder_of_shared = desk.push(shared)
    desk.push(other)
    desk.take_all()
    desk.push(shared, other, name="needs both", priority=HIGH)
    desk.push(shared, name="needs shared", priority=LOW)
    assert desk.take_all() == []

    desk.end(holder_of_shared)

    assert desk.take_all() == ["needs shared"]


def test_room_that_a_dropped_job_left_behind_goes_to_the_next_line() -> None:
    desk = Desk()
    shared, other = SlotCap(1), SlotCap(5)
    holder = desk.push(shared)
    desk.take_all()
    dropped = desk.push(shared, other, name="dropped")
    desk.push(shared, name="next")
    assert desk.take_all() == []

    desk.end(holder)
    desk.drop(dropped)

    assert desk.take_all() == ["next"]


@pytest.mark.parametrize("priority", [NORMAL, LOW])
def test_a_lower_job_that_waited_longest_gets_one_start_in_32(priority: Priority) -> None:
    desk = Desk()
    patient = desk.push(priority=priority)
    for _ in range(100):
        desk.push(priority=HIGH)

    starts = [desk.take() for _ in range(STARVATION_BOUND)]

    assert starts.index(patient) == STARVATION_BOUND - 1


def test_the_longest_waiting_one_gets_its_start_again_and_again() -> None:
    desk = Desk()
    for _ in range(100):
        desk.push(priority=LOW)
    for _ in range(1000):
        desk.push(priority=HIGH)

    starts = [desk.take() for _ in range(10 * STARVATION_BOUND)]

    assert sum(job is not None and job.route.priority is LOW for job in starts) == 10


@pytest.mark.parametrize("size", [1, 3])
def test_a_flood_at_a_cap_does_not_starve_a_lower_job_that_needs_the_same_cap(size: int) -> None:
    desk = Desk()
    shared = SlotCap(size)
    for _ in range(100):
        desk.push(shared, priority=HIGH)
    patient = desk.push(shared, priority=LOW)
    desk.take_all()

    starts = 0
    while patient not in desk.running:
        desk.push(shared, priority=HIGH)
        desk.end(desk.running[0])
        starts += len(desk.take_all())
        assert starts < 100 + 2 * STARVATION_BOUND


def test_a_rate_lets_its_burst_start_and_then_one_by_one() -> None:
    desk = Desk()
    rate = cap_of(Rate("api", 8, per=1.0, burst=3))
    for number in range(6):
        desk.push(rate, name=str(number))

    history = []
    for eighth in range(4):
        desk.now = eighth / 8
        history.append(desk.take_all())

    assert history == [["0", "1", "2"], ["3"], ["4"], ["5"]]


def test_a_rate_without_room_sets_an_alarm_for_when_it_has_some() -> None:
    desk = Desk()
    rate = cap_of(Rate("api", 10, per=1.0))
    desk.push(rate, name="first")
    desk.push(rate, name="second")
    desk.take_all()

    assert desk.scheduler.next_alarm() == pytest.approx(0.1)

    desk.now = desk.scheduler.next_alarm()
    assert desk.take_all() == ["second"]
    assert desk.scheduler.next_alarm() == math.inf


def test_lines_that_wait_for_one_rate_share_one_alarm() -> None:
    desk = Desk()
    rate, other = cap_of(Rate("api", 1, per=1.0)), SlotCap(9)
    desk.push(rate)
    desk.take_all()

    desk.push(rate, name="a")
    desk.push(rate, other, name="b")
    desk.take_all()

    assert len(desk.scheduler.alarms) == 1
    desk.now = 1.0
    assert desk.take_all() == ["a"]
    assert len(desk.scheduler.alarms) == 1
    desk.now = 2.0
    assert desk.take_all() == ["b"]


def test_jobs_of_a_group_start_one_at_a_time_and_in_order_across_handlers() -> None:
    desk = Desk()
    first = desk.push(group="g", name="first", priority=LOW)
    desk.push(group="g", name="second", priority=HIGH)
    desk.push(group="h", name="other", priority=LOW)

    assert desk.take_all() == ["first", "other"]

    desk.end(first)

    assert desk.take_all() == ["second"]


def test_a_job_that_was_late_because_of_its_group_keeps_its_place_in_line() -> None:
    desk = Desk()
    line_cap = SlotCap(1)
    first = desk.push(group="g", name="first")
    desk.take()
    desk.push(line_cap, group="g", name="late")
    desk.push(line_cap, name="younger")
    desk.push(line_cap, name="youngest")

    desk.end(first)

    assert desk.take_all() == ["late"]
    desk.end(desk.running[0])
    assert desk.take_all() == ["younger"]


def test_a_group_may_be_allowed_more_than_one_job() -> None:
    desk = Desk(max_jobs_per_group=2)
    for name in "abc":
        desk.push(group="g", name=name)

    assert desk.take_all() == ["a", "b"]

    desk.end(desk.running[1])

    assert desk.take_all() == ["c"]


def test_a_dropped_job_never_starts() -> None:
    desk = Desk()
    desk.push(name="a")
    dropped = desk.push(name="b")
    desk.push(name="c")

    desk.drop(dropped)

    assert desk.scheduler.backlog == 2
    assert desk.take_all() == ["a", "c"]


def test_dropping_the_head_of_a_group_lets_the_next_one_join() -> None:
    desk = Desk()
    head = desk.push(group="g", name="head")
    desk.push(group="g", name="next")

    desk.drop(head)

    assert desk.take_all() == ["next"]


def test_dropped_jobs_in_the_middle_of_a_group_are_passed_over() -> None:
    desk = Desk()
    first = desk.push(group="g", name="first")
    desk.take()
    dropped = [desk.push(group="g") for _ in range(3)]
    desk.push(group="g", name="last")

    for job in dropped:
        desk.drop(job)
    desk.end(first)

    assert desk.take_all() == ["last"]


def test_dropped_jobs_in_the_middle_of_a_group_are_not_handed_out() -> None:
    desk = Desk()
    desk.push(group="g")
    desk.take()
    dropped, last = desk.push(group="g"), desk.push(group="g")
    desk.drop(dropped)

    assert list(desk.scheduler.close()) == [last]


def test_a_line_that_got_an_older_first_job_while_it_waited_is_offered_once() -> None:
    desk = Desk()
    cap = SlotCap(1)
    first_of_group = desk.push(group="g", name="first of the group")
    holder = desk.push(cap, name="holder")
    desk.push(cap, group="g", name="late")
    desk.push(cap, name="younger")
    desk.push(cap, SlotCap(1), name="other line")
    assert desk.take_all() == ["first of the group", "holder"]

    desk.end(first_of_group)
    desk.end(holder)
    order = []
    while (job := desk.take()) is not None:
        order.append(job.message)
        assert desk.take() is None
        desk.end(job)

    assert order == ["late", "younger", "other line"]


def test_a_parked_line_whose_jobs_were_all_dropped_makes_way() -> None:
    desk = Desk()
    cap = SlotCap(1)
    holder = desk.push(cap)
    desk.take()
    gone = [desk.push(cap, SlotCap(1)) for _ in range(2)]
    half_gone = [desk.push(cap, SlotCap(1), name="half gone")]
    half_gone.append(_same_line(desk, half_gone[0], "stays"))
    desk.push(cap, name="plain")
    assert desk.take_all() == []

    for job in (*gone, half_gone[0]):
        desk.drop(job)
    desk.end(holder)
    order = []
    while (job := desk.take()) is not None:
        order.append(job.message)
        desk.end(job)

    assert order == ["stays", "plain"]


def _same_line(desk: Desk, job: Job[Any], name: str) -> Job[Any]:
    return desk.push(*job.route.line.caps, name=name)


def test_dropped_jobs_do_not_fill_the_memory() -> None:
    desk = Desk()
    desk.push(name="stays")

    for _ in range(10_000):
        desk.drop(desk.push())

    assert len(list(desk.scheduler.line((), NORMAL))) < 200


def test_closing_hands_out_every_job_once_and_lets_none_start() -> None:
    desk = Desk()
    cap, rate = SlotCap(1), cap_of(Rate("api", 1))
    desk.push(cap)
    desk.push(group="g")
    running = desk.take_all()
    jobs = [desk.push(cap), desk.push(rate), desk.push(group="g"), desk.push(group="h"), desk.push(priority=HIGH)]
    jobs += [desk.push(group="g"), desk.push(group="h"), desk.push(group="g", priority=LOW)]

    popped = []
    for job in desk.scheduler.close():
        job.phase = JobState.CANCELLED
        popped.append(job)
        for ended in desk.running[:1]:
            desk.end(ended)
        assert desk.take() is None

    assert len(running) == 2
    assert sorted(map(id, popped)) == sorted(map(id, jobs))
    assert desk.scheduler.backlog == 0


def test_nothing_starts_once_it_is_closed() -> None:
    desk = Desk()
    desk.push(name="queued")

    desk.scheduler.close()

    assert desk.take() is None


def test_a_job_dropped_while_all_are_handed_out_is_not_handed_out_too() -> None:
    desk = Desk()
    kept, dropped = desk.push(), desk.push()

    removing = desk.scheduler.close()
    desk.drop(dropped)

    assert list(removing) == [kept]
    assert desk.scheduler.backlog == 0


def test_the_firsts_are_the_oldest_job_of_each_line() -> None:
    desk = Desk()
    cap = SlotCap(1)
    firsts = [desk.push(name="a"), desk.push(cap, name="b"), desk.push(priority=LOW, name="c")]
    for _ in range(3):
        desk.push()

    assert set(desk.scheduler.firsts()) == set(firsts)


def test_the_blockers_of_a_job_are_full_caps_of_its_own_and_of_who_is_ahead_and_its_full_group() -> None:
    desk = Desk()
    full, roomy = SlotCap(1), SlotCap(1)
    runs = desk.push(full, group="g")
    desk.take()
    head = desk.push(group="h")
    plain = desk.push(full, roomy)
    grouped = desk.push(group="g")
    gone, ahead = desk.push(full, group="h"), desk.push(full, roomy, group="h")
    behind, last = desk.push(group="h"), desk.push(full, group="h")

    assert desk.scheduler.blockers(plain, desk.now) == ([full], False)
    assert desk.scheduler.blockers(grouped, desk.now) == ([], True)
    assert desk.scheduler.blockers(behind, desk.now) == ([full], False)
    assert desk.scheduler.blockers(head, desk.now) == ([], False)

    for job in (gone, ahead):
        desk.drop(job)

    assert desk.scheduler.blockers(behind, desk.now) == ([], False)
    assert desk.scheduler.blockers(last, desk.now) == ([full], False)
    assert runs in desk.running


def test_each_start_looks_at_a_number_of_lines_that_does_not_grow() -> None:
    looks = 0

    class Counting(SlotCap):
        def free_at(self, now: float) -> float:
            nonlocal looks
            looks += 1
            return super().free_at(now)

    def looks_per_start(lines: int) -> float:
        nonlocal looks
        desk = Desk()
        shared = Counting(1)
        for _ in range(lines):
            desk.push(shared, SlotCap(1))
        assert desk.take() is not None
        assert desk.take() is None  # all the others are parked now
        looks = 0
        for _ in range(50):
            desk.end(desk.running[0])
            assert desk.take() is not None
            assert desk.take() is None
        return looks / 50

    assert looks_per_start(1000) == looks_per_start(100)


# Whatever happens: the scheduler next to a model that looks at all jobs each time


@st.composite
def worlds(draw: st.DrawFn) -> tuple[int, list[Cap], list[list[int]]]:
    caps = [
        SlotCap(draw(st.integers(1, 3))) if draw(st.booleans()) else RateCap(Rate("r", 1, 1.0, draw(st.integers(1, 2))))
        for _ in range(draw(st.integers(0, 4)))
    ]
    handlers = draw(
        st.lists(
            st.lists(st.sampled_from(range(len(caps))), unique=True) if caps else st.just([]), min_size=1, max_size=5
        )
    )
    return draw(st.integers(1, 2)), caps, handlers


Steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("push"), st.integers(0, 99), st.sampled_from(Priority), st.sampled_from([None, None, "a", "b"])
        ),
        st.tuples(st.just("take")),
        st.tuples(st.just("take")),
        st.tuples(st.just("end"), st.integers(0, 99)),
        st.tuples(st.just("drop"), st.integers(0, 99)),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 3.0])),
    ),
    max_size=80,
)


class Model:
    """What the scheduler promises, checked by looking at everything."""

    def __init__(self, per_group: int) -> None:
        self.desk = Desk(per_group)
        self.per_group = per_group
        self.queued: list[Job[Any]] = []
        self.since_oldest = 0
        """How many starts there were since the last one of the job that had waited longest of all that could start."""

    def could_start(self, job: Job[Any]) -> bool:
        if any(cap.free_at(self.desk.now) > self.desk.now for cap in job.route.line.caps):
            return False
        group = self.desk.group_of[job]
        if group is None:
            return True
        first = next(other for other in self.queued if self.desk.group_of[other] == group)
        return first is job and self.running_in(group) < self.per_group

    def running_in(self, group: Hashable) -> int:
        return sum(self.desk.group_of[job] == group for job in self.desk.running)

    def take(self) -> bool:
        """Let the scheduler take a job, check that it is one that may start now, and return whether there was one."""
        able = [job for job in self.queued if self.could_start(job)]
        job = self.desk.take()
        if job is None:
            assert able == [], "a job that could start was blocked"
            return False
        assert job in able, "a job started that must not"
        self.queued.remove(job)
        same = [other for other in able if other.route.priority == job.route.priority]
        assert job is same[0], "a younger job of the same priority overtook"
        if job.route.priority != min(other.route.priority for other in able):
            assert job is able[0], "only who waited longest may overtake a higher priority"
        self.since_oldest = 0 if job is able[0] else self.since_oldest + 1
        return True

    def end_one(self) -> None:
        if self.desk.running:
            self.desk.end(self.desk.running[0])

    def caps_are_honest(self) -> None:
        for cap in {cap for job in self.desk.running for cap in job.route.line.caps}:
            if isinstance(cap, SlotCap):
                users = sum(cap in job.route.line.caps for job in self.desk.running)
                assert users == cap.used <= cap.size
        for group in {self.desk.group_of[job] for job in self.desk.running} - {None}:
            assert self.running_in(group) <= self.per_group

    def do(self, step: tuple[Any, ...], caps: list[Cap], handlers: list[list[int]]) -> None:
        match step:
            case ("push", handler, priority, group):
                needs = [caps[index] for index in handlers[handler % len(handlers)]]
                self.queued.append(self.desk.push(*needs, priority=priority, group=group))
            case ("take",):
                self.take()
            case ("end", index) if self.desk.running:
                self.desk.end(self.desk.running[index % len(self.desk.running)])
            case ("drop", index) if self.queued:
                self.desk.drop(self.queued.pop(index % len(self.queued)))
            case ("wait", seconds):
                self.desk.now += seconds
            case _:
                pass


@given(worlds(), Steps)
def test_it_does_what_looking_at_all_jobs_would_do(
    world: tuple[int, list[Cap], list[list[int]]], steps: list[Any]
) -> None:
    per_group, caps, handlers = world
    caps = [SlotCap(cap.size) if isinstance(cap, SlotCap) else cap for cap in caps]
    model = Model(per_group)

    for step in steps:
        model.do(step, caps, handlers)
        model.caps_are_honest()
        assert model.desk.scheduler.backlog == len(model.queued)

    while model.queued:
        model.take()
        model.end_one()
        model.desk.now += 1
    assert model.desk.scheduler.backlog == 0


@settings(max_examples=50)
@given(st.lists(st.sampled_from(Priority), min_size=1, max_size=8), st.lists(st.integers(0, 2), min_size=1, max_size=8))
@example([HIGH, LOW], [1])
@example([HIGH, HIGH, LOW], [0])
def test_of_32_starts_in_a_row_one_is_of_the_job_that_waited_longest(flood: list[Priority], needs: list[int]) -> None:
    model = Model(1)
    caps: list[Cap] = [SlotCap(1), SlotCap(2)]

    for number in range(100):
        for copy in range(2):
            priority, need = flood[(number + copy) % len(flood)], needs[number % len(needs)]
            model.queued.append(model.desk.push(*caps[:need], priority=priority))
        while model.take():
            assert model.since_oldest < STARVATION_BOUND
        model.end_one()


@given(worlds(), Steps)
def test_nothing_is_kept_of_a_group_that_is_done(
    world: tuple[int, list[Cap], list[list[int]]], steps: list[Any]
) -> None:
    per_group, _, _ = world
    model = Model(per_group)

    for step in steps:
        model.do(step, [], [[]])
    while model.desk.running or model.queued:
        model.take()
        for job in list(model.desk.running):
            model.desk.end(job)

    assert len(model.desk.scheduler._groups) == 0


@given(worlds(), Steps)
def test_closing_hands_out_exactly_what_is_queued(
    world: tuple[int, list[Cap], list[list[int]]], steps: list[Any]
) -> None:
    per_group, caps, handlers = world
    model = Model(per_group)
    for step in steps:
        model.do(step, caps, handlers)

    popped = []
    for job in model.desk.scheduler.close():
        job.phase = JobState.CANCELLED
        popped.append(job)
        model.end_one()

    assert sorted(job.number for job in popped) == sorted(job.number for job in model.queued)
    assert model.desk.scheduler.backlog == 0
    assert model.desk.take() is None


def test_a_limit_and_a_rate_become_caps_of_their_kind() -> None:
    assert isinstance(cap_of(Limit("db", 2)), SlotCap)
    assert isinstance(cap_of(Rate("api", 2)), RateCap)
