"""Where scripts live: with and without a guard, from `python -c`, at a prompt, and Ctrl-C in a terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.parallel.terminal import CTRL_C, ROOT, python


def script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    return str(path)


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run this Python as a user would; the time limit of the test is that of the program, too."""
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


# Ctrl-C

BUSY = """
import os, sys, time
import jockey

def work(number):
    os.write(1, b"worker %d here\\n" % os.getpid())
    time.sleep(3600)

def results():
    yield from jockey.map(work, range(10), max_jobs=2, batch=1)

if __name__ == "__main__":
    for result in results():
        print(result)
"""

# The second Ctrl-C comes from a worker that was asked to end: surely before the map is closed, and only once.
STUBBORN = """
import os, signal, sys, time
import jockey
from jockey._parallel import _sync

_sync._PATIENCE = 3600  # for a machine on which nothing comes in time

def press_again(*_):
    try:
        os.close(os.open("pressed", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getppid(), signal.SIGINT)

def work(number):
    signal.signal(signal.SIGTERM, press_again)
    os.write(1, b"worker %d here\\n" % os.getpid())
    while True: time.sleep(3600)

if __name__ == "__main__":
    for result in jockey.map(work, range(10), max_jobs=2, batch=1):
        print(result)
"""

CONSUMING = """
import os, time
import jockey

def work(number):
    os.write(1, b"worker %d here\\n" % os.getpid())
    return number

if __name__ == "__main__":
    for result in jockey.map(work, range(10), max_jobs=1, batch=1):
        print("consuming", flush=True)
        time.sleep(3600)
"""

IN_THREADS = BUSY.replace("max_jobs=2", "max_jobs=2, execute_in=jockey.ExecuteIn.THREAD")

ASYNC = """
import asyncio, os, time
import jockey

def work(number):
    os.write(1, b"worker %d here\\n" % os.getpid())
    time.sleep(3600)

async def main():
    async for result in jockey.amap(work, range(10), max_jobs=2, batch=1):
        print(result)

if __name__ == "__main__":
    asyncio.run(main())
"""


def pids_in(output: str) -> list[int]:
    return [int(line.split()[1]) for line in output.splitlines() if line.startswith("worker")]


@pytest.mark.parametrize("text", [BUSY, IN_THREADS], ids=["processes", "threads"])
def test_ctrl_c_ends_everything_with_one_traceback(text: str, tmp_path: Path) -> None:
    with python(script(tmp_path, text), folder=tmp_path) as terminal:
        terminal.wait_for("here", times=2)
        pids = [pid for pid in pids_in(terminal.output) if pid != terminal.pid]

        terminal.type(CTRL_C)

        assert terminal.wait() == 130
        assert gone(pids)
    assert terminal.output.count("Traceback") == 1
    assert terminal.output.rstrip().endswith("KeyboardInterrupt")
    assert terminal.output.count("KeyboardInterrupt") == 1


def test_second_ctrl_c_changes_nothing(tmp_path: Path) -> None:
    with python(script(tmp_path, STUBBORN), folder=tmp_path) as terminal:
        terminal.wait_for("here", times=2)
        pids = pids_in(terminal.output)

        terminal.type(CTRL_C)  # they are asked to end; soon they are killed

        assert terminal.wait() == 130
        assert gone(pids)
    assert terminal.output.count("Traceback") == 1


def test_ctrl_c_in_the_body_of_the_loop(tmp_path: Path) -> None:
    with python(script(tmp_path, CONSUMING), folder=tmp_path) as terminal:
        terminal.wait_for("consuming")
        pids = pids_in(terminal.output)

        terminal.type(CTRL_C)

        assert terminal.wait() == 130
        assert gone(pids)
    assert terminal.output.count("Traceback") == 1


def test_ctrl_c_in_async_code(tmp_path: Path) -> None:
    with python(script(tmp_path, ASYNC), folder=tmp_path) as terminal:
        terminal.wait_for("here", times=2)
        pids = pids_in(terminal.output)

        terminal.type(CTRL_C)

        assert terminal.wait() == 130
        assert gone(pids)
    assert terminal.output.rstrip().endswith("KeyboardInterrupt")


# Where functions are defined

FUNCTION = "import jockey\ndef double(number): return 2 * number\n"


def test_script(tmp_path: Path) -> None:
    text = FUNCTION + 'if __name__ == "__main__": print(list(jockey.map(double, [1, 2])))'

    ended = run(script(tmp_path, text))

    assert (ended.stdout, ended.stderr, ended.returncode) == ("[2, 4]\n", "", 0)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_script_without_a_guard(on_error: str, tmp_path: Path) -> None:
    text = FUNCTION + f"print(list(jockey.map(double, range(1000), on_error={on_error!r})))"

    ended = run(script(tmp_path, text))

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert 'under `if __name__ == "__main__":`' in ended.stderr


COMMAND = FUNCTION + "print(list(jockey.map(double, [1, 2]{options})))"


def test_command_line() -> None:
    ended = run("-c", COMMAND.format(options=""))

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "was defined in an interactive session" in ended.stderr
    assert ended.stderr.count("Traceback") == 1


@pytest.mark.parametrize("place", ["jockey.ExecuteIn.THREAD", "__import__('loky').get_reusable_executor(2)"])
def test_command_line_with_what_the_error_proposes(place: str) -> None:
    ended = run("-c", COMMAND.format(options=f", execute_in={place}"))

    assert (ended.stdout, ended.returncode) == ("[2, 4]\n", 0)


def test_command_line_with_an_imported_function() -> None:
    ended = run("-c", "import jockey, math; print(list(jockey.map(math.isqrt, [4, 9])))")

    assert (ended.stdout, ended.stderr, ended.returncode) == ("[2, 3]\n", "", 0)


def test_standard_input() -> None:
    ended = run("-", stdin=COMMAND.format(options=""))

    assert ended.returncode == 1
    assert "was defined in an interactive session" in ended.stderr


def test_prompt(tmp_path: Path) -> None:
    lines = [
        "import jockey, math",
        "def double(number): return 2 * number",
        "",
        "list(jockey.map(double, [1, 2]))",
        "list(jockey.map(double, [1, 2], execute_in=jockey.ExecuteIn.THREAD))",
        "list(jockey.map(math.isqrt, [4, 9]))",
        "exit()",
    ]
    with python("-q", "-i", folder=tmp_path) as terminal:
        for count, line in enumerate(lines, 1):
            while len(re.findall(r"^(>>>|\.\.\.) ", terminal.output, re.MULTILINE)) < count:
                assert terminal.read(), terminal.output  # nothing is typed before it is asked for
            terminal.type(f"{line}\n".encode())

        assert terminal.wait() == 0
    for answer in ("RegistrationError", "\n[2, 4]\n", "\n[2, 3]\n"):
        assert answer in terminal.output


def test_module_run_as_a_program(tmp_path: Path) -> None:
    script(tmp_path, FUNCTION + 'if __name__ == "__main__": print(list(jockey.map(double, [1, 2])))')

    ended = subprocess.run(
        [sys.executable, "-m", "script"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert (ended.stdout, ended.stderr, ended.returncode) == ("[2, 4]\n", "", 0)


def test_map_that_is_left_open_at_the_end_of_the_program(tmp_path: Path) -> None:
    text = FUNCTION + textwrap.dedent(
        """
        if __name__ == "__main__":
            results = jockey.map(double, range(10**6))
            print(next(results))
        """
    )

    ended = run(script(tmp_path, text))

    assert (ended.stdout, ended.stderr, ended.returncode) == ("0\n", "", 0)
