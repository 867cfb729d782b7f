"""A progress bar on stderr. The one place that knows rich, an extra."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Bar:
    """
    The bar, as a context manager: leaving it leaves the terminal as it was.

    Args:
        total: How many items there are, or None if nobody knows.
    """

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            # What is printed meanwhile goes above the bar; but not what goes to a file.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )

    def __enter__(self) -> Callable[[int, int | None], object]:
        self._progress.start()
        task = self._progress.add_task("", total=self._total)
        return lambda done, total: self._progress.update(task, completed=done, total=total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self._progress.stop()


class _Rate(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.{0 if speed >= 10 else 1}f}/s", style="progress.data.speed")  # noqa: PLR2004 - two digits
