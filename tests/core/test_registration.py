"""What makes no sense is refused at the line that says it: the rule, the value, the way out."""

from __future__ import annotations

import functools
import inspect
import math
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jockey import (
    ExecuteIn,
    Executor,
    JockeyError,
    Limit,
    Middleware,
    Priority,
    Rate,
    RegistrationError,
    Registry,
)
from jockey.testing import Recorder
from tests.core.story import executor_of, registry_of


def handle(payload: object) -> object:
    return payload


async def handle_async(payload: object) -> object:
    return payload


def generate(payload: object) -> Any:
    yield payload


async def generate_async(payload: object) -> Any:
    yield payload


def take_nothing() -> None: ...


def take_two(first: object, second: object) -> None: ...


def take_by_name(*, payload: object) -> None: ...


class Generating:
    def __call__(self, payload: object) -> Any:
        yield payload


class Awaited:
    """An object with an async `__call__`."""

    async def __call__(self, _: object) -> str:
        return "called"


class TakesNothing:
    def __call__(self) -> None: ...


class WrapsItself:
    def __init__(self) -> None:
        self.__wrapped__ = self

    def __call__(self, payload: object) -> object:
        return payload


class NamesNobody:
    def __init__(self) -> None:
        self.__qualname__ = 5

    def __call__(self, payload: object) -> object:
        return payload


MANY: Any = "many"


# What `add` is told

OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"max_jobs": 0}, "max_jobs must be at least 1, got 0; use None for no cap"),
    ({"max_jobs": -1}, "max_jobs must be at least 1, got -1; use None for no cap"),
    ({"max_jobs": 1.0}, "max_jobs must be a whole number, got 1.0; use None for no cap"),
    ({"max_jobs": True}, "max_jobs must be a whole number, got True; use None for no cap"),
    ({"max_jobs": "2"}, "max_jobs must be a whole number, got '2'; use None for no cap"),
    ({"job_timeout": 0}, "job_timeout must be a finite number of seconds, more than 0, got 0; use None for no limit"),
    (
        {"job_timeout": -0.5},
        "job_timeout must be a finite number of seconds, more than 0, got -0.5; use None for no limit",
    ),
    (
        {"job_timeout": math.nan},
        "job_timeout must be a finite number of seconds, more than 0, got nan; use None for no limit",
    ),
    (
        {"job_timeout": math.inf},
        "job_timeout must be a finite number of seconds, more than 0, got inf; use None for no limit",
    ),
    (
        {"job_timeout": 10**400},
        f"job_timeout must be a finite number of seconds, more than 0, got {10**400}; use None for no limit",
    ),
    ({"job_timeout": "1"}, "job_timeout must be seconds or a timedelta, got '1'; use None for no limit"),
    ({"job_timeout": True}, "job_timeout must be seconds or a timedelta, got True; use None for no limit"),
    (
        {"job_timeout": timedelta(0)},
        "job_timeout must be a finite number of seconds, more than 0, got datetime.timedelta(0); use None for no limit",
    ),
    (
        {"job_timeout": timedelta(seconds=-1)},
        "job_timeout must be a finite number of seconds, more than 0, "
        "got datetime.timedelta(days=-1, seconds=86399); use None for no limit",
    ),
    ({"pulse_every": 0}, "pulse_every must be a finite number of seconds, more than 0, got 0; use None for no limit"),
    ({"pulse_every": []}, "pulse_every must be seconds or a timedelta, got []; use None for no limit"),
    (
        {"execute_in": "thread"},
        "execute_in must be a member of jockey.ExecuteIn or a concurrent.futures.Executor, got 'thread'",
    ),
    (
        {"execute_in": None},
        "execute_in must be a member of jockey.ExecuteIn or a concurrent.futures.Executor, got None",
    ),
    ({"priority": 1}, "priority must be a member of jockey.Priority, got 1"),
    ({"priority": "high"}, "priority must be a member of jockey.Priority, got 'high'"),
    ({"priority": None}, "priority must be a member of jockey.Priority, got None"),
    (
        {"limits": Limit("db", 1)},
        "limits must be a list, got Limit(name='db', max_jobs=1); write limits=[...]",
    ),
    ({"limits": None}, "limits must be a list, got None; write limits=[...]"),
    ({"limits": ["db"]}, "limits must be of jockey.Limit and jockey.Rate, got 'db'"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=[f"{options}"[:60] for options, _ in OPTIONS])
def test_option_that_makes_no_sense_is_refused_before_the_function_is_seen(
    options: dict[str, Any], message: str
) -> None:
    registry: Registry[Any, str, Any] = Registry()

    with pytest.raises(RegistrationError) as caught:
        registry.add("job", **options)

    assert str(caught.value) == message
    assert len(registry) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"max_jobs": 1},
        {"max_jobs": 10**30},
        {"job_timeout": 0.001, "pulse_every": 1},
        {"job_timeout": timedelta(milliseconds=1), "pulse_every": timedelta(days=1)},
        {"limits": (limit for limit in [Limit("db", 1), Rate("api", 5), Limit("db", 1)])},
        {"limits": ()},
        {"priority": Priority.LOW, "execute_in": ExecuteIn.THREAD},
    ],
)
def test_option_that_makes_sense_is_taken(options: dict[str, Any]) -> None:
    assert "job" in registry_of(handle, **options)


@pytest.mark.parametrize("key", [[], {}, {1}])
def test_a_key_must_be_hashable(key: Any) -> None:
    with pytest.raises(RegistrationError) as caught:
        Registry[Any, Any, Any]().add(key)

    assert str(caught.value) == f"a key must be hashable, got {key!r}; use a string or a tuple"
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_key_can_be_registered_once_and_the_error_says_who_has_it() -> None:
    registry = registry_of(handle)

    with pytest.raises(RegistrationError) as caught:
        registry.add("job")

    line = inspect.getsourcelines(handle)[1]
    assert str(caught.value) == f"the key 'job' is taken by 'handle' ({__file__}:{line}); choose another key"


def test_a_decorator_that_is_used_twice_is_refused_the_second_time() -> None:
    decorate = Registry[Any, str, Any]().add("job")
    decorate(handle)

    with pytest.raises(RegistrationError, match="the key 'job' is taken by 'handle'"):
        decorate(handle_async)


# What `add` decorates

FUNCTIONS: list[tuple[Any, str]] = [
    (5, "a handler must be callable, got 5; decorate a function"),
    (None, "a handler must be callable, got None; decorate a function"),
    (generate, "'generate' is a generator; a handler returns one result: collect and return a list"),
    (generate_async, "'generate_async' is a generator; a handler returns one result: collect and return a list"),
    (functools.partial(generate), "'generate' is a generator; a handler returns one result: collect and return a list"),
    (staticmethod(generate), "'generate' is a generator; a handler returns one result: collect and return a list"),
    (Generating(), "'Generating object' is a generator; a handler returns one result: collect and return a list"),
    (
        take_nothing,
        "a handler must accept one argument, the payload, but take_nothing() -> 'None' does not: too many positional "
        "arguments; give all others a default, or write a function around it",
    ),
    (
        take_two,
        "a handler must accept one argument, the payload, but take_two(first: 'object', second: 'object') -> 'None' "
        "does not: missing a required argument: 'second'; give all others a default, or write a function around it",
    ),
    (
        take_by_name,
        "a handler must accept one argument, the payload, but take_by_name(*, payload: 'object') -> 'None' does not: "
        "too many positional arguments; give all others a default, or write a function around it",
    ),
    (
        TakesNothing(),
        "a handler must accept one argument, the payload, but TakesNothing object() -> 'None' does not: "
        "too many positional arguments; give all others a default, or write a function around it",
    ),
]


@pytest.mark.parametrize(("function", "message"), FUNCTIONS, ids=[str(number) for number in range(len(FUNCTIONS))])
def test_function_that_cannot_be_a_handler_is_refused(function: Any, message: str) -> None:
    registry: Registry[Any, str, Any] = Registry()

    with pytest.raises(RegistrationError) as caught:
        registry.add("job")(function)

    assert str(caught.value) == message
    assert "job" not in registry


def outer_of_local() -> Callable[[object], object]:
    def local(payload: object) -> object:
        return payload

    return local


PROCESS_FUNCTIONS: list[tuple[Any, str]] = [
    (handle_async, "'handle_async' is async and cannot run in a process; use THREAD or MAIN, or make it sync"),
    (
        lambda payload: payload,
        "'<lambda>' cannot be sent to a process: it is a lambda; move it to the top level of a module",
    ),
    (
        outer_of_local(),
        "'outer_of_local.<locals>.local' cannot be sent to a process: it is a local function; "
        "move it to the top level of a module",
    ),
    (
        functools.partial(outer_of_local()),
        "'outer_of_local.<locals>.local' cannot be sent to a process: it is a local function; "
        "move it to the top level of a module",
    ),
    (
        Awaited(),
        "'Awaited object' is async and cannot run in a process; use THREAD or MAIN, or make it sync",
    ),
    (
        functools.partial(handle_async),
        "'handle_async' is async and cannot run in a process; use THREAD or MAIN, or make it sync",
    ),
]


@pytest.mark.parametrize(
    ("function", "message"), PROCESS_FUNCTIONS, ids=["async", "lambda", "local", "partial local", "object", "partial"]
)
def test_function_that_cannot_go_to_a_process_is_refused(function: Any, message: str) -> None:
    with pytest.raises(RegistrationError) as caught:
        Registry[Any, str, Any]().add("job", execute_in=ExecuteIn.PROCESS)(function)

    assert str(caught.value) == message


class Handlers:
    def method(self, payload: object) -> object:
        return payload

    @classmethod
    def of_class(cls, payload: object) -> object:
        return payload

    @staticmethod
    def static(payload: object) -> object:
        return payload


@pytest.mark.parametrize(
    "make",
    [
        lambda: handle,
        lambda: handle_async,
        lambda: functools.partial(take_two, "first"),
        lambda: Handlers().method,
        lambda: Handlers.of_class,
        lambda: Handlers.static,
        lambda: staticmethod(handle),
        WrapsItself,
        NamesNobody,
        lambda: print,
        lambda: int,
        lambda: dict,
    ],
    ids=["def", "async", "partial", "method", "class", "static", "object", "wraps", "names", "builtin", "type", "dict"],
)
def test_whatever_takes_a_payload_can_be_a_handler_and_comes_back_unchanged(make: Callable[[], Any]) -> None:
    function = make()

    assert Registry[Any, str, Any]().add("job")(function) is function


def add_at_a_known_line(registry: Registry[Any, str, Any]) -> None:
    @registry.add("job", max_jobs=0)
    def never(_: object) -> None: ...


def decorate_at_a_known_line(registry: Registry[Any, str, Any]) -> None:
    @registry.add("job")
    def never() -> None: ...


@pytest.mark.parametrize("register", [add_at_a_known_line, decorate_at_a_known_line])
def test_the_error_is_raised_at_the_line_of_the_user(register: Callable[[Registry[Any, str, Any]], None]) -> None:
    with pytest.raises(RegistrationError) as caught:
        register(Registry())

    frames = [frame for frame in traceback.extract_tb(caught.value.__traceback__) if frame.filename == __file__]
    assert frames[-1].name == register.__name__
    assert (frames[-1].line or "").startswith("@registry.add(")
    assert isinstance(caught.value, JockeyError)


# Limits

LIMITS: list[tuple[Callable[[], object], str]] = [
    (lambda: Limit("", 1), "the name of a limit must be a non-empty string, got ''"),
    (lambda: Limit(5, 1), "the name of a limit must be a non-empty string, got 5"),  # type: ignore[arg-type]
    (lambda: Limit("db", 0), "max_jobs of a Limit must be at least 1, got 0"),
    (lambda: Limit("db", 1.5), "max_jobs of a Limit must be a whole number, got 1.5"),  # type: ignore[arg-type]
    (lambda: Limit("db", None), "max_jobs of a Limit must be a whole number, got None"),  # type: ignore[arg-type]
    (lambda: Rate("", 1), "the name of a limit must be a non-empty string, got ''"),
    (lambda: Rate("api", 0), "starts of a Rate must be at least 1, got 0"),
    (lambda: Rate("api", 1.5), "starts of a Rate must be a whole number, got 1.5"),  # type: ignore[arg-type]
    (lambda: Rate("api", 1, per=0), "per of a Rate must be a finite number of seconds, more than 0, got 0"),
    (lambda: Rate("api", 1, per=math.inf), "per of a Rate must be a finite number of seconds, more than 0, got inf"),
    (lambda: Rate("api", 1, per=MANY), "per of a Rate must be seconds or a timedelta, got 'many'"),
    (lambda: Rate("api", 1, burst=0), "burst of a Rate must be at least 1, got 0"),
    (lambda: Rate("api", 1, burst=MANY), "burst of a Rate must be a whole number, got 'many'"),
]


@pytest.mark.parametrize(("make", "message"), LIMITS, ids=[str(number) for number in range(len(LIMITS))])
def test_limit_that_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(RegistrationError) as caught:
        make()

    assert str(caught.value) == message


def test_a_minute_and_60_seconds_are_the_same_rate() -> None:
    assert Rate("api", 1, per=timedelta(minutes=1)) == Rate("api", 1, per=60)
    assert hash(Rate("api", 1, per=timedelta(minutes=1))) == hash(Rate("api", 1, per=60.0))


OTHERS = [Limit("api", 3), Rate("api", 2), Rate("api", 2, per=2.0), Rate("api", 2, burst=2)]


@pytest.mark.parametrize("other", OTHERS)
def test_two_limits_of_one_name_must_be_equal(other: Limit | Rate) -> None:
    first = Limit("api", 2)
    registry = registry_of(handle, limits=[first])

    with pytest.raises(RegistrationError) as caught:
        registry.add("other", limits=[other])(handle)

    assert str(caught.value) == f"two limits have the name 'api': {first} and {other}; rename one"
    assert "other" not in registry


def test_two_limits_of_one_name_in_one_list_must_be_equal_too() -> None:
    with pytest.raises(RegistrationError, match="two limits have the name 'api'"):
        registry_of(handle, limits=[Limit("api", 1), Limit("api", 2)])


def test_what_was_refused_leaves_no_limit_behind() -> None:
    registry = registry_of(handle, limits=[Limit("one", 1)])

    with pytest.raises(RegistrationError):
        registry.add("other", limits=[Limit("two", 1), Limit("one", 2)])(handle)

    registry.add("other", limits=[Limit("two", 2)])(handle)
    assert "other" in registry


# include


def test_include_adds_all_handlers_with_their_options() -> None:
    whole, part = registry_of(handle, key="one"), registry_of(handle_async, key="two", max_jobs=3)

    whole.include(part)

    assert repr(whole) == "Registry('one', 'two')"
    assert whole.find("two") is part.find("two")


def test_include_takes_what_is_there_now_and_not_what_comes() -> None:
    whole, part = registry_of(handle, key="one"), registry_of(handle, key="two")
    whole.include(part)
    part.add("three")(handle)

    assert len(whole) == 2


@pytest.mark.parametrize("reason", ["key", "limit"])
def test_include_that_is_refused_adds_nothing(reason: str) -> None:
    whole = registry_of(handle, key="one", limits=[Limit("db", 1)])
    part = registry_of(handle, key="two", limits=[Limit("new", 1)])
    if reason == "key":
        part.add("one")(handle)
    else:
        part.add("three", limits=[Limit("db", 2)])(handle)

    with pytest.raises(RegistrationError, match="the key 'one' is taken" if reason == "key" else "name 'db'"):
        whole.include(part)

    assert repr(whole) == "Registry('one')"
    whole.add("four", limits=[Limit("new", 2)])(handle)


def test_a_registry_cannot_include_itself() -> None:
    registry = registry_of(handle)

    with pytest.raises(RegistrationError, match="the key 'job' is taken"):
        registry.include(registry)


def test_an_empty_registry_can_include_itself() -> None:
    registry: Registry[Any, str, Any] = Registry()

    registry.include(registry)

    assert len(registry) == 0


def test_only_a_registry_can_be_included() -> None:
    with pytest.raises(RegistrationError) as caught:
        registry_of(handle).include({"one": handle})  # type: ignore[arg-type]

    assert str(caught.value) == f"only a jockey.Registry can be included, got {{'one': {handle!r}}}"


def test_limits_shared_by_the_parts_of_one_included_registry_must_agree_with_all() -> None:
    whole, first, second = (registry_of(handle, key=str(number)) for number in range(3))
    first.add("first", limits=[Limit("db", 1)])(handle)
    second.add("second", limits=[Limit("db", 2)])(handle)
    whole.include(first)

    with pytest.raises(RegistrationError, match="two limits have the name 'db'"):
        whole.include(second)

    assert len(whole) == 3


# In use


@pytest.mark.anyio
async def test_a_registry_cannot_be_changed_while_an_executor_runs() -> None:
    registry = registry_of(handle)

    async with Executor(registry).run():
        with pytest.raises(RegistrationError) as caught:
            registry.add("other")
        with pytest.raises(RegistrationError, match="the registry is in use"):
            registry.include(registry_of(handle, key="other"))

    assert (
        str(caught.value) == "cannot add 'other': the registry is in use; register all handlers before Executor.run()"
    )
    registry.add("other")(handle)


@pytest.mark.anyio
async def test_a_decorator_from_before_does_not_help_while_an_executor_runs() -> None:
    registry = registry_of(handle)
    decorate = registry.add("other")

    async with Executor(registry).run():
        with pytest.raises(RegistrationError, match="the registry is in use"):
            decorate(handle)

    decorate(handle)


@pytest.mark.anyio
async def test_a_registry_is_in_use_until_its_last_executor_has_ended() -> None:
    registry = registry_of(handle)

    async with Executor(registry).run():
        async with Executor(registry).run():
            pass
        with pytest.raises(RegistrationError):
            registry.add("other")

    registry.add("other")(handle)


@pytest.mark.anyio
async def test_a_registry_is_free_again_after_a_block_that_raised() -> None:
    registry = registry_of(handle)

    with pytest.raises(ZeroDivisionError):
        async with Executor(registry).run():
            raise ZeroDivisionError

    registry.add("other")(handle)


# Executors

ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    *(
        ({name: value}, f"{name} must be at least 1, got {value}; use None for no cap")
        for name in ("max_jobs", "max_threads", "max_processes", "max_jobs_per_process", "max_backlog")
        for value in (0, -1)
    ),
    *(
        ({name: 1.5}, f"{name} must be a whole number, got 1.5; use None for no cap")
        for name in ("max_jobs", "max_threads", "max_processes", "max_jobs_per_process", "max_backlog")
    ),
    ({"max_jobs_per_group": 0}, "max_jobs_per_group must be at least 1, got 0"),
    ({"max_jobs_per_group": None}, "max_jobs_per_group must be a whole number, got None"),
    (
        {"drain_timeout": -1},
        "drain_timeout must be a finite number of seconds, at least 0, got -1; use None for no limit",
    ),
    ({"drain_timeout": "1"}, "drain_timeout must be seconds or a timedelta, got '1'; use None for no limit"),
    ({"grace": -1}, "grace must be a finite number of seconds, at least 0, got -1"),
    ({"grace": math.inf}, "grace must be a finite number of seconds, at least 0, got inf"),
    ({"grace": None}, "grace must be seconds or a timedelta, got None"),
    (
        {"blocked_after": 0},
        "blocked_after must be a finite number of seconds, more than 0, got 0; use None for no limit",
    ),
    ({"on_error": 5}, "on_error must be a function of the error and the job's handle, got 5"),
    ({"middleware": 5}, "middleware must be a list, got 5; write middleware=[...]"),
    ({"middleware": Middleware}, f"middleware must be a list, got {Middleware!r}; write middleware=[...]"),
    ({"middleware": [5]}, "middleware must be of classes or functions that wrap a message, got 5"),
]


@pytest.mark.parametrize(("arguments", "message"), ARGUMENTS, ids=[f"{arguments}" for arguments, _ in ARGUMENTS])
def test_argument_of_an_executor_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RegistrationError) as caught:
        Executor(registry_of(handle), **arguments)

    assert str(caught.value) == message


def test_an_executor_needs_a_registry() -> None:
    with pytest.raises(RegistrationError) as caught:
        Executor({})  # type: ignore[arg-type]

    assert str(caught.value) == "an executor needs a jockey.Registry, got {}"


@pytest.mark.parametrize(
    "arguments",
    [
        {"drain_timeout": 0, "grace": 0, "on_error": print, "middleware": [Middleware, Middleware]},
        {"drain_timeout": timedelta(seconds=1), "grace": timedelta(0), "blocked_after": timedelta(seconds=1)},
        {"blocked_after": None, "max_jobs": None, "max_threads": 1, "max_processes": 1, "max_jobs_per_process": 1},
    ],
    ids=str,
)
def test_argument_of_an_executor_that_makes_sense_is_taken(arguments: dict[str, Any]) -> None:
    assert repr(Executor(registry_of(handle), **arguments)) == "Executor(Registry('job'))"


exec("def made_by_exec(payload): return payload\n", vanished := {"__name__": "no_such_module"})  # noqa: S102


def shadowed(_: object) -> None: ...


the_original = shadowed


def shadowed(_: object) -> None:  # type: ignore[no-redef]
    ...


class Unpicklable:
    def __call__(self, payload: object) -> object:
        return payload

    def __reduce__(self) -> Any:
        raise TypeError("not me")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "function", [vanished["made_by_exec"], Unpicklable(), the_original], ids=["module", "object", "shadowed"]
)
async def test_a_function_that_no_process_could_find_is_an_error_when_the_executor_starts(function: Any) -> None:
    registry = registry_of(function, execute_in=ExecuteIn.PROCESS)

    with pytest.raises(RegistrationError, match="cannot be sent to a process: .*; it must be importable") as caught:
        async with Executor(registry).run():
            pytest.fail("started")

    assert caught.value.__cause__ is not None
    registry.add("other")(handle)


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["schedule", "schedule_threadsafe", "submit", "execute"])
@pytest.mark.parametrize("priority", ["high", 1, -1])
async def test_an_unknown_priority_is_refused_with_the_message(method: str, priority: Any) -> None:
    message = Recorder("job")

    async with executor_of(handle).run() as running:
        with pytest.raises(RegistrationError) as caught:
            match method:
                case "submit":
                    running.submit("job", None, priority=priority)
                case "execute":
                    await running.execute(message, priority=priority)
                case _:
                    getattr(running, method)(message, priority=priority)

    assert str(caught.value) == f"priority must be a member of jockey.Priority, got {priority!r}"
    assert message.calls == []


@pytest.mark.anyio
async def test_an_unknown_thing_to_wait_for_is_refused_with_the_message() -> None:
    message = Recorder("job")

    async with executor_of(handle).run() as running:
        with pytest.raises(RegistrationError) as caught:
            await running.execute(message, wait_for="start")  # type: ignore[arg-type]

    assert str(caught.value) == "wait_for must be a member of jockey.WaitFor, got 'start'"
    assert message.calls == []


# What is kept


def refused(*words: str) -> Any:
    """Expect a `RegistrationError` that has all *words*."""
    return pytest.raises(RegistrationError, match=".*".join(words))


def test_a_registry_can_be_asked_for_its_keys() -> None:
    registry: Registry[Any, str, Any] = Registry()
    registry.add("a")(handle)
    registry.add("b", max_jobs=2)(handle)

    assert len(registry) == 2
    assert "a" in registry
    assert "c" not in registry
    assert repr(registry) == "Registry('a', 'b')"
    found = registry.find("b")
    assert found is not None
    assert found.options.max_jobs == 2
    assert found.name == "handle"
    assert found.place.endswith(f"test_registration.py:{handle.__code__.co_firstlineno}")
    assert registry.find("c") is None
    assert repr(Executor(registry)) == "Executor(Registry('a', 'b'))"


def test_numbers_and_timedeltas_are_durations() -> None:
    registry: Registry[Any, str, Any] = Registry()
    registry.add("key", job_timeout=3, pulse_every=timedelta(minutes=1))(handle)

    found = registry.find("key")

    assert found is not None
    assert (found.options.job_timeout, found.options.pulse_every) == (3.0, 60.0)


def test_limits_may_come_from_any_iterable_and_twice_is_once() -> None:
    registry: Registry[Any, str, Any] = Registry()
    registry.add("key", limits=(limit for limit in [Limit("db", 1), Limit("db", 1)]))(handle)

    found = registry.find("key")

    assert found is not None
    assert found.options.limits == (Limit("db", 1),)


def test_limits_are_values() -> None:
    assert Limit("db", 1) == Limit("db", 1)
    assert hash(Rate("api", 1, per=2.0, burst=3)) == hash(Rate("api", 1, per=2.0, burst=3))
    with pytest.raises(AttributeError):
        Limit("db", 1).max_jobs = 2  # type: ignore[misc]


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, timedelta(seconds=-1)], ids=str)
def test_a_duration_that_makes_no_sense_is_refused(value: Any) -> None:
    with refused("job_timeout must be a finite number of seconds, more than 0, got", "use None for no limit"):
        Registry().add("key", job_timeout=value)
    with refused("pulse_every must be a finite number of seconds, more than 0, got", "use None for no limit"):
        Registry().add("key", pulse_every=value)
    with refused("per of a Rate must be a finite number of seconds, more than 0, got"):
        Rate("api", 1, per=value)
    with refused("drain_timeout must be a finite number of seconds, at least 0, got", "use None for no limit"):
        Executor(Registry(), drain_timeout=value)
    with refused("blocked_after must be a finite number of seconds, more than 0, got", "use None for no limit"):
        Executor(Registry(), blocked_after=value)
    with refused("grace must be a finite number of seconds, at least 0, got"):
        Executor(Registry(), grace=value)


@pytest.mark.anyio
@pytest.mark.parametrize("execute_in", [ExecuteIn.MAIN, ExecuteIn.THREAD])
async def test_objects_with_an_async_call_are_awaited(execute_in: ExecuteIn) -> None:
    registry: Registry[Any, str, Any] = Registry()
    registry.add("object", execute_in=execute_in)(Awaited())
    registry.add("partial", execute_in=execute_in)(functools.partial(Awaited()))
    registry.add("method", execute_in=execute_in)(Awaited().__call__)

    async with Executor(registry).run() as running:
        results = [await running.submit(key, None).result() for key in ("object", "partial", "method")]

    assert results == ["called"] * 3


def test_a_static_method_can_be_a_handler() -> None:
    class Handlers:
        @staticmethod
        async def handle(_: object) -> None: ...

    registry: Registry[Any, str, Any] = Registry()
    registry.add("key")(Handlers.__dict__["handle"])

    found = registry.find("key")

    assert found is not None
    assert found.is_async


class Untold:
    """Its signature cannot be known."""

    __signature__ = "none"

    def __call__(self, payload: object) -> object:
        return payload


def wrapped_in_itself(payload: object) -> object:
    return payload


wrapped_in_itself.__wrapped__ = wrapped_in_itself  # type: ignore[attr-defined]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "function", [dict.fromkeys, Untold(), wrapped_in_itself], ids=["builtin", "untold", "circular"]
)
async def test_a_function_that_does_not_tell_its_signature_can_be_a_handler(function: Any) -> None:
    registry: Registry[Any, str, Any] = Registry()
    registry.add("key")(function)

    async with Executor(registry).run() as running:
        assert await running.submit("key", "").result() in ("", {})
