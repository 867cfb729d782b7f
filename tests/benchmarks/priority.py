"""How many LOW jobs start before a HIGH one that was scheduled behind a long backlog of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.contender import Contender
from tests.benchmarks.rounds import Plan, compete
from tests.benchmarks.table import Row, count

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows(plan: Plan) -> Iterator[Row]:
    """Count starts, not seconds: the figure is the same on each machine."""
    jobs = plan.size(100_000, 1000)
    rounds = compete(plan, {"jockey": Contender("overtaking:starts_before_high", jobs=jobs)})
    worst, usual = rounds.median("jockey", "worst"), rounds.median("jockey", "median")
    yield Row(
        f"LOW jobs started before a HIGH one behind {count(jobs)}, 16 slots taken",
        f"{usual:.0f}, at worst {worst:.0f}",
        target="0: the next free slot",
    )
