"""What a running executor tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from jockey._options import Priority


@dataclass(frozen=True)
class Statistics:
    """The state of a running executor at one moment."""

    queued: Mapping[Priority, int]
    """How many jobs wait, by priority."""

    queued_by_key: Mapping[Hashable, int]
    """How many jobs wait, by the key of their handler; only keys with any."""

    running: int
    """How many jobs run, with those whose callback runs."""

    running_by_key: Mapping[Hashable, int]
    """How many jobs run, by the key of their handler; only keys with any."""

    oldest_wait: float
    """
    For how many seconds the job that waits longest has been waiting; 0 if none waits.

    Jobs that wait for an earlier one of their group do not count.
    """

    succeeded: int
    """How many jobs have succeeded."""

    failed: int
    """How many jobs have failed."""

    cancelled: int
    """How many jobs were cancelled."""

    no_handler: int
    """How many messages had no key with a handler."""

    callback_errors: int
    """How many callbacks have raised."""

    stuck_threads: tuple[str, ...]
    """
    The names of the handlers that go on although their job has timed out or was cancelled.

    In a thread, or in something else that cannot be stopped: an interpreter, or an executor of `concurrent.futures`.
    """
