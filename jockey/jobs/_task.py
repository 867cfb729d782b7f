"""A function that jobs run: declared once, enqueued often."""

from __future__ import annotations

import functools
import importlib
import pickle
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec
from typing_extensions import Unpack

from jockey._options import Priority
from jockey.jobs._errors import ArgumentsError
from jockey.jobs._ids import new_id
from jockey.jobs._job import Job
from jockey.jobs._message import Message, Step
from jockey.jobs._options import JobOptions, JobSettings, job_id, job_settings
from jockey.jobs._plain import is_valid
from jockey.jobs._signature import Flow, Part, PartialSignature, Signature, callback_steps, made
from jockey.jobs._workflow import message_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jockey._options import ExecuteIn
    from jockey.jobs._app import App
    from jockey.jobs._arguments import Call
    from jockey.jobs._declaration import Declaration
    from jockey.jobs._failure import Failure
    from jockey.jobs._retry import Retry

Params = ParamSpec("Params")
Rest = ParamSpec("Rest")
Called = ParamSpec("Called")
Returned = TypeVar("Returned", covariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)
Result = TypeVar("Result")
First = TypeVar("First")

_OF_EACH: Final = frozenset({"id", "delay", "at", "unique"})
"""Options of which each job makes something of its own."""


if TYPE_CHECKING:
    FirstIn = TypeVar("FirstIn", contravariant=True)

    class TakesFirst(Protocol[FirstIn, Rest, ResultOut]):
        """A task, by its first parameter and the others: in this form mypy, too, finds the type of the first one."""

        @property
        def _call(self) -> Callable[Concatenate[FirstIn, Rest], ResultOut]: ...


class Task(Generic[Params, ResultOut]):
    """
    What can be enqueued: a task, with options for its next jobs.

    Made by `App.task` and `Router.task`; what these return is also called like the function.

    Attributes:
        arguments: What the signature of the function says.
    """

    def __init__(self, declaration: Declaration, settings: JobSettings = JobSettings()) -> None:  # noqa: B008 - frozen
        self._declaration = declaration
        self.arguments = declaration.arguments
        self._settings = settings
        self._fits: App[Any] | None = None  # its broker can do what is asked of it

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self._declaration.settings.name

    @property
    def queues(self) -> tuple[str, ...]:
        """Where its jobs wait; they are enqueued in the first one."""
        return self._declaration.settings.queue

    @property
    def function(self) -> Callable[..., Any]:  # the type is that of `TaskFunction.__call__`
        """What was declared."""
        return self._declaration.function

    def options(self, **options: Unpack[JobOptions]) -> Task[Params, ResultOut]:
        """
        Return the same task with options for the jobs that are enqueued through it; see `JobOptions`.

        Raises:
            RegistrationError: An option makes no sense, or two contradict each other.
        """
        return Task(self._declaration, job_settings(options, self._settings))

    if TYPE_CHECKING:

        @property
        def _call(self) -> Callable[Params, ResultOut]: ...

    async def enqueue(self: Task[Params, Result | Failure], *args: Params.args, **kwargs: Params.kwargs) -> Job[Result]:
        """
        Enqueue one job; it is there for good when this returns.

        Raises:
            ArgumentsError: The arguments do not fit the task; nothing was enqueued.
            AppClosedError: The task is in no app that is open.
            QueueNotDeclaredError: The queue is not there.
            UnsupportedError: The broker cannot do what was asked.
            BrokerUnavailableError: The broker cannot be reached.
        """
        app, mould = self._declaration.app(), self._mould
        if mould is None:
            return await app.enqueue_step(self, self.step(args, kwargs))
        if self._fits is not app:
            app.check((self.step(args, kwargs),))
            # What follows its jobs may be declared anew.
            self._fits = None if self.on_success or self.on_failure else app
        if not self.arguments.is_exact(args, kwargs):
            checked = self.arguments.check(args, kwargs)
            args, kwargs = cast("Any", checked.args), cast("Any", checked.kwargs)
        message = msgspec.structs.replace(mould, id=new_id(), args=args, kwargs=kwargs, enqueued_at=app.clock())
        [published] = await app.publish((message,))
        return Job(app, published.id, self, is_new=published.is_new)

    async def enqueue_many(
        self: Task[Params, Result | Failure], signatures: Iterable[Signature[Result]]
    ) -> list[Job[Result]]:
        """
        Enqueue many jobs in one go: all of them or, where the broker can do that, none.

        Args:
            signatures: What `s` has returned, for instance ``send.enqueue_many(send.s(to) for to in addresses)``.

        Raises:
            JobsError: As `enqueue`.
        """
        return [ends[0] for ends in await self.app.enqueue_flows(list(signatures))]

    @overload  # the second one is for calls that lack the first argument
    def s(  # type: ignore[overload-overlap]
        self: Task[Params, Result | Failure], *args: Params.args, **kwargs: Params.kwargs
    ) -> Signature[Result]: ...
    @overload
    def s(
        self: TakesFirst[First, Rest, Result | Failure], *args: Rest.args, **kwargs: Rest.kwargs
    ) -> PartialSignature[First, Result]: ...
    def s(self, *args: Any, **kwargs: Any) -> Flow:
        """
        Return the task with these arguments, to be enqueued alone or in a workflow.

        If an argument is lacking without which the task cannot be called, it gets the result of what it comes after as
        its first one.

        Raises:
            ArgumentsError: The arguments do not fit the task.
        """
        arguments = self.arguments
        takes = not arguments.is_complete(args, kwargs) and arguments.is_complete((None, *args), kwargs)
        part = Part(self, self.step(args, kwargs, takes=takes))
        kind: type[Flow] = PartialSignature if takes else Signature
        return made(kind, (part,))

    def si(self: Task[Params, Result | Failure], *args: Params.args, **kwargs: Params.kwargs) -> Signature[Result]:
        """
        Return the task with all its arguments: it never takes a result.

        Raises:
            ArgumentsError: The arguments do not fit the task.
        """
        return Signature((Part(self, self.step(args, kwargs)),))

    def job(self: Task[Params, Result | Failure], id: str) -> Job[Result]:  # noqa: A002 - the field's name
        """
        Return a job of this task by its id; whether there is one shows when it is asked for something.

        Raises:
            RegistrationError: *id* is no text that can be written, or it is empty.
            AppClosedError: The task is in no app that is open.
        """
        return Job(self.app, job_id(id), self)

    @property
    def app(self) -> App[Any]:  # a task does not know the state of its app
        """
        The app that is open and has this task.

        Raises:
            AppClosedError: There is none, or more than one.
        """
        return self._declaration.app()

    # What producers need

    def is_complete(self, args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
        """Tell whether it can be called with these arguments."""
        return self.arguments.is_complete(args, kwargs)

    def step(self, args: Sequence[object], kwargs: Mapping[str, object], *, takes: bool = False) -> Step:
        """
        Return what is to be enqueued, with all that is known of it here.

        Args:
            args: Positional arguments.
            kwargs: Named ones.
            takes: Whether the first argument is missing.

        Raises:
            ArgumentsError: They do not fit.
        """
        checked = self.arguments.check(args, kwargs, skipped=int(takes))
        options = self._plain_options
        if not takes:
            options = options | self._options_of(checked.call, options)
        return Step(
            name=self.name,
            queue=self._settings.queue or self.queues[0],
            args=checked.args,
            kwargs=checked.kwargs,
            takes=takes,
            options=options,
            on_success=self._on_success,
            on_failure=self._on_failure,
        )

    def complete(self, message: Message, options: Mapping[str, Any]) -> Message:
        """
        Return *message*, whose first argument has just become known, with what the task derives from arguments.

        Args:
            message: Of this task.
            options: What was said when the step was made; that is not changed.
        """
        try:
            derived = self._options_of(self.arguments.convert(message.args, message.kwargs), options)
        except ArgumentsError:
            return message  # it will be dead, with just this as its reason
        return msgspec.structs.replace(message, **derived) if derived else message

    @functools.cached_property
    def _mould(self) -> Message | None:
        """What the messages of all its jobs have in common; None if that is not all but ids, arguments and times."""
        settings, options = self._declaration.settings, self._plain_options
        if callable(settings.group) or settings.unique is not False or options.keys() & _OF_EACH:
            return None
        if self._on_success or self._on_failure:
            return None
        step = Step(name=self.name, queue=self._settings.queue or self.queues[0], options=options)
        return message_of(step, id_="", root="", now=0.0)

    @functools.cached_property
    def _on_success(self) -> tuple[Step, ...]:
        return callback_steps(self._settings.on_success)

    @functools.cached_property
    def _on_failure(self) -> tuple[Step, ...]:
        return callback_steps(self._settings.on_failure)

    @functools.cached_property
    def _plain_options(self) -> dict[str, Any]:  # what JSON can hold
        settings = self._declaration.settings
        said: dict[str, Any] = {}
        if settings.priority is not Priority.NORMAL:
            said["priority"] = int(settings.priority)
        if isinstance(settings.group, str):
            said["group"] = settings.group
        said |= self._settings.to_plain()
        said.pop("queue", None)
        return said

    def _options_of(self, call: Call, options: Mapping[str, Any]) -> dict[str, Any]:  # what JSON can hold
        settings = self._declaration.settings
        derived: dict[str, Any] = {}
        if callable(settings.group) and "group" not in options:
            derived["group"] = _checked_key("group", self.name, settings.group(*call.args, **call.kwargs))
        if settings.unique is not False and "unique" not in options:
            derived["unique"] = self._unique_key(call)
        if (options.get("unique") or derived.get("unique")) and "unique_for" not in options:
            derived["unique_for"] = settings.unique_for
        return {name: value for name, value in derived.items() if value is not None}

    def _unique_key(self, call: Call) -> str | None:
        unique = self._declaration.settings.unique
        if callable(unique):
            key = _checked_key("unique", self.name, unique(*call.args, **call.kwargs))
        else:
            key = self.arguments.key_of(call, unique if isinstance(unique, tuple) else None)
        return None if key is None else f"{self.name}:{key}"

    # What workers need

    @property
    def retry(self) -> Retry:
        """What is done when a job fails whose message says nothing of that."""
        return self._declaration.settings.retry

    @property
    def timeout(self) -> float | None:
        """Seconds for one try, if the message says nothing of that; None is no limit."""
        return self._declaration.settings.timeout

    @property
    def result_ttl(self) -> float:
        """Seconds for which results are kept, if the message says nothing of that; 0: they are not."""
        return self._declaration.settings.result_ttl

    @property
    def execute_in(self) -> ExecuteIn:
        """Where the function runs."""
        return self._declaration.settings.execute_in

    @functools.cached_property
    def on_success(self) -> tuple[Step, ...]:
        """What is enqueued when any job of it has succeeded, after that which its message names."""
        return self._declaration.on_success

    @functools.cached_property
    def on_failure(self) -> tuple[Step, ...]:
        """What is enqueued when any job of it is dead, after that which its message names."""
        return self._declaration.on_failure

    def ttl_of(self, message: Message) -> float | None:
        """Return the seconds for which the result of that job is kept; None: it is not."""
        ttl = message.result_ttl
        return (self._declaration.settings.result_ttl if ttl is None else ttl) or None

    def handler_options(self) -> dict[str, Any]:  # the types are those of `Registry.add`
        """Return the options under which `jockey.Registry` runs the function."""
        settings = self._declaration.settings
        return {
            "execute_in": settings.execute_in,
            "max_jobs": settings.max_jobs,
            "job_timeout": settings.timeout,
            "priority": settings.priority,
            "limits": settings.limits,
        }

    def decode_result(self, result: bytes) -> ResultOut:
        """
        Return a result that was kept.

        Raises:
            DecodeError: It is not what the task is annotated to return.
        """
        return cast("ResultOut", self.arguments.decode_result(msgspec.json.decode(result)))

    @property
    def declaration(self) -> Declaration:
        """What routers keep."""
        return self._declaration

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} in {', '.join(map(repr, self.queues))}>"

    def __reduce__(self) -> tuple[Callable[[str, str], object], tuple[str, str]]:
        # By name, as Python does it with functions: so it can be sent to a process that has its module.
        module, name = self.function.__module__, self.function.__qualname__
        try:
            found = find_task(module, name)
        except Exception as error:
            raise pickle.PicklingError(f"the task {self.name!r} is not found as {module}.{name}: {error}") from error
        if not isinstance(found, Task) or found.declaration is not self._declaration:
            raise pickle.PicklingError(f"the task {self.name!r} is not what {module}.{name} is; give it no other name")
        return (find_task, (module, name))


class TaskFunction(Task[Params, ResultOut], Generic[Called, Returned, Params, ResultOut]):
    """A task, as the decorator returns it: it is called like the function that was declared."""

    def __init__(self, declaration: Declaration) -> None:
        super().__init__(declaration)
        functools.update_wrapper(self, declaration.function)

    def __call__(self, *args: Called.args, **kwargs: Called.kwargs) -> Returned:
        """Call the function, here and now; nothing is enqueued."""
        return cast("Returned", self._declaration.function(*args, **kwargs))


def find_task(module: str, name: str) -> object:
    """Return what has that qualified name."""
    found: object = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _checked_key(option: str, task: str, key: object) -> str | None:
    if key is not None and not (isinstance(key, str) and key):
        raise ArgumentsError(f"the function {option} of task {task!r} must return a text, or None, got {key!r}")
    if key is not None and not is_valid(key):
        raise ArgumentsError(f"what the function {option} of task {task!r} returns cannot be written in UTF-8: {key!r}")
    return key
