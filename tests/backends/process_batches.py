"""What the tests of batches and of initializers run in worker processes; imports little."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from tests.backends.process_failures import FussyError, only_here

setting: list[object] = []


def act(item: Any) -> object:
    """Do what *item* says: a number is doubled."""
    match item:
        case int():
            return 2 * item
        case "raise":
            raise ValueError("bad item")
        case "raise what does not unpickle":
            raise FussyError(1, 2)
        case "exit":
            sys.exit(3)
        case "die":
            os._exit(7)
        case "be killed":
            return os.kill(os.getpid(), signal.SIGKILL)
        case "return a lock":
            return threading.Lock()
        case "return what does not unpickle":
            return only_here(None)
        case "return what kills":
            return Deadly(when_saved=True)
        case _:
            return item


class Deadly:
    """Kills the process that saves or that loads it, but not the one that has made it and loads or saves it."""

    def __init__(self, *, when_saved: bool = False) -> None:
        self.when_saved = when_saved

    def __reduce__(self) -> tuple[Any, ...]:
        if self.when_saved:
            os._exit(9)
        return die_elsewhere, (os.getpid(),)


def die_elsewhere(pid: int) -> None:
    if os.getpid() != pid:
        os._exit(8)


def note_and_die(item: tuple[str, str]) -> str:
    """Write the name down that comes with the path of a file, and die of the name "die"."""
    path, name = item
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{name}\n")
    if name == "die":
        os._exit(7)
    return name


def fork_and_go_on(item: int) -> tuple[int, int]:
    child = os.fork()
    return item, child


# Initializers.


def set_up(*arguments: object) -> None:
    setting.append((os.getpid(), *arguments))


def settings(_: object) -> list[object]:
    return setting


def refuse(*_: object) -> NoReturn:
    raise LookupError("no such setting")


def leave(*_: object) -> NoReturn:
    sys.exit(4)


def die(*_: object) -> NoReturn:
    os._exit(7)


def die_once(mark: str) -> None:
    """Die, unless that has happened before."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os._exit(7)


def fork_and_fail_in_the_child() -> None:
    if os.fork() == 0:
        raise RuntimeError("only in the child")


def fork_and_return_twice() -> None:
    os.fork()
