"""Maps over many items in threads and processes, next to the standard library and to joblib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks import shelf
from tests.benchmarks.contender import Contender
from tests.benchmarks.rounds import Plan, Rounds, compete
from tests.benchmarks.table import Row, count, microseconds, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNKS = (1, 10, 100, 1000)
WORKERS = 2


def rows(plan: Plan) -> Iterator[Row]:
    """Compare maps whose items are tiny, even, uneven, large, or wait; and how soon the first result is there."""
    yield from _tiny(plan)
    yield _even(plan)
    yield from _uneven(plan)
    yield from _arrays(plan)
    yield _first(plan)
    yield _waiting(plan)


def _tiny(plan: Plan) -> Iterator[Row]:
    items = plan.size(100_000, 1000)
    load = {"name": "tiny", "count": items, "workers": WORKERS}
    pools = {
        f"chunksize={size}": Contender("maps_stdlib:warm", kind="process", chunksize=size, **load) for size in CHUNKS
    }
    ours = Contender("maps:warm", kind="process", **load)
    rounds = compete(plan, {"jockey": ours, "joblib": _joblib(plan, **load), **pools})
    what = f"map a tiny function over {count(items)} integers, processes, warm"
    price = microseconds(rounds.median("jockey") / items)
    yield _against_joblib(rounds, what, price, items, "≤ 1.2 x")
    best = min(pools, key=rounds.median)
    other = f"`ProcessPoolExecutor.map({best})`, its best: {microseconds(rounds.median(best) / items)}"
    yield Row(what, price, other, f"{rounds.ratio('jockey', best):.2f} x", "≤ 2 x")


def _even(plan: Plan) -> Row:
    items = plan.size(2000, 10)
    rounds = compete(
        plan,
        {
            "jockey": Contender("maps:warm", name="even", count=items, kind="process", workers=WORKERS),
            "one core": Contender("maps_stdlib:one_core", name="even", count=items),
        },
    )
    return Row(
        f"map over {count(items)} items of about 5 ms, {WORKERS} processes",
        milliseconds(rounds.median("jockey")),
        f"one core: {milliseconds(rounds.median('one core'))}",
        f"{rounds.ratio('one core', 'jockey'):.2f} x faster",
        "≥ 1.9 x faster",
    )


def _uneven(plan: Plan) -> Iterator[Row]:
    items = plan.size(1000, 10)
    load = {"name": "uneven", "count": items, "workers": WORKERS}
    rounds = compete(
        plan,
        {
            "jockey": Contender("maps:warm", kind="process", **load),
            "stdlib": Contender("maps_stdlib:warm", kind="process", **load),
            "joblib": _joblib(plan, **load),
        },
    )
    what = f"map over {count(items)} items, some 100 times as long as others"
    price = milliseconds(rounds.median("jockey"))
    yield Row(
        what,
        price,
        f"`ProcessPoolExecutor.map`: {milliseconds(rounds.median('stdlib'))}",
        f"{rounds.ratio('jockey', 'stdlib'):.2f} x",
        "≤ 1.0 x",
    )
    yield _against_joblib(rounds, what, price, 0, "≤ 1.0 x")


def _arrays(plan: Plan) -> Iterator[Row]:
    items = plan.size(8, 2)
    load = {"name": "arrays", "count": items, "workers": WORKERS}
    rounds = compete(
        plan,
        {
            "jockey": Contender("maps:warm", kind="process", **load),
            "stdlib": Contender("maps_stdlib:warm", kind="process", **load),
            "joblib": _joblib(plan, **load),
        },
    )
    what = f"map over {count(items)} arrays of 100 MB, a small result each"
    price = milliseconds(rounds.median("jockey"))
    yield Row(
        what,
        price,
        f"`ProcessPoolExecutor.map`: {milliseconds(rounds.median('stdlib'))}",
        f"{rounds.ratio('stdlib', 'jockey'):.1f} x faster",
        "≥ 3 x faster",
    )
    yield _against_joblib(rounds, what, price, 0, "≤ 1.2 x")


def _first(plan: Plan) -> Row:
    rounds = compete(plan, {"jockey": Contender("maps:first"), "stdlib": Contender("maps_stdlib:first")})
    return Row(
        "first result of a map in processes, from its call",
        milliseconds(rounds.median("jockey")),
        f"`ProcessPoolExecutor`, spawned: {milliseconds(rounds.median('stdlib'))}",
        f"{rounds.ratio('jockey', 'stdlib'):.2f} x",
        "≤ 1.2 x",
    )


def _waiting(plan: Plan) -> Row:
    items, workers = plan.size(10_000, 100), 64
    load = {"name": "waiting", "count": items, "kind": "thread", "workers": workers}
    rounds = compete(plan, {"jockey": Contender("maps:cold", **load), "stdlib": Contender("maps_stdlib:cold", **load)})
    return Row(
        f"map over {count(items)} items that wait 1 ms, {workers} threads",
        milliseconds(rounds.median("jockey")),
        f"`ThreadPoolExecutor.map`: {milliseconds(rounds.median('stdlib'))}",
        f"{rounds.ratio('jockey', 'stdlib'):.2f} x",
        "≤ 1.1 x",
    )


def _joblib(plan: Plan, **load: object) -> Contender:
    return Contender("maps_joblib:warm", folder=shelf.folder("joblib", "joblib", install=plan.install), **load)


def _against_joblib(rounds: Rounds, what: str, price: str, items: int, target: str) -> Row:
    if "joblib" not in rounds:
        return Row(what, price, "joblib: not installed", "", target)
    seconds = rounds.median("joblib")
    theirs = microseconds(seconds / items) if items else milliseconds(seconds)
    other = f"joblib {rounds.versions['joblib']}: {theirs}"
    return Row(what, price, other, f"{rounds.ratio('jockey', 'joblib'):.2f} x", target)
