"""
What the processes of a crash loop write down: one line for each thing that happened.

Each line is one write to a file that is opened for appending, so that many processes share it, and a process that is
killed leaves whole lines. What was written is there when the process is killed, for the kernel has it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """What happened to the job *number*, in the process *pid*, at *time* in seconds since the epoch."""

    what: str
    number: int
    pid: int
    time: float


class Journal:
    """A file of lines, written by any number of processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, what: str, numbers: list[int]) -> None:
        """Note that *what* has happened to these jobs, now and here."""
        lines = "".join(f"{what} {number} {os.getpid()} {time.time():.3f}\n" for number in numbers)
        os.write(self._file, lines.encode())

    def sync(self) -> None:
        """Wait until the disk has what was written."""
        os.fsync(self._file)

    def lines(self) -> Iterator[Line]:
        """Return what all processes have written so far."""
        for text in self.path.read_text().splitlines():
            what, number, pid, moment = text.split()
            yield Line(what, int(number), int(pid), float(moment))

    def close(self) -> None:
        os.close(self._file)
