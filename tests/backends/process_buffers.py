"""What the tests of big buffers run in worker processes."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from pathlib import Path
from typing import Any


class Holder:
    """Pickles its buffer outside of the pickle, as an array does, and takes what it gets."""

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer

    def __reduce_ex__(self, _: object) -> tuple[Any, ...]:
        return Holder, (pickle.PickleBuffer(self.buffer),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Holder) and bytes(self.buffer) == bytes(other.buffer)

    __hash__ = None  # type: ignore[assignment]


def fill(payload: Any) -> Any:
    """Write into the arrays, and return them."""
    for array in payload:
        array[...] = 7
    return payload


def is_shared(array: Any) -> bool:
    """Tell whether the data of *array* lies where it came in."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        start, _, end = line.partition(" ")[0].partition("-")
        if int(start, 16) <= address < int(end, 16):
            return "memfd:jockey" in line
    return False


def descriptors(_: object) -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def mappings(_: object) -> int:
    return Path("/proc/self/maps").read_text(encoding="utf-8").count("memfd:jockey")


def be_killed_soon(payload: tuple[float, Holder]) -> Holder:
    """Answer, and be killed some time meanwhile, before or after."""
    seconds, holder = payload
    threading.Thread(target=be_killed, args=[seconds]).start()
    return holder


def be_killed(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
