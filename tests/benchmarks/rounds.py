"""Run contenders turn by turn: A B C, A B C, and so on, so that a busy moment of the machine hits all of them."""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.contender import Contender, Measures, NotInstalledError

if TYPE_CHECKING:
    from collections.abc import Mapping


WARM_UP = 0.3
"""Seconds in which a contender keeps its processor busy before each of its rounds."""


@dataclass(frozen=True)
class Plan:
    """How much is to be measured."""

    repeat: int
    """Rounds of which the median is taken; one more comes before them, to warm up."""

    quick: bool
    """Small numbers: shows that the benchmarks run, and nothing else."""

    install: bool
    """Whether missing peers are installed into the cache folder."""

    def size(self, full: int, quick: int) -> int:
        """Return the first number, or the second one if this must be quick."""
        return quick if self.quick else full


class Rounds:
    """What all contenders measured, round by round; those that are not installed are absent."""

    def __init__(self, measures: Mapping[str, list[Measures]], versions: Mapping[str, str]) -> None:
        self._measures = measures
        self.versions = versions

    def __contains__(self, name: str) -> bool:
        return name in self._measures

    def median(self, name: str, measure: str = "seconds") -> float:
        """Return the median of all rounds."""
        return statistics.median(measures[measure] for measures in self._measures[name])

    def ratio(self, name: str, other: str, measure: str = "seconds") -> float:
        """Return the median of the ratios within each round: neighbours in time have suffered the same load."""
        pairs = zip(self._measures[name], self._measures[other], strict=True)
        return statistics.median(mine[measure] / theirs[measure] for mine, theirs in pairs)


def compete(plan: Plan, contenders: Mapping[str, Contender]) -> Rounds:
    """Start all contenders, then let one after the other measure, again and again."""
    with contextlib.ExitStack() as stack:
        started: dict[str, Contender] = {}
        for name, contender in contenders.items():
            try:
                started[name] = stack.enter_context(contender)
            except NotInstalledError:
                if not contender.is_optional:
                    raise
        if not plan.quick:
            _one_round(started, WARM_UP)
        warm_up = 0.0 if plan.quick else WARM_UP
        rounds = [_one_round(started, warm_up) for _ in range(plan.repeat)]
        versions = {name: contender.version for name, contender in started.items()}
        return Rounds({name: [each[name] for each in rounds] for name in started}, versions)


def _one_round(contenders: Mapping[str, Contender], warm_up: float) -> dict[str, Measures]:
    return {name: contender.measure(warm_up) for name, contender in contenders.items()}
