"""The seam between a broker that keeps no records and the ledger beside it: the one tells what it throws away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from jockey.jobs._broker import Broker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from jockey.jobs._broker import Record
    from jockey.jobs._message import Message

    Tell: TypeAlias = Callable[[Sequence["Removed"]], Awaitable[object]]
    Choose: TypeAlias = Callable[[Sequence[Record]], Awaitable[Collection[str]]]


@dataclass(frozen=True, slots=True)
class Removed:
    """
    What is about to be removed from a queue.

    Attributes:
        message: As it travelled; None if nobody can read it.
        was_taken: Whether a worker has had it, and has it no more: it gave it back, or it was lost.
    """

    message: Message | None
    was_taken: bool


class Carrier(Broker, Protocol):
    """A broker that keeps no records."""

    async def take_out(self, queue: str, tell: Tell) -> int:
        """
        Remove all that waits in the queue, as `purge` does, and tell what it was; return how many.

        Args:
            queue: Its name.
            tell: Awaited with some at a time, before they are gone: if it raises they stay where they are.

        Raises:
            QueueNotDeclaredError: As in `info`.
        """
        ...

    async def put_back(self, ids: Sequence[str], choose: Choose) -> int:
        """
        Replay dead letters, as `replay` does, but only those that are chosen; return how many.

        Args:
            ids: Which of them.
            choose: Awaited with some that are there, before anything becomes of them, returns the ids of those to
                replay; if it raises they stay where they are.
        """
        ...
