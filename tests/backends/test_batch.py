"""Batches as each place runs them: every item comes to an outcome of its own."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import AsyncIterator

import pytest

import jockey
from jockey import _runtime
from jockey._backends import Pools
from jockey._backends._batch import Failed, run_items
from tests.backends.process_batches import act

pytestmark = pytest.mark.anyio


def double(item: int) -> int:
    if item < 0:
        sys.exit(item)
    if not item:
        raise ValueError("zero")
    return 2 * item


def thread(_: object) -> threading.Thread:
    return threading.current_thread()


async def double_later(item: int) -> int:
    return double(item)


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    abandoned: list[object] = []
    pools = Pools(_runtime.current(), None, abandoned.append)
    yield pools
    await pools.close()
    assert not abandoned


def test_items_fail_one_by_one() -> None:
    first, zero, crash, last = run_items(double, [1, 0, -3, 2])

    assert (first, last) == (2, 4)
    assert isinstance(zero.error, ValueError)
    assert isinstance(crash.error, jockey.HandlerCrashedError)
    assert isinstance(crash.error.__cause__, SystemExit)


def test_failure_can_be_sent() -> None:
    arrived = pickle.loads(pickle.dumps(Failed(jockey.WorkerDiedError("gone", 3))))  # noqa: S301 - of our own making

    assert isinstance(arrived, Failed)
    assert (str(arrived.error), arrived.error.exit_code) == ("gone", 3)  # type: ignore[attr-defined]


@pytest.mark.parametrize("function", [double, double_later])
async def test_in_a_thread(pools: Pools, function: object) -> None:
    registry: jockey.Registry[int, str, int] = jockey.Registry()
    registry.add("key", execute_in=jockey.ExecuteIn.THREAD)(function)  # type: ignore[arg-type]
    ((_, handler),) = registry.items()

    first, zero, last = await pools.batch_caller(handler, jockey.ExecuteIn.THREAD)([1, 0, 2])

    assert (first, last) == (2, 4)
    assert isinstance(zero.error, ValueError)


async def test_in_one_thread_all_of_them(pools: Pools) -> None:
    registry: jockey.Registry[object, str, object] = jockey.Registry()
    registry.add("key", execute_in=jockey.ExecuteIn.THREAD)(thread)
    ((_, handler),) = registry.items()

    threads = await pools.batch_caller(handler, jockey.ExecuteIn.THREAD)([1, 2])

    assert threads[0] is threads[1] is not threading.current_thread()


async def test_in_a_process(pools: Pools) -> None:
    registry: jockey.Registry[object, str, object] = jockey.Registry()
    registry.add("key", execute_in=jockey.ExecuteIn.PROCESS)(act)
    ((_, handler),) = registry.items()

    first, dead, last = await pools.batch_caller(handler, jockey.ExecuteIn.PROCESS)([1, "die", 2])

    assert (first, last) == (2, 4)
    assert isinstance(dead.error, jockey.WorkerDiedError)
