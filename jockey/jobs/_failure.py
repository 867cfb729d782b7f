"""A failure that is returned, and not raised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """
    What a task returns to fail its job, without an exception and its traceback.

    The job is treated as if it had raised: it is tried again if its policy says so.
    """

    reason: str
    """Why, for people."""
