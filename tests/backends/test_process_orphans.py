"""Parents that are killed: no worker process outlives them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.process_observer import Fifo
from tests.backends.process_script import Script

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    with contextlib.closing(Fifo(tmp_path / "fifo")) as fifo:
        yield fifo


KILLED = """
from tests.backends import process_handlers as handlers

async def main():
    pool = ProcessBackend(max_jobs_per_process=None)
    async with anyio.create_task_group() as group:
        group.start_soon(pool.run, handlers.hold, sys.argv[1])
        group.start_soon(pool.run, handlers.hold_and_sleep, sys.argv[1])
        {busy}

if __name__ == "__main__":
    anyio.run(main)
"""
WITH_GIL = "group.start_soon(pool.run, handlers.hold_and_keep_the_gil, sys.argv[1])"
LINUX = [] if not hasattr(fcntl, "F_SETSIG") else [WITH_GIL]


async def workers_end_with_their_parent(process: subprocess.Popen[str], fifo: Fifo, count: int) -> None:
    with process:
        for _ in range(count):
            await fifo.line()
        process.kill()
    await fifo.end()


@pytest.mark.parametrize("busy", ["pass", *LINUX])
async def test_no_worker_outlives_a_parent_that_is_killed(script: Script, fifo: Fifo, busy: str) -> None:
    process = script.start(KILLED.format(busy=busy), fifo.path)

    await workers_end_with_their_parent(process, fifo, 2 + (busy != "pass"))


async def test_no_worker_outlives_its_parent_where_the_kernel_does_not_help(
    script: Script, fifo: Fifo, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import fcntl; del fcntl.F_SETSIG")
    process = script.start(KILLED.format(busy="pass"), fifo.path)

    await workers_end_with_their_parent(process, fifo, 2)


async def test_no_worker_outlives_a_parent_that_has_forked(script: Script, fifo: Fifo) -> None:
    text = """
    from tests.backends import process_handlers as handlers

    async def main():
        pool = ProcessBackend(max_jobs_per_process=None)
        await pool.run(handlers.hold, sys.argv[1])
        warnings.simplefilter("ignore")  # a fork of a process with threads
        child = os.fork()
        if child == 0:
            time.sleep(3600)
        print(child, flush=True)
        await anyio.sleep_forever()

    if __name__ == "__main__":
        import warnings
        anyio.run(main)
    """
    process = script.start(text, fifo.path)
    with process:
        await fifo.line()
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        await fifo.end()
        os.kill(child, signal.SIGKILL)
