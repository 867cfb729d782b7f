"""
The price of one job, from `schedule` to the return of `on_success`, next to a bare task of asyncio.

Messages are made before the clock starts, as are the payloads of the tasks; `run()` itself is counted. The clock is
that of the processor: nothing waits in here, and what other programs take is no part of the price.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.contender import Contender
from tests.benchmarks.rounds import Plan, compete
from tests.benchmarks.table import Row, count, microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows(plan: Plan) -> Iterator[Row]:
    """Compare a plain job, and one with everything that schedules, to `create_task` and `gather`."""
    jobs = plan.size(20_000, 500)
    rounds = compete(
        plan,
        {
            "plain": Contender("scheduled:noop", jobs=jobs),
            "full": Contender("scheduled:full", jobs=jobs),
            "gather": Contender("gathered:noop", jobs=jobs),
            "executed": Contender("scheduled:one_by_one", jobs=jobs),
            "awaited": Contender("gathered:one_by_one", jobs=jobs),
        },
    )
    gather = f"`create_task` + `gather`: {microseconds(rounds.median('gather') / jobs)}"
    for name, what, target in (
        ("plain", f"no-op async job, {count(jobs)} at once, 16 slots", "≤ 0.7 x"),
        ("full", "the same with 100 handlers, 3 priorities, a timeout on each, 997 groups", "≤ 1.0 x"),
    ):
        ours = microseconds(rounds.median(name) / jobs)
        yield Row(what, ours, gather, f"{rounds.ratio(name, 'gather'):.2f} x", target)
    yield Row(
        "no-op async job, one at a time, `await execute`",
        microseconds(rounds.median("executed") / jobs),
        f"`await create_task`: {microseconds(rounds.median('awaited') / jobs)}",
        f"{rounds.ratio('executed', 'awaited'):.2f} x",
    )
