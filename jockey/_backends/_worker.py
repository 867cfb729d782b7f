"""
The program of a worker process: read a job, run it, answer, until the parent closes the pipe.

It runs without the rest of jockey, so that a worker is there in the time that Python itself needs. Handlers own the
main thread and the standard streams; all that is ours is one socket and one end of a pipe.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import sys
import threading
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any

from jockey._backends import _blocks, _frames, _parcels

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from jockey._backends._blocks import Block
    from jockey._backends._parcels import Parcel

    Handler = Callable[[object], object]
    Response = tuple[int, Parcel]

_MAX_FUNCTIONS = 256
_MAX_REPR = 2000

preparing_main = threading.Event()


def is_preparing_main() -> bool:
    """Tell whether this process is a worker that is just importing the script that its parent runs."""
    return preparing_main.is_set()


def main(connection: int, lifeline: int, note: int) -> None:
    """
    Serve the parent until it closes its end of the socket.

    Args:
        connection: File descriptor of the socket over which jobs come and answers go.
        lifeline: File descriptor of a pipe that nobody writes to; it ends when the parent is no more.
        note: File descriptor of the memory that tells the parent which item of a batch is at work.
    """
    # SIGINT from a terminal goes to the whole group: it is the parent's to decide what becomes of running jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    for descriptor in (connection, lifeline, note):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - positional-only
    stream = socket.socket(fileno=connection)
    os.register_at_fork(after_in_child=lambda: _let_go(stream, lifeline))
    _end_with_parent(lifeline)
    # A parent that is gone or has lost interest is no error.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _Worker(stream, note).serve()


def _let_go(stream: socket.socket, lifeline: int) -> None:
    # Whoever is forked by a handler must not keep the pipes open when the worker dies.
    with contextlib.suppress(OSError):
        stream.close()
    with contextlib.suppress(OSError):
        os.close(lifeline)


def _end_with_parent(lifeline: int) -> None:
    """Make this process end when the parent does, even in the middle of a handler."""
    try:
        _have_kernel_kill_us(lifeline)
    except (AttributeError, OSError):  # not Linux
        threading.Thread(target=_end_at_eof, args=[lifeline], name="jockey-lifeline", daemon=True).start()


def _have_kernel_kill_us(lifeline: int) -> None:
    # Better than a thread, which waits for the GIL as long as a handler holds it, and because of which `os.fork` warns.
    import fcntl  # noqa: PLC0415 - not on Windows, where this module is imported too

    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    # The parent may have died before this was set up.
    with contextlib.suppress(BlockingIOError):
        _end_at_eof(lifeline)


def _end_at_eof(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


class _Worker:
    def __init__(self, stream: socket.socket, note: int) -> None:
        self._socket = stream
        self._source = _Source(stream)
        self._stream = BufferedReader(self._source, _parcels.BIG)
        self._functions: dict[bytes, Handler] = {}
        self._note = note
        self._noted: memoryview | None = None
        self._pid = os.getpid()

    def serve(self) -> None:
        is_ready = self._prepare()
        while is_ready and len(header := self._stream.read(_frames.REQUEST.size)) == _frames.REQUEST.size:
            self._answer(*self._response_to(*_frames.REQUEST.unpack(header)))

    def _prepare(self) -> bool:
        sizes = _frames.BOOT.unpack(self._stream.read(_frames.BOOT.size))
        data, initializer = [self._stream.read(size) for size in sizes]
        failure = _frames.BOOT_FAILED
        try:
            _become_like_parent(pickle.loads(data))  # noqa: S301 - from the parent
            failure = _frames.INITIALIZER_FAILED
            if initializer:
                function, arguments = pickle.loads(initializer)  # noqa: S301 - from the parent
                function(*arguments)
        except BaseException as exc:  # noqa: ASYNC103 - all is told to the parent
            self._leave_if_forked(exc)
            self._answer(failure, _parcel(report_on(exc)))
            return False  # noqa: ASYNC104
        self._leave_if_forked(None)
        self._answer(_frames.BOOTED, _parcels.Parcel(b"", [], []))
        return True

    def _response_to(self, kind: int, reference_size: int, layout_size: int, size: int) -> Response:
        reference = self._stream.read(reference_size)
        layout = self._stream.read(layout_size)
        arrival = _parcels.Arrival(self._stream.readinto, size, layout, self._source.taken())
        try:
            function = self._function(reference)
        except BaseException as exc:  # noqa: ASYNC103 - all is told to the parent
            return self._refusal("handler", exc, arrival)  # noqa: ASYNC104
        try:
            payload = arrival.unpickled()
        except BaseException as exc:  # noqa: ASYNC103 - all is told to the parent
            return self._refusal("payload", exc, arrival)  # noqa: ASYNC104
        return self._batch(function, payload) if kind == _frames.BATCH else self._job(function, payload)

    def _function(self, reference: bytes) -> Handler:
        function = self._functions.get(reference)
        if function is None:
            if len(self._functions) >= _MAX_FUNCTIONS:
                self._functions.clear()
            function = self._functions[reference] = pickle.loads(reference)  # noqa: S301 - from the parent
        return function

    def _job(self, function: Handler, payload: object) -> Response:
        try:
            result = function(payload)
        except BaseException as exc:  # noqa: ASYNC103 - all is told to the parent
            self._leave_if_forked(exc)
            kind, thing = _raised(exc)
            return kind, _parcel(thing)  # noqa: ASYNC104
        self._leave_if_forked(None)
        return self._result(result)

    def _batch(self, function: Handler, items: list[object]) -> Response:
        results, failures = self._run_all(function, items)
        response = self._result((results, failures))
        if response[0] == _frames.RESULT:
            return response
        self._take_out_unpicklable(results, failures)
        return self._result((results, failures))

    def _run_all(self, function: Handler, items: list[object]) -> tuple[list[object], _frames.Failures]:
        results: list[object] = []
        failures: _frames.Failures = []
        noted = self._noted = self._noted or _mapped(self._note)
        pid, getpid = self._pid, os.getpid
        # If this process dies now, the parent reads there who is to blame.
        for noted[0], item in enumerate(items, 1):
            try:
                result = function(item)
            except BaseException as exc:  # noqa: ASYNC103 - all is told to the parent
                self._leave_if_forked(exc)
                failures.append((len(results), *_raised(exc)))
                result = None  # noqa: ASYNC104
            if getpid() != pid:
                self._leave_if_forked(None)
            results.append(result)
        noted[0] = 0
        return results, failures

    def _take_out_unpicklable(self, results: list[object], failures: _frames.Failures) -> None:
        for index, result in enumerate(results):
            try:
                _parcels.pickled(result)
            except BaseException as exc:  # noqa: ASYNC103 - all is told to the parent
                self._leave_if_forked(exc)
                results[index] = None
                failures.append((index, _frames.REFUSED, ("result", report_on(exc))))  # noqa: ASYNC104

    def _result(self, result: object) -> Response:
        try:
            return _frames.RESULT, _parcel(result)
        except BaseException as exc:  # noqa: ASYNC103 - all is told to the parent
            return self._refusal("result", exc)  # noqa: ASYNC104

    def _refusal(self, what: str, exc: BaseException, arrival: _parcels.Arrival | None = None) -> Response:
        self._leave_if_forked(exc)
        if arrival is not None:
            arrival.skip()
        return _frames.REFUSED, _parcel((what, report_on(exc)))

    def _leave_if_forked(self, exc: BaseException | None) -> None:
        # The handler forked and both sides came back: there is one job, so there is one answer, the original's.
        if os.getpid() != self._pid:
            _flush()
            code = exc.code if isinstance(exc, SystemExit) else exc
            os._exit(code if isinstance(code, int) else int(code is not None))

    def _answer(self, kind: int, parcel: Parcel) -> None:
        # What a job has printed is there when the job has ended, also if this process is killed later on.
        _flush()
        layout, body, blocks = parcel
        header = _frames.RESPONSE.pack(kind, len(layout), _frames.length(body)) + layout
        pieces = [memoryview(piece).cast("B") for piece in (header, *body)]
        ancillary = _blocks.as_ancillary(blocks)
        while pieces:
            sent = self._socket.sendmsg(pieces[: _frames.PIECES_AT_ONCE], ancillary)
            pieces, ancillary = _frames.unsent(pieces, sent), []
            _blocks.close(blocks)


class _Source(RawIOBase):
    """The socket as a file, from which the blocks are put aside that come with the bytes."""

    def __init__(self, stream: socket.socket) -> None:
        self._socket = stream
        self._blocks: list[Block] = []

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        count, ancillary, *_ = self._socket.recvmsg_into([buffer], _blocks.ANCILLARY, _blocks.FLAGS)
        if ancillary:
            self._blocks += _blocks.from_ancillary(ancillary)
        return count

    def taken(self) -> list[Block]:
        """Hand over what has been put aside."""
        taken, self._blocks = self._blocks, []
        return taken


def _mapped(note: int) -> memoryview:
    import mmap  # noqa: PLC0415 - most workers never need it

    return memoryview(mmap.mmap(note, _frames.NOTE.size)).cast("Q")


def _become_like_parent(data: dict[str, Any]) -> None:
    # Not at the top: the parent imports this module too.
    import multiprocessing.spawn  # noqa: PLC0415

    process: Any = multiprocessing.current_process()
    # As multiprocessing marks its own children: a script without a guard must not start processes here.
    process._inheriting = True  # noqa: SLF001
    preparing_main.set()
    try:
        multiprocessing.spawn.prepare(data)
    finally:
        preparing_main.clear()
        del process._inheriting  # noqa: SLF001


def _parcel(thing: object) -> Parcel:
    return _parcels.packed(_parcels.pickled(thing))


def _raised(exc: BaseException) -> tuple[int, tuple[object, object]]:
    report = report_on(exc)
    try:
        return _frames.RAISED, (report, pickle.dumps(exc, pickle.HIGHEST_PROTOCOL))
    except BaseException:  # noqa: ASYNC103 - all is told to the parent
        return _frames.REFUSED, ("exception", report)  # noqa: ASYNC104


def report_on(exc: BaseException) -> _frames.Report:
    import traceback  # noqa: PLC0415 - most workers never need it

    # The outermost frame is ours.
    ours = exc.__traceback__
    lines = traceback.format_exception(type(exc), exc, ours.tb_next if ours else None)
    return f"{type(exc).__module__}.{type(exc).__qualname__}", _repr(exc), "".join(lines)


def _repr(exc: BaseException) -> str:
    try:
        return repr(exc)[:_MAX_REPR]
    except Exception:
        return object.__repr__(exc)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A handler may have closed, replaced or removed them.
        with contextlib.suppress(Exception):
            stream.flush()
