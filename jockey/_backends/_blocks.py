"""
Anonymous shared memory, in which big buffers travel between processes. Both sides import it; stdlib only.

It has no name: it lives as long as a process has a descriptor of it or has mapped it, or a socket has it on the way. So
nothing is left over, whoever dies when.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Buffer

AT_ONCE: Final = 16
"""Blocks that one message has at most. Linux takes 253, and counts those that are on their way in all messages."""

_DESCRIPTOR: Final = struct.calcsize("i")

ANCILLARY: Final = socket.CMSG_SPACE(AT_ONCE * _DESCRIPTOR) if hasattr(socket, "CMSG_SPACE") else 0
"""The size of the buffer with which `recvmsg` takes the blocks of a message."""

FLAGS: Final[int] = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""With these flags of `recvmsg`, programs that this process starts do not get the blocks."""

_WRITE_AT_ONCE: Final = 2**30


class Block:
    """
    Shared memory.

    Args:
        descriptor: The file descriptor; it is the block's own from now on.
    """

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def new(cls) -> Block:
        """
        Return an empty one.

        Raises:
            OSError: The system has no room for it.
        """
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("jockey"))
        # The next best: on a disk perhaps, but without a name too.
        import tempfile  # noqa: PLC0415 - not needed on Linux

        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def write(self, data: Buffer, offset: int) -> None:
        """Copy *data* into it; other threads run meanwhile."""
        view = memoryview(data).cast("B")
        while view:
            count = os.pwrite(self.descriptor, view[:_WRITE_AT_ONCE], offset)
            view = view[count:]
            offset += count

    def read(self, target: memoryview, offset: int) -> int:
        """Copy from it into *target*, and return how much; other threads run meanwhile."""
        return os.preadv(self.descriptor, [target], offset)

    def mapped(self) -> memoryview:
        """
        Return all of it as memory of this process, without a copy.

        What is written there is seen by nobody else. It is freed when the last view of it has gone.

        Raises:
            OSError: The system has no room for it.
        """
        # `mmap.mmap` would keep a descriptor for each array that is alive, and there are often no more than a thousand.
        import ctypes  # noqa: PLC0415 - workers start without it
        import mmap  # noqa: PLC0415
        import pickle  # noqa: PLC0415
        import weakref  # noqa: PLC0415

        libc: Any = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        size = os.fstat(self.descriptor).st_size
        address = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, self.descriptor, 0)
        if address == ctypes.c_void_p(-1).value:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        memory = (ctypes.c_char * size).from_address(address)
        weakref.finalize(memory, libc.munmap, address, size).atexit = False
        return pickle.PickleBuffer(memory).raw()

    def close(self) -> None:
        """Give up the descriptor; what is mapped stays."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    # For those that were in the hands of a task that was cancelled.
    def __del__(self) -> None:
        self.close()


def close(blocks: Iterable[Block]) -> None:
    """Give up the descriptors of all *blocks*."""
    for block in blocks:
        block.close()


def as_ancillary(blocks: Sequence[Block]) -> list[tuple[int, int, bytes]]:
    """Return what to give to `sendmsg`."""
    if not blocks:
        return []
    descriptors = [block.descriptor for block in blocks]
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]


def from_ancillary(ancillary: Iterable[tuple[int, int, bytes]]) -> list[Block]:
    """Return what `recvmsg` got; fewer than were sent, when this process may not open more files."""
    blocks: list[Block] = []
    for _, _, data in ancillary:
        count = len(data) // _DESCRIPTOR
        blocks += map(Block, struct.unpack_from(f"{count}i", data))
    return blocks
