"""Live caps, without an executor."""

from __future__ import annotations

import math
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from jockey import Limit, Rate
from jockey._caps import RateCap, SlotCap, cap_of


def test_a_slot_cap_has_room_until_all_slots_are_taken() -> None:
    cap = SlotCap(2)

    rooms = []
    for _ in range(3):
        rooms.append(cap.free_at(7.0))
        cap.take(7.0)

    assert rooms == [7.0, 7.0, math.inf]


def test_a_released_slot_can_be_taken_again() -> None:
    cap = SlotCap(1)
    cap.take(0)

    cap.release()

    assert cap.free_at(1.0) == 1.0


def test_a_rate_without_burst_spaces_starts_evenly() -> None:
    cap = RateCap(Rate("api", 4, per=1.0))

    cap.take(10.0)

    assert cap.free_at(10.0) == 10.25


def test_a_rate_saves_up_no_more_than_its_burst() -> None:
    cap = RateCap(Rate("api", 4, per=1.0, burst=2))

    cap.take(1000.0)
    cap.take(1000.0)

    assert cap.free_at(1000.0) == 1000.25


def test_the_end_of_a_job_gives_nothing_back_to_a_rate() -> None:
    cap = RateCap(Rate("api", 1, per=1.0))
    cap.take(0.0)

    cap.release()

    assert cap.free_at(0.0) == 1.0


def test_the_period_of_a_rate_may_be_a_timedelta() -> None:
    cap = RateCap(Rate("api", 2, per=timedelta(minutes=1)))
    cap.take(0.0)

    assert cap.free_at(0.0) == 30.0


@given(
    st.integers(1, 20),
    st.integers(1, 5),
    st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=100),
)
def test_in_no_window_do_more_jobs_start_than_rate_and_burst_allow(starts: int, burst: int, waits: list[float]) -> None:
    cap = RateCap(Rate("api", starts, per=1.0, burst=burst))

    now, history = 0.0, []
    for wait in waits:
        now = cap.free_at(now + wait)
        cap.take(now)
        history.append(now)

    for first in history:
        in_window = [start for start in history if first <= start < first + 1.0 - 1e-6]
        assert len(in_window) <= starts + burst


@given(st.integers(1, 50), st.integers(1, 10))
def test_those_who_wait_get_the_whole_rate(starts: int, burst: int) -> None:
    cap = RateCap(Rate("api", starts, per=1.0, burst=burst))

    now = 0.0
    for _ in range(starts * 3):
        now = cap.free_at(now)
        cap.take(now)

    assert now <= 3.0 + 1e-6


def test_caps_tell_their_state() -> None:
    slots, rate = cap_of(Limit("db", 2)), cap_of(Rate("api", 4))

    slots.take(0)

    assert repr(slots) == "<1 of 2 slots used, 0 lines wait>"
    assert repr(rate) == "<one start each 0.25 s, 0 lines wait>"
