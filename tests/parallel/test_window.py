"""Which items are read, handed out and yielded: whole histories of a window, without any executor."""

from __future__ import annotations

import random
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jockey import InitializerError
from jockey._backends._batch import Failed
from jockey._parallel._batching import AutoBatching, Batching, FixedBatching
from jockey._parallel._window import Batch, OnError, Window


class Story:
    """Drives a window as the drivers do; what becomes of an item is the item itself, errors as what they are."""

    def __init__(self, window: Window, items: list[Any]) -> None:
        self.window = window
        self.unread = items
        self.yielded: list[Any] = []
        self.read = 0

    def hand_out(self) -> bool:
        count = self.window.wanted()
        if not count:
            return False
        items, self.unread = self.unread[:count], self.unread[count:]
        self.read += len(items)
        if len(items) < count:
            self.window.end()
        if items:
            self.window.open(items)
        return True

    def hand_out_all(self) -> None:
        while self.hand_out():
            pass

    def finish(self, batch: Batch, seconds: float = 1.0) -> None:
        outcomes = [Failed(item) if isinstance(item, Exception) else item for item in batch.items]
        self.window.finish(batch, outcomes, seconds)

    def finish_first(self, *items: object) -> None:
        """Finish the batches that begin with these."""
        for item in items:
            self.finish(next(batch for batch in self.window.outstanding if batch.items[0] == item))

    def take_all(self) -> list[Any]:
        """Take what there is, and return all that has been taken so far."""
        while (results := self.window.take()) is not None:
            self.yielded.extend(reversed(results))
        return self.yielded


def story(
    items: list[Any],
    *,
    batch: int = 1,
    max_batches: int = 2,
    size: int | None = None,
    ordered: bool = True,
    on_error: OnError = "raise",
) -> Story:
    window = Window(FixedBatching(batch), max_batches=max_batches, size=size, ordered=ordered, on_error=on_error)
    return Story(window, items)


# Order


def test_results_wait_for_those_before_them() -> None:
    numbers = story([1, 2, 3, 4], max_batches=4)
    numbers.hand_out_all()

    numbers.finish_first(2, 3)
    assert numbers.take_all() == []

    numbers.finish_first(1)
    assert numbers.take_all() == [1, 2, 3]


def test_unordered_results_wait_for_nobody() -> None:
    numbers = story([1, 2, 3, 4], max_batches=4, ordered=False)
    numbers.hand_out_all()

    numbers.finish_first(3)
    assert numbers.take_all() == [3]

    numbers.finish_first(1, 4, 2)
    assert numbers.take_all() == [3, 1, 4, 2]


def test_results_of_a_batch_stay_in_order() -> None:
    numbers = story([1, 2, 3, 4, 5], batch=2, max_batches=3, ordered=False)
    numbers.hand_out_all()

    numbers.finish_first(3, 5, 1)

    assert numbers.take_all() == [3, 4, 5, 1, 2]


# Bounds


def test_no_more_batches_are_wanted_than_may_be_out() -> None:
    numbers = story(list(range(10)), batch=2, max_batches=2)

    numbers.hand_out_all()
    assert numbers.read == 4

    numbers.finish_first(0)
    numbers.hand_out_all()
    assert numbers.read == 6


def test_no_more_items_are_read_than_the_window_has() -> None:
    numbers = story(list(range(10)), max_batches=2, size=3)
    numbers.hand_out_all()
    numbers.finish_first(1)
    numbers.hand_out_all()
    numbers.finish_first(2)

    numbers.hand_out_all()
    assert numbers.read == 3  # though only one batch is out: it is the first one that keeps back all others

    numbers.finish_first(0)
    numbers.take_all()
    numbers.hand_out_all()
    assert numbers.read == 5


def test_what_was_taken_counts_until_something_else_is_asked_for() -> None:
    numbers = story(list(range(10)), max_batches=2, size=1)
    numbers.hand_out_all()
    numbers.finish_first(0)

    assert numbers.window.take() == [0]
    assert numbers.window.wanted() == 0

    assert numbers.window.take() is None
    assert numbers.window.wanted() == 1


def test_default_window_is_for_whole_batches() -> None:
    numbers = story(list(range(10_000)), batch=1000, max_batches=2)
    numbers.hand_out_all()

    for first in (1000, 2000, 3000):
        numbers.finish_first(first)
        numbers.hand_out_all()

    assert numbers.read == 4000


def test_default_window_is_large_enough_for_single_items() -> None:
    numbers = story(list(range(2000)), max_batches=2)
    numbers.hand_out_all()

    for first in range(1, 1500):
        if numbers.window.outstanding.keys() and any(batch.items[0] == first for batch in numbers.window.outstanding):
            numbers.finish_first(first)
            numbers.hand_out_all()

    assert numbers.read == 1024


# The end


def test_it_is_done_when_all_is_taken() -> None:
    numbers = story([1])
    numbers.hand_out_all()
    assert not numbers.window.is_done

    numbers.finish_first(1)
    assert not numbers.window.is_done

    numbers.take_all()
    assert numbers.window.is_done


def test_it_is_done_at_once_without_items() -> None:
    nothing = story([])

    nothing.hand_out_all()

    assert nothing.window.is_done
    assert nothing.take_all() == []


def test_reading_error_comes_after_all_results() -> None:
    numbers = story([1, 2], max_batches=3)
    numbers.hand_out()
    numbers.hand_out()
    numbers.window.end(OSError("no more"))

    numbers.finish_first(2, 1)
    assert numbers.window.take() == [1]
    assert numbers.window.take() == [2]

    with pytest.raises(OSError, match="no more"):
        numbers.window.take()


def test_batch_that_is_dropped_is_no_longer_out() -> None:
    numbers = story([1])
    numbers.hand_out_all()

    numbers.window.drop(next(iter(numbers.window.outstanding)))

    assert not numbers.window.outstanding


def test_items_are_let_go_when_their_batch_has_ended() -> None:
    numbers = story([1, 2], batch=2)
    numbers.hand_out_all()
    (batch,) = numbers.window.outstanding

    numbers.finish(batch)

    assert batch.items == []


def test_counts_what_is_done() -> None:
    numbers = story([1, 2, ValueError(), 4], batch=2, on_error="skip")
    numbers.hand_out_all()
    assert numbers.window.done == 0

    numbers.finish(next(reversed(numbers.window.outstanding)))

    assert numbers.window.done == 2


# Errors


def test_error_is_raised_in_the_place_of_its_item() -> None:
    error = ValueError("wrong")
    things = story([1, error, 3, 4], batch=2, max_batches=3)
    things.hand_out_all()
    things.finish_first(3, 1)

    assert things.window.take() == [1]
    with pytest.raises(ValueError, match="wrong") as caught:
        things.window.take()

    assert caught.value is error
    assert error.__notes__ == ["item 1 of jockey.map: ValueError('wrong')"]


def test_first_error_in_the_order_of_items_is_raised() -> None:
    things = story([ValueError("first"), ValueError("second")])
    things.hand_out_all()
    things.finish(next(reversed(things.window.outstanding)))

    assert things.window.take() is None
    things.finish(next(iter(things.window.outstanding)))

    with pytest.raises(ValueError, match="first"):
        things.window.take()


def test_nothing_more_is_read_when_an_error_will_be_raised() -> None:
    things = story([1, ValueError("wrong"), 3])
    things.hand_out_all()

    things.finish(next(reversed(things.window.outstanding)))

    assert things.window.wanted() == 0


def test_errors_are_returned_in_the_places_of_their_items() -> None:
    error = ValueError("wrong")
    things = story([1, error, 3], batch=3, on_error="return")
    things.hand_out_all()
    things.finish_first(1)

    assert things.take_all() == [1, error, 3]
    assert error.__notes__ == ["item 1 of jockey.map: ValueError('wrong')"]


def test_items_that_fail_are_skipped() -> None:
    things = story([1, ValueError(), 3, ValueError()], batch=3, on_error="skip")
    things.hand_out_all()
    for batch in tuple(things.window.outstanding):
        things.finish(batch)

    assert things.take_all() == [1, 3]
    assert things.window.is_done


def test_error_of_a_whole_batch_names_one_item() -> None:
    error = ValueError("all of them")
    things = story([1, 2, 3], batch=3, on_error="return")
    things.hand_out_all()
    (batch,) = things.window.outstanding

    things.window.finish(batch, [Failed(error)] * 3, 1.0)

    assert things.take_all() == [error] * 3
    assert error.__notes__ == ["item 0 of jockey.map: 1"]


@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
def test_what_is_no_items_fault_is_raised_at_once(on_error: Literal["raise", "return", "skip"]) -> None:
    things = story([1, InitializerError("not set up")], on_error=on_error)
    things.hand_out_all()
    things.finish(next(reversed(things.window.outstanding)))

    with pytest.raises(InitializerError, match="not set up") as caught:
        things.window.take()
    assert not hasattr(caught.value, "__notes__")  # that would name an item, as if it were guilty


@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
def test_what_is_no_items_fault_is_raised_also_when_an_item_fails_after_it(
    on_error: Literal["raise", "return", "skip"],
) -> None:
    things = story([InitializerError("not set up"), ValueError("guilty")], on_error=on_error)
    things.hand_out_all()
    for batch in tuple(things.window.outstanding):
        things.finish(batch)

    with pytest.raises(InitializerError, match="not set up"):
        things.window.take()


# Everything, always


def batchings(most: int) -> st.SearchStrategy[Batching]:
    fixed = st.integers(1, most).map(FixedBatching)
    return fixed | st.integers(1, 4).map(lambda workers: AutoBatching(workers, most))


@given(st.data())
def test_every_item_comes_once_and_within_the_bounds(data: st.DataObject) -> None:
    total = data.draw(st.integers(0, 30), "total")
    max_batches = data.draw(st.integers(1, 8), "max_batches")
    size = data.draw(st.none() | st.integers(1, 20), "size")
    ordered = data.draw(st.booleans(), "ordered")
    known = data.draw(st.none() | st.just(total) | st.integers(0, 30), "total as told")
    batching = data.draw(batchings(size or 10), "batching")
    window = Window(batching, max_batches=max_batches, size=size, ordered=ordered, total=known)
    numbers = Story(window, list(range(total)))

    chance = random.Random(data.draw(st.integers(0, 10**6), "seed"))  # hundreds of single draws would take seconds
    gone = 0
    while not window.is_done:
        if window.outstanding and chance.random() < 1 / 2:
            numbers.finish(chance.choice(list(window.outstanding)), chance.choice([0, 1e-5, 1e-3, 0.1]))
        elif chance.random() < 1 / 2:
            gone = len(numbers.yielded)  # asking for more tells that these have been yielded
            numbers.yielded.extend(reversed(window.take() or []))
        else:
            numbers.hand_out()
        assert len(window.outstanding) <= max_batches
        assert size is None or numbers.read - gone <= size
        if not window.outstanding:  # then nobody else moves it on
            gone = len(numbers.take_all())
            assert window.is_done or window.wanted()

    assert (numbers.yielded if ordered else sorted(numbers.yielded)) == list(range(total))
