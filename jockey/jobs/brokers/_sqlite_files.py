"""The files that this process uses: each has one writer, whoever asks."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from jockey.jobs.brokers._sqlite_writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

_Key = tuple[str, str, "Callable[[], float]"]


class Files:
    """All writers of this process; brokers on the same file share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writers: dict[_Key, Writer] = {}
        self._inherited: list[Writer] = []

    def acquire(self, path: str, synchronous: str, clock: Callable[[], float]) -> Writer:
        """Return the writer for that file; `release` it later."""
        key = (os.path.realpath(path), synchronous, clock)
        with self._lock:
            writer = self._writers.get(key)
            if writer is None:
                writer = self._writers[key] = Writer(path, synchronous, clock)
            writer.users += 1
            return writer

    def release(self, writer: Writer) -> bool:
        """Return whether nobody needs it any more, so that it is to be closed."""
        with self._lock:
            writer.users -= 1
            if writer.users:
                return False
            self._writers = {key: other for key, other in self._writers.items() if other is not writer}
            return True

    def begin_in_child(self) -> None:
        """
        Begin with none, in a process that was just forked.

        The connections of the parent must never be used here, and not even be closed: so they are kept for ever.
        """
        self._lock = threading.Lock()  # the other one may be held by a thread that is not here
        self._inherited += self._writers.values()
        self._writers = {}


FILES = Files()

with contextlib.suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=FILES.begin_in_child)
