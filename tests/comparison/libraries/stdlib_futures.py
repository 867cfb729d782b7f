from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, ClassVar

from tests.comparison.library import WORKERS, Function, Items, Library, Results

BOUND: dict[str, Any] = {"buffersize": 10} if sys.version_info >= (3, 14) else {}


class Futures(Library):
    ways: ClassVar = {
        "as_completed": "`as_completed`",
        "batches": "by hand: `chunksize`",
        "goes_on": "`submit`",
        "asynchronous": "`run_in_executor`",
    }

    def in_order(self, function: Function, items: Items) -> Results:
        with ProcessPoolExecutor(WORKERS) as pool:
            yield from pool.map(function, items, **BOUND)

    def as_completed(self, function: Function, items: Items) -> Results:
        with ProcessPoolExecutor(WORKERS) as pool:
            yield from (future.result() for future in as_completed([pool.submit(function, item) for item in items]))

    def batching(self, function: Function, items: Items) -> Results:
        with ProcessPoolExecutor(WORKERS) as pool:
            yield from pool.map(function, items, chunksize=100)

    def going_on(self, function: Function, items: Items) -> Results:
        with ProcessPoolExecutor(WORKERS) as pool:
            for future in [pool.submit(function, item) for item in items]:
                yield future.exception() or future.result()

    def limited(self, function: Function, items: Items, seconds: float) -> Results:
        with ProcessPoolExecutor(WORKERS) as pool:
            for future in [pool.submit(function, item) for item in items]:
                try:
                    yield future.result(seconds)
                except Exception as error:
                    yield error

    def set_up(self, initializer: Any, function: Function, items: Items) -> Results:
        with ProcessPoolExecutor(WORKERS, initializer=initializer) as pool:
            for future in [pool.submit(function, item) for item in items]:
                yield future.exception() or future.result()

    async def asynchronous(self, function: Function, items: Items) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(WORKERS) as pool:
            for future in [loop.run_in_executor(pool, function, item) for item in items]:
                yield await future


LIBRARY = Futures()
