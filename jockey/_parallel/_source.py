"""Where the items come from: an iterator that is read when its items are wanted, or an async one that is read ahead."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sized
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from jockey._errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from jockey._runtime import Runtime

_GRACE: Final = 10.0
"""Seconds that an async generator has to clean up."""


class Source(Protocol):
    """Items, one after the other."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to read."""
        ...

    @property
    def error(self) -> BaseException | None:
        """What reading raised, if that is why it is over."""
        ...

    def read(self, count: int, /) -> list[Any]:
        """Return the next items, at most so many; fewer if there are no more now."""
        ...

    def start(self, runtime: Runtime, wanted: Callable[[], int], on_change: Callable[[], object], /) -> None:
        """Begin to read ahead, where that is necessary: as many items as are *wanted*."""
        ...

    def look(self) -> None:
        """Look again how many are wanted."""
        ...

    async def close(self) -> None:
        """Read nothing any more."""
        ...


class Reader:
    """Reads an iterator, in the thread that asks."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self.is_over = False
        self.error: BaseException | None = None

    def read(self, count: int, /) -> list[Any]:
        items: list[Any] = []
        try:
            items.extend(islice(self._iterator, count))  # what was read before it raised is in the list
        except Exception as error:
            self.error = error
        self.is_over = len(items) < count
        return items

    def start(self, runtime: Runtime, wanted: Callable[[], int], on_change: Callable[[], object], /) -> None:
        """Do nothing: nobody has to wait for its items."""

    def look(self) -> None:
        """Do nothing, see `start`."""

    async def close(self) -> None:
        """Do nothing: whoever has the iterator may go on with it."""


class Pump:
    """
    Reads an async iterator, from its first item to its closing in one and the same task.

    So that results can be yielded while it waits for its next item.
    """

    def __init__(self, iterator: AsyncIterator[Any]) -> None:
        self._iterator = iterator
        self._items: list[Any] = []
        self._has_ended = False
        self.error: BaseException | None = None
        self._is_started = False
        self._room: anyio.Event
        self._closed: anyio.Event
        self._scope: anyio.CancelScope
        self._wanted: Callable[[], int]
        self._on_change: Callable[[], object]

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to read."""
        return self._has_ended and not self._items

    def read(self, count: int, /) -> list[Any]:
        items, self._items = self._items[:count], self._items[count:]
        return items

    def start(self, runtime: Runtime, wanted: Callable[[], int], on_change: Callable[[], object], /) -> None:
        self._wanted = wanted
        self._on_change = on_change
        self._is_started = True
        self._room = anyio.Event()
        self._closed = anyio.Event()
        self._scope = anyio.CancelScope()
        runtime.detach(self._run)

    def look(self) -> None:
        if self._wanted() > len(self._items):
            self._room.set()

    async def close(self) -> None:
        if self._is_started:
            self._scope.cancel()
            await self._closed.wait()

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._read_ahead()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: ASYNC103 - raised by whoever iterates
            self.error = error
        finally:
            self._has_ended = True
            self._on_change()
            try:
                await self._close_iterator()  # noqa: ASYNC102 - shielded in there
            finally:
                self._closed.set()

    async def _read_ahead(self) -> None:
        iterator, done = self._iterator, object()
        while True:
            while self._wanted() <= len(self._items):
                self._room = anyio.Event()
                await self._room.wait()
            item = await anext(iterator, done)
            if item is done:
                return
            self._items.append(item)
            self._on_change()

    async def _close_iterator(self) -> None:
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            with anyio.move_on_after(_GRACE, shield=True):
                await close()


def source_of(items: Iterable[Any] | AsyncIterable[Any]) -> Source:
    """Return what reads *items*, or raise `RegistrationError` if they are none."""
    if isinstance(items, AsyncIterable):
        return Pump(aiter(items))
    return Reader(iterator_of(items))


def iterator_of(items: Iterable[Any]) -> Iterator[Any]:
    """Return the iterator, or raise `RegistrationError` if there is none."""
    try:
        return iter(items)
    except TypeError as error:
        raise RegistrationError(f"the items must be an iterable, got {items!r}") from error


def total_of(items: object) -> int | None:
    """Return how many *items* there are, if they know."""
    return len(items) if isinstance(items, Sized) else None
