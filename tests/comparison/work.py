"""What is sent to workers."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

HOURS = 3 * 3600.0
PATIENCE = 60.0

_waiting = 0
_is_set_up = False


def wait_for_gate(path: str) -> str:
    """Return at once if there is no gate; else when it has been opened, or never will be."""
    if not path:
        return "quick"
    Path(path + ".waiting").touch()
    return "opened" if appears(path) else "never"


def appears(path: str) -> bool:
    """Return whether a file appears."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if Path(path).exists():
            return True
        time.sleep(0.02)
    return False


class Parcel:
    """An item that is counted where it arrives."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, ()


def _arrive() -> Parcel:
    global _waiting  # noqa: PLW0603 - this worker's
    _waiting += 1
    return Parcel()


def came_with_others(_: Parcel) -> bool:
    """Return whether other items wait here that came together with this one."""
    global _waiting  # noqa: PLW0603 - this worker's
    _waiting -= 1
    return _waiting > 0


def refuse(item: str) -> str:
    if item.startswith("pear"):
        raise ValueError("refused")
    return item


def hang(item: tuple[str, int]) -> int:
    """Tell our process, and take hours for the first item."""
    folder, number = item
    if number == 0:
        partial = Path(folder, "partial")
        partial.write_text(str(os.getpid()))
        partial.rename(Path(folder, "hanging"))
        time.sleep(HOURS)
    return number


def hang_always(item: tuple[str, int]) -> None:
    folder, _ = item
    Path(folder, f"worker-{os.getpid()}").touch()
    time.sleep(HOURS)


def die_of_zero(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)  # long enough for others to learn of the death before all is done
    return number


def set_up() -> None:
    global _is_set_up  # noqa: PLW0603 - this worker's
    _is_set_up = True


def is_set_up(number: int) -> bool:
    die_of_zero(number)
    return _is_set_up


def is_shared(array: Any) -> bool:
    """Return whether an array lies in memory that has been mapped from somewhere, rather than been filled here."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, inode, *_ = line.split()
        first, last = (int(number, 16) for number in span.split("-"))
        if first <= array.ctypes.data < last:
            return inode != "0"
    return False


def make_array(size: int) -> Any:
    import numpy as np

    return np.ones(size)


def take_a_moment(number: int) -> int:
    time.sleep(0.1)
    return number


def worker_of_cluster(_: int) -> str:
    from distributed import get_worker

    return str(get_worker().address)


def note_run(item: tuple[str, int]) -> int:
    path, number = item
    with Path(path).open("a") as runs:
        runs.write("run\n")
    return number
