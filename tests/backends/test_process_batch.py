"""Batches in worker processes: each item comes to an outcome of its own, whatever the others do."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import jockey
from jockey._backends._batch import Failed
from jockey._backends._parts import Blame, run_in_parts
from jockey._backends.process import ProcessBackend
from tests.backends import process_batches as batches
from tests.backends import process_handlers as handlers
from tests.backends.process_failures import OnlyHere
from tests.backends.process_observer import Fifo, children, nothing_left, run_for_pid

pytestmark = pytest.mark.anyio

Test = TypeVar("Test", bound=Callable[..., Any])


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def pool() -> AsyncIterator[ProcessBackend]:
    with nothing_left():
        pool = ProcessBackend(max_jobs_per_process=None, kill_after=60)
        yield pool
        await pool.aclose()


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    with contextlib.closing(Fifo(tmp_path / "fifo")) as fifo:
        yield fifo


ITEMS: dict[object, tuple[type[Exception], str]] = {
    "raise": (ValueError, "bad item"),
    "raise what does not unpickle": (jockey.TransferError, "FussyError"),
    "exit": (jockey.HandlerCrashedError, "SystemExit"),
    "return a lock": (jockey.TransferError, "the result of 'act' cannot be pickled"),
    "return what does not unpickle": (jockey.TransferError, "the result of 'act' cannot be unpickled"),
    "return what kills": (jockey.WorkerDiedError, "exit code 9"),
    "die": (jockey.WorkerDiedError, "exit code 7"),
    "be killed": (jockey.WorkerDiedError, "SIGKILL"),
}
SENT: dict[str, tuple[Any, type[Exception], str]] = {
    "cannot be sent": (threading.Lock(), jockey.TransferError, "type _thread.lock cannot be pickled"),
    "cannot be loaded": (OnlyHere(0), jockey.TransferError, "the payload of 'act' cannot be unpickled"),
    "kills who loads it": (batches.Deadly(), jockey.WorkerDiedError, "exit code 8"),
}


def check(item: object, outcome: object) -> None:
    if isinstance(item, int):
        assert outcome == 2 * item
        return
    if item in SENT:
        _, error, words = SENT[str(item)]
    else:
        error, words = ITEMS[item]
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is error
    assert words in str(outcome.error)


def sent(item: object) -> object:
    return SENT[item][0] if isinstance(item, str) and item in SENT else item


def between_others(test: Test) -> Test:
    """Try each kind of failure for certain, once."""
    for item in [*ITEMS, *SENT]:
        test = example(items=[1, item, 2])(test)
    return test


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@between_others
@given(items=st.lists(st.integers(0, 9) | st.sampled_from([*ITEMS, *SENT]), max_size=6))
async def test_every_item_comes_to_its_one_end_in_order(pool: ProcessBackend, items: list[object]) -> None:
    outcomes = await pool.run_batch(batches.act, [sent(item) for item in items])

    assert len(outcomes) == len(items)
    for item, outcome in zip(items, outcomes, strict=True):
        check(item, outcome)


async def test_error_of_an_item_has_its_traceback(pool: ProcessBackend) -> None:
    _, failed = await pool.run_batch(batches.act, [1, "raise"])

    traceback = str(failed.error.__cause__)
    assert "in act" in traceback
    assert "_worker.py" not in traceback


async def test_batch_runs_in_one_process_as_one_job() -> None:
    pool = ProcessBackend(max_jobs_per_process=1)

    first = await pool.run_batch(handlers.pid, [None] * 5)
    second = await pool.run_batch(handlers.pid, [None] * 5)

    await pool.aclose()
    assert len(set(first)) == len(set(second)) == 1
    assert first != second


async def test_no_items_need_no_process(pool: ProcessBackend) -> None:
    with nothing_left():
        assert await pool.run_batch(handlers.pid, []) == []


async def test_who_does_not_die_runs_twice_at_most(pool: ProcessBackend, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    names = ["a", "die", "b", "c", "die", "d"]

    outcomes = await pool.run_batch(batches.note_and_die, [(str(path), name) for name in names])

    assert [outcome for outcome in outcomes if not isinstance(outcome, Failed)] == ["a", "b", "c", "d"]
    assert Counter(path.read_text(encoding="utf-8").split()) == {"a": 2, "b": 2, "c": 2, "d": 1, "die": 2}


async def test_idle_worker_that_is_dead_fails_no_item(pool: ProcessBackend, fifo: Fifo) -> None:
    pid = await run_for_pid(pool, handlers.hold, fifo.path)
    await fifo.line()
    os.kill(pid, signal.SIGKILL)
    await fifo.end()

    assert await pool.run_batch(batches.act, [1, 2]) == [2, 4]


async def test_cancelled_batch_kills_its_worker(pool: ProcessBackend, fifo: Fifo) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(pool.run_batch, handlers.hold_and_sleep, [fifo.path, fifo.path])
        pid = int(await fifo.line())
        group.cancel_scope.cancel()

    assert pid not in children()
    assert await pool.run_batch(batches.act, [1]) == [2]


async def test_fork_in_an_item_goes_on_in_one_process_only(pool: ProcessBackend) -> None:
    outcomes = await pool.run_batch(batches.fork_and_go_on, [1, 2])

    assert [item for item, _ in outcomes] == [1, 2]
    assert all(child for _, child in outcomes)


async def test_function_that_cannot_be_sent_is_no_items_fault(pool: ProcessBackend) -> None:
    with pytest.raises(jockey.TransferError, match="top level of its module"):
        await pool.run_batch(lambda item: item, [1, 2])


async def test_function_that_a_worker_does_not_find_is_no_items_fault(
    pool: ProcessBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "only_known_here", late_comer, raising=False)
    monkeypatch.setattr(late_comer, "__module__", handlers.__name__)
    monkeypatch.setattr(late_comer, "__qualname__", "only_known_here")

    with pytest.raises(jockey.TransferError, match="handler of 'only_known_here' cannot be unpickled in the worker"):
        await pool.run_batch(late_comer, [1, 2])


def late_comer(_: object) -> None: ...


async def test_closed_pool_takes_no_batches() -> None:
    pool = ProcessBackend(max_jobs_per_process=None)
    await pool.aclose()

    with pytest.raises(jockey.ExecutorClosedError):
        await pool.run_batch(handlers.echo, [1])


@given(
    count=st.integers(0, 12),
    guilty=st.sets(st.integers(0, 11)),
    who=st.sampled_from(["known", "unknown"]),
)
async def test_parts_without_processes(count: int, guilty: set[int], who: str) -> None:
    runs: Counter[int] = Counter()

    async def run(items: list[int]) -> list[int] | Blame:
        for index, item in enumerate(items):
            runs[item] += 1
            if item in guilty:
                return Blame(ValueError(item), index if who == "known" else None)
        return items

    outcomes = await run_in_parts(run, list(range(count)))

    assert [outcome.error.args[0] if isinstance(outcome, Failed) else outcome for outcome in outcomes] == [
        *range(count)
    ]
    assert {index for index, outcome in enumerate(outcomes) if isinstance(outcome, Failed)} == guilty & {*range(count)}
    assert all(runs[item] <= 2 for item in range(count))
