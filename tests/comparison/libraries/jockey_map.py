from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import jockey
from tests.comparison.library import WORKERS, Function, Items, Library, Results


class JockeyMap(Library):
    ways: ClassVar = {"lambdas": "through loky", "machines": "through dask"}

    def in_order(self, function: Function, items: Items) -> Results:
        return jockey.map(function, items, max_jobs=WORKERS)

    def as_completed(self, function: Function, items: Items) -> Results:
        return jockey.map(function, items, max_jobs=WORKERS, ordered=False)

    def going_on(self, function: Function, items: Items) -> Results:
        return jockey.map(function, items, max_jobs=WORKERS, on_error="return")

    def limited(self, function: Function, items: Items, seconds: float) -> Results:
        return jockey.map(function, items, max_jobs=WORKERS, on_error="return", timeout=seconds)

    def set_up(self, initializer: Callable[[], object], function: Function, items: Items) -> Results:
        return jockey.map(function, items, max_jobs=WORKERS, on_error="return", initializer=initializer)

    def any_function(self, function: Function, items: Items) -> Results:
        import loky

        yield from jockey.map(function, items, execute_in=loky.get_reusable_executor(WORKERS))

    def showing(self, function: Function, items: Items) -> Results:
        return jockey.map(function, items, max_jobs=WORKERS, progress=True)

    def asynchronous(self, function: Function, items: Items) -> AsyncIterator[Any]:
        return jockey.amap(function, items, max_jobs=WORKERS)

    def on_cluster(self, address: str, function: Function, items: Items) -> Results:
        from distributed import Client

        with Client(address) as client:
            yield from jockey.map(function, items, execute_in=client.get_executor(), max_jobs=WORKERS)


LIBRARY = JockeyMap()
