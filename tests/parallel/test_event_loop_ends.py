"""An event loop that ends while a map is open: whoever has left the generator alone leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

import jockey
from jockey import ExecuteIn
from tests.parallel import functions

held: list[AsyncGenerator[Any, None]] = []


async def leave_open(place: ExecuteIn) -> int:
    results = jockey.amap(functions.square, range(1000), execute_in=place)
    held[:] = [results]
    await anext(results)
    return await anext(results)


async def leave_open_with_source(place: ExecuteIn) -> int:
    async def source() -> AsyncGenerator[int, None]:
        for number in range(1000):
            await asyncio.sleep(0) if asyncio._get_running_loop() else await trio.lowlevel.checkpoint()
            yield number

    results = jockey.amap(functions.square, source(), execute_in=place)
    held[:] = [results]
    await anext(results)
    return await anext(results)


@pytest.mark.parametrize("place", [ExecuteIn.THREAD, ExecuteIn.PROCESS])
@pytest.mark.parametrize("main", [leave_open, leave_open_with_source])
def test_asyncio(place: ExecuteIn, main: Any) -> None:
    assert asyncio.run(main(place)) == 1
    held.clear()


@pytest.mark.parametrize("turns", range(12))
def test_asyncio_whatever_has_not_begun_yet(turns: int) -> None:
    async def wait_unless_first(number: int) -> int:
        if number:
            await asyncio.sleep(3600)
        return number

    async def main() -> None:
        held[:] = [jockey.amap(wait_unless_first, range(1000))]
        assert await anext(held[0]) == 0
        for _ in range(turns):
            await asyncio.sleep(0)

    asyncio.run(main())
    held.clear()
    gc.collect()  # what was never awaited is found now


@pytest.mark.parametrize("place", [ExecuteIn.THREAD, ExecuteIn.PROCESS])
@pytest.mark.parametrize("main", [leave_open, leave_open_with_source])
@pytest.mark.filterwarnings("ignore:.*Async generator:ResourceWarning")
def test_trio(place: ExecuteIn, main: Any) -> None:
    assert trio.run(main, place) == 1
    held.clear()


def test_generator_is_made_before_the_loop() -> None:
    async def main() -> list[int]:
        return [result async for result in results]

    results = jockey.amap(functions.square_async, range(3))

    assert asyncio.run(main()) == [0, 1, 4]
