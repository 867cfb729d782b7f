"""The order of ready jobs in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jockey.jobs import Message
from jockey.jobs.brokers._embedded import CANCELLED, READY
from jockey.jobs.brokers._memory_entry import Entry
from jockey.jobs.brokers._memory_lane import Lane


def entry(arrival: int, priority: int, ready_at: float) -> Entry:
    message = Message(id=str(arrival), name="noop", priority=priority)
    return Entry(message, arrival, ready_at, 0.0, READY)


def place_of(job: Entry) -> tuple[int, float, int]:
    return job.message.priority, job.ready_at, job.arrival


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 2), st.integers(0, 3)),
        st.tuples(st.just("pop"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, 9), st.just(0)),
    )
)


@given(steps)
def test_whoever_is_ready_comes_by_priority_time_and_number(steps: list[tuple[str, int, int]]) -> None:
    lane = Lane()
    ready: list[Entry] = []
    for number, (step, first, second) in enumerate(steps):
        if step == "add":
            ready.append(entry(number, first, float(second)))
            lane.add(ready[-1])
        elif step == "leave" and ready:
            ready.pop(first % len(ready)).phase = CANCELLED
        elif step == "pop":
            best = sorted(ready, key=place_of)
            assert lane.first() == (place_of(best[0]) if best else None)
            assert lane.pop(first) == best[:first]
            ready = best[first:]
    assert lane.pop(len(ready) + 1) == sorted(ready, key=place_of)


def test_nothing_is_left_in_a_lane_that_was_cleared() -> None:
    lane = Lane()
    lane.add(entry(2, 1, 0.0))
    lane.add(entry(1, 0, 0.0))
    lane.clear()
    assert lane.pop(2) == []
