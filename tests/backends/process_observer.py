"""What the tests see of processes: which there are, and when one has gone."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio

from jockey._backends.process import ProcessBackend


def descriptors() -> list[str]:
    """Return what this process has open: kinds, without the numbers, since event loops renew what they have."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sorted(str(link.readlink()).partition("[")[0] for link in links)


def children() -> set[int]:
    """Return the processes that this one has started and not reaped."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


others: set[int] = set()
"""The children that were there when the test began: loky and multiprocessing leave some of theirs."""


def workers() -> set[int]:
    """Return the processes that this one has started since the test began."""
    return children() - others


class Fifo:
    """The reading end of a named pipe."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._received = b""

    async def line(self) -> bytes:
        while b"\n" not in self._received:
            await anyio.wait_readable(self._descriptor)
            # It is readable when nobody holds the other end; then nothing is there if somebody has opened it since.
            with contextlib.suppress(BlockingIOError):
                self._received += os.read(self._descriptor, 1024)
        line, _, self._received = self._received.partition(b"\n")
        return line

    async def end(self) -> None:
        """Wait until no process holds the other end."""
        data = b"x"
        while data:
            await anyio.wait_readable(self._descriptor)
            with contextlib.suppress(BlockingIOError):
                data = os.read(self._descriptor, 1024)

    def close(self) -> None:
        os.close(self._descriptor)


async def run_for_pid(pool: ProcessBackend, handler: Callable[[Any], int], payload: object) -> int:
    """Run what returns the id of its process."""
    pid = await pool.run(handler, payload)
    assert isinstance(pid, int)
    return pid


def shared_memory() -> list[str]:
    """Return what this process has mapped of ours; it has no names under which it could be anywhere else."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return [line for line in maps if "memfd:jockey" in line]


def stop(pid: int) -> None:
    """Stop a worker, and return when it has stopped: until then it may still read what it is sent."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """
    Fail if there is more after the block than before.

    There may be less: what other tests have left behind goes at any time, when it is collected or ends by itself.
    """
    before = _traces()
    yield
    if _traces() - before:
        gc.collect()  # what is closed when it is collected
        assert _traces() - before == Counter()


def _traces() -> Counter[object]:
    return Counter([*descriptors(), *children(), *shared_memory()])
