"""The command of the benchmarks prints its table, whether the peers are there or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"

# The one run computes, and does not wait: on a busy machine it takes its time.
pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]


def table(cache: Path) -> str:
    """Return what the command prints when it must be quick, and finds no peers in its cache."""
    # Figures that coverage has slowed down take the longer, and show nothing.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment["XDG_CACHE_HOME"] = str(cache)
    command = [sys.executable, str(BENCHMARKS), "--quick"]
    return subprocess.run(command, env=environment, check=True, capture_output=True, encoding="utf-8").stdout


BENCHMARKED = [
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
]

PEERS = ["jockey 1.0.0 (the original)", "aiojobs", "aiometer", "taskiq", "repid", "huey"]


def test_table_has_a_row_of_each_benchmark_and_a_line_of_each_peer(tmp_path: Path) -> None:
    lines = table(tmp_path).splitlines()

    for what in BENCHMARKED:
        rows = [line for line in lines if what in line]
        assert rows, what
        assert all(row.count("|") == lines[2].count("|") for row in rows)
    for peer in PEERS:
        assert any(f"| {peer}" in line for line in lines), peer
    # The original is never mistaken for the package of the same name, which is this one.
    assert any("| jockey 1.0.0 (the original): not installed |" in line for line in lines)
