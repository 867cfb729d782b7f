"""Keeps some workers running, and kills, stops and asks them to end, at random."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.jobs.crash_loop.worker import UNAVAILABLE

ROOT = Path(__file__).parents[3]

LONGEST_STOP = 6.0
"""Seconds for which a process stands still: longer than its lease, or shorter."""


class Tormentor:
    """
    Starts and ends all processes of one loop.

    Attributes:
        killed: The workers that were killed, by process id.
        counts: How often what was done.
    """

    def __init__(self, arguments: list[str], workers: int, dice: random.Random, patience: float) -> None:
        self._arguments = arguments
        self._number = workers
        self._dice = dice
        self._patience = patience
        self._errors = Path(arguments[-1], "errors").open("ab")  # noqa: SIM115 - closed with the rest
        self._running: list[subprocess.Popen[bytes]] = []
        self._ending: list[subprocess.Popen[bytes]] = []
        self._asleep: dict[subprocess.Popen[bytes], float] = {}
        self.killed: set[int] = set()
        self.counts = Counter[str]()

    def start(self, program: str, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"tests.jobs.crash_loop.{program}", *self._arguments, *more]
        return subprocess.Popen(command, cwd=ROOT, stderr=self._errors)

    def fill_up(self) -> None:
        """Start as many workers as are missing."""
        self._running = [worker for worker in self._running if worker.poll() is None]
        while len(self._running) < self._number:
            self._running.append(self.start("worker", self._dice.choice(["asyncio", "trio"])))
            self.counts["started"] += 1

    def pids(self) -> set[int]:
        """Return those of the workers."""
        return {worker.pid for worker in self._running}

    def torment(self, *, may_stop: bool) -> None:
        """Do something to one of the workers, wake those that have slept enough, and see to it that all are there."""
        now = time.monotonic()
        for worker in [worker for worker, until in self._asleep.items() if until <= now]:
            self._wake(worker)
        victim = self._dice.choice(self._running)
        what = self._dice.choice(["killed", "killed", *(["stopped"] if may_stop else []), "asked to end"])
        self.counts[what] += 1
        if what == "killed":
            self._kill(victim)
        elif what == "stopped":
            victim.send_signal(signal.SIGSTOP)
            self._asleep[victim] = now + self._dice.uniform(0, LONGEST_STOP)
        else:
            victim.send_signal(signal.SIGTERM)
            self._running.remove(victim)
            self._ending.append(victim)
        self.fill_up()

    def _kill(self, worker: subprocess.Popen[bytes]) -> None:
        # Before the kill: afterwards the number may be another process's.
        self.killed.add(worker.pid)
        self._asleep.pop(worker, None)
        worker.kill()
        worker.wait()
        self._running.remove(worker)

    def _wake(self, worker: subprocess.Popen[bytes]) -> None:
        del self._asleep[worker]
        worker.send_signal(signal.SIGCONT)

    def calm_down(self) -> None:
        """Let all that is asleep go on."""
        for worker in list(self._asleep):
            self._wake(worker)
        self.fill_up()

    def end(self) -> list[int]:
        """Ask all workers to end; return the exit codes of those that end otherwise than they should."""
        self.calm_down()
        workers = [*self._running, *self._ending]
        for worker in self._running:
            worker.send_signal(signal.SIGTERM)
        codes = [self.ended(worker) for worker in workers]
        # Asked before Python had got so far as to hear it, a process ends by the signal.
        return [code for code in codes if code not in (0, -signal.SIGTERM, UNAVAILABLE)]

    def ended(self, process: subprocess.Popen[bytes]) -> int:
        """Return the exit code of a process that was asked to end; it is killed if it does not obey in time."""
        try:
            return process.wait(self._patience)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def close(self) -> None:
        """End all that may still run, whatever has happened."""
        for worker in [*self._running, *self._ending]:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            worker.wait()
        self._errors.close()


@contextlib.contextmanager
def producing(tormentor: Tormentor) -> Iterator[None]:
    """Have jobs sent in the block; all that is noted as confirmed then is so."""
    producer = tormentor.start("producer")
    try:
        yield
        producer.send_signal(signal.SIGTERM)
        assert tormentor.ended(producer) == 0, "the producer has failed"
    finally:
        producer.kill()
        producer.wait()
