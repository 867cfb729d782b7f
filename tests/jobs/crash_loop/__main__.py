"""
Torment workers for a while, and hold what was done against what was sent.

`python -m tests.jobs.crash_loop --broker sqlite --seconds 60`; it fails if anything cannot be explained.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.jobs.crash_loop.loop import Report, run
from tests.jobs.crash_loop.server import server

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.jobs.crash_loop", description=__doc__)
    parser.add_argument("--broker", choices=["sqlite", "rabbitmq"], default="sqlite")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the workers are tormented")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument(
        "--patience", type=float, default=30.0, help="seconds in which nothing happens, after which nothing more will"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--restart-server", action="store_true", help="run a RabbitMQ of our own, and kill it as well")
    options = parser.parse_args()
    if options.restart_server and options.broker != "rabbitmq":
        parser.error("--restart-server is for --broker rabbitmq: there is no server otherwise")
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as path, contextlib.ExitStack() as stack:
        directory = Path(path)
        own = stack.enter_context(server(directory / "server")) if options.restart_server else None
        amqp = own.url if own else AMQP_URL
        stack.enter_context(errors_shown(directory / "errors"))
        report = run(
            f"sqlite:///{directory / 'jobs.db'}" if options.broker == "sqlite" else amqp,
            directory,
            seconds=options.seconds,
            workers=options.workers,
            patience=options.patience,
            dice=random.Random(options.seed),
            server=own,
        )
        tell(report)
        assert report.is_good(), "something cannot be explained"


@contextlib.contextmanager
def errors_shown(path: Path) -> Iterator[None]:
    """Show what the workers have written to their standard error, if the block fails."""
    try:
        yield
    except BaseException:
        print(path.read_text()[-20_000:])
        raise


def tell(report: Report) -> None:
    balance = report.balance
    print("workers: " + ", ".join(f"{number} {what}" for what, number in sorted(report.counts.items())))
    print(f"jobs: {balance.confirmed} confirmed, {balance.done} done, {balance.again} times again, {balance.dead} dead")
    if report.back_after:
        print("seconds to go on after a restart: " + ", ".join(f"{seconds:.2f}" for seconds in report.back_after))
    for what, items in (
        ("lost jobs", balance.lost),
        ("duplicates that nothing explains", balance.unexplained),
        ("dead without having been lost so often", balance.wrongly_dead),
        ("workers that did not end well", report.wrong_exits),
        ("zombies", report.zombies),
    ):
        print(f"{what}: {items or 'none'}")
    for line in report.evidence:
        print(f"  {line.time:.3f} process {line.pid}: {line.what} {line.number}")


if __name__ == "__main__":
    main()
