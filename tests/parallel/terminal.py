"""Programs that tests run in a terminal of their own, where Ctrl-C goes to the whole foreground group."""

from __future__ import annotations

import contextlib
import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CTRL_C = b"\x03"
CTRL_D = b"\x04"


class Terminal:
    """
    The side of a terminal where the person sits.

    Attributes:
        output: What the program has written, so far as it has been read.
        exit_code: As a shell tells it, when the program has ended: 128 + the signal that ended it.
    """

    def __init__(self, *command: str, folder: Path) -> None:
        self.output = ""
        self.exit_code: int | None = None
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", "PYTHON_BASIC_REPL": "1"}
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(command[0], command, environment)  # noqa: S606 - the program under test

    def wait_for(self, text: str, *, times: int = 1) -> None:
        """Read until the program has written *text*."""
        while self.output.count(text) < times:
            assert self.read(), f"it ended without {text!r}: {self.output}"

    def type(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def wait(self) -> int:
        """Read until the program has ended, and return its exit code."""
        while self.read():
            pass
        status = os.waitpid(self.pid, 0)[1]
        code = os.waitstatus_to_exitcode(status)
        self.exit_code = 128 - code if code < 0 else code
        return self.exit_code

    def close(self) -> None:
        os.close(self._descriptor)  # who still runs gets SIGHUP
        if self.exit_code is None:
            os.waitpid(self.pid, 0)

    def read(self) -> bool:
        """Read what has been written since; return whether there may be more."""
        try:
            data = os.read(self._descriptor, 4096)
        except OSError:  # how Linux tells that nobody has the other side open
            data = b""
        self.output = (self.output + data.decode()).replace("\r\n", "\n")  # which may come in two pieces
        return bool(data)


@contextlib.contextmanager
def python(*arguments: str, folder: Path) -> Iterator[Terminal]:
    """Run this Python in a terminal."""
    terminal = Terminal(sys.executable, *arguments, folder=folder)
    try:
        yield terminal
    finally:
        terminal.close()
