"""What is known of a task: its function, and how its jobs are run."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jockey._errors import RegistrationError
from jockey._options import ExecuteIn
from jockey.jobs._arguments import Arguments
from jockey.jobs._errors import AppClosedError
from jockey.jobs._options import TaskSettings, task_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jockey.jobs._app import App
    from jockey.jobs._message import Step


@dataclass(eq=False)
class Declaration:
    """
    A task as it was declared.

    Attributes:
        apps: Those that have it and are open, the last one opened last.
    """

    function: Callable[..., Any]
    settings: TaskSettings
    arguments: Arguments
    place: str
    apps: list[App[Any]] = field(default_factory=list["App[Any]"])

    @property
    def name(self) -> str:
        return self.settings.name

    def __str__(self) -> str:
        return f"{self.function.__qualname__} ({self.place})"

    @functools.cached_property
    def on_success(self) -> tuple[Step, ...]:
        from jockey.jobs._signature import callback_steps  # noqa: PLC0415 - signatures know tasks, which know this

        return callback_steps(self.settings.on_success)

    @functools.cached_property
    def on_failure(self) -> tuple[Step, ...]:
        from jockey.jobs._signature import callback_steps  # noqa: PLC0415 - as above

        return callback_steps(self.settings.on_failure)

    def app(self) -> App[Any]:
        """Return the app whose broker is used, or raise `AppClosedError`."""
        if len(self.apps) == 1:
            return self.apps[0]
        if not self.apps:
            raise AppClosedError(
                f"the task {self.name!r} is in no app that is open: include its router, and use `async with app:`"
            )
        raise AppClosedError(
            f"the task {self.name!r} is in more than one app that is open; say in which one: app.enqueue('name')"
        )


def declare(
    function: Callable[..., Any],
    options: Mapping[str, Any],
    defaults: TaskSettings,
) -> Declaration:
    """Return the task that *function* is with these options; raise `RegistrationError` if that makes no sense."""
    if not callable(function) or inspect.isclass(function):
        raise RegistrationError(f"a task must be a function, got {function!r}")
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    if code is None:
        raise RegistrationError(f"a task must be a function that Python code defines, got {function!r}; write one")
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise RegistrationError(
            f"{inner.__qualname__!r} is a generator; a task returns one result: collect and return a list"
        )
    is_async = inspect.iscoroutinefunction(inner)
    place = {"execute_in": ExecuteIn.MAIN if is_async else ExecuteIn.THREAD}
    settings = task_settings({"name": inner.__name__, **place, **options}, defaults)
    declaration = Declaration(
        function, settings, Arguments(function, settings.name), f"{code.co_filename}:{code.co_firstlineno}"
    )
    if not isinstance(settings.unique, bool) and not callable(settings.unique):
        _check_unique(function, settings.unique)
    if settings.execute_in is ExecuteIn.PROCESS:
        _check_for_process(declaration, is_async=is_async)
    return declaration


def _check_unique(function: Callable[..., Any], names: tuple[str, ...]) -> None:
    known = inspect.signature(function).parameters
    for name in names:
        if name not in known:
            raise RegistrationError(f"unique: there is no parameter {name!r}; there are {', '.join(known)}")


def _check_for_process(declaration: Declaration, *, is_async: bool) -> None:
    name = declaration.function.__qualname__
    if is_async:
        raise RegistrationError(f"{name!r} is async and cannot run in a process; use THREAD or MAIN, or make it sync")
    if "<locals>" in name or "<lambda>" in name:
        raise RegistrationError(f"{name!r} cannot be sent to a process; move it to the top level of a module")
    if declaration.arguments.wants_context:
        raise RegistrationError(f"{name!r} runs in a process and cannot have a Context; use THREAD, or give it none")
