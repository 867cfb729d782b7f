"""One worker process as its parent sees it: start it, talk to it, ask it to go, know when it has gone."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import pickle
import signal
import socket
import subprocess
import threading
import weakref
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import anyio

from jockey import _runtime
from jockey._backends import _frames
from jockey._backends._blocks import Block
from jockey._backends._channel import Request, Response, open_channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

# The program is imported as part of an empty `jockey`; a handler that imports jockey gets the real one. Nothing of this
# is left in `__main__`, where the functions of a script will be looked up. Without `-P` the path begins with the
# current directory, whose files must not be taken for modules of the standard library.
_BOOTSTRAP: Final = """
import sys
if not sys.flags.safe_path: del sys.path[0]
for name, path in ("jockey", []), ("jockey._backends", [{folder!r}]):
    sys.modules[name] = type(sys)(name)
    sys.modules[name].__path__ = path
from jockey._backends._worker import main
del sys.modules["jockey"], sys.modules["jockey._backends"]
main({socket}, {lifeline}, {note})
"""

_numbers = itertools.count(1)
_children: weakref.WeakSet[Child] = weakref.WeakSet()


class Child:
    """
    A worker process.

    Attributes:
        is_booted: Whether it can do jobs.
        jobs: How many jobs it has answered.
        leaves_by: When it should have ended, on the clock of the event loop, if it has been let go.
        exited: Set when the process has ended and has been reaped.
        exit_code: As `subprocess` tells it.
        last_item: The index of the item of a batch at which it died; None when it died elsewhere, or lives.
    """

    def __init__(self, on_exit: Callable[[Child], None], initializer: bytes = b"") -> None:
        """
        Start the process and return at once.

        Args:
            on_exit: Is called when the process has ended and has been reaped.
            initializer: What it calls before its first job, pickled with a tuple of arguments; empty for nothing.

        Raises:
            OSError: The system has no room for another process or its pipes.
            RuntimeError: It has none for another thread; or this process is only just importing its script.
            Exception: What the process has to know of its parent cannot be pickled.
        """
        self._runtime = _runtime.current()
        self._boot = _boot_frame(initializer)
        self._socket, self._lifeline, self._note, self._process = _start()
        self.is_booted = False
        self.jobs = 0
        self.leaves_by = math.inf
        self.exited = anyio.Event()
        self.exit_code: int | None = None
        self.last_item: int | None = None
        self._is_busy = False
        self._is_leaving = False
        self._on_exit = on_exit
        self._channel = open_channel(self._runtime, self._socket)
        # A daemon: the process outlives whoever does not close the pool, and must not keep the interpreter from ending.
        self._watcher = threading.Thread(target=self._watch, name=f"jockey-watch-{self.pid}", daemon=True)
        try:
            self._watcher.start()
        except RuntimeError:  # no room for another thread
            self._process.kill()
            self._process.wait()
            self._channel.close()
            self._lifeline.close()
            self._note.close()
            raise
        _children.add(self)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it can be given another job, as far as is known."""
        return self._channel.is_usable and not self._is_leaving and not self.exited.is_set()

    async def boot(self) -> Response:
        """Return its answer when it can do jobs, or has failed to start. After an exception it is of no use."""
        response = await self._ask(Request(self._boot, _frames.length(self._boot)))
        self.is_booted = response.kind == _frames.BOOTED
        return response

    async def exchange(self, request: Request) -> Response:
        """Have it, when it has booted, do the job. After an exception it is of no use any more."""
        response = await self._ask(request)
        self.jobs += 1
        return response

    async def _ask(self, request: Request) -> Response:
        self._is_busy = True
        try:
            return await self._channel.exchange(request)
        finally:
            self._is_busy = False
            if self.exited.is_set():
                self._channel.close()

    def leave(self, *, by: float = math.inf) -> None:
        """Let it end when it has answered."""
        self.leaves_by = by
        self._note_leaving()
        self._hang_up(socket.SHUT_WR)

    def terminate(self) -> None:
        """Ask it to end in the middle of its job."""
        self._note_leaving()
        self._process.terminate()

    def kill(self) -> None:
        """End it, whatever it does."""
        self._note_leaving()
        self._process.kill()

    def _note_leaving(self) -> None:
        if not self._is_leaving and not self.exited.is_set():
            self._is_leaving = True
            self._runtime.note_outside(1)  # a virtual clock has to wait until it has left

    def _watch(self) -> None:
        if hasattr(os, "waitid"):
            # Not reaped yet, so that its number cannot become that of a process that we do not mean to kill.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        with contextlib.suppress(RuntimeError):  # the event loop has ended: nobody is interested
            self._runtime.call_soon_threadsafe(self._reap)

    def _reap(self) -> None:
        self.exit_code = self._process.wait()  # returns at once: it has ended
        self._watcher.join()  # so does this
        _children.discard(self)
        (item,) = _frames.NOTE.unpack(os.pread(self._note.descriptor, _frames.NOTE.size, 0))
        self.last_item = item - 1 if item else None
        self._note.close()
        self._lifeline.close()
        if self._is_busy:
            # Somebody who was forked without Python's knowing may hold the other end: nobody would learn of the death.
            self._hang_up(socket.SHUT_RDWR)
        else:
            self._channel.close()
        self.exited.set()
        if self._is_leaving:
            self._runtime.note_outside(-1)
        self._on_exit(self)

    def _hang_up(self, how: int) -> None:
        # Not connected: the other side is closed already.
        with contextlib.suppress(OSError):
            self._socket.shutdown(how)

    def forget(self) -> None:
        """Give up the pipes, in a copy of this process made by `os.fork`, so that the worker ends with the original."""
        self._lifeline.close()
        self._socket.close()


def _forget_all() -> None:
    for child in tuple(_children):
        child.forget()
    _children.clear()


# Windows has neither forks nor worker processes, but this is imported there.
cast("Any", getattr(os, "register_at_fork", dict))(after_in_child=_forget_all)


def _boot_frame(initializer: bytes) -> list[Buffer]:
    # Not at the top: it takes ten milliseconds, and most executors have no processes.
    import multiprocessing.spawn  # noqa: PLC0415

    data = multiprocessing.spawn.get_preparation_data(f"jockey-worker-{next(_numbers)}")
    # As plain bytes, since the type of the key refuses to be pickled; proxies of a `multiprocessing.Manager` need it.
    data["authkey"] = bytes(data["authkey"])
    pickled = pickle.dumps(data, pickle.HIGHEST_PROTOCOL)
    return [_frames.BOOT.pack(len(pickled), len(initializer)) + pickled, initializer]


def _start() -> tuple[socket.socket, FileIO, Block, subprocess.Popen[bytes]]:
    with contextlib.ExitStack() as on_error, contextlib.ExitStack() as finally_:
        ours, theirs = socket.socketpair()
        on_error.callback(ours.close)
        finally_.callback(theirs.close)
        their_lifeline, our_lifeline = os.pipe()
        lifeline = FileIO(our_lifeline, "w")
        on_error.callback(lifeline.close)
        finally_.callback(os.close, their_lifeline)
        note = Block.new()
        on_error.callback(note.close)
        note.write(bytes(_frames.NOTE.size), 0)
        process = _popen(theirs.fileno(), their_lifeline, note.descriptor)
        on_error.pop_all()
    return ours, lifeline, note, process


def _popen(theirs: int, lifeline: int, note: int) -> subprocess.Popen[bytes]:
    import multiprocessing.spawn  # noqa: PLC0415

    folder = str(Path(__file__).parent)
    code = _BOOTSTRAP.format(folder=folder, socket=theirs, lifeline=lifeline, note=note)
    # As multiprocessing does it: workers shall treat warnings, for example, as this process does.
    flags: list[str] = cast("Any", subprocess)._args_from_interpreter_flags()  # noqa: SLF001
    # A Ctrl-C in the first milliseconds would end it with a traceback; it unblocks the signal when it is ignored.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return subprocess.Popen(  # noqa: S603 - this very Python
            [multiprocessing.spawn.get_executable(), *flags, "-c", f"exec({code!r}, {{}})"],
            pass_fds=[theirs, lifeline, note],
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
