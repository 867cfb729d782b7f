"""What type checkers must accept, and what they must make of it; `test_typing` imports it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, assert_type

import jockey
from jockey import ExecuteIn, Limit, Priority, Rate, WaitFor

Payload = tuple[int, int]
Key = str
Result = float

Event = TypeVar("Event")
Name = TypeVar("Name")
Answer = TypeVar("Answer")

# Adapters: as a dataclass and as a plain class, with whatever names for what callbacks are given, and any iterable


@dataclass
class Message(jockey.Adapter[Payload, Key, Result]):
    left: int
    op: Key
    right: int

    def get_keys(self) -> Iterator[Key]:
        yield self.op

    async def get_payload(self) -> Payload:
        return (self.left, self.right)

    async def on_success(self, result: Result) -> None:
        assert_type(result, float)

    async def on_failure(self, exc: Exception) -> None:
        print(f"FAILURE: {exc!r}")

    async def on_cancel(self, exc: asyncio.CancelledError) -> None:
        print(f"CANCELED: {exc!r}")


@dataclass(frozen=True, slots=True)
class Frozen(jockey.Adapter[Payload, Key, Result]):
    keys: tuple[Key, ...]

    def get_keys(self) -> tuple[Key, ...]:
        return self.keys

    async def get_payload(self) -> Payload:
        return (1, 2)

    async def on_success(self, answer: Result, /) -> None: ...

    async def on_failure(self, error: BaseException) -> None: ...

    async def on_cancel(self, why: BaseException) -> None: ...


class Plain(jockey.Adapter[Payload, Key, Result]):
    def get_keys(self) -> list[Key]:
        return ["+"]

    async def get_payload(self) -> Payload:
        return (1, 2)

    async def on_success(self, _: object) -> None: ...

    async def on_failure(self, _: object) -> None: ...

    async def on_cancel(self, _: object) -> None: ...

    async def on_no_handler(self) -> None:
        await super().on_no_handler()

    async def on_pulse(self) -> None: ...

    def get_group(self) -> int:
        return 42


class Narrow(jockey.Adapter[tuple[bool, bool], Key, object]):
    """Gives less than what handlers take, and takes more than what they give: so it serves as well."""

    def get_keys(self) -> set[Key]:
        return {"+"}

    async def get_payload(self) -> tuple[bool, bool]:
        return (True, False)

    async def on_success(self, result: object) -> None: ...

    async def on_failure(self, exc: Exception) -> None: ...

    async def on_cancel(self, exc: asyncio.CancelledError) -> None: ...


# Registries: subclassed and not


class Registry(jockey.Registry[Payload, Key, Result]):
    pass


registry = Registry()
other_registry = jockey.Registry[Payload, Key, Result]()
nothing_to_return = jockey.Registry[bytes, tuple[str, int], None]()

# Handlers: what is decorated keeps its very type. Nothing but the same type goes into a list's place.


def plain(payload: Payload) -> Result:
    return payload[0] + payload[1]


async def plain_async(payload: Payload) -> Result:
    return payload[0] + payload[1]


def plain_with_more(payload: tuple[float, ...], /, *numbers: int, scale: float = 1.0) -> int:
    return int(payload[0] * scale)


@registry.add("+")
def _add(payload: Payload) -> Result:
    return payload[0] + payload[1]


@registry.add("+ in a thread", execute_in=ExecuteIn.THREAD)
def _add_in_thread(payload: Payload) -> Result:
    return payload[0] + payload[1]


@registry.add("+ in a process", execute_in=ExecuteIn.PROCESS)
def _add_in_process(payload: Payload) -> Result:
    return payload[0] + payload[1]


@registry.add("+ in a pool", execute_in=concurrent.futures.ThreadPoolExecutor())
def _add_in_pool(payload: Payload) -> Result:
    return payload[0] + payload[1]


def choose(place: ExecuteIn | concurrent.futures.Executor) -> None:
    """Register where it is not known what the place will be."""
    assert_type(registry.add("chosen", execute_in=place)(_add_in_pool)((1, 2)), float)
    registry.add("in an interpreter", execute_in=ExecuteIn.INTERPRETER)(_add_in_pool)


@registry.add("-")
async def _sub(payload: Payload) -> Result:
    return payload[0] - payload[1]


@registry.add("- in a thread", execute_in=ExecuteIn.THREAD)
async def _sub_in_thread(payload: Payload) -> Result:
    return payload[0] - payload[1]


@registry.add("more")
def _more(payload: tuple[float, ...], /, *numbers: int, scale: float = 1.0) -> int:
    return int(payload[0] * scale)


@registry.add("object")
async def _object(payload: object) -> bool:
    return bool(payload)


@registry.add("twice")
@other_registry.add("twice", execute_in=ExecuteIn.PROCESS)
def _twice(payload: Payload) -> Result:
    return 2 * payload[0]


@nothing_to_return.add(("key", 1))
def _nothing(payload: bytes) -> None:
    print(payload)


@nothing_to_return.add(("key", 2))
async def _nothing_async(payload: bytes) -> None:
    print(payload)


functions = [plain]
decorated = [_add]
functions = decorated
decorated_for_thread = [_add_in_thread]
functions = decorated_for_thread
decorated_for_process = [_add_in_process]
functions = decorated_for_process
decorated_twice = [_twice]
functions = decorated_twice

async_functions = [plain_async]
async_decorated = [_sub]
async_functions = async_decorated
async_decorated_for_thread = [_sub_in_thread]
async_functions = async_decorated_for_thread

functions_with_more = [plain_with_more]
decorated_with_more = [_more]
functions_with_more = decorated_with_more


async def call_handlers_by_hand() -> None:
    assert_type(_add(payload=(1, 2)), float)
    assert_type(await _sub(payload=(1, 2)), float)
    assert_type(_more((1.5, 2.5, 3.5), 4, scale=2.0), int)
    assert_type(await _object("anything"), bool)
    assert_type(await _nothing_async(b""), None)
    as_callable: Callable[[Payload], Result] = _add
    as_async_callable: Callable[[Payload], Awaitable[Result]] = _sub
    print(as_callable, as_async_callable)


# Other callables than functions


class Multiplier:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, payload: Payload) -> Result:
        return payload[0] * self.factor

    async def later(self, payload: Payload) -> Result:
        return payload[0] * self.factor

    @staticmethod
    def negate(payload: Payload) -> Result:
        return -payload[0]

    @classmethod
    async def zero(cls, payload: Payload) -> Result:
        return 0 * payload[0]


def power(exponent: int, payload: Payload) -> Result:
    return float(payload[0] ** exponent)


registry.add("object with __call__")(Multiplier(2.0))
registry.add("bound method")(Multiplier(2.0).later)
registry.add("static method")(Multiplier.negate)
registry.add("class method")(Multiplier.zero)
registry.add("partial")(functools.partial(power, 2))
registry.add("builtin", execute_in=ExecuteIn.PROCESS)(len)
merged = Registry()
merged.include(registry)

# Options


def fill(config: ExecuteIn) -> None:
    registry.add("all", max_jobs=4, job_timeout=1.5, pulse_every=1, priority=Priority.LOW, limits=[])(plain)
    registry.add("timedelta", job_timeout=timedelta(minutes=1), pulse_every=timedelta(seconds=1))(plain)
    registry.add("limits", limits=[Limit("database", 4), Rate("api", 100, per=60.0, burst=10)])(plain)
    registry.add("same limits", limits={Rate("api", 100, per=timedelta(minutes=1))})(plain)
    registry.add("none", max_jobs=None, job_timeout=None, pulse_every=None)(plain_async)
    registry.add("place known at run time", execute_in=config)(plain)


# Middleware: for certain types and for all, as a plain class, as a dataclass, as a function


class Log(jockey.Middleware[Payload, Key, Result]):
    async def on_success(self, result: Result) -> None:
        print(f"SUCCESS: {result}")
        await super().on_success(result)

    async def on_cancel(self, exc: asyncio.CancelledError) -> None:
        assert_type(self.adapter, jockey.Adapter[tuple[int, int], str, float])
        await self.adapter.on_cancel(exc)


class Retry(jockey.Middleware[Event, Name, Answer]):
    def __init__(self, adapter: jockey.Adapter[Event, Name, Answer], attempts: int = 3) -> None:
        super().__init__(adapter)
        self.attempts = attempts

    def get_keys(self) -> Iterable[Name]:
        return [*super().get_keys()]

    async def get_payload(self) -> Event:
        return await super().get_payload()

    async def on_failure(self, exc: Exception) -> None:
        self.attempts -= 1
        await super().on_failure(exc)


@dataclass
class Count(jockey.Middleware[Event, Name, Answer], Generic[Event, Name, Answer]):
    adapter: jockey.Adapter[Event, Name, Answer]
    count: int = 0

    async def on_success(self, result: Answer) -> None:
        self.count += 1
        await super().on_success(result)

    def get_group(self) -> Hashable:
        return super().get_group()


@dataclass
class Number(jockey.Middleware[Payload, Key, Result]):
    number: int = 0

    async def on_pulse(self) -> None:
        self.number += 1


def in_group(adapter: jockey.Adapter[Payload, Key, Result]) -> jockey.Adapter[Payload, Key, Result]:
    return Count(adapter)


assert_type(Log(Plain()).adapter, jockey.Adapter[tuple[int, int], str, float])
assert_type(Log(Plain()).get_keys(), Iterable[str])
assert_type(Number(Plain(), number=3).number, int)

# The executor


def complain(error: BaseException, handle: jockey.JobHandle[Any]) -> None:
    print(error, handle.state)


assert_type(jockey.Executor(registry), jockey.Executor[tuple[int, int], str, float])
executor = jockey.Executor(
    registry,
    max_jobs=None,
    max_threads=4,
    max_processes=2,
    max_jobs_per_process=100,
    max_jobs_per_group=2,
    max_backlog=1000,
    drain_timeout=timedelta(seconds=30),
    grace=5,
    blocked_after=None,
    on_error=complain,
    middleware=[Log, Retry, Count, Number, in_group, functools.partial(Retry[Payload, Key, Result], attempts=5)],
)


async def main() -> None:
    async with executor.run() as running:
        assert_type(running, jockey.RunningExecutor[tuple[int, int], str, float])
        await use(running)


async def use(running: jockey.RunningExecutor[Payload, Key, Result]) -> None:
    handle = running.schedule(Message(1, "+", 2), priority=Priority.HIGH)
    assert_type(handle, jockey.JobHandle[float])
    assert_type(handle.state, jockey.JobState)
    assert_type(handle.cancel(), bool)
    assert_type(handle.cancel("no longer wanted"), bool)
    assert_type(await handle.result(), float)
    assert_type(await running.execute(Frozen(("+", "-"))), jockey.JobHandle[float])
    assert_type(await running.execute(Plain(), wait_for=WaitFor.START), jockey.JobHandle[float])
    assert_type(running.schedule(Log(Plain())), jockey.JobHandle[float])
    assert_type(running.schedule(Count(Retry(Plain()))), jockey.JobHandle[float])
    assert_type(running.submit("+", (1, 2)), jockey.JobHandle[float])
    assert_type(await running.submit("+", (1, 2), priority=None).result(), float)
    assert_type(await running.submit("+", payload=(True, False)).wait(), jockey.Outcome[float])
    running.schedule(Narrow())
    await running.execute(Narrow())
    await running.consume(messages())
    await running.drain()
    await running.drain(1.5)
    await running.drain(timeout=timedelta(seconds=1))


async def messages() -> AsyncIterator[Message | Plain]:
    yield Message(1, "+", 2)
    yield Plain()


def schedule_in_thread(running: jockey.RunningExecutor[Payload, Key, Result]) -> None:
    future = running.schedule_threadsafe(Message(1, "+", 2), priority=Priority.LOW)
    assert_type(future, concurrent.futures.Future[jockey.Outcome[float]])
    outcome = future.result(timeout=1)
    if isinstance(outcome, jockey.Success):
        assert_type(outcome.result, float)


# Outcomes: each kind is told apart, and no kind is left over


async def with_match(handle: jockey.JobHandle[Result]) -> str:
    match await handle.wait():
        case jockey.Success(result):
            assert_type(result, float)
            return "success"
        case jockey.Failure(error):
            assert_type(error, Exception)
            return "failure"
        case jockey.Cancelled(error):
            assert_type(error, jockey.Cancellation)
            return error.reason or "cancelled"
        case jockey.NoHandler():
            return "no handler"


async def with_isinstance(handle: jockey.JobHandle[Result]) -> str:
    outcome = await handle.wait()
    if isinstance(outcome, jockey.Success):
        assert_type(outcome, jockey.Success[float])
        assert_type(outcome.result, float)
        return "success"
    if isinstance(outcome, jockey.Failure):
        assert_type(outcome.error, Exception)
        return "failure"
    if isinstance(outcome, jockey.Cancelled):
        assert_type(outcome.error.reason, str | None)
        return "cancelled"
    assert_type(outcome, jockey.NoHandler)
    return "no handler"


def widen(outcome: jockey.Outcome[bool]) -> jockey.Outcome[object]:
    return outcome
