"""The parent's end of the socket to a worker process: send a request, wait for the response."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import anyio

from jockey._backends import _blocks, _frames
from jockey._errors import TransferError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from jockey._backends._blocks import Block
    from jockey._runtime import Runtime

_RECEIVE: Final = 64 * 1024


class WorkerGoneError(Exception):
    """
    The worker has closed its end, so it has died.

    Attributes:
        is_unread: Whether it certainly did not read the request; False means that nobody knows.
    """

    def __init__(self, *, is_unread: bool) -> None:
        super().__init__(is_unread)
        self.is_unread = is_unread


class Request(NamedTuple):
    """A job on its way to a worker; it can be sent once."""

    pieces: list[Buffer]
    size: int
    blocks: Sequence[Block] = ()

    def close(self) -> None:
        """Give up what is in shared memory; the receiver's hold on it stays."""
        _blocks.close(self.blocks)


class Response:
    """What has arrived of the answer of a worker."""

    __slots__ = ("_head", "_missing", "blocks", "is_complete", "kind", "layout_size", "pieces", "size")

    def __init__(self) -> None:
        self._head = b""
        self._missing = 0
        self.is_complete = False
        self.kind = -1
        self.layout_size = 0
        self.size = 0
        self.pieces: list[bytes] = []
        self.blocks: list[Block] = []

    def feed(self, data: bytes) -> bool:
        """Take what has just arrived, and tell whether the answer is complete."""
        if self.kind < 0:
            self._head += data
            if len(self._head) < _frames.RESPONSE.size:
                return False
            self.kind, self.layout_size, self.size = _frames.RESPONSE.unpack_from(self._head)
            self._missing = self.layout_size + self.size
            data = self._head[_frames.RESPONSE.size :]
        self.pieces.append(data)
        self._missing -= len(data)
        self.is_complete = self._missing <= 0
        return self.is_complete

    def close(self) -> None:
        """Give up what is in shared memory."""
        _blocks.close(self.blocks)


class Channel(Protocol):
    """The parent's end; requests go one at a time."""

    @property
    def is_usable(self) -> bool:
        """Whether nothing tells that the worker is dead or has gone out of step."""
        ...

    async def exchange(self, request: Request) -> Response:
        """
        Send the request and wait for the response. After any exception, cancellation too, it must not be used again.

        Raises:
            WorkerGoneError: The worker died.
            TransferError: Too many blocks are on their way.
        """
        ...

    def close(self) -> None:
        """Give up the socket."""
        ...


def open_channel(runtime: Runtime, sock: socket.socket) -> Channel:
    """Return the channel over *sock* for the async library that is running."""
    sock.settimeout(0)
    return _AsyncioChannel(sock) if runtime.backend == "asyncio" else _AnyChannel(sock)


class _AsyncioChannel:
    # The reader stays registered from job to job: to add and remove it each time, as `anyio.wait_readable` must, takes
    # two system calls and half as much time again as all the rest.
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._response = Response()
        self._waiter: asyncio.Future[None] | None = None
        self._error: OSError | None = None
        self.is_usable = True
        # By its number, under which it can be removed also after somebody else has closed the socket.
        self._descriptor = sock.fileno()
        self._loop.add_reader(self._descriptor, self._receive)

    async def exchange(self, request: Request) -> Response:
        waiter = self._waiter = self._loop.create_future()
        response = self._response = Response()
        try:
            is_sent = await _send(self._socket, request)
            await waiter
        finally:
            self._waiter = None
            if not response.is_complete:
                response.close()
        if not response.is_complete:
            raise WorkerGoneError(is_unread=is_sent and _is_unread(self._error))
        return response

    def _receive(self) -> None:
        data = b""
        try:
            data = _receive(self._socket, self._response)
        except OSError as exc:
            self._error = exc
        if data and self._waiter is not None and not self._response.feed(data):
            return
        # The end; or something that nobody asked for, after which one cannot tell what answers what.
        if not data or self._waiter is None:
            self._stop()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _stop(self) -> None:
        if self.is_usable:
            self.is_usable = False
            self._loop.remove_reader(self._descriptor)

    def close(self) -> None:
        self._stop()
        self._socket.close()


class _AnyChannel:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.is_usable = True

    async def exchange(self, request: Request) -> Response:
        response = Response()
        try:
            is_sent = await _send(self._socket, request)
            while not response.is_complete:
                await anyio.wait_readable(self._socket)
                self._feed(response, is_sent=is_sent)
        except BaseException:
            response.close()
            raise
        return response

    def _feed(self, response: Response, *, is_sent: bool) -> None:
        try:
            data = _receive(self._socket, response)
        except OSError as exc:
            raise WorkerGoneError(is_unread=is_sent and _is_unread(exc)) from exc
        if not data:
            raise WorkerGoneError(is_unread=False)
        response.feed(data)

    def close(self) -> None:
        self._socket.close()


def _receive(sock: socket.socket, response: Response) -> bytes:
    data, ancillary, *_ = sock.recvmsg(_RECEIVE, _blocks.ANCILLARY, _blocks.FLAGS)
    if ancillary:
        response.blocks += _blocks.from_ancillary(ancillary)
    return data


def _is_unread(error: OSError | None) -> bool:
    # How Linux tells that the other side was closed with unread data in its buffer.
    return isinstance(error, ConnectionResetError)


async def _send(sock: socket.socket, request: Request) -> bool:
    """Send the request; return whether it went in one go, so that it is either read as a whole or not at all."""
    try:
        sent = sock.sendmsg(request.pieces[: _frames.PIECES_AT_ONCE], _blocks.as_ancillary(request.blocks))
    except OSError as exc:
        if exc.errno == errno.ETOOMANYREFS:
            raise TransferError(f"too many big payloads are on their way to worker processes: {exc}") from exc
        raise WorkerGoneError(is_unread=True) from exc
    finally:
        request.close()
    if sent == request.size:
        return True
    await _send_rest(sock, request, sent)
    return False


async def _send_rest(sock: socket.socket, request: Request, sent: int) -> None:
    pieces = _frames.unsent([memoryview(piece).cast("B") for piece in request.pieces], sent)
    while pieces:
        await anyio.wait_writable(sock)
        try:
            pieces = _frames.unsent(pieces, sock.sendmsg(pieces[: _frames.PIECES_AT_ONCE]))
        except OSError:
            return  # it may have answered before it went: what can be read tells
