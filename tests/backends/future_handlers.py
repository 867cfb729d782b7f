"""Handlers that executors of all kinds run, in whatever process; they import nothing of jockey."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

PATIENCE = 240.0


def double(number: int) -> int:
    return 2 * number


def pid(_: object) -> int:
    return os.getpid()


def fail(number: int) -> int:
    raise ZeroDivisionError(f"cannot do {number}")


def leave(_: object) -> None:
    raise SystemExit(3)


def die(_: object) -> None:
    os._exit(7)


def cancel_itself(_: object) -> None:
    raise asyncio.CancelledError


def odd_only(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(number)
    return number


def note(path: str) -> None:
    """Leave a line in a file: so it can be counted how often this was called."""
    with Path(path).open("a") as file:
        file.write("called\n")


def hold(folder: str) -> str:
    """Say that it runs, go on until it may end, and say that it has."""
    Path(folder, f"started {os.getpid()} {time.monotonic_ns()}").touch()
    end = time.monotonic() + PATIENCE
    while not Path(folder, "may end").exists() and time.monotonic() < end:
        time.sleep(0.002)
    Path(folder, "ended").touch()
    return "held"


def lock_for_two(number: int) -> object:
    """Return what cannot be pickled, for 2 only."""
    return threading.Lock() if number == 2 else number


def die_of_two(number: int) -> int:
    if number == 2:
        os._exit(1)
    return number
