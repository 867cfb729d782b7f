"""
The command: measures jockey next to its peers and prints one table of ratios, in Markdown.

All that is compared runs in one go, turn by turn, each contender in a process of its own. Peers that are missing are
installed into a cache folder, never into the environment; `--quick` leaves them out.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from typing import TYPE_CHECKING

from tests.benchmarks import backlog, dispatch, maps, peers, pools, priority, queues, web
from tests.benchmarks.rounds import Plan
from tests.benchmarks.table import Row, header, line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BENCHMARKS: Mapping[str, Callable[[Plan], Iterator[Row]]] = {
    "dispatch": dispatch.rows,
    "peers": peers.rows,
    "backlog": backlog.rows,
    "priority": priority.rows,
    "pools": pools.rows,
    "maps": maps.rows,
    "queues": queues.rows,
    "web": web.rows,
}


def main() -> None:
    """Print each row as soon as it is known."""
    options = _parser().parse_args()
    # Killed, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    repeat = options.repeat or (1 if options.quick else 7)
    plan = Plan(repeat=repeat, quick=options.quick, install=not (options.quick or options.no_install))
    _print(_conditions(plan), "", *header())
    for name in options.only or BENCHMARKS:
        for row in BENCHMARKS[name](plan):
            _print(line(row))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description="Measure jockey next to its peers.")
    parser.add_argument("--quick", action="store_true", help="small numbers, one round, nothing is installed")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="run this benchmark; may be repeated")
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds of which the median is taken (7)")
    parser.add_argument("--no-install", action="store_true", help="leave out the peers that are not installed yet")
    return parser


def _conditions(plan: Plan) -> str:
    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    machine = f"{interpreter}, {platform.system()}, {os.cpu_count()} cores, asyncio"
    if plan.quick:
        return f"{machine}; quick: shows that the benchmarks run, the figures mean nothing."
    return f"{machine}; median of {plan.repeat} rounds."


def _print(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
