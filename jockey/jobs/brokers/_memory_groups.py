"""Jobs in memory that run one at a time, and in order."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jockey.jobs.brokers._embedded import BLOCKED

if TYPE_CHECKING:
    from jockey.jobs.brokers._memory_entry import Entry


@dataclass(slots=True, eq=False)
class Group:
    """The one job of a group whose turn it is, and those behind it."""

    head: Entry
    blocked: list[tuple[float, int, Entry]] = field(default_factory=list)


class Groups:
    """All groups of which any job is ready, runs or waits for its turn."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    def admit(self, entry: Entry, name: str) -> bool:
        """Tell whether it is the turn of a job whose time has come; else it waits for it here."""
        group = self._groups.get(name)
        if group is None:
            self._groups[name] = Group(entry)
        elif group.head is not entry:
            entry.phase = BLOCKED
            heapq.heappush(group.blocked, (entry.ready_at, entry.arrival, entry))
            return False
        return True

    def pass_on(self, entry: Entry, name: str) -> Entry | None:
        """Return the job of the group whose turn it is now, if it was that of *entry*, and there is another one."""
        group = self._groups.get(name)
        if group is None or group.head is not entry:
            return None
        while group.blocked:
            group.head = heapq.heappop(group.blocked)[-1]
            if group.head.phase == BLOCKED:
                return group.head
        del self._groups[name]
        return None
