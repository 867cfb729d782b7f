"""A program for `python -m mpi4py.futures`: it does with its workers what the page about backends says, and tells."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anyio
from mpi4py.futures import MPIPoolExecutor

from jockey import Executor, Registry
from tests.backends.future_handlers import die, double, fail, hold, pid


def started(folder: Path) -> int:
    return len(list(folder.glob("started *")))


async def main(pool: MPIPoolExecutor) -> None:
    registry: Registry[object, str, object] = Registry()
    for function in (die, double, fail, hold, pid):
        registry.add(function.__name__, execute_in=pool)(function)
    registry.add("lambda", execute_in=pool)(lambda _: None)
    folder = Path(tempfile.mkdtemp())
    told: list[str] = []

    async with Executor(registry, on_error=lambda error, _: told.append(str(error))).run() as running:
        print([await running.submit("double", number).result() for number in range(3)])
        print(await running.submit("fail", 1).wait())
        print(await running.submit("pid", None).result() != pid(None))
        jobs = [running.submit("hold", str(folder)) for _ in range(4)]
        while started(folder) < 2:
            await anyio.sleep(0.002)
        print([job.cancel() for job in jobs])
        print([type(await job.wait()).__name__ for job in jobs], running.statistics().stuck_threads)
        (folder / "may end").touch()
        print(type(await running.submit("lambda", None).wait()).__name__)
    print(started(folder), set(told), flush=True)
    async with Executor(registry).run() as running:
        await running.submit("die", None).wait()
    print("survived")


if __name__ == "__main__":
    with MPIPoolExecutor() as pool:
        pool.bootup()
        anyio.run(main, pool, backend=sys.argv[1])
