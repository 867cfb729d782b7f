"""PURE: holds what was confirmed against what was done, and says what cannot be explained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from tests.jobs.crash_loop.journal import Line

AROUND = 12.0
"""Seconds around a restart of the server in which its connections are lost, and made again."""


STOOD_STILL = 20.0
"""Seconds after somebody stood still in which leases may be lost because of it: who did may have held up all others."""


@dataclass
class Hurt:
    """Who was hurt on the way, and is an explanation for a job that runs twice."""

    pids: set[int] = field(default_factory=set)
    """Of the workers that were killed, or lost leases after somebody had stood still."""

    restarts: list[float] = field(default_factory=list)
    """When the server was killed, in seconds since the epoch."""

    def explains(self, line: Line) -> bool:
        return line.pid in self.pids or any(abs(line.time - when) < AROUND for when in self.restarts)


@dataclass(frozen=True)
class Balance:
    """
    What came out.

    Attributes:
        confirmed: How many jobs the producer was told to be safe.
        done: How many different jobs were done.
        again: How many times a job was done that was done before.
        lost: Jobs that are confirmed, and neither done nor dead.
        unexplained: Jobs that were done more often than was anybody hurt who did them, or put them elsewhere.
        wrongly_dead: Dead letters that too few workers have begun that were hurt.
    """

    confirmed: int
    done: int
    again: int
    dead: int
    lost: list[int]
    unexplained: list[int]
    wrongly_dead: list[int]

    def is_good(self) -> bool:
        return not self.lost and not self.unexplained and not self.wrongly_dead


def reconcile(
    confirmed: Iterable[Line], effects: Iterable[Line], hurt: Hurt, dead: AbstractSet[int], *, max_crashes: int
) -> Balance:
    """Return the balance of a loop that has come to its end."""
    sent = {line.number for line in confirmed}
    begun, done = defaultdict[int, list[Line]](list), defaultdict[int, list[Line]](list)
    moved = defaultdict[int, list[Line]](list)
    lost, still = list[Line](), list[Line]()
    for line in effects:
        if line.what in {"lost", "still"}:
            (lost if line.what == "lost" else still).append(line)
        else:
            {"begun": begun, "moved": moved, "done": done}[line.what][line.number].append(line)
    hurt.pids |= {line.pid for line in lost if has_reason(line, still)}
    return Balance(
        confirmed=len(sent),
        done=len(done),
        again=sum(len(lines) - 1 for lines in done.values()),
        dead=len(dead),
        lost=sorted(sent - done.keys() - dead),
        # Who did it last need not have been hurt; all others must, or whoever left a copy behind.
        unexplained=[
            number for number, lines in done.items() if innocent(lines, hurt) > 1 + guilty(moved[number], hurt)
        ],
        # One of the crashes may have come before the job had begun.
        wrongly_dead=[n for n in dead if len(begun[n]) - innocent(begun[n], hurt) < max_crashes - 1],
    )


def has_reason(lost: Line, still: Iterable[Line]) -> bool:
    """Tell whether a worker had reason to lose a lease: somebody stood still before, or just when that was noticed."""
    return any(-STOOD_STILL / 4 < lost.time - line.time < STOOD_STILL for line in still)


def innocent(lines: Iterable[Line], hurt: Hurt) -> int:
    """Count those to whom nothing has happened."""
    return Counter(hurt.explains(line) for line in lines)[False]


def guilty(lines: Iterable[Line], hurt: Hurt) -> int:
    """Count those to whom something has happened."""
    return Counter(hurt.explains(line) for line in lines)[True]
