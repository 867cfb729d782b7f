"""
Which items are read, handed out and yielded, and when. Pure: no await, no clock, no I/O.

The driver reads as many items as are `wanted`, opens a batch with them, hands that out, and finishes it when its
outcomes are there. What `take` returns is to be yielded. Two bounds hold: so many batches are handed out at most, and
so many items have been read and not been yielded.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

from jockey._backends._batch import Failed, NotStartedError, NoWorkerError
from jockey._errors import InitializerError
from jockey._parallel._notes import name_item

if TYPE_CHECKING:
    from jockey._job import Job
    from jockey._parallel._batching import Batching

OnError = Literal["raise", "return", "skip"]

_NO_ITEMS_FAULT: Final = (InitializerError, NotStartedError, NoWorkerError)
"""What is raised whatever is to become of items that fail: all others would fail in the same way."""

_AT_LEAST: Final = 1024
"""So many items may be read and not yet yielded, unless the user says otherwise, or the batches are bigger."""


class Batch:
    """
    Some items in a row.

    Attributes:
        first: The index of the first of them.
        items: The items, until their outcomes are there.
        size: How many.
        results: What is to be yielded for them, the last one first; None until it is there.
        error: What is to be raised after that.
        job: The job that runs them.
    """

    __slots__ = ("error", "first", "items", "job", "results", "size")

    def __init__(self, first: int, items: list[Any]) -> None:
        self.first = first
        self.items = items
        self.size = len(items)
        self.results: list[Any] | None = None
        self.error: Exception | None = None
        self.job: Job[Any] | None = None


class Window:
    """
    The items between the one that is read next and the one that is yielded next.

    Args:
        batching: Tells the size of batches.
        max_batches: How many batches may be handed out at once.
        size: How many items may be read and not yet yielded; None is enough to keep all workers busy.
        ordered: Whether results are yielded in the order of their items, or as they come.
        on_error: What becomes of an item that has failed.
        total: How many items there are, if that is known.

    Attributes:
        outstanding: The batches that are handed out, the oldest first.
        done: How many items have come to an end.
    """

    def __init__(
        self,
        batching: Batching,
        *,
        max_batches: int,
        size: int | None = None,
        ordered: bool = True,
        on_error: OnError = "raise",
        total: int | None = None,
    ) -> None:
        self.outstanding: dict[Batch, None] = {}
        self.done = 0
        self._batching = batching
        self._max_batches = max_batches
        self._size = size
        self._is_ordered = ordered
        self._on_error: OnError = on_error
        self._total = total
        self._read = 0
        self._held = 0
        self._taken = 0  # of these held, how many the driver has got to yield
        self._to_yield: deque[Batch] = deque()
        self._is_at_end = False
        self._fatal: Exception | None = None  # to be raised at once
        self._error: BaseException | None = None  # to be raised when all that was read has been yielded

    @property
    def is_done(self) -> bool:
        """Whether everything has been read and taken."""
        return self._is_at_end and not self.outstanding and not self._to_yield

    def wanted(self) -> int:
        """Return how many items to read for the next batch: 0 if there is to be none for now."""
        if self._is_at_end or len(self.outstanding) >= self._max_batches:
            return 0
        size = self._batching.size(None if self._total is None else max(0, self._total - self._read))
        most = self._size or max(_AT_LEAST, 2 * self._max_batches * size)
        return size if self._held + size <= most else 0

    def open(self, items: list[Any]) -> Batch:
        """Return the batch of *items*, which have been read: at least one, and at most as many as are wanted."""
        batch = Batch(self._read, items)
        self._read += batch.size
        self._held += batch.size
        self.outstanding[batch] = None
        if self._is_ordered:
            self._to_yield.append(batch)
        return batch

    def end(self, error: BaseException | None = None) -> None:
        """Learn that there are no more items; *error* is to be raised after the results of those that were read."""
        self._is_at_end = True
        self._error = self._error or error

    def finish(self, batch: Batch, outcomes: list[Any], seconds: float) -> None:
        """Take the outcomes of a batch that was handed out, and lasted so long."""
        self._batching.note(batch.size, seconds)
        del self.outstanding[batch]
        self.done += batch.size
        if Failed in map(type, outcomes):
            outcomes = self._without_failed(batch, outcomes)
        batch.items = []
        outcomes.reverse()
        batch.results = outcomes
        if not self._is_ordered:
            self._to_yield.append(batch)

    def drop(self, batch: Batch) -> None:
        """Forget a batch that was handed out: it was cancelled, and so is the map."""
        del self.outstanding[batch]

    def take(self) -> list[Any] | None:
        """
        Return results that are to be yielded now, the last one first, or None if there are none yet.

        The results that were taken before must have been yielded.

        Raises:
            BaseException: The next item has failed, and that is to be raised; or no worker can be set up; or reading
                failed, and nothing is left.
        """
        if self._fatal is not None:
            raise self._fatal
        self._held -= self._taken
        self._taken = 0
        if self._to_yield and self._to_yield[0].results is not None:
            return self._take(self._to_yield[0])
        if self._error is not None and self.is_done:
            raise self._error
        return None

    def _take(self, batch: Batch) -> list[Any]:
        results, batch.results = batch.results or [], []
        if batch.error is not None and not results:
            raise batch.error
        if batch.error is None:  # else it is raised the next time
            self._to_yield.popleft()
            self._taken = batch.size
        return results

    def _without_failed(self, batch: Batch, outcomes: list[Any]) -> list[Any]:
        errors = (outcome.error for outcome in outcomes if type(outcome) is Failed)
        self._fatal = self._fatal or next((error for error in errors if isinstance(error, _NO_ITEMS_FAULT)), None)
        if self._on_error == "skip" or self._fatal is not None:  # no item is named as guilty of what is nobody's fault
            return [outcome for outcome in outcomes if type(outcome) is not Failed]
        noted: Exception | None = None
        for place, outcome in enumerate(outcomes):
            if type(outcome) is not Failed:
                continue
            if outcome.error is not noted:  # one error may be that of the whole batch
                name_item(outcome.error, batch.first + place, batch.items[place])
                noted = outcome.error
            if self._on_error == "raise":
                batch.error = outcome.error
                self.end()  # it will be raised, whatever else there is to read
                return outcomes[:place]
            outcomes[place] = outcome.error
        return outcomes
