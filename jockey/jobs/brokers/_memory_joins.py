"""What has arrived of the jobs that something waits for together. In memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jockey.jobs.brokers._embedded import JOIN_KEPT

if TYPE_CHECKING:
    from jockey.jobs._message import Join


@dataclass(slots=True, eq=False)
class Joining:
    """The results of some jobs of a group, by their place in it, and when they are forgotten."""

    keeps_until: float = 0.0
    results: dict[int, bytes] = field(default_factory=dict[int, bytes])


class Joins:
    """All groups of jobs of which any has ended, and not too long ago."""

    def __init__(self) -> None:
        self._joins: dict[str, Joining] = {}  # the oldest first

    def arrive(self, join: Join, result: bytes, now: float) -> list[bytes] | None:
        """Keep one more result; return all of them if none is missing any more."""
        joining = self._joins.pop(join.id, None) or Joining()
        joining.keeps_until = now + JOIN_KEPT
        joining.results.setdefault(join.index, result)
        self._joins[join.id] = joining
        while (oldest := next(iter(self._joins))) and self._joins[oldest].keeps_until <= now:
            del self._joins[oldest]
        if len(joining.results) < join.count:
            return None
        return [joining.results[index] for index in range(join.count)]
