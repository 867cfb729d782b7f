from __future__ import annotations

from typing import Any, ClassVar

from joblib import Memory, Parallel, delayed, parallel_config

from tests.comparison.library import WORKERS, Function, Items, Library, Results


class Joblib(Library):
    distribution = "joblib"
    ways: ClassVar = {"caching": "`Memory`", "machines": "through dask"}

    def in_order(self, function: Function, items: Items) -> Results:
        return self._run(function, items)

    def as_completed(self, function: Function, items: Items) -> Results:
        return self._run(function, items, return_as="generator_unordered")

    def going_on(self, function: Function, items: Items) -> Results:
        return self._run(function, items)  # it has no option for it

    def limited(self, function: Function, items: Items, seconds: float) -> Results:
        return self._run(function, items, timeout=seconds)

    def set_up(self, initializer: Any, function: Function, items: Items) -> Results:
        with parallel_config("loky", initializer=initializer):
            yield from self._run(function, items)

    def showing(self, function: Function, items: Items) -> Results:
        return self._run(function, items, verbose=10)

    def on_cluster(self, address: str, function: Function, items: Items) -> Results:
        from distributed import Client

        with Client(address), parallel_config("dask"):
            yield from Parallel(WORKERS)(delayed(function)(item) for item in items)

    def remembering(self, folder: str, function: Function, items: Items) -> Results:
        return self._run(Memory(folder, verbose=0).cache(function), items)

    def _run(self, function: Function, items: Items, **options: Any) -> Results:
        run = Parallel(WORKERS, **{"return_as": "generator", **options})
        yield from run(delayed(function)(item) for item in items)


LIBRARY = Joblib()
