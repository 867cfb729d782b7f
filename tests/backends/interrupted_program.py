"""A program that is told a place and a folder: it runs `hold` there until it is interrupted, and says so."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import anyio

from jockey import ExecuteIn, Executor, Registry
from tests.backends.future_handlers import hold


def place(name: str) -> Any:
    """Return the place of that name; libraries are imported where they are wanted."""
    if name == "threads":
        return ThreadPoolExecutor(1)
    if name == "processes":
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    if name == "loky":
        import loky

        return loky.get_reusable_executor(1)
    if name == "dask":
        import distributed

        local = distributed.LocalCluster(n_workers=1, dashboard_address=":0", host="127.0.0.1")
        return distributed.Client(local).get_executor()
    return ExecuteIn(name)


async def main(name: str, folder: str, backend: str) -> None:
    if backend == "asyncio":
        # Else it sleeps on if Ctrl-C comes just before it goes to sleep; with any handler, all signals wake it.
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
    registry: Registry[str, str, str] = Registry()
    registry.add("hold", execute_in=place(name))(hold)
    async with Executor(registry, grace=0.1, on_error=lambda *_: None).run() as running:
        running.submit("hold", folder)


if __name__ == "__main__":
    try:
        anyio.run(main, *sys.argv[1:], backend=sys.argv[3])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise
