"""Memory stays flat, however many items there are."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Iterator

import pytest

import jockey
from jockey import ExecuteIn
from tests.parallel.functions import same


@pytest.fixture
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def used() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.ends
@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("place", [ExecuteIn.THREAD, ExecuteIn.PROCESS])
def test_memory_does_not_grow_with_the_number_of_items(place: ExecuteIn, *, ordered: bool) -> None:
    items = (f"a text of a hundred bytes or so {number:070}" for number in itertools.count())
    results = jockey.map(same, items, execute_in=place, max_jobs=2, window=2000, ordered=ordered)

    # At any moment a window full of items and results is there; everything beyond it would be a hundred times as much.
    for _ in itertools.islice(results, 20_000):
        pass
    before = used()
    for _ in itertools.islice(results, 100_000):
        pass
    after = used()
    results.close()

    assert after - before < 2 * 2000 * 200 < 100_000 * 100
