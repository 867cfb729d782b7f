"""What the tests of the process pool run in worker processes; imports little, since each worker imports it too."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

kept: list[object] = []


def echo(payload: Any) -> Any:
    return payload


def pid(_: object) -> int:
    return os.getpid()


def is_main_thread(_: object) -> bool:
    return threading.current_thread() is threading.main_thread()


def kernel_threads(_: object) -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def dispositions(_: object) -> tuple[bool, bool, int]:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        len({signal.SIGINT, signal.SIGTERM} & blocked),
    )


def modules(names: list[str]) -> list[str]:
    return [name for name in names if name in sys.modules]


def size(payload: Any) -> int:
    return len(payload)


def zeros(count: int) -> bytes:
    return bytes(count)


def numbers(count: int) -> list[list[int]]:
    return [[number, -number] for number in range(count)]


# Signs of life: a handler holds the writing end of a named pipe, which its reader sees end when the process does.


def hold(fifo: str) -> int:
    """Keep the pipe open beyond this job."""
    descriptor = os.open(fifo, os.O_WRONLY)
    kept.append(descriptor)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return os.getpid()


def hold_and_sleep(fifo: str) -> None:
    hold(fifo)
    time.sleep(3600)


def hold_and_keep_the_gil(fifo: str) -> None:
    hold(fifo)
    sum(range(10**14))


def hold_and_ignore_sigterm(fifo: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hold_and_sleep(fifo)


def ignore_sigterm_and_never_end(fifo: str) -> int:
    """Return, but leave a thread behind that keeps the process from ending."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=time.sleep, args=[3600]).start()
    return hold(fifo)


def hold_and_wait_to_raise(fifo: str) -> NoReturn:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # before it tells: the signal may come at once
    hold(fifo)
    time.sleep(3600)
    raise AssertionError("the signal did not come")


def hold_until_told(fifo: str, word: str) -> None:
    """Tell that this process is there, and wait until somebody writes to the other pipe."""
    hold(fifo)
    Path(word).read_bytes()


def tell(word: str) -> None:
    """Let those go on who wait."""
    Path(word).write_bytes(b"go on")


# Ends.


def exit_with(code: int) -> NoReturn:
    os._exit(code)


def kill_myself(number: int) -> None:
    os.kill(os.getpid(), number)


def close_everything(_: object) -> None:
    """Stay alive, but deaf and mute."""
    os.closerange(3, 256)
    time.sleep(3600)


# Forks.


def fork_and_return_twice(_: object) -> int:
    child = os.fork()
    kept.append(child)
    return child


def fork_and_exit(code: object) -> int:
    child = os.fork()
    if child == 0:
        sys.exit(code)  # type: ignore[arg-type]
    kept.append(child)
    return child


def fork_and_raise(_: object) -> int:
    child = os.fork()
    if child == 0:
        raise ValueError("in the child")
    kept.append(child)
    return child


def exit_code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_and_leave_a_child(fifo: str) -> None:
    if os.fork() == 0:
        hold_and_sleep(fifo)
    os._exit(7)


def die_and_leave_a_child_unknown_to_python(fifo: str) -> None:
    if ctypes.CDLL(None).fork() == 0:
        hold_and_sleep(fifo)
    os._exit(8)


def run_process(method: str) -> int | None:
    process = multiprocessing.get_context(method).Process(target=echo, args=(1,))  # type: ignore[attr-defined]
    process.start()
    process.join()
    return process.exitcode  # type: ignore[no-any-return]


# Standard streams.


def print_everywhere(text: str) -> None:
    print(f"print {text}")
    print(f"stderr {text}", file=sys.stderr)
    os.write(1, f"write {text}\n".encode())
    os.system(f"echo system {text}")  # noqa: S605
    subprocess.run(["echo", f"run {text}"], check=True)


def remove_stdout(_: object) -> None:
    sys.stdout = None


class Callable:
    """A handler with a state, pickled by value."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, payload: int) -> int:
        return self.number * payload
