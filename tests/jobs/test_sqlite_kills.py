"""Processes that are killed in the middle of anything: what was confirmed is there, what was settled is over."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import anyio.to_thread
import pytest

from tests.jobs.conformance.carriers import new
from tests.jobs.sqlite_child import AT_ONCE, LEASE
from tests.jobs.sqlite_files import Clock, opened, raw, working

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Once is enough: what happens here happens in other processes."""
    return "asyncio"


def said_until_killed(what: str, path: Path, lines: int) -> list[list[str]]:
    """Run a process, kill it when it has said so many lines, and return the words of all that it has said."""
    command = [sys.executable, "-m", "tests.jobs.sqlite_child", what, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None
        said = list(itertools.islice(process.stdout, lines))
        process.kill()
        said += process.stdout
    return [line.split() for line in said if line.endswith("\n")]


async def test_what_a_killed_producer_knows_to_be_published_is_there(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"

    confirmed = [id_ for ids in said_until_killed("produce", path, 20) for id_ in ids]

    with raw(path) as connection:
        stored = [id_ for (id_,) in connection.execute("SELECT id FROM jockey_jobs ORDER BY seq")]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert stored[: len(confirmed)] == confirmed
    assert len(stored) % 5 == 0


async def test_jobs_of_a_killed_worker_come_again_and_settled_ones_do_not(tmp_path: Path) -> None:
    path, clock = tmp_path / "jobs.db", Clock()
    async with opened(path, clock) as broker, working(broker) as source:
        jobs = [new() for _ in range(9 * AT_ONCE)]  # so the last ones that it takes are as many as the others
        await broker.publish(jobs)

        said = await anyio.to_thread.run_sync(said_until_killed, "work", path, 20)

        taken = {id_ for kind, *ids in said for id_ in ids if kind == "taken"}
        settled = {id_ for kind, *ids in said for id_ in ids if kind == "settled"}
        clock.ahead += LEASE + 1
        deliveries = await source.poll(100)
        again = {delivery.id: delivery.crashes for delivery in deliveries}

    assert settled.isdisjoint(again)
    # Whatever it died at, at most one thing was done without a word: a settlement, or a take of seven.
    assert len(jobs) - len(settled) - len(again) in {0, 1}
    assert {again[id_] for id_ in taken & set(again)} <= {1}
    assert sum(again[id_] for id_ in set(again) - taken) in {0, AT_ONCE}
