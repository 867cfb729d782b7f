"""What type checkers must accept of `map`, `amap` and `RunningExecutor.map`, and what they must make of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import assert_type

import jockey
from jockey import ExecuteIn


def length(text: str) -> int:
    return len(text)


async def length_async(text: str) -> int:
    return len(text)


def texts() -> Iterator[str]:
    yield "a"


async def texts_async() -> AsyncIterator[str]:
    yield "a"


def tell(done: int, total: int | None) -> None:
    print(done, total)


# The results have the type that the function returns, and the errors when they are returned


def in_scripts() -> None:
    assert_type(jockey.map(length, ["a"]), Generator[int, None, None])
    assert_type(jockey.map(length_async, texts()), Generator[int, None, None])
    assert_type(jockey.map(length, {"a"}, on_error="skip"), Generator[int, None, None])
    assert_type(jockey.map(length, ("a",), on_error="return"), Generator[int | Exception, None, None])
    assert_type(jockey.map(length_async, ["a"], on_error="return"), Generator[int | Exception, None, None])
    assert_type(jockey.map(len, [b"a", b"b"]), Generator[int, None, None])
    assert_type(jockey.map(lambda text: text.upper(), ["a"], execute_in=ExecuteIn.THREAD), Generator[str, None, None])
    for result in jockey.map(length, texts()):
        assert_type(result, int)


def with_options(place: ExecuteIn, pool: ThreadPoolExecutor) -> None:
    assert_type(jockey.map(length, ["a"], execute_in=ExecuteIn.PROCESS), Generator[int, None, None])
    assert_type(jockey.map(length, ["a"], execute_in=ExecuteIn.INTERPRETER), Generator[int, None, None])
    assert_type(jockey.map(length, ["a"], execute_in=place), Generator[int, None, None])
    assert_type(jockey.map(length, ["a"], execute_in=pool), Generator[int, None, None])
    assert_type(jockey.map(length_async, ["a"], execute_in=ExecuteIn.THREAD), Generator[int, None, None])
    assert_type(jockey.map(length_async, ["a"], execute_in=ExecuteIn.MAIN), Generator[int, None, None])
    assert_type(
        jockey.map(
            length,
            ["a"],
            max_jobs=2,
            ordered=False,
            batch=10,
            timeout=timedelta(seconds=1),
            window=100,
            progress=tell,
            initializer=print,
            initargs=["a", 1],
        ),
        Generator[int, None, None],
    )
    jockey.map(length, ["a"], batch="auto", progress=True, timeout=1.5, max_jobs=None).close()


async def in_event_loops() -> None:
    assert_type(jockey.amap(length, ["a"]), AsyncGenerator[int, None])
    assert_type(jockey.amap(length, texts_async()), AsyncGenerator[int, None])
    assert_type(jockey.amap(length_async, texts_async()), AsyncGenerator[int, None])
    assert_type(jockey.amap(length_async, ["a"], on_error="return"), AsyncGenerator[int | Exception, None])
    assert_type(jockey.amap(length, ["a"], on_error="return"), AsyncGenerator[int | Exception, None])
    async for result in jockey.amap(length, texts_async(), execute_in=ExecuteIn.PROCESS):
        assert_type(result, int)


async def in_an_executor(running: jockey.RunningExecutor[str, int, float]) -> None:
    assert_type(running.map(1, ["a"]), AsyncGenerator[float, None])
    assert_type(running.map(1, texts_async(), ordered=False, batch=3, window=10), AsyncGenerator[float, None])
    assert_type(running.map(1, texts(), on_error="return", progress=tell), AsyncGenerator[float | Exception, None])
    assert_type([result async for result in running.map(1, texts(), on_error="skip")], list[float])
