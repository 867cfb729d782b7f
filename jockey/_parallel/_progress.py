"""Telling how far a map has come: to a function, or on the terminal."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import sys
from typing import TYPE_CHECKING

from jockey._errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Tell = Callable[[int, int | None], object]


def check_progress(progress: bool | Tell | None) -> bool | Tell | None:  # noqa: FBT001 - True asks for the bar
    """Return *progress* if it can be told anything."""
    if progress is True and importlib.util.find_spec("rich") is None:
        raise RegistrationError(
            "progress=True needs rich, which is not installed; run `pip install 'jockey[progress]'`, "
            "or pass a function of the items done and all items"
        )
    if isinstance(progress, bool) or progress is None:
        return progress
    if not callable(progress) or inspect.iscoroutinefunction(progress):
        raise RegistrationError(
            f"progress must be True, or a plain function of the items done and all items, got {progress!r}"
        )
    return progress


def open_progress(progress: bool | Tell | None, total: int | None) -> AbstractContextManager[Tell | None]:  # noqa: FBT001 - as above
    """Return what gives, in its block, what is to be called with the numbers of items done and of all items."""
    if progress is not True:
        return contextlib.nullcontext(progress or None)
    if sys.stderr is None or not sys.stderr.isatty():
        return contextlib.nullcontext()
    from jockey._parallel._bar import Bar  # noqa: PLC0415 - an extra

    return Bar(total)
