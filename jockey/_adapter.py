"""What a user writes to connect a source of messages with the executor."""

from __future__ import annotations

import abc
import logging
from typing import TYPE_CHECKING, Generic

from jockey._types import KeyOut, PayloadOut, ResultIn

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Iterable

_log = logging.getLogger("jockey")


class Adapter(abc.ABC, Generic[PayloadOut, KeyOut, ResultIn]):
    """
    Wrap one message: tell which handler it is for, what the handler gets, and what happens at the end.

    Of `on_success`, `on_failure`, `on_cancel` and `on_no_handler` exactly one is called for each message that an
    executor has accepted. It is awaited to its end before the slot of the job is freed. What a callback raises is
    given to the executor's `on_error` and to whoever awaits the job; other jobs never notice.
    """

    @abc.abstractmethod
    def get_keys(self) -> Iterable[KeyOut]:
        """Return the keys to look for, best first; the first one that has a handler is taken."""

    @abc.abstractmethod
    async def get_payload(self) -> PayloadOut:
        """Return what the handler is called with. Runs when the job has started, inside its timeout."""

    @abc.abstractmethod
    async def on_success(self, result: ResultIn, /) -> None:
        """Take the result of the handler."""

    @abc.abstractmethod
    async def on_failure(self, exc: Exception, /) -> None:
        """Take the exception that `get_keys`, `get_payload` or the handler raised, or one of `jockey`'s errors."""

    @abc.abstractmethod
    async def on_cancel(self, exc: asyncio.CancelledError, /) -> None:
        """
        Learn that the job was cancelled, before its start or in the middle.

        Args:
            exc: Always a `jockey.Cancellation`, which has the `reason`.
        """

    async def on_no_handler(self) -> None:
        """Learn that no key has a handler. Logs a warning by default."""
        _log.warning("no handler for any key of %r", self)

    async def on_pulse(self) -> None:
        """Do what must be done again and again while the handler runs, such as extending a lease (default: nothing)."""

    def get_group(self) -> Hashable:
        """
        Return the group whose jobs run one at a time and in order, such as the id of a user.

        None, the default, is no group.
        """
        return None
