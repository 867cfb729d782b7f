"""How a job ended, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from jockey._types import Result, ResultOut

if TYPE_CHECKING:
    from jockey._errors import Cancellation


@dataclass(frozen=True, slots=True)
class Success(Generic[ResultOut]):
    """The handler returned."""

    result: ResultOut
    """What it returned."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The handler, `get_keys` or `get_payload` raised, the job timed out, or its worker process died."""

    error: Exception
    """What `Adapter.on_failure` was given."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The job was cancelled, before its start or in the middle."""

    error: Cancellation
    """What `Adapter.on_cancel` was given; it has the `reason`."""


@dataclass(frozen=True, slots=True)
class NoHandler:
    """No key of the message has a handler."""


Outcome = Success[Result] | Failure | Cancelled | NoHandler
"""One of `Success`, `Failure`, `Cancelled` and `NoHandler`."""
