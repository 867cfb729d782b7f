"""A batch as a message: it tells its driver how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jockey._adapter import Adapter
from jockey._backends._batch import Failed
from jockey._errors import JobCancelledError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable, Iterable

    from jockey._parallel._window import Batch


class BatchMessage(Adapter[Any, Any, Any]):
    """
    Runs the items of *batch* in one job.

    Args:
        batch: The items.
        key: The key of the handler, or of its batches.
        is_single: Whether the handler takes the one item, and not a list of them.
        clock: Seconds.
        report: Is told, in the event loop, when the batch has come to its end.

    Attributes:
        batch: The items.
        outcomes: What became of each; with `Failed` for those that have failed.
        seconds: From the start of the job to its end.
        cancellation: Why there are no outcomes.
    """

    __slots__ = ("_clock", "_is_single", "_key", "_report", "_started", "batch", "cancellation", "outcomes", "seconds")

    def __init__(
        self,
        batch: Batch,
        key: Hashable,
        *,
        is_single: bool,
        clock: Callable[[], float],
        report: Callable[[BatchMessage], object],
    ) -> None:
        self.batch = batch
        self.outcomes: list[Any] = []
        self.seconds = 0.0
        self.cancellation: JobCancelledError | None = None
        self._key = key
        self._is_single = is_single
        self._clock = clock
        self._report = report
        self._started = 0.0

    def get_keys(self) -> Iterable[Any]:
        return (self._key,)

    async def get_payload(self) -> Any:
        self._started = self._clock()
        return self.batch.items[0] if self._is_single else self.batch.items

    async def on_success(self, result: Any, /) -> None:
        self.outcomes = [result] if self._is_single else result
        self._end()

    async def on_failure(self, exc: Exception, /) -> None:
        self.outcomes = [Failed(exc)] * self.batch.size
        self._end()

    async def on_cancel(self, exc: asyncio.CancelledError, /) -> None:
        reason = exc.args[0] if exc.args else None
        self.cancellation = JobCancelledError(f"a job of the map was cancelled: {reason or 'no reason given'}")
        self.cancellation.__cause__ = exc
        self._end()

    def __repr__(self) -> str:
        return f"batch of {self.batch.size} from item {self.batch.first}"

    def _end(self) -> None:
        self.seconds = self._clock() - self._started
        self._report(self)
