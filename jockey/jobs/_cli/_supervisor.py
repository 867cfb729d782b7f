"""Several worker processes: the dead are replaced, signals are passed on, and nothing is left behind."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from jockey.jobs._cli._lifeline import OVERTIME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from anyio.abc import Process, TaskGroup

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_STEADY: Final = 60.0
"""Seconds after which a process has shown that it can live."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0

_log = logging.getLogger("jockey.jobs")


@dataclass(slots=True, eq=False)
class Seat:
    """The place of one worker process."""

    process: Process | None = None
    is_told: bool = False
    """Whether this process was told to end."""


class Supervisor:
    """
    Keeps worker processes running.

    Args:
        command: Starts one. Its standard input is a pipe that ends when this process does.
        count: How many.
        grace: Seconds that a worker may take to end after the first signal.
        can_end: Whether a worker that ends well by itself has done all that there was to do; else it is replaced too.
        watched: The directory whose changes have all of them drain and start again; None: none has.
    """

    def __init__(
        self, command: Sequence[str], count: int, *, grace: float, can_end: bool = False, watched: Path | None = None
    ) -> None:
        self._command = command
        self._seats = [Seat() for _ in range(count)]
        self._patience = grace + OVERTIME
        self._can_end = can_end
        self._watched = watched
        self._is_stopping = False
        self._is_killing = False
        self._exit_code = 0

    async def run(self) -> int:
        """Run them until a signal, or until all have ended well by themselves; return the exit code."""
        self._news = anyio.Event()
        # Nobody ever writes into it; it ends when nobody is left who could.
        self._lifeline, held = os.pipe()
        try:
            await self._supervise()
        finally:
            os.close(self._lifeline)
            os.close(held)
        return self._exit_code

    async def _supervise(self) -> None:
        with anyio.open_signal_receiver(*_SIGNALS) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._obey, signals, tasks)
                if self._watched is not None:
                    tasks.start_soon(self._watch, self._watched, tasks)
                async with anyio.create_task_group() as keepers:
                    for seat in self._seats:
                        keepers.start_soon(self._keep, seat, tasks)
                tasks.cancel_scope.cancel()

    async def _keep(self, seat: Seat, tasks: TaskGroup) -> None:
        """Run one process after the other."""
        failures = 0
        while not self._is_stopping:
            start, news = anyio.current_time(), self._news
            code = await self._run_one(seat, tasks)
            if self._is_stopping:
                # One that got the signal before it knew what to do with it had nothing to do yet.
                self._exit_code = self._exit_code or int(code not in {0, -signal.SIGTERM})
            elif seat.is_told:
                failures = 0
            elif self._can_end and code == 0:
                return
            else:
                failures = 1 if anyio.current_time() - start >= _STEADY else failures + 1
                await self._pause(f"a worker process {ended(code)}", pause(failures), news)

    async def _run_one(self, seat: Seat, tasks: TaskGroup) -> int | OSError:
        """Run a process to its end, and return its exit code, or why it could not be started."""
        process: Process | OSError = OSError()
        # Whoever is cancelled meanwhile has a process to end, and must know it.
        with anyio.CancelScope(shield=True):
            process = await self._start()
        if isinstance(process, OSError):
            return process
        async with process:
            seat.process, seat.is_told = process, self._is_stopping
            if self._is_stopping:  # said while it was being started
                tasks.start_soon(self._end, process)
            try:
                return await process.wait()
            finally:
                seat.process = None

    async def _start(self) -> Process | OSError:
        try:
            # A session of its own: Ctrl-C in a terminal goes to this process alone, which passes it on.
            return await anyio.open_process(
                self._command, stdin=self._lifeline, stdout=None, stderr=None, start_new_session=True
            )
        except OSError as error:  # there are too many processes already; those that run go on
            return error

    async def _pause(self, what: str, seconds: float, news: anyio.Event) -> None:
        _log.warning("%s; another one starts in %.1f seconds", what, seconds)
        with anyio.move_on_after(seconds):
            await news.wait()

    async def _obey(self, signals: AsyncIterator[signal.Signals], tasks: TaskGroup) -> None:
        number = await anext(signals)
        _log.info("got %s; the worker processes end", number.name)
        self._is_stopping = True
        self._tell_all(tasks)
        number = await anext(signals)
        _log.warning("got %s; what runs is cancelled and given back", number.name)
        self._send_all(signal.SIGTERM)
        number = await anext(signals)
        _log.warning("got %s; the worker processes are killed", number.name)
        self._is_killing = True
        self._exit_code = 128 + number
        self._send_all(signal.SIGKILL)

    async def _watch(self, directory: Path, tasks: TaskGroup) -> None:
        """Have all processes drain and start again whenever Python files change."""
        from watchfiles import PythonFilter, awatch  # noqa: PLC0415 - few need it

        async for changes in awatch(directory, watch_filter=PythonFilter()):
            _log.info(
                "changed: %s; the worker processes drain and start again",
                ", ".join(sorted({path for _, path in changes})),
            )
            if not self._is_stopping:
                self._tell_all(tasks)

    def _tell_all(self, tasks: TaskGroup) -> None:
        """Tell all processes to end, and those that wait for something that it has come."""
        self._news.set()
        self._news = anyio.Event()
        for seat in self._seats:
            if seat.process is not None and not seat.is_told:
                # Only once: the second time it would cancel what runs.
                seat.is_told = True
                tasks.start_soon(self._end, seat.process)

    async def _end(self, process: Process) -> None:
        _send(process, signal.SIGKILL if self._is_killing else signal.SIGTERM)
        with anyio.move_on_after(self._patience):
            await process.wait()
            return
        _log.error("the worker process %d does not end, and is killed", process.pid)
        _send(process, signal.SIGKILL)

    def _send_all(self, number: signal.Signals) -> None:
        for seat in self._seats:
            if seat.process is not None:
                _send(seat.process, number)


def pause(failures: int) -> float:
    """Return the seconds until a process is replaced, if so many in a row did not live for long."""
    return min(_FIRST_PAUSE * 2.0 ** min(failures - 1, 30), _LONGEST_PAUSE)


def ended(code: int | OSError) -> str:
    """Return how a process ended, in words."""
    if isinstance(code, OSError):
        return f"could not be started: {code}"
    return f"was killed by signal {-code}" if code < 0 else f"ended with the exit code {code}"


def _send(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        process.send_signal(number)
