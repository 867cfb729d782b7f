"""A function and how to run it: all that is known of it before any job."""

from __future__ import annotations

import concurrent.futures
import functools
import importlib.util
import inspect
import pickle
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, cast

from jockey import _validation
from jockey._errors import RegistrationError
from jockey._limits import Limit, Rate
from jockey._options import ExecuteIn, Priority
from jockey._types import Payload, Result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Function = Callable[[Payload], Result | Awaitable[Result]]


@dataclass(frozen=True)
class Options:
    """How to run a handler; the fields are the arguments of `Registry.add`."""

    execute_in: ExecuteIn | concurrent.futures.Executor
    max_jobs: int | None
    job_timeout: float | None
    pulse_every: float | None
    priority: Priority
    limits: tuple[Limit | Rate, ...]


def check_options(
    *,
    execute_in: ExecuteIn | concurrent.futures.Executor,
    max_jobs: int | None,
    job_timeout: _validation.Seconds | None,
    pulse_every: _validation.Seconds | None,
    priority: Priority,
    limits: Iterable[Limit | Rate],
) -> Options:
    """Return the options, all valid and in their simplest types."""
    return Options(
        execute_in=_check_place(execute_in),
        max_jobs=_validation.optional_count("max_jobs", max_jobs),
        job_timeout=_validation.optional_seconds("job_timeout", job_timeout),
        pulse_every=_validation.optional_seconds("pulse_every", pulse_every),
        priority=check_priority(priority),
        limits=_check_limits(limits),
    )


def check_priority(priority: Priority) -> Priority:
    """Return *priority* if it is one."""
    if not isinstance(priority, Priority):
        raise RegistrationError(f"priority must be a member of jockey.Priority, got {priority!r}")
    return priority


def _check_place(execute_in: ExecuteIn | concurrent.futures.Executor) -> ExecuteIn | concurrent.futures.Executor:
    if not isinstance(execute_in, ExecuteIn | concurrent.futures.Executor):
        raise RegistrationError(
            f"execute_in must be a member of jockey.ExecuteIn or a concurrent.futures.Executor, got {execute_in!r}"
        )
    # Where there are not even threads, it will run in MAIN.
    if execute_in is ExecuteIn.INTERPRETER and sys.platform != "emscripten" and not _has_interpreters():
        version = ".".join(map(str, sys.version_info[:2]))
        raise RegistrationError(f"ExecuteIn.INTERPRETER needs Python 3.13 or newer, this is {version}; use PROCESS")
    return execute_in


def _has_interpreters() -> bool:
    return importlib.util.find_spec("_interpreters") is not None


def _check_limits(limits: Iterable[Limit | Rate]) -> tuple[Limit | Rate, ...]:
    if not isinstance(limits, Iterable):
        raise RegistrationError(f"limits must be a list, got {limits!r}; write limits=[...]")
    listed = list(limits)
    for limit in listed:
        if not isinstance(limit, Limit | Rate):
            raise RegistrationError(f"limits must be of jockey.Limit and jockey.Rate, got {limit!r}")
    return tuple(dict.fromkeys(listed))


@dataclass(frozen=True)
class Handler(Generic[Payload, Result]):
    """A registered function."""

    function: Function[Payload, Result]
    options: Options
    is_async: bool
    name: str
    """What people call it, for messages."""
    place: str
    """The file and the line of the function, for messages; empty where that is not known."""

    def __str__(self) -> str:
        return f"{self.name!r} ({self.place})" if self.place else repr(self.name)

    @classmethod
    def of(cls, function: Function[Payload, Result], options: Options) -> Handler[Payload, Result]:
        """Return the handler, or raise `RegistrationError` if the function cannot run where the options want it."""
        if not callable(function):
            raise RegistrationError(f"a handler must be callable, got {function!r}; decorate a function")
        inner = _innermost(function)
        name = _name_of(inner)
        if _is_kind(inspect.isasyncgenfunction, inner) or _is_kind(inspect.isgeneratorfunction, inner):
            raise RegistrationError(f"{name!r} is a generator; a handler returns one result: collect and return a list")
        _check_signature(name, function)
        is_async = _is_kind(inspect.iscoroutinefunction, inner)
        _check_for_place(name, options.execute_in, is_async=is_async)
        return cls(function, options, is_async, name, _place_of(inner))

    def check_picklable(self, place: ExecuteIn) -> None:
        """Raise `RegistrationError` if a worker process or an interpreter could not find the function by its name."""
        try:
            pickle.dumps(self.function)
        except Exception as error:
            raise RegistrationError(
                f"{self} cannot be sent to {_NOUNS[place]}: {error}; "
                "it must be importable from the top level of its module under its own name"
            ) from error


def home_of(function: object) -> object:
    """Return the name of the module in which *function* was defined, as far as it tells."""
    inner = _innermost(function)
    # A builtin method tells None, and an instance of a class with `__call__` tells that of its class.
    return getattr(inner, "__module__", None)


def _innermost(function: object) -> object:
    while True:
        if isinstance(function, functools.partial):
            function = cast("functools.partial[object]", function).func
        elif isinstance(function, staticmethod):
            function = cast("staticmethod[..., object]", function).__func__
        else:
            return function


def _is_kind(is_kind: Callable[[object], bool], function: object) -> bool:
    # What is called is looked up on the type: a class has its instances' `__call__`, which calling the class is not.
    return is_kind(function) or is_kind(getattr(type(function), "__call__", None))  # noqa: B004 - the method is wanted


def _check_signature(name: str, function: Callable[..., object]) -> None:
    try:
        # The wrapper's own, if it is one: that is what gets called.
        signature = inspect.signature(function, follow_wrapped=False)
    except Exception:  # some builtin functions tell none, some annotations cannot be evaluated
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise RegistrationError(
            f"a handler must accept one argument, the payload, but {name}{signature} does not: {error}; "
            "give all others a default, or write a function around it"
        ) from None


_NOUNS = {ExecuteIn.PROCESS: "a process", ExecuteIn.INTERPRETER: "an interpreter"}
"""The places to which a function can only be sent by its name."""


def _check_for_place(name: str, place: ExecuteIn | concurrent.futures.Executor, *, is_async: bool) -> None:
    if place is ExecuteIn.MAIN or place is ExecuteIn.THREAD:
        return
    noun = _NOUNS[place] if isinstance(place, ExecuteIn) else f"a {type(place).__qualname__}"
    if is_async:
        raise RegistrationError(f"{name!r} is async and cannot run in {noun}; use THREAD or MAIN, or make it sync")
    if isinstance(place, ExecuteIn):
        _check_importable(name, noun)


def _check_importable(name: str, noun: str) -> None:
    kind = "lambda" if name.endswith("<lambda>") else "local function" if "<locals>" in name else None
    if kind:
        raise RegistrationError(
            f"{name!r} cannot be sent to {noun}: it is a {kind}; move it to the top level of a module"
        )


def _name_of(function: object) -> str:
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else f"{type(function).__qualname__} object"


def _place_of(function: object) -> str:
    for candidate in (function, getattr(type(function), "__call__", None)):  # noqa: B004 - the method is wanted
        code = getattr(_unwrapped(candidate), "__code__", None)
        if isinstance(code, types.CodeType):
            return f"{code.co_filename}:{code.co_firstlineno}"
    return ""


def _unwrapped(function: Any) -> object:  # an attribute of whatever it is may say what it wraps
    try:
        return inspect.unwrap(function)
    except ValueError:  # it says that it wraps itself
        return function
