from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from distributed import Client, WorkerPlugin, as_completed, progress

from tests.comparison.library import WORKERS, Function, Items, Library, Results

LOCAL: dict[str, Any] = {"n_workers": WORKERS, "threads_per_worker": 1, "dashboard_address": None}


class Dask(Library):
    distribution = "distributed"

    def in_order(self, function: Function, items: Items) -> Results:
        with Client(**LOCAL) as client:
            yield from (future.result() for future in client.map(function, items))

    def as_completed(self, function: Function, items: Items) -> Results:
        with Client(**LOCAL) as client:
            yield from (future.result() for future in as_completed(client.map(function, items)))

    def going_on(self, function: Function, items: Items) -> Results:
        with Client(**LOCAL) as client:
            yield from _outcomes(client, function, items)

    def limited(self, function: Function, items: Items, seconds: float) -> Results:
        with Client(**LOCAL) as client:
            yield from _outcomes(client, function, items, seconds)

    def set_up(self, initializer: Any, function: Function, items: Items) -> Results:
        with Client(**LOCAL) as client:
            client.register_plugin(SetUp(initializer))
            yield from _outcomes(client, function, items)

    def showing(self, function: Function, items: Items) -> Results:
        with Client(**LOCAL) as client:
            futures = client.map(function, items)
            progress(futures, notebook=False)
            yield from (future.result() for future in futures)

    async def asynchronous(self, function: Function, items: Items) -> AsyncIterator[Any]:
        async with Client(**LOCAL, asynchronous=True) as client:
            for future in client.map(function, items):
                yield await future

    def on_cluster(self, address: str, function: Function, items: Items) -> Results:
        with Client(address) as client:
            yield from (future.result() for future in client.map(function, items))


class SetUp(WorkerPlugin):
    def __init__(self, initializer: Any) -> None:
        self.initializer = initializer

    def setup(self, worker: object) -> None:
        self.initializer()


def _outcomes(client: Client, function: Function, items: Items, seconds: float | None = None) -> Iterator[Any]:
    for future in client.map(function, items):
        try:
            yield future.result(seconds)
        except Exception as error:
            yield error
            future.cancel()


LIBRARY = Dask()
