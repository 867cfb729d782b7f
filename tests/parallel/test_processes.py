"""`jockey.map` in worker processes: crashes, timeouts, initializers, and that nothing is left over."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import jockey
from jockey import ExecuteIn
from tests.backends import process_batches
from tests.backends.process_observer import workers
from tests.parallel import functions
from tests.parallel.unlucky import Fate, Fateful, be_unlucky

PROCESS = ExecuteIn.PROCESS


def test_plain_functions_run_in_processes_by_default() -> None:
    pids = set(jockey.map(functions.process_of, range(20), max_jobs=1))

    assert len(pids) == 1
    assert os.getpid() not in pids


@pytest.mark.parametrize("ordered", [True, False])
def test_every_result_comes_once(*, ordered: bool) -> None:
    results = list(jockey.map(functions.square, range(5000), max_jobs=2, ordered=ordered))

    assert (results if ordered else sorted(results)) == [n * n for n in range(5000)]


def test_workers_are_gone_when_the_loop_is_left() -> None:
    for _ in jockey.map(functions.square, itertools.count(), max_jobs=2):
        assert workers()
        break

    assert not workers()


def test_busy_workers_are_killed_when_the_loop_is_left() -> None:
    for result in jockey.map(functions.sleep_if, [1, 0], max_jobs=2, batch=1):
        assert result == 1
        break

    assert not workers()


def test_error_of_one_kills_the_others() -> None:
    with pytest.raises(ZeroDivisionError):
        list(jockey.map(functions.invert_or_sleep, [0, None], max_jobs=2, batch=1))

    assert not workers()


def test_worker_that_dies_fails_its_item_alone() -> None:
    first, died, last = jockey.map(functions.die_if_zero, [1, 0, 2], max_jobs=1, batch=3, on_error="return")

    assert (first, last) == (1, 2)
    assert isinstance(died, jockey.WorkerDiedError)
    assert died.__notes__ == ["item 1 of jockey.map: 0"]


def test_item_that_takes_too_long_is_killed() -> None:
    (late,) = jockey.map(functions.sleep_if, [0], max_jobs=1, timeout=0.2, on_error="return")

    assert isinstance(late, jockey.JobTimeoutError)
    assert not workers()


def test_item_that_cannot_be_sent_fails_alone() -> None:
    one, lambda_, two = jockey.map(functions.same, [1, lambda: 0, 2], max_jobs=1, batch=3, on_error="return")

    assert (one, two) == (1, 2)
    assert isinstance(lambda_, jockey.TransferError)


def test_initializer_runs_once_in_each_worker_and_again_in_the_successor_of_a_lost_one() -> None:
    results = list(
        jockey.map(
            functions.get_state_or_die,
            [1, 2, 0, 3],
            max_jobs=1,
            batch=1,
            on_error="skip",
            initializer=functions.set_up,
            initargs=["a", "b"],
        )
    )

    assert [len(state) for state in results] == [1, 1, 1]
    assert [state[0][2:] for state in results] == [("a", "b")] * 3
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
def test_initializer_that_raises_ends_the_map(on_error: Any) -> None:
    with pytest.raises(jockey.InitializerError, match="no model"):
        list(jockey.map(functions.square, range(100), initializer=functions.fail_to_set_up, on_error=on_error))


@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
def test_workers_that_die_one_after_the_other_while_they_start_end_the_map(on_error: Any) -> None:
    with pytest.raises(jockey.WorkerDiedError, match="while it started for 'square', as the one before it did") as died:
        list(jockey.map(functions.square, range(100), initializer=process_batches.die, on_error=on_error))

    assert not hasattr(died.value, "__notes__")


def test_arrays_arrive_whole() -> None:
    big = bytes(3_000_000)

    assert list(jockey.map(functions.same, [big, big], max_jobs=2)) == [big, big]


# Anything can happen to an item


@settings(max_examples=5, phases=[Phase.generate])
@given(
    fates=st.lists(st.sampled_from([fate for fate in Fate if fate is not Fate.LATE]), max_size=12),
    batch=st.sampled_from(["auto", 1, 4]),
    ordered=st.booleans(),
)
def test_every_item_comes_to_its_one_end(
    tmp_path_factory: pytest.TempPathFactory, fates: list[Fate], batch: Any, *, ordered: bool
) -> None:
    folder = tmp_path_factory.mktemp("calls")
    items = [Fateful(number, fate, str(folder)) for number, fate in enumerate(fates)]

    results = list(
        jockey.map(be_unlucky, items, max_jobs=2, batch=batch, ordered=ordered, on_error="return", execute_in=PROCESS)
    )

    found = [Fate.of(result) for result in results]
    if ordered:
        assert found == fates
    else:
        assert sorted(found, key=list(Fate).index) == sorted(fates, key=list(Fate).index)
    # Each has run, and none but by accident twice: a worker that dies takes the others of its batch with it, of which
    # some have run already; their outcomes are lost, so they run again.
    assert {path.name.partition("-")[0] for path in Path(folder).iterdir()} == {str(item.number) for item in items}
    assert not workers()


@settings(max_examples=3, phases=[Phase.generate])
@given(fates=st.lists(st.sampled_from([Fate.WELL, Fate.DIES, Fate.LATE]), min_size=1, max_size=4))
def test_every_item_comes_to_its_one_end_with_timeouts(
    tmp_path_factory: pytest.TempPathFactory, fates: list[Fate]
) -> None:
    folder = tmp_path_factory.mktemp("calls")
    items = [Fateful(number, fate, str(folder)) for number, fate in enumerate(fates)]

    results = list(jockey.map(be_unlucky, items, max_jobs=2, timeout=1, on_error="return"))

    # Where the machine is busy, the start of a worker takes long, and others may be late too; but no more than that.
    assert all(Fate.of(result) in {fate, Fate.LATE} for result, fate in zip(results, fates, strict=True))
    assert all(path.name.endswith("-0") for path in Path(folder).iterdir())
    assert not workers()


@settings(max_examples=4, phases=[Phase.generate])
@given(count=st.integers(0, 30), ordered=st.booleans())
def test_whenever_the_loop_is_left_nothing_has_run_twice(
    tmp_path_factory: pytest.TempPathFactory, count: int, *, ordered: bool
) -> None:
    folder = tmp_path_factory.mktemp("calls")
    items = (Fateful(number, Fate.WELL, str(folder)) for number in itertools.count())

    results = jockey.map(be_unlucky, items, max_jobs=2, ordered=ordered, batch=3)
    found = list(itertools.islice(results, count))
    results.close()

    assert len(set(found)) == count
    assert not ordered or found == list(range(count))
    assert all(path.name.endswith("-0") for path in Path(folder).iterdir())
    assert not workers()
