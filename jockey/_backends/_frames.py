"""
What travels between the executor and its worker processes, and in which form. Both sides import it; stdlib only.

A request is its header, the pickled reference to the handler, and a parcel: the payload. A response is its header and a
parcel. The very first frame to a worker tells it how to become like its parent.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

BOOT: Final = struct.Struct("<QQ")
"""Lengths of the pickled preparation data, and of the pickled initializer with its arguments; 0 for none."""

REQUEST: Final = struct.Struct("<BIIQ")
"""What the payload is; lengths of the reference to the handler, of the parcel's layout, and of what follows that."""

JOB: Final = 0
"""The payload is the handler's argument."""

BATCH: Final = 1
"""The payload is a list of arguments."""

RESPONSE: Final = struct.Struct("<BIQ")
"""What the parcel holds; lengths of its layout, and of what follows that."""

RESULT: Final = 0
"""The result of a job. For a batch: the list of results, with None for each failure; and the `Failures`."""

RAISED: Final = 1
"""The handler raised: a `Report` and the pickled exception."""

REFUSED: Final = 2
"""Something could not be pickled or unpickled: the name of the thing and a `Report`."""

BOOT_FAILED: Final = 3
"""The worker could not become like its parent and ends now: a `Report`."""

INITIALIZER_FAILED: Final = 4
"""The initializer raised and the worker ends now: a `Report`."""

BOOTED: Final = 5
"""The worker has become like its parent, and waits for its first job. No parcel."""

NOTE: Final = struct.Struct("@Q")
"""In memory that worker and parent share: of a batch, which item the worker is at, counted from 1; else 0."""

Report = tuple[str, str, str]
"""An exception as text: its type, its repr, its traceback."""

Failures = list[tuple[int, int, tuple[object, object]]]
"""Of a batch: the index of an item, `RAISED` or `REFUSED`, and what belongs to that."""

PIECES_AT_ONCE: Final = 512
"""How many pieces one call of the system sends: POSIX promises 16, Linux and macOS take 1024."""


def length(pieces: Iterable[Buffer]) -> int:
    """Tell how many bytes *pieces* have together."""
    return sum(memoryview(piece).nbytes for piece in pieces)


def unsent(pieces: list[memoryview], sent: int) -> list[memoryview]:
    """Return what is left of *pieces* when *sent* bytes of them are on their way."""
    for index, piece in enumerate(pieces):
        if sent < piece.nbytes:
            return [piece[sent:], *pieces[index + 1 :]]
        sent -= piece.nbytes
    return []
