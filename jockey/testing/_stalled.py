"""The error of a simulation in which nothing can ever happen again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jockey._errors import JockeyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NOTHING_CAN_RUN = "nothing can run and no timer is pending"


def out_of_time(limit: float) -> str:
    """Tell that the function did not end in *limit* seconds."""
    return f"the function has not ended after {limit:g} virtual seconds"


class StalledError(JockeyError):
    """
    The function would never have ended: every task waits, no timer is pending, and no thread or socket is busy.

    Also if it has not ended after as many virtual seconds as it was given.
    """

    __module__ = "jockey.testing"  # where users import it from, as all errors


def stalled(why: str, tasks: Iterable[tuple[str, Any]]) -> StalledError:
    """Return the error that tells, for the name and the coroutine of each of *tasks*, where it waits."""
    waiting = "".join(f"\n  {name}: {' > '.join(_places(coroutine))}" for name, coroutine in tasks)
    return StalledError(f"{why}; these tasks wait:{waiting}")


def _places(coroutine: Any) -> Iterator[str]:
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield f"{frame.f_code.co_qualname}:{frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
