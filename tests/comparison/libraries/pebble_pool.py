from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import as_completed
from typing import Any, ClassVar

from pebble import ProcessPool

from tests.comparison.library import WORKERS, Function, Items, Library, Results


class Pebble(Library):
    distribution = "pebble"
    ways: ClassVar = {
        "as_completed": "`as_completed`",
        "batches": "by hand: `chunksize`",
        "asynchronous": "`wrap_future`",
    }

    def in_order(self, function: Function, items: Items) -> Results:
        with ProcessPool(WORKERS) as pool:
            yield from pool.map(function, items).result()

    def as_completed(self, function: Function, items: Items) -> Results:
        with ProcessPool(WORKERS) as pool:
            futures = [pool.schedule(function, args=[item]) for item in items]
            yield from (future.result() for future in as_completed(futures))

    def batching(self, function: Function, items: Items) -> Results:
        with ProcessPool(WORKERS) as pool:
            yield from pool.map(function, items, chunksize=100).result()

    def going_on(self, function: Function, items: Items) -> Results:
        return self._run(function, items)

    def limited(self, function: Function, items: Items, seconds: float) -> Results:
        return self._run(function, items, timeout=seconds)

    def set_up(self, initializer: Any, function: Function, items: Items) -> Results:
        return self._run(function, items, initializer=initializer)

    async def asynchronous(self, function: Function, items: Items) -> AsyncIterator[Any]:
        with ProcessPool(WORKERS) as pool:
            for future in [pool.schedule(function, args=[item]) for item in items]:
                yield await asyncio.wrap_future(future)

    def _run(
        self, function: Function, items: Items, *, timeout: float | None = None, initializer: Any = None
    ) -> Results:
        with ProcessPool(WORKERS, initializer=initializer) as pool:
            results = pool.map(function, items, timeout=timeout).result()
            while True:
                try:
                    yield next(results)
                except StopIteration:
                    return
                except Exception as error:
                    yield error


LIBRARY = Pebble()
