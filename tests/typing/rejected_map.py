"""What type checkers must reject of `map`, `amap` and `RunningExecutor.map`; see rejected.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import jockey
from jockey import ExecuteIn


def length(text: str) -> int:
    return len(text)


async def length_async(text: str) -> int:
    return len(text)


async def texts_async() -> AsyncIterator[str]:
    yield "a"


def in_scripts(pool: ThreadPoolExecutor) -> None:
    jockey.map(length, [1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    jockey.map(length_async, [1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    jockey.map(length, texts_async())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    jockey.map(length, ["a"], 2)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    jockey.map(length, ["a"], execute_in="process")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    jockey.map(length, ["a"], batch="big")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    jockey.map(length, ["a"], on_error="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    _a: list[str] = list(jockey.map(length, ["a"]))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    _b: list[int] = list(jockey.map(length, ["a"], on_error="return"))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    # Async functions run in the event loop and in threads only; elsewhere there is nothing to iterate.
    for _ in jockey.map(length_async, ["a"], execute_in=ExecuteIn.PROCESS):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    for _ in jockey.map(length_async, ["a"], execute_in=ExecuteIn.INTERPRETER):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    for _ in jockey.map(length_async, ["a"], execute_in=pool):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    list(jockey.map(length_async, ["a"], execute_in=ExecuteIn.PROCESS, on_error="return"))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


async def in_event_loops() -> None:
    jockey.amap(length, [1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    jockey.amap(length_async, [1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    for _ in jockey.amap(length, ["a"]):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    async for _ in jockey.amap(length_async, ["a"], execute_in=ExecuteIn.PROCESS):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass


async def in_an_executor(running: jockey.RunningExecutor[str, int, float]) -> None:
    running.map("key", ["a"])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    running.map(1, [2])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    running.map(1, ["a"], timeout=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    running.map(1, ["a"], on_error="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    _a: list[str] = [result async for result in running.map(1, ["a"])]  # type: ignore[misc]  # pyright: ignore[reportAssignmentType]
    _b: list[float] = [result async for result in running.map(1, ["a"], on_error="return")]  # type: ignore[misc]  # pyright: ignore[reportAssignmentType]
