"""What the tests map."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
import time
from pathlib import Path
from typing import NoReturn

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def square(number: int) -> int:
    return number * number


async def square_async(number: int) -> int:
    return number * number


def invert(number: int) -> float:
    return 1 / number


async def invert_async(number: int) -> float:
    return 1 / number


def thread_of(_: object) -> int:
    return threading.get_ident()


def process_of(_: object) -> int:
    return os.getpid()


def get_variable(_: object) -> str:
    return variable.get()


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def sleep_if(number: int) -> int:
    """Never return, if *number* is 0."""
    if number == 0:
        time.sleep(3600)
    return number


def exit_program(_: object) -> NoReturn:
    raise SystemExit(3)


async def exit_program_async(_: object) -> NoReturn:
    raise SystemExit(3)


def note_call(path_and_number: tuple[str, int]) -> int:
    """Leave a file behind, and refuse to do so twice."""
    folder, number = path_and_number
    with (Path(folder) / str(number)).open("x"):
        return number


def die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_if_zero(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


state: list[object] = []


def set_up(*values: object) -> None:
    state.append((os.getpid(), threading.get_ident(), *values))


def get_state(_: object) -> list[object]:
    return list(state)


def fail_to_set_up() -> NoReturn:
    raise OSError("no model")


def get_state_or_die(number: int) -> list[object]:
    return get_state(die_if_zero(number))


def invert_or_sleep(number: int | None) -> float:
    return 1 / number if number is not None else sleep(3600)


def same(thing: object) -> object:
    return thing
