"""Where tasks are declared."""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, overload

from typing_extensions import TypeVar, Unpack

from jockey._errors import RegistrationError
from jockey.jobs._declaration import declare
from jockey.jobs._options import Defaults, TaskOptions, task_settings
from jockey.jobs._task import Task, TaskFunction

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from os import PathLike

    from jockey.jobs._context import Context

Params = ParamSpec("Params")
Result = TypeVar("Result")
State = TypeVar("State", default=object)


class Declare(Generic[State]):
    """The decorator that `Router.task` returns."""

    def __init__(self, declare: Callable[[Callable[..., Any]], Task[..., Any]]) -> None:
        self._declare = declare

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context[State], Params], Coroutine[Any, Any, Result]], /
    ) -> TaskFunction[Concatenate[Context[State], Params], Coroutine[Any, Any, Result], Params, Result]: ...
    @overload
    def __call__(
        self, function: Callable[Params, Coroutine[Any, Any, Result]], /
    ) -> TaskFunction[Params, Coroutine[Any, Any, Result], Params, Result]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context[State], Params], Result], /
    ) -> TaskFunction[Concatenate[Context[State], Params], Result, Params, Result]: ...
    @overload
    def __call__(self, function: Callable[Params, Result], /) -> TaskFunction[Params, Result, Params, Result]: ...
    def __call__(self, function: Any, /) -> Any:
        """Declare *function* and return the task that it is."""
        return self._declare(function)


class Router(Generic[State]):
    """
    Tasks, to be included in apps.

    ``Router()`` is for tasks that need no state, and goes into any app; ``Router[State]()`` is for tasks whose
    `Context` has that state, and goes into an ``App[State]``.

    Args:
        defaults: For all tasks that are declared here; see `Defaults`.

    Raises:
        RegistrationError: An option makes no sense.
    """

    def __init__(self, **defaults: Unpack[Defaults]) -> None:
        self._defaults = task_settings(defaults)
        self._tasks: dict[str, Task[..., Any]] = {}

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """All tasks by their names."""
        return MappingProxyType(self._tasks)

    @overload
    def task(
        self, function: Callable[Concatenate[Context[State], Params], Coroutine[Any, Any, Result]], /
    ) -> TaskFunction[Concatenate[Context[State], Params], Coroutine[Any, Any, Result], Params, Result]: ...
    @overload
    def task(
        self, function: Callable[Params, Coroutine[Any, Any, Result]], /
    ) -> TaskFunction[Params, Coroutine[Any, Any, Result], Params, Result]: ...
    @overload
    def task(
        self, function: Callable[Concatenate[Context[State], Params], Result], /
    ) -> TaskFunction[Concatenate[Context[State], Params], Result, Params, Result]: ...
    @overload
    def task(self, function: Callable[Params, Result], /) -> TaskFunction[Params, Result, Params, Result]: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> Declare[State]: ...
    def task(self, function: Any = None, /, **options: Any) -> Any:
        """
        Declare the decorated function as a task; with or without options.

        What it returns is called like the function, and has the methods of `Task`. If the first parameter is annotated
        with `Context`, it gets one, and producers do not see that parameter.

        Args:
            function: Async or not.
            options: See `TaskOptions`.

        Raises:
            RegistrationError: The name is taken, an option makes no sense, or the function cannot run where it should.
        """
        if function is not None:
            return self._declare(function, options)
        task_settings(_without_replace(options), self._defaults)  # what makes no sense is refused at this line
        return Declare[State](functools.partial(self._declare, options=options))

    def command(
        self,
        name: str,
        program: Sequence[str],
        /,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | PathLike[str] | None = None,
        **options: Unpack[TaskOptions],
    ) -> Task[..., Any]:  # what a program takes and returns only its author knows
        """
        Declare a program as a task: named arguments go in as a JSON object, and JSON comes out.

        Args:
            name: Of the task.
            program: The program and its arguments.
            env: Variables beside those of the worker.
            cwd: The directory where it runs; the default is that of the worker.
            options: See `TaskOptions`.

        Raises:
            RegistrationError: The name is taken, or an option makes no sense.
        """
        from jockey.jobs._command import command  # noqa: PLC0415 - few need it

        task: Task[..., Any] = self._declare(command(program, env=env, cwd=cwd), {**options, "name": name})
        return task

    def include(self, router: Router[State] | Router[object], *, replace: bool = False) -> None:
        """
        Take over all tasks that *router* has now.

        Args:
            router: A router for tasks without state, or with that of this one.
            replace: Whether its tasks take the places of those that have the same names; nothing is left of these.

        Raises:
            RegistrationError: A name is taken; nothing was included.
        """
        if not isinstance(router, Router):
            raise RegistrationError(f"only a jockey.jobs.Router can be included, got {router!r}")
        if not replace:
            for task in router.tasks.values():
                self._check_name(task)
        for task in router.tasks.values():
            self._insert(task)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._tasks)} tasks>"

    def _declare(self, function: Callable[..., Any], options: Mapping[str, Any]) -> TaskFunction[..., Any, ..., Any]:
        task: TaskFunction[..., Any, ..., Any] = TaskFunction(
            declare(function, _without_replace(options), self._defaults)
        )
        if not options.get("replace"):
            self._check_name(task)
        self._insert(task)
        return task

    def _check_name(self, task: Task[..., Any]) -> None:
        known = self._tasks.get(task.name)
        if known is not None and known is not task:
            raise RegistrationError(
                f"there are two tasks of the name {task.name!r}: {known.declaration} and {task.declaration}; "
                "give one another name=, or say replace=True"
            )

    def _insert(self, task: Task[..., Any]) -> None:
        self._tasks[task.name] = task


def _without_replace(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "replace"}
