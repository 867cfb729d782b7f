"""What a long backlog costs: time per job, memory, and the event loop's breath while it is worked off or cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks.contender import Contender
from tests.benchmarks.rounds import Plan, compete
from tests.benchmarks.table import Row, count, microseconds, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows(plan: Plan) -> Iterator[Row]:
    """Yield all that depends on the length of the backlog."""
    yield from _flatness(plan)
    yield from _memory(plan)
    yield from _stalls(plan)


def _flatness(plan: Plan) -> Iterator[Row]:
    # The collector looks at all that is alive again and again, so with it every program gets slower the more it keeps,
    # messages included. Without it one sees what the length of the backlog costs us.
    sizes = [1000, 10_000] if plan.quick else [1000, 10_000, 100_000, 1_000_000]
    for collector, how in ((True, ""), (False, ", collector off")):
        rounds = compete(
            plan, {str(size): Contender("queued:worked_off", jobs=size, collector=collector) for size in sizes}
        )
        first = str(sizes[0])
        for size in sizes[1:]:
            yield Row(
                f"no-op async job, {count(size)} queued{how}",
                microseconds(rounds.median(str(size), "per_job")),
                f"{count(sizes[0])} queued: {microseconds(rounds.median(first, 'per_job'))}",
                f"{rounds.ratio(str(size), first, 'per_job'):.2f} x",
                "≤ 1.3 x",
            )


def _memory(plan: Plan) -> Iterator[Row]:
    jobs = plan.size(100_000, 1000)
    rounds = compete(
        plan,
        {
            "plain": Contender("queued:memory", jobs=jobs, full=False),
            "full": Contender("queued:memory", jobs=jobs, full=True),
        },
    )
    for name, what in (("plain", ""), ("full", ", 100 handlers, 997 groups")):
        size = f"{rounds.median(name, 'bytes'):.0f} bytes"
        yield Row(f"a queued job, beyond its message{what}", size, target="≤ 500 bytes")


def _stalls(plan: Plan) -> Iterator[Row]:
    jobs = plan.size(1_000_000, 2000)
    repeat = Plan(repeat=min(plan.repeat, 3), quick=plan.quick, install=plan.install)
    for function, what in (
        ("work_off", "work off"),
        ("leave", "cancel, by leaving the block,"),
        ("cancel_each", "cancel, handle by handle,"),
    ):
        contender = f"stalls:{function}"
        rounds = compete(
            repeat,
            {
                "off": Contender(contender, jobs=jobs, collector=False),
                "on": Contender(contender, jobs=jobs, collector=True),
            },
        )
        seconds = rounds.median("on")
        yield Row(f"{what} {count(jobs)} queued jobs", f"{seconds:.2f} s", target="seconds")
        stalls = f"with the collector {milliseconds(rounds.median('on', 'stall'))}"
        pauses = f"its longest pause {milliseconds(rounds.median('on', 'pause'))}"
        yield Row(
            "- longest stall of the loop meanwhile, collector off",
            milliseconds(rounds.median("off", "stall")),
            f"{stalls}, {pauses}",
            target="≤ 50 ms",
        )
