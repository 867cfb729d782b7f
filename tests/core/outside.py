"""What is outside of the event loop: threads that a test steps through, and programs that it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from jockey._backends._outside import stack_of

ROOT = Path(__file__).parent.parent.parent

Returned = TypeVar("Returned")


class Blocker:
    """A function for a thread that tells when it has started, and waits to be let go."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self._started = threading.Semaphore(0)
        self._go = threading.Semaphore(0)

    def __call__(self, payload: object) -> object:
        self.threads.append(threading.current_thread())
        self._started.release()
        self._go.acquire()
        return payload

    async def started(self, times: int = 1) -> None:
        """Return when it has been called so often since the last time."""
        for _ in range(times):
            await in_foreign_thread(self._started.acquire)

    async def waiting(self) -> None:
        """Return when the one thread that it runs in is not only there, but waits."""
        await self.started()
        while "self._go.acquire()" not in stack_of(self.threads[0]):
            await anyio.sleep(0.001)

    def let_go(self, times: int = 1) -> None:
        """Let so many calls return, now or later."""
        self._go.release(times)


async def in_foreign_thread(function: Callable[..., Returned], *args: object) -> Returned:
    """Call *function* in a thread that has nothing to do with the executor, and does not keep the test from its end."""
    return await anyio.to_thread.run_sync(lambda: function(*args), abandon_on_cancel=True)


PRELUDE = """
import logging, signal
# Who starts programs in the background, as a shell does, has them ignore Ctrl-C, and what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# In asyncio's debug mode every step that is slow is a warning, which tells about the machine.
logging.getLogger("asyncio").setLevel(logging.ERROR)
# Nobody would end it if its test was killed.
if hasattr(signal, "alarm"):
    signal.alarm(600)
"""


def start_program(folder: Path, text: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a program, in which warnings are errors."""
    path = folder / "program.py"
    path.write_text(PRELUDE + textwrap.dedent(text), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(path), *arguments],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
