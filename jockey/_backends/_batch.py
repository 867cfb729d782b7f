"""Several items in one call: each comes to an outcome of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jockey._errors import HandlerCrashedError, TransferError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Failed:
    """The outcome of an item that has failed; that of any other is what the function returned."""

    error: Exception


class NotStartedError(TransferError):
    """A worker process cannot import the script of its parent, and so no worker ever will."""


class NoWorkerError(WorkerDiedError):
    """No worker process can be started, or one after the other dies before it can do anything: no item is to blame."""


def run_items(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """Call *function* with each of *items*, and return their outcomes in the same order; never raises."""
    return [_outcome_of(function, item) for item in items]


def _outcome_of(function: Callable[[Any], Any], item: object) -> Any:
    try:
        return function(item)
    except Exception as error:
        return Failed(error)
    except BaseException as error:  # noqa: ASYNC103 - the item's failure, as it would be that of a job
        crash = HandlerCrashedError(f"the handler raised {error!r}, which is no Exception")
        crash.__cause__ = error
        return Failed(crash)  # noqa: ASYNC104
