"""
How Python objects travel: what is small of a pickle through the socket, what is big of it in shared memory.

Both sides import it; stdlib only.
"""

from __future__ import annotations

import errno
import io
import os
import pickle
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jockey._backends import _blocks
from jockey._backends._blocks import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from typing_extensions import Buffer

THRESHOLD: Final = 1024 * 1024
"""Bytes from which on a buffer travels in shared memory; below it, to set that up takes longer than to copy."""

BIG: Final = 256 * 1024
"""Bytes that may be pickled or unpickled in the event loop; that takes a few milliseconds at worst."""

_ALIGNMENT: Final = 64

_Place = tuple[int, int, int]
"""Which block, where in it, how many bytes."""

_Layout = tuple[int, list[tuple[int, _Place]], list[_Place]]
"""How many blocks; what is missing in what goes through the socket, by its position there; what lies outside of it."""


class TooBigError(Exception):
    """The pickle would be longer than allowed."""


class Pickle(NamedTuple):
    """
    A pickle in memory.

    Attributes:
        pieces: The pickle itself; it shares the memory of big bytes objects.
        buffers: What lies outside of it, as protocol 5 has it.
    """

    pieces: list[Buffer]
    buffers: list[Buffer]


class Parcel(NamedTuple):
    """
    A pickle ready to be sent.

    Attributes:
        layout: Tells the receiver what lies where in the blocks; empty without blocks.
        pieces: What goes through the socket.
        blocks: What travels in shared memory.
    """

    layout: bytes
    pieces: list[Buffer]
    blocks: list[Block]


class _Chunks:
    """The file that a pickler writes to: it keeps the pieces as they come, big bytes objects without a copy."""

    __slots__ = ("_allowed", "buffers", "pieces")

    def __init__(self, allowed: int | None) -> None:
        self._allowed = allowed
        self.pieces: list[Buffer] = []
        self.buffers: list[Buffer] = []

    # In Python, not in C: every call is a point at which a pickling thread lets the event loop run.
    def write(self, piece: Buffer) -> None:
        if isinstance(piece, pickle.PickleBuffer):
            piece = piece.raw()
        self.pieces.append(piece)
        if self._allowed is not None:
            self._allowed -= memoryview(piece).nbytes
            if self._allowed < 0:
                raise TooBigError

    def is_to_be_written(self, buffer: pickle.PickleBuffer) -> bool:
        """Take what is to lie outside of the pickle."""
        raw = buffer.raw()  # one with gaps does not come here: the pickler refuses it before
        if raw.nbytes < THRESHOLD:
            return True
        self.buffers.append(raw)
        return False


def pickled(thing: object, *, allowed: int | None = None) -> Pickle:
    """
    Pickle without a copy of what is big.

    Args:
        thing: What to pickle.
        allowed: How many bytes the pickle itself may have.

    Raises:
        TooBigError: It would have more; raised without having pickled much more than that.
    """
    chunks = _Chunks(allowed)
    pickle.Pickler(chunks, pickle.HIGHEST_PROTOCOL, buffer_callback=chunks.is_to_be_written).dump(thing)
    return Pickle(chunks.pieces, chunks.buffers)


def packed(made: Pickle) -> Parcel:
    """
    Copy what is big into shared memory; other threads run meanwhile.

    Raises:
        OSError: The system has no room for it.
    """
    inline = [(index, piece) for index, piece in enumerate(made.pieces) if memoryview(piece).nbytes >= THRESHOLD]
    if not inline and not made.buffers:
        return Parcel(b"", made.pieces, [])
    blocks: list[Block] = []
    try:
        places = _store([*(piece for _, piece in inline), *made.buffers], blocks)
    except BaseException:
        _blocks.close(blocks)
        raise
    left, positions = _without(made.pieces, [index for index, _ in inline])
    layout: _Layout = (len(blocks), list(zip(positions, places, strict=False)), places[len(inline) :])
    return Parcel(pickle.dumps(layout, pickle.HIGHEST_PROTOCOL), left, blocks)


def _store(buffers: Sequence[Buffer], blocks: list[Block]) -> list[_Place]:
    # Each in a block of its own, so that its memory is freed when it is not needed any more; unless there are many.
    places: list[_Place] = []
    together = -(-len(buffers) // _blocks.AT_ONCE)
    for start in range(0, len(buffers), together):
        blocks.append(Block.new())
        offset = 0
        for buffer in buffers[start : start + together]:
            size = memoryview(buffer).nbytes
            blocks[-1].write(buffer, offset)
            places.append((len(blocks) - 1, offset, size))
            offset += -(-size // _ALIGNMENT) * _ALIGNMENT
    return places


def _without(pieces: list[Buffer], taken: list[int]) -> tuple[list[Buffer], list[int]]:
    """Return what is left of *pieces*, and at which positions in that those lay whose indices are *taken*."""
    left: list[Buffer] = []
    positions: list[int] = []
    position = 0
    for index, piece in enumerate(pieces):
        if len(positions) < len(taken) and taken[len(positions)] == index:
            positions.append(position)
        else:
            left.append(piece)
            position += memoryview(piece).nbytes
    return left, positions


class Pieces:
    """What has arrived through the socket, to be read in order; it lets go of every piece that has been read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = deque(memoryview(piece) for piece in pieces)

    # In Python, not in C: see above.
    def readinto(self, target: memoryview) -> int:
        if not self._pieces:
            return 0
        piece = self._pieces.popleft()
        if len(piece) > len(target):
            self._pieces.appendleft(piece[len(target) :])
            piece = piece[: len(target)]
        target[: len(piece)] = piece
        return len(piece)


def read(readinto: Callable[[memoryview], int], size: int) -> bytearray:
    """Return the next *size* bytes; fewer are a pickle that breaks off."""
    whole = bytearray(size)
    view = memoryview(whole)
    while view and (count := readinto(view)):
        view = view[count:]
    return whole


class Arrival(io.RawIOBase):
    """
    A parcel at the receiver, as the file that an unpickler reads from, never beyond the parcel's end.

    Args:
        readinto: Reads what goes through the socket.
        size: How much that is.
        layout: As in `Parcel`.
        blocks: As in `Parcel`.
    """

    def __init__(
        self, readinto: Callable[[memoryview], int], size: int, layout: bytes | bytearray, blocks: list[Block]
    ) -> None:
        self._readinto = readinto
        self._left = size
        self._size = size
        self._layout = layout
        self._blocks = blocks
        self._inline: deque[tuple[int, _Place]] = deque()

    def unpickled(self) -> Any:
        """
        Return what was pickled.

        Raises:
            OSError: Blocks are missing, since this process may not open more files; or they cannot be mapped.
            Exception: It cannot be unpickled.
        """
        if self._left <= BIG and not self._layout:
            size, self._left = self._left, 0
            return pickle.loads(read(self._readinto, size))  # noqa: S301 - from a process of ours
        try:
            return pickle.Unpickler(io.BufferedReader(self, BIG), buffers=self._open()).load()  # noqa: S301 - as above
        finally:
            self.skip()

    def _open(self) -> list[memoryview]:
        if not self._layout:
            return []
        layout: _Layout = pickle.loads(self._layout)  # noqa: S301 - as above
        count, inline, buffers = layout
        if len(self._blocks) < count:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._inline.extend(inline)
        mapped = {index: self._blocks[index].mapped() for index in {place[0] for place in buffers}}
        return [mapped[index][offset : offset + size] for index, offset, size in buffers]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer)
        position = self._size - self._left
        if not self._inline:
            return self._from_socket(target[: self._left])
        following, (index, offset, size) = self._inline[0]
        if following > position:
            return self._from_socket(target[: following - position])
        count = self._blocks[index].read(target[:size], offset)
        self._inline.popleft()
        if count < size:
            self._inline.appendleft((following, (index, offset + count, size - count)))
        return count

    def _from_socket(self, target: memoryview) -> int:
        count = self._readinto(target)
        self._left -= count
        return count

    def skip(self) -> None:
        """Read what nobody has read, and give up the blocks."""
        _blocks.close(self._blocks)
        self._inline.clear()
        rest = bytearray(min(self._left, BIG))
        # Nothing comes any more when the other side has died.
        while self._left and self._from_socket(memoryview(rest)[: self._left]):
            pass
