"""What maps are measured with: functions that worker processes can import."""

from __future__ import annotations

import importlib
import random
import time
from collections.abc import Callable
from typing import Any

Load = tuple[Callable[[Any], Any], list[Any]]

_LOOPS_PER_MILLISECOND = 20_000


def load(name: str, count: int) -> Load:
    """Return a function, and *count* items for it."""
    match name:
        case "tiny":
            return increment, list(range(count))
        case "even":
            return burn, [5.0] * count
        case "uneven":
            # One in ten takes a hundred times as long as the others.
            return burn, random.Random(1).choices([0.2, 20.0], [9, 1], k=count)
        case "arrays":
            numpy: Any = importlib.import_module("numpy")
            return first_and_last, [numpy.full(100_000_000 // 8, float(number)) for number in range(count)]
        case _:
            return wait, [0.001] * count


def increment(number: int) -> int:
    """Do next to nothing."""
    return number + 1


def burn(milliseconds: float) -> int:
    """Keep a core busy for about that long."""
    total = 0
    for number in range(int(milliseconds * _LOOPS_PER_MILLISECOND)):
        total += number
    return total


def first_and_last(array: Any) -> float:
    """Look at an array that took long to get here."""
    return float(array[0] + array[-1])


def wait(seconds: float) -> None:
    """Wait, as for an answer from somewhere."""
    time.sleep(seconds)
