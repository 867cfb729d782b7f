"""One contender: a process of its own, which measures one round each time it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

Measures = dict[str, float]

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
DEADLINE = 120.0
"""Seconds that one round may last before the contender is killed."""


class NotInstalledError(Exception):
    """A module that the contender needs cannot be imported."""


class Contender:
    """
    Start a process for one function of the folder `contenders`, and measure in it.

    Processes, because peers must not share a heap, a collector, or (like the original jockey) a name.

    Args:
        function: Its module and name, such as `"gathered:noop"`.
        folder: Where a peer is installed; searched before anything else. A contender with a folder may be missing.
        options: What the function is called with.
    """

    def __init__(self, function: str, *, folder: Path | None = None, **options: object) -> None:
        self._function = function
        self._options = options
        self._folders = [*([folder] if folder else []), REPOSITORY]
        self.is_optional = folder is not None
        self.version = ""

    def __enter__(self) -> Self:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, self._folders))}
        # -P: this folder is no place to find modules in; its names may be those of packages that peers need.
        command = [sys.executable, "-P", str(HERE / "child.py"), self._function, json.dumps(self._options)]
        # A session of its own, so that whatever the contender started can be ended together with it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True
        )
        ready = self._answer()
        if "missing" in ready:
            self._process.communicate()
            raise NotInstalledError(ready["missing"])
        self.version = ready["version"]
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.communicate()

    def measure(self, warm_up: float = 0.0) -> Measures:
        """Let the process measure one round, after so many seconds in which it keeps its processor busy."""
        assert self._process.stdin
        self._process.stdin.write(f"{warm_up}\n")
        self._process.stdin.flush()
        measures: Measures = self._answer()
        return measures

    def _answer(self) -> Any:
        assert self._process.stdout
        watchdog = threading.Timer(DEADLINE, self._kill)
        watchdog.start()
        try:
            answer = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not answer:
            raise RuntimeError(f"the contender {self._function!r} ended early; its output is above")
        return json.loads(answer)

    def _kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
