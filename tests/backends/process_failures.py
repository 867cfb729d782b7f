"""What cannot be sent to or from a worker process, and handlers that raise."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any, NoReturn


class FussyError(Exception):
    """Pickles and does not unpickle."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


class UnpicklableError(Exception):
    def __init__(self) -> None:
        super().__init__("with a lock")
        self.lock = threading.Lock()


class Custom(BaseException):
    pass


class ReprlessError(Exception):
    def __repr__(self) -> str:
        raise ValueError("no repr")


class FalseError(Exception):
    """Comes back as something that cannot be raised."""

    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("1",)


def raise_value_error(payload: object) -> NoReturn:
    error = ValueError(payload)
    error.add_note("a note")
    raise error


def raise_fussy(_: object) -> NoReturn:
    raise FussyError(1, 2)


def raise_unpicklable(_: object) -> NoReturn:
    raise UnpicklableError


def raise_reprless(_: object) -> NoReturn:
    error = ReprlessError("x")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def raise_false_exception(_: object) -> NoReturn:
    raise FalseError


def raise_system_exit(_: object) -> NoReturn:
    sys.exit(3)


def raise_keyboard_interrupt(_: object) -> NoReturn:
    raise KeyboardInterrupt


def raise_cancelled(_: object) -> NoReturn:
    raise asyncio.CancelledError


def raise_custom(_: object) -> NoReturn:
    raise Custom("custom")


class OnlyHere:
    """Unpickles in the process whose id it carries."""

    def __init__(self, allowed: int, ballast: int = 0) -> None:
        self.state = (allowed, bytes(ballast))

    def __reduce__(self) -> tuple[Any, ...]:
        return only_in, self.state


def only_in(allowed: int, ballast: bytes) -> OnlyHere:
    if os.getpid() != allowed:
        raise RuntimeError("not in this process")
    return OnlyHere(allowed, len(ballast))


def only_here(_: object) -> OnlyHere:
    return OnlyHere(os.getpid())


def a_lock(_: object) -> Any:
    return threading.Lock()


def a_deep_list(_: object) -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep
