"""What type checkers must reject: an ignore that is not needed is itself an error. Never run."""

# The `type: ignore` is mypy's alone (see pyproject.toml); pyright has its own. Both name the very error.

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Iterator
from typing import Any

import jockey
from jockey import ExecuteIn, Limit, Priority, Rate

Payload = tuple[int, int]
Key = str
Result = float

registry = jockey.Registry[Payload, Key, Result]()


def good(payload: Payload) -> Result:
    return payload[0]


async def good_async(payload: Payload) -> Result:
    return payload[0]


# Handlers: the payload


@registry.add("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _wrong_payload(payload: tuple[int, str]) -> Result:
    return payload[0]


@registry.add("b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def _wrong_payload_async(payload: tuple[int, str]) -> Result:
    return payload[0]


@registry.add("c", execute_in=ExecuteIn.THREAD)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _wrong_payload_thread(payload: str) -> Result:
    return len(payload)


@registry.add("d", execute_in=ExecuteIn.PROCESS)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _wrong_payload_process(payload: str) -> Result:
    return len(payload)


@registry.add("e")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _payload_too_narrow(payload: tuple[bool, bool]) -> Result:
    return payload[0]


@registry.add("f")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _no_payload() -> Result:
    return 1.0


@registry.add("g")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _two_payloads(left: Payload, right: Payload) -> Result:
    return left[0] + right[0]


@registry.add("h")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _payload_by_keyword_only(*, payload: Payload) -> Result:
    return payload[0]


# Handlers: the result


@registry.add("i")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _wrong_result(payload: Payload) -> str:
    return str(payload)


@registry.add("j")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def _wrong_result_async(payload: Payload) -> str:
    return str(payload)


@registry.add("k", execute_in=ExecuteIn.THREAD)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def _wrong_result_thread(payload: Payload) -> str:
    return str(payload)


@registry.add("l", execute_in=ExecuteIn.PROCESS)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _wrong_result_process(payload: Payload) -> str:
    return str(payload)


@registry.add("m")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _result_too_wide(payload: Payload) -> Result | None:
    return payload[0] or None


@registry.add("n")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _no_result(payload: Payload) -> None:
    print(payload)


@registry.add("o")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _generator(payload: Payload) -> Iterator[Result]:
    yield payload[0]


@registry.add("p")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def _async_generator(payload: Payload) -> AsyncIterator[Result]:
    yield payload[0]


# Handlers: async ones where only sync ones run, or where that is not known


@registry.add("q", execute_in=ExecuteIn.PROCESS)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def _async_in_process(payload: Payload) -> Result:
    return payload[0]


@registry.add("u", execute_in=ExecuteIn.INTERPRETER)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def _async_in_interpreter(payload: Payload) -> Result:
    return payload[0]


@registry.add("v", execute_in=concurrent.futures.ThreadPoolExecutor())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def _async_in_pool(payload: Payload) -> Result:
    return payload[0]


@registry.add("w", execute_in=concurrent.futures.ThreadPoolExecutor())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def _wrong_payload_pool(payload: str) -> Result:
    return len(payload)


def fill(place: ExecuteIn) -> None:
    registry.add("r", execute_in=place)(good_async)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Handlers: what is decorated keeps its type, and so its faults are found


@registry.add("s")
def _one(payload: Payload) -> int:
    return payload[0]


_one("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
_one(message=(1, 2))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
text: str = _one((1, 2))  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

# Keys and options of handlers

registry.add(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
registry.add()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
registry.add("t", ExecuteIn.MAIN)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
registry.add("t", execute_in="thread")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
registry.add("t", execute_in=concurrent.futures.ThreadPoolExecutor)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
registry.add("t", max_jobs="4")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
registry.add("t", max_jobs=1.5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
registry.add("t", job_timeout="1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
registry.add("t", pulse_every="1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
registry.add("t", priority=1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
registry.add("t", limits=["db"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
registry.add("t", limits=Limit("db", 4))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
registry.include([registry])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
registry.include(jockey.Registry[str, Key, Result]())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

Limit("db", "4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Limit(4)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
Rate("api", 100, per="minute")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Rate("api", 100, burst=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Limit("db", 4).max_jobs = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

# Adapters


class Message(jockey.Adapter[Payload, Key, Result]):
    def get_keys(self) -> list[Key]:
        return ["+"]

    async def get_payload(self) -> Payload:
        return (1, 2)

    async def on_success(self, result: Result) -> None: ...

    async def on_failure(self, exc: Exception) -> None: ...

    async def on_cancel(self, exc: asyncio.CancelledError) -> None: ...


class OtherPayload(jockey.Adapter[str, Key, Result]):
    def get_keys(self) -> list[Key]:
        return ["+"]

    async def get_payload(self) -> str:
        return "payload"

    async def on_success(self, result: Result) -> None: ...

    async def on_failure(self, exc: Exception) -> None: ...

    async def on_cancel(self, exc: asyncio.CancelledError) -> None: ...


class OtherKey(jockey.Adapter[Payload, int, Result]):
    def get_keys(self) -> list[int]:
        return [1]

    async def get_payload(self) -> Payload:
        return (1, 2)

    async def on_success(self, result: Result) -> None: ...

    async def on_failure(self, exc: Exception) -> None: ...

    async def on_cancel(self, exc: asyncio.CancelledError) -> None: ...


class OtherResult(jockey.Adapter[Payload, Key, str]):
    def get_keys(self) -> list[Key]:
        return ["+"]

    async def get_payload(self) -> Payload:
        return (1, 2)

    async def on_success(self, result: str) -> None: ...

    async def on_failure(self, exc: Exception) -> None: ...

    async def on_cancel(self, exc: asyncio.CancelledError) -> None: ...


class Incomplete(jockey.Adapter[Payload, Key, Result]):
    def get_keys(self) -> list[Key]:
        return ["+"]


class Wrong(jockey.Adapter[Payload, Key, Result]):
    def get_keys(self) -> list[int]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return [1]

    async def get_payload(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return "payload"

    async def on_success(self, result: str) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]

    async def on_failure(self, exc: ValueError) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]

    def on_cancel(self, exc: asyncio.CancelledError) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]

    def get_group(self) -> list[int]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return [1]


Incomplete()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]
jockey.Adapter[Payload, Key, Result]()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]

# Middleware


class Log(jockey.Middleware[Payload, Key, Result]):
    async def on_success(self, result: str) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]


class OfOthers(jockey.Middleware[Payload, Key, str]): ...


Log()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Log("adapter")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Log(OtherPayload())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# The executor


def complain(error: ValueError, handle: jockey.JobHandle[Any]) -> None:
    print(error, handle)


jockey.Executor([good])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
jockey.Executor(registry, 16)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
jockey.Executor(registry, max_jobs="16")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
jockey.Executor(registry, max_jobs_per_group=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
jockey.Executor(registry, drain_timeout="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
jockey.Executor(registry, grace=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
jockey.Executor(registry, on_error=complain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
jockey.Executor(registry, middleware=Log)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
jockey.Executor(registry, middleware=[Log(Message())])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
jockey.Executor(registry, middleware=[OfOthers])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
jockey.Executor(registry, middleware=[Message])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


async def use(running: jockey.RunningExecutor[Payload, Key, Result]) -> None:
    running.schedule((1, 2))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    running.schedule(Message)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    running.schedule(OtherPayload())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    running.schedule(OtherKey())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    running.schedule(OtherResult())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    running.schedule(Message(), priority=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    running.schedule(Message(), Priority.LOW)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    running.schedule(OfOthers(OtherResult()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    await running.execute(OtherPayload())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await running.execute(OtherKey())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await running.execute(OtherResult())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await running.execute(Message(), wait_for="start")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await running.execute(Message(), wait_for=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await running.execute(Message(), priority=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    await running.consume(other_messages())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await running.consume([Message()])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await running.drain("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    running.submit(1, (1, 2))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    running.submit("+", "payload")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    running.submit("+")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    running.submit("+", (1, 2), Priority.LOW)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    running.submit("+", (1, 2), priority=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    running.submit(good, (1, 2))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _a: jockey.JobHandle[str] = running.submit("+", (1, 2))  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    _b: str = await running.submit("+", (1, 2)).result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    _c: float = running.submit("+", (1, 2)).result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


def schedule_in_thread(running: jockey.RunningExecutor[Payload, Key, Result]) -> None:
    running.schedule_threadsafe(OtherPayload())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _a: concurrent.futures.Future[float] = running.schedule_threadsafe(Message())  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


async def other_messages() -> AsyncIterator[OtherPayload]:
    yield OtherPayload()


# Handles and outcomes


async def ask(handle: jockey.JobHandle[Result]) -> None:
    handle.cancel(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    handle.state = jockey.JobState.FAILED  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    outcome = await handle.wait()
    print(outcome.result)  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    if isinstance(outcome, jockey.Success):
        print(outcome.error)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
        _a: str = outcome.result  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    if isinstance(outcome, jockey.Cancelled):
        _b: str = outcome.error.reason  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
