"""PURE: what has been delivered and waits to be taken, and whether more may come. For two threads at once."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from jockey.jobs.brokers.rabbitmq_topology import RETURNED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jockey.jobs.brokers.rabbitmq_messages import RabbitDelivery


class Shelf:
    """
    What was fetched first; then the most urgent, of those what was returned, and then as it has come.

    RabbitMQ pushes to each consumer as many messages as it may have unsettled, and there is a consumer for each
    priority of each queue. So the allowance is what the worker wanted when the consumers were made. When that does not
    suffice any more, they are made anew.

    Attributes:
        allowance: How many unsettled messages each consumer may have; 0: there are no consumers.
        consumers: How often they were made.
        wanted: How many the worker would take now; 0 while it asks for nothing.
        takings: How often something was taken, or asked for.
        may_fetch: Whether there may be something that is not pushed, and is to be fetched when it is wanted.
    """

    def __init__(self) -> None:
        self.allowance = 0
        self.consumers = 0
        self.wanted = 0
        self.takings = 0
        self.may_fetch = False
        self._lock = threading.Lock()
        self._waiting: list[tuple[bool, int, bool, int, RabbitDelivery]] = []
        self._numbers = itertools.count()
        self._unsettled = Counter[str]()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, deliveries: Iterable[RabbitDelivery]) -> None:
        with self._lock:
            for delivery in deliveries:
                is_new = not delivery.place.endswith(RETURNED)
                rank = (not delivery.is_fetched, delivery.priority, is_new, next(self._numbers))
                heappush(self._waiting, (*rank, delivery))

    def take(self, most: int) -> list[RabbitDelivery]:
        """Return at most that many; if there are none, remember that they are wanted."""
        with self._lock:
            self.takings += 1
            taken = [heappop(self._waiting)[-1] for _ in range(min(most, len(self._waiting)))]
            self.wanted = 0 if taken else most
            return taken

    def clear(self) -> list[RabbitDelivery]:
        """Return all that has not been taken."""
        with self._lock:
            return [heappop(self._waiting)[-1] for _ in range(len(self._waiting))]

    def count(self, delivery: RabbitDelivery, difference: int) -> None:
        """Count one more, or less, that its consumer has to settle; one that is being settled does not count."""
        if delivery.consumers == self.consumers:
            self._unsettled[delivery.place] += difference

    def renew(self, allowance: int) -> None:
        """Note that there are new consumers; what the old ones have got does not count for them."""
        self.allowance = allowance
        self.consumers += 1
        self._unsettled.clear()

    def has_room(self) -> bool:
        """Tell whether each consumer may get as much as is wanted; or there is something, so that is taken first."""
        most = max(self._unsettled.values(), default=0)
        return bool(self._waiting) or self.allowance - most >= self.wanted
