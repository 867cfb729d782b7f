"""One crash loop, from the first job to the balance."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from jockey.jobs import JobsError
from tests.jobs.crash_loop.journal import Journal, Line
from tests.jobs.crash_loop.reconciliation import Balance, Hurt, reconcile
from tests.jobs.crash_loop.server import Server
from tests.jobs.crash_loop.tormentor import Tormentor, producing
from tests.jobs.crash_loop.worker import app_of

MAX_CRASHES = 3
"""What a worker says if nobody says otherwise."""

AFTER_RETURN = 5.0
"""Seconds after which the workers must consume again when the server is back."""


@dataclass
class Report:
    """What has happened in one loop."""

    balance: Balance
    counts: dict[str, int]
    wrong_exits: list[int]
    zombies: list[int]
    back_after: list[float] = field(default_factory=list)
    """For each restart of the server: the seconds from its return to the next job that began."""
    evidence: list[Line] = field(default_factory=list)
    """What was written about the jobs that nothing explains, and about the leases of those who did them."""

    def is_good(self) -> bool:
        is_back = all(seconds < AFTER_RETURN for seconds in self.back_after)
        return self.balance.is_good() and is_back and not self.wrong_exits and not self.zombies


def run(
    url: str,
    directory: Path,
    *,
    seconds: float,
    workers: int,
    patience: float,
    dice: random.Random,
    server: Server | None = None,
) -> Report:
    """
    Torment some workers for so many seconds, let the rest be done in peace, and reconcile.

    *patience* is how many seconds may pass in which nothing happens, and until a process ends that is asked to.
    """
    queue = f"jockey-crash-{os.getpid()}"
    effects, confirmed = Journal(directory / "effects"), Journal(directory / "confirmed")
    hurt = Hurt()
    back_after: list[float] = []
    tormentor = Tormentor([url, queue, str(directory)], workers, dice, patience)
    try:
        tormentor.fill_up()
        with producing(tormentor):
            wait_for(effects, 0, patience)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(dice.uniform(0, 0.6))
                if server is not None and dice.random() < 0.05:
                    tormentor.calm_down()
                    while not tormentor.pids() <= {line.pid for line in effects.lines()}:
                        time.sleep(0.05)  # who has only just started may be refused
                        tormentor.fill_up()
                    hurt.restarts.append(time.time())
                    back_after.append(restart(server, effects, dice, patience))
                # At first nobody stands still: nothing then explains a lease that was lost.
                tormentor.torment(may_stop=until - time.monotonic() < seconds / 2)
        tormentor.calm_down()
        wait_until_all_is_done(url, queue, directory, confirmed, effects, patience=patience)
        wrong_exits = tormentor.end()
        zombies = list(children())
        dead = anyio.run(dead_letters, url, queue, directory)
    finally:
        tormentor.close()
        with contextlib.suppress(JobsError):
            anyio.run(clean_up, url, queue, directory)
    hurt.pids |= tormentor.killed
    balance = reconcile(confirmed.lines(), effects.lines(), hurt, dead, max_crashes=MAX_CRASHES)
    evidence = about(balance.unexplained, list(effects.lines()))
    effects.close()
    confirmed.close()
    return Report(balance, dict(tormentor.counts), wrong_exits, zombies, back_after, evidence)


def about(numbers: list[int], lines: list[Line]) -> list[Line]:
    """Return what was written about these jobs, and whatever else those have written who did them."""
    pids = {line.pid for line in lines if line.number in numbers}
    return [line for line in lines if line.number in numbers or (line.pid in pids and line.what in {"lost", "still"})]


def restart(server: Server, effects: Journal, dice: random.Random, patience: float) -> float:
    """Kill the server, start it again, and return the seconds from its return until a job begins."""
    server.kill()
    time.sleep(dice.uniform(0, 3))
    server.start_again()
    server.wait()
    returned = time.monotonic()
    wait_for(effects, begun(effects), patience)
    return time.monotonic() - returned


def begun(effects: Journal) -> int:
    """Return how many jobs have begun."""
    return sum(line.what == "begun" for line in effects.lines())


def wait_for(effects: Journal, number: int, patience: float) -> None:
    """Wait until more than *number* jobs have begun."""
    until = time.monotonic() + patience
    while begun(effects) <= number:
        assert time.monotonic() < until, "nothing happens any more"
        time.sleep(0.01)


def wait_until_all_is_done(
    url: str, queue: str, directory: Path, confirmed: Journal, effects: Journal, *, patience: float
) -> None:
    """Wait until all confirmed jobs are done or dead, or nothing happens any more."""
    sent = {line.number for line in confirmed.lines()}
    left, size, since = -1, -1, time.monotonic()
    while left and time.monotonic() - since < patience:
        done = {line.number for line in effects.lines() if line.what == "done"}
        missing = sent - done
        # To look at dead letters is dear: only for the last ones.
        left = len(missing - anyio.run(dead_letters, url, queue, directory) if len(missing) < MAX_CRASHES else missing)
        if effects.path.stat().st_size != size:
            size, since = effects.path.stat().st_size, time.monotonic()
        time.sleep(0.1)


async def dead_letters(url: str, queue: str, directory: Path) -> set[int]:
    """Return the numbers of the jobs that are dead."""
    journal = Journal(directory / "effects")
    async with app_of(url, queue, journal) as app:
        records = await app.dead.list(queue)
    journal.close()
    return {record.message.args[0] for record in records if record.message is not None}


async def clean_up(url: str, queue: str, directory: Path) -> None:
    journal = Journal(directory / "effects")
    async with app_of(url, queue, journal) as app:
        await app.queues.delete(queue)
    journal.close()


def children() -> Iterator[int]:
    """Yield the processes that are ours and have ended, and that nobody has waited for."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                yield int(path.parent.name)
