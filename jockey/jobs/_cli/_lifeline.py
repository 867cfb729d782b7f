"""How a worker process learns that its supervisor is gone: the pipe that is its standard input ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import Final

OVERTIME: Final = 10.0
"""Seconds beyond its time to shut down after which a worker process that was told to end is killed."""

_log = logging.getLogger("jockey.jobs")


def hold_on(grace: float) -> None:
    """See to it that this process does not outlive its supervisor, or not for much longer than *grace* seconds."""
    lifeline = os.dup(0)
    # Nobody else shall read from it; and whoever reads from the standard input finds nothing.
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is wanted
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=outlive, args=(lifeline, grace + OVERTIME), name="lifeline", daemon=True).start()


def outlive(lifeline: int, seconds: float) -> None:
    """Wait for the end of the lifeline; then end this process, within so many seconds."""
    os.read(lifeline, 1)  # nothing is ever written
    _log.warning("the supervisor is gone; this worker ends")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
