"""PURE: what was published, until RabbitMQ has told what became of it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Batch:
    """
    Messages that are published together.

    Args:
        size: How many they are.
        on_end: Called when RabbitMQ has told of all of them, with the first error; None: all are safe.
    """

    __slots__ = ("_error", "_left", "_on_end")

    def __init__(self, size: int, on_end: Callable[[Exception | None], object]) -> None:
        self._left = size
        self._on_end = on_end
        self._error: Exception | None = None

    def note(self, error: Exception | None) -> None:
        """Learn what became of one of them."""
        self._error = self._error or error
        self._left -= 1
        if not self._left:
            self._on_end(self._error)


class _Message(NamedTuple):
    id: str
    place: str
    batch: Batch


class Confirms:
    """What is on its way over one channel. RabbitMQ counts it as we do."""

    def __init__(self) -> None:
        self._published = 0
        self._pending: dict[int, _Message] = {}  # in their order

    def expect(self, id_: str, place: str, batch: Batch) -> None:
        """Learn that a message is published."""
        self._published += 1
        self._pending[self._published] = _Message(id_, place, batch)

    def settle(self, tag: int, *, multiple: bool, error: Exception | None) -> None:
        """Learn what became of one message, or of all up to that one; those that were returned are known."""
        for each in list(itertools.takewhile(tag.__ge__, self._pending)) if multiple else [tag]:
            message = self._pending.pop(each, None)
            if message is not None:
                message.batch.note(error)

    def give_up(self, id_: str, place: str, error: Exception) -> None:
        """Learn that a message was returned; it is confirmed as well, later."""
        for tag, message in self._pending.items():
            if (message.id, message.place) == (id_, place):
                del self._pending[tag]
                message.batch.note(error)
                return

    def end(self, error: Exception) -> None:
        """Learn that nothing will come any more."""
        pending, self._pending = self._pending, {}
        for message in pending.values():
            message.batch.note(error)
