"""The size of batches: it follows from how long they took."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jockey._parallel._batching import MOST, TARGET, AutoBatching, FixedBatching


def test_begins_with_one_item() -> None:
    assert AutoBatching(2).size(None) == 1


def test_doubles_at_most_with_each_batch() -> None:
    batching = AutoBatching(2)

    sizes = []
    for _ in range(4):
        batching.note(batching.size(None), 1e-9)
        sizes.append(batching.size(None))

    assert sizes == [2, 4, 8, 16]


@pytest.mark.parametrize("item", [1e-4, 1e-3, 7e-3])
def test_comes_to_batches_of_the_wanted_length(item: float) -> None:
    batching = AutoBatching(2)

    for _ in range(20):
        batching.note(batching.size(None), item * batching.size(None))

    assert batching.size(None) == math.floor(TARGET / item)


def test_becomes_smaller_at_once_when_items_get_slower() -> None:
    batching = AutoBatching(2)
    for _ in range(20):
        batching.note(batching.size(None), 1e-4 * batching.size(None))

    batching.note(200, 200 * 1e-2)

    assert batching.size(None) == TARGET / 1e-2


def test_items_that_take_long_go_alone() -> None:
    batching = AutoBatching(2)

    batching.note(1, 60)

    assert batching.size(None) == 1


def test_has_a_greatest_size() -> None:
    batching, small = AutoBatching(2), AutoBatching(2, most=10)

    for _ in range(20):
        batching.note(1, 0)
        small.note(1, 0)

    assert batching.size(None) == MOST
    assert small.size(None) == 10


def test_the_last_items_are_shared_out() -> None:
    batching = AutoBatching(2)
    for _ in range(20):
        batching.note(100, TARGET)

    assert batching.size(10_000) == 100
    assert batching.size(400) == 50
    assert batching.size(80) == 10
    # Not in crumbs: to send one costs more than the balance is worth.
    assert batching.size(8) == 5


def test_fixed_size_stays() -> None:
    batching = FixedBatching(7)

    batching.note(7, 100)

    assert batching.size(3) == 7


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 1e6)), max_size=30),
    st.none() | st.integers(0, 10**6),
)
def test_there_is_always_a_size(workers: int, noted: list[tuple[int, float]], remaining: int | None) -> None:
    batching = AutoBatching(workers)

    for count, seconds in noted:
        before = batching.size(None)
        batching.note(count, seconds)
        assert batching.size(None) <= 2 * before

    assert 1 <= batching.size(remaining) <= MOST
