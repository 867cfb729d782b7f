"""What the page about backends says of each place: its table, cell by cell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jockey import ExecuteIn, Executor, RegistrationError
from jockey._backends._capabilities import CONTRACT, OF_CLASS, OF_PLACE, Capabilities
from tests.backends import interpreter_handlers
from tests.core.story import registry_of

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "backends.md"
HERE = [place for place in ExecuteIn if place is not ExecuteIn.INTERPRETER or sys.version_info >= (3, 13)]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def table() -> dict[str, list[str]]:
    """Return the cells of the table by the names of its rows; notes in parentheses are left out."""
    rows = [line.strip("| \n").split("|") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in row] for row in rows if "---" not in row[0]]
    return {row[0].strip("`"): [cell.partition(" (")[0] for cell in row[1:]] for row in rows[1:]}


def test_the_page_says_what_the_core_goes_by() -> None:
    said = {
        name: Capabilities(*(cell == "yes" for cell in cells[:3]))
        for name, cells in table().items()
    }  # fmt: skip
    dask = OF_CLASS["distributed.cfexecutor.ClientExecutor"]

    assert said == {
        **{place.name: can for place, can in OF_PLACE.items()},
        "ThreadPoolExecutor": CONTRACT,
        "ProcessPoolExecutor": CONTRACT,
        "loky": CONTRACT,
        "dask.distributed": Capabilities(dask.cancels_queued, dask.stops_running, dask.isolates_crashes),
        "mpi4py.futures": CONTRACT,
    }


def cell(name: str, column: str) -> str:
    columns = ["cancel queued", "stop running", "isolate a crash", "own memory", "async", "any function", "Ctrl-C"]
    return table()[name][columns.index(column)]


@pytest.mark.parametrize("place", HERE)
async def test_memory_is_shared_or_not(place: ExecuteIn) -> None:
    interpreter_handlers.calls.clear()

    async with Executor(registry_of(interpreter_handlers.count_calls, execute_in=place)).run() as running:
        await running.submit("job", "here").result()

    assert (interpreter_handlers.calls == []) == (cell(place.name, "own memory") == "yes")


async def add_async(number: int) -> int:
    return number + 1


@pytest.mark.parametrize("place", HERE)
@pytest.mark.parametrize(
    ("function", "column"), [(add_async, "async"), (lambda number: number + 1, "any function")], ids=["async", "lambda"]
)
async def test_functions_are_accepted_or_refused(place: ExecuteIn, function: Callable[[Any], Any], column: str) -> None:
    if cell(place.name, column) == "yes":
        async with Executor(registry_of(function, execute_in=place)).run() as running:
            assert await running.submit("job", 1).result() == 2
    else:
        with pytest.raises(RegistrationError):
            registry_of(function, execute_in=place)


CRASH = """
import anyio, jockey
from tests.backends.future_handlers import die
registry = jockey.Registry()
registry.add("die", execute_in=jockey.ExecuteIn({place!r}))(die)

async def main():
    async with jockey.Executor(registry).run() as running:
        await running.submit("die", None).wait()
    print("survived")

anyio.run(main)
"""


@pytest.mark.parametrize("place", HERE)
def test_a_crash_is_isolated_or_takes_the_program_with_it(place: ExecuteIn) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH.format(place=place.value)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    survives = (done.returncode, done.stdout) == (0, "survived\n")
    assert survives or done.returncode == 7
    assert survives == (cell(place.name, "isolate a crash") == "yes")


# Ctrl-C, as a terminal sends it: to the program and all that it has started

ENDING = ["THREAD", "PROCESS", "ProcessPoolExecutor", "loky"]
NAMES = {"ProcessPoolExecutor": "processes", "ThreadPoolExecutor": "threads", "dask.distributed": "dask"}


def interrupted(name: str, folder: Path, backend: str) -> subprocess.Popen[str]:
    """Return the program that runs a handler in that place, and has just been interrupted."""
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.backends.interrupted_program", NAMES.get(name, name.lower()), folder, backend],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    while not list(folder.glob("started *")):
        assert program.poll() is None
        time.sleep(0.005)
    os.killpg(program.pid, signal.SIGINT)
    return program


@pytest.mark.ends
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, backend) for name in ENDING for backend in ("asyncio", "trio")),
        *(("INTERPRETER", backend) for backend in ("asyncio", "trio") if ExecuteIn.INTERPRETER in HERE),
        ("dask.distributed", "asyncio"),
    ],
)
def test_ctrl_c_ends_the_program(name: str, backend: str, tmp_path: Path) -> None:
    with interrupted(name, tmp_path, backend) as program:
        printed, _ = program.communicate()

    assert (program.returncode, printed) == (-signal.SIGINT, "interrupted\n")
    assert not (tmp_path / "ended").exists()
    assert cell(name, "Ctrl-C") == "ends it"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_after_ctrl_c_python_waits_for_the_threads_of_an_executor(backend: str, tmp_path: Path) -> None:
    with interrupted("ThreadPoolExecutor", tmp_path, backend) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "interrupted\n"
        assert program.poll() is None
        (tmp_path / "may end").touch()

    assert program.returncode == -signal.SIGINT
    assert (tmp_path / "ended").exists()
    assert cell("ThreadPoolExecutor", "Ctrl-C") == "waits for it"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_mpi_keeps_to_the_contract(backend: str) -> None:
    mpi = [Path(sys.executable).with_name("mpiexec"), "-n", "3", sys.executable, "-m", "mpi4py.futures"]

    done = subprocess.run(
        [*mpi, "tests/backends/mpi_program.py", backend],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    # One that died has ended them all, which is what MPI does; it tells so in more lines.
    assert (done.returncode != 0, done.stderr) == (True, "")
    assert done.stdout.splitlines()[:7] == [
        "[0, 2, 4]",
        "Failure(error=ZeroDivisionError('cannot do 1'))",
        "True",
        "[True, True, True, True]",
        "['Cancelled', 'Cancelled', 'Cancelled', 'Cancelled'] ('hold', 'hold')",
        "Failure",
        "2 {\"'hold' was stopped, but a MPIPoolExecutor cannot be; it keeps its slot until it ends\"}",
    ]


def test_every_executor_in_the_table_is_told_of_below_it() -> None:
    text = PAGE.read_text("utf-8")

    assert [name for name in table() if len(re.findall(re.escape(name), text)) < 2] == []
