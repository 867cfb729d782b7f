"""The price of one tiny sync job in a thread and in a worker process, next to the pools of the standard library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.contender import Contender
from tests.benchmarks.rounds import Plan, compete
from tests.benchmarks.table import Row, count, microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows(plan: Plan) -> Iterator[Row]:
    """Compare to `run_in_executor` with as many threads, and with as many processes."""
    jobs = plan.size(5000, 100)
    for kind, pool, workers, target in (
        ("thread", "ThreadPoolExecutor", 4, "≤ 1.0 x"),
        ("thread", "ThreadPoolExecutor", 16, "≤ 1.0 x"),
        ("process", "ProcessPoolExecutor", 2, "≤ 0.7 x"),
    ):
        rounds = compete(
            plan,
            {
                "jockey": Contender("pools:jobs_in", kind=kind, workers=workers, jobs=jobs),
                "stdlib": Contender("pools_stdlib:calls_in", kind=kind, workers=workers, jobs=jobs),
            },
        )
        yield Row(
            f"one tiny sync job in a {kind}, {count(jobs)} at once, {workers} workers, warm",
            microseconds(rounds.median("jockey") / jobs),
            f"`run_in_executor`, `{pool}`: {microseconds(rounds.median('stdlib') / jobs)}",
            f"{rounds.ratio('jockey', 'stdlib'):.2f} x",
            target,
        )
