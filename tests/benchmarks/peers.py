"""The price of one no-op async job next to other libraries that run jobs in the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks import shelf
from tests.benchmarks.contender import Contender
from tests.benchmarks.rounds import Plan, Rounds, compete
from tests.benchmarks.table import Row, count, microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

PEERS = (
    # name, what pip installs, its function in the folder `contenders`, how many times faster jockey is meant to be
    ("jockey 1.0.0 (the original)", "jockey==1.0.0", "original:noop", 8),
    ("aiojobs", "aiojobs", "aiojobs_scheduler:noop", 5),
    ("aiometer", "aiometer", "aiometer_run:noop", 5),
    ("taskiq, in memory", "taskiq", "taskiq_memory:noop", 5),
)


def rows(plan: Plan) -> Iterator[Row]:
    """Compare to all peers in one run."""
    jobs = plan.size(20_000, 500)
    contenders = {"jockey": Contender("scheduled:noop", jobs=jobs)}
    for name, requirement, function, _ in PEERS:
        path = shelf.folder(requirement, requirement, install=plan.install)
        contenders[name] = Contender(function, folder=path, jobs=jobs)
    rounds = compete(plan, contenders)
    for name, _, _, times in PEERS:
        yield _row(rounds, name, jobs, times)


def _row(rounds: Rounds, name: str, jobs: int, times: int) -> Row:
    what = f"no-op async job, {count(jobs)} at once, 16 slots"
    ours = microseconds(rounds.median("jockey") / jobs)
    target = f"≥ {times} x faster"
    if name not in rounds:
        return Row(what, ours, f"{name}: not installed", "", target)
    other = f"{name} {rounds.versions[name]}".rstrip()
    price = microseconds(rounds.median(name) / jobs)
    return Row(what, ours, f"{other}: {price}", f"{rounds.ratio(name, 'jockey'):.1f} x faster", target)
