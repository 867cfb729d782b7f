"""An executor for one map alone, in a task of its own, so that a generator can use it without being in its block."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio

from jockey._lifetime import running

if TYPE_CHECKING:
    from collections.abc import Callable

    from jockey._engine import Engine
    from jockey._job import Job
    from jockey._parallel._plan import OwnPlan

_log = logging.getLogger("jockey")


class Host:
    """
    Runs the executor of *plan* until told to stop. Lives in one event loop.

    Args:
        plan: What is to be run, and where.
        on_change: Is called when the executor is there, and when it has ended.

    Attributes:
        engine: The executor, while it is there.
        error: What it raised.
        ended: Set when it has ended.
    """

    def __init__(self, plan: OwnPlan, on_change: Callable[[], object]) -> None:
        self.engine: Engine | None = None
        self.error: BaseException | None = None
        self.ended = anyio.Event()
        self._plan = plan
        self._on_change = on_change
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        """Run until told to stop. What the executor raises is kept, not raised."""
        try:
            with self._scope:
                async with running(self._plan.registry, self._plan.settings(self._on_error)) as self.engine:
                    self._on_change()
                    await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: ASYNC103 - raised by whoever iterates
            self.error = error
        finally:
            self.ended.set()
            self._on_change()

    def stop(self) -> None:
        """Cancel all jobs, and let the executor end."""
        self._scope.cancel()

    def _on_error(self, error: BaseException, _job: Job[Any]) -> None:
        # The callbacks of batches do not raise: it is about something that could not be stopped.
        if not self._scope.cancel_called:  # else nobody wants to know what goes on for a moment
            _log.warning("%s", error)
