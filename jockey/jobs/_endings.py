"""Settlements beside the slots: while the broker writes down how a job ended, the next one runs already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jockey._adapter import Adapter
from jockey._executor import Executor
from jockey._registry import Registry

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Sequence

    from jockey._running import RunningExecutor

_KEY: Final = "end"


class Endings:
    """
    Settlements that are under way.

    They are the callbacks of jobs of an executor of their own, whose handler does nothing: callbacks are not cancelled,
    and have a time at the end, which is just what a settlement needs.

    Args:
        running: That executor.
        most: How many there may be. When there are, nobody has to remember more: slots stay taken.
    """

    def __init__(self, running: RunningExecutor[None, str, None], most: int) -> None:
        self._running = running
        self._most = most
        self._count = 0

    def take(self, settle: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Have *settle* done; return False, and do nothing, if there are too many of them."""
        if self._count >= self._most:
            return False
        self._count += 1
        self._running.schedule(_Ending(settle, self))
        return True

    def note_end(self) -> None:
        """Learn that one is done."""
        self._count -= 1


def executor_of_endings(most: int, grace: float) -> Executor[None, str, None]:
    """Return the executor for *most* `Endings`, which get *grace* seconds when it is stopped."""
    registry: Registry[None, str, None] = Registry()
    registry.add(_KEY)(_nothing)
    return Executor(registry, max_jobs=most, grace=grace)


class _Ending(Adapter[None, str, None]):
    __slots__ = ("_endings", "_settle")

    def __init__(self, settle: Callable[[], Coroutine[Any, Any, None]], endings: Endings) -> None:
        self._settle = settle
        self._endings = endings

    def get_keys(self) -> Sequence[str]:
        return (_KEY,)

    async def get_payload(self) -> None:
        return None

    async def on_success(self, _: None, /) -> None:
        try:
            await self._settle()
        finally:
            self._endings.note_end()

    async def on_failure(self, _: Exception, /) -> None:
        await self.on_success(None)

    async def on_cancel(self, _: asyncio.CancelledError, /) -> None:
        await self.on_success(None)  # it was not yet begun when the worker ended


async def _nothing(_: None) -> None:
    pass
