from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"

# The one run that they all look at computes, and does not wait: on a busy machine it takes its time.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the command prints when it must be quick, and finds no peers in its cache."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    command = [sys.executable, str(BENCHMARKS), "--quick"]
    return subprocess.run(command, env=environment, check=True, capture_output=True, encoding="utf-8").stdout


@pytest.mark.parametrize(
    "what",
    [
        "no-op async job, 500 at once, 16 slots",
        "100 handlers, 3 priorities, a timeout on each, 997 groups",
        "no-op async job, one at a time",
        "no-op async job, 10 000 queued",
        "a queued job, beyond its message",
        "work off 2 000 queued jobs",
        "cancel, by leaving the block, 2 000 queued jobs",
        "cancel, handle by handle, 2 000 queued jobs",
        "longest stall of the loop meanwhile",
        "LOW jobs started before a HIGH one behind 1 000",
        "one tiny sync job in a thread",
        "one tiny sync job in a process",
        "`GET /` of the example web framework",
        "100 queued no-op jobs in memory",
        "no-op jobs in SQLite, enqueued one after the other",
        "no-op jobs in SQLite, enqueued 16 at a time",
        "claim one job in SQLite",
        "`enqueue_many` into SQLite",
        "through RabbitMQ",
        "an idle worker, memory",
        "an idle worker, SQLite",
    ],
)
def test_each_benchmark_has_its_row(table: str, what: str) -> None:
    rows = [line for line in table.splitlines() if what in line]

    assert rows
    assert all(row.count("|") == table.splitlines()[2].count("|") for row in rows)


@pytest.mark.parametrize("peer", ["jockey 1.0.0 (the original)", "aiojobs", "aiometer", "taskiq", "repid", "huey"])
def test_each_peer_is_listed_whether_it_is_installed_or_not(table: str, peer: str) -> None:
    assert any(f"| {peer}" in line for line in table.splitlines())


def test_original_is_never_mistaken_for_the_package_of_the_same_name(table: str) -> None:
    assert "| jockey 1.0.0 (the original): not installed |" in table
