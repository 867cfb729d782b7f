"""What a library is asked for. Each way to do it is one that the library itself offers."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeAlias

Function: TypeAlias = Callable[[Any], Any]
Items: TypeAlias = Iterable[Any]
Results: TypeAlias = Iterator[Any]

WORKERS = 2


class NotOfferedError(Exception):
    """The library has nothing for it."""


class Library(abc.ABC):
    """
    One column.

    Methods that yield results keep the workers until they are closed. By default there is no way, or the plain way is
    the best there is.
    """

    distribution: ClassVar[str] = ""
    """What pip installs; nothing for the standard library."""

    ways: ClassVar[Mapping[str, str]] = {}
    """What the table says instead of "yes": the part of the library that is used instead of its map."""

    @abc.abstractmethod
    def in_order(self, function: Function, items: Items) -> Results:
        """Yield the results in the order of the items, each as soon as may be; raise what an item raises."""

    def as_completed(self, function: Function, items: Items) -> Results:
        """Yield the results as they come."""
        raise NotOfferedError("only in order")

    def batching(self, function: Function, items: Items) -> Results:
        """Yield the results, of items that travel in batches."""
        return self.in_order(function, items)

    def going_on(self, function: Function, items: Items) -> Results:
        """Yield results in order, and exceptions in the place of those of items that fail."""
        raise NotOfferedError("the first failure ends it")

    def limited(self, function: Function, items: Items, seconds: float) -> Results:
        """Yield as `going_on`, and let no item take longer than so many seconds."""
        raise NotOfferedError("no timeout for an item")

    def set_up(self, initializer: Callable[[], object], function: Function, items: Items) -> Results:
        """Yield as `going_on`, with workers of which each calls the initializer first."""
        raise NotOfferedError("no initializer, or the first death ends it")

    def any_function(self, function: Function, items: Items) -> Results:
        """Yield the results of a function that cannot be imported."""
        return self.in_order(function, items)

    def showing(self, function: Function, items: Items) -> Results:
        """Yield the results, and show on the terminal how far it is."""
        raise NotOfferedError("shows nothing")

    def asynchronous(self, function: Function, items: Items) -> AsyncIterator[Any]:
        """Yield the results to a coroutine of asyncio."""
        raise NotOfferedError("nothing to be awaited")

    def on_cluster(self, address: str, function: Function, items: Items) -> Results:
        """Yield the results of workers that are known by the address of their scheduler."""
        raise NotOfferedError("this machine only")

    def remembering(self, folder: str, function: Function, items: Items) -> Results:
        """Yield the results; of those that are known from before, without calling the function."""
        raise NotOfferedError("remembers nothing")
