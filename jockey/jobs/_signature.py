"""
Tasks with their arguments, and how they follow one another.

A signature is a value: `>>` makes a new one, and changes none. It takes the result of the one before as its first
argument if it lacks an argument, and not otherwise: ``resize.s(width=100)`` lacks the image, ``notify.s("done")`` lacks
nothing. What is optional is not lacking.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Union, cast, overload

import msgspec

from jockey.jobs._errors import ArgumentsError
from jockey.jobs._message import Join, Step
from jockey.jobs._options import checked_callbacks
from jockey.jobs._workflow import branch_id, follower_id, group_id, label, labelled, place_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from jockey.jobs._app import App
    from jockey.jobs._job import Job
    from jockey.jobs._message import Trouble
    from jockey.jobs._task import Task

First = TypeVar("First", contravariant=True)
Result = TypeVar("Result", covariant=True)
Next = TypeVar("Next")
One = TypeVar("One")
Two = TypeVar("Two")
Three = TypeVar("Three")
Four = TypeVar("Four")
Five = TypeVar("Five")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One job of a workflow; its step knows nothing of those that follow in the workflow."""

    task: Task[..., Any]
    step: Step


@dataclass(frozen=True, slots=True, eq=False)
class Fork:
    """Jobs, and workflows of jobs, side by side."""

    branches: tuple[Elements, ...]


Elements = tuple[Union["Part", "Fork"], ...]


class Flow:
    """What all signatures share: the jobs, in their order."""

    __slots__ = ("elements",)

    def __init__(self, elements: Elements) -> None:
        self.elements = elements

    @property
    def takes(self) -> bool:
        """Whether it cannot begin without a first argument."""
        return any(part.step.takes for part in _first(self.elements))

    def on_failure(self, callback: Callbacks) -> Self:
        """
        Return the same with *callback* (tasks, signatures, names) for whichever of its jobs is dead.

        Raises:
            RegistrationError: One of them is no task, signature or name.
        """
        steps = callback_steps(checked_callbacks(callback))
        return type(self)(_with_failure(self.elements, steps))

    def _followed_by(self, other: Flow) -> Flow:
        first = other.elements[0]
        if isinstance(first, Fork) and isinstance(self.elements[-1], Fork):
            raise ArgumentsError("a group cannot follow a group: put a task between them, which gets all results")
        ends_in_many = isinstance(other.elements[-1], Fork)
        kind: type[Flow] = (
            (PartialGroup if ends_in_many else PartialSignature) if self.takes else Group if ends_in_many else Signature
        )
        return made(kind, self.elements + other.elements)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {_told(self.elements)}>"


def made(kind: type[Flow], elements: Elements) -> Flow:
    """Return a flow of that kind."""
    return kind(elements)


class Signature(Flow, Generic[Result]):
    """
    A task with all its arguments, or several that follow one another, the last one of which has the result.

    Made by `Task.s`, and of others by ``>>``, `chain` and `group`.
    """

    __slots__ = ()

    @overload
    def __rshift__(self, other: PartialSignature[Result, Next], /) -> Signature[Next]: ...
    @overload
    def __rshift__(self, other: Signature[Next], /) -> Signature[Next]: ...
    @overload
    def __rshift__(self, other: PartialGroup[Result, Next], /) -> Group[Next]: ...
    @overload
    def __rshift__(self, other: Group[Next], /) -> Group[Next]: ...
    def __rshift__(self, other: Any, /) -> Any:
        """Return the workflow in which *other* comes after this has succeeded, with its result if it lacks one."""
        return self._followed_by(other) if isinstance(other, Flow) else NotImplemented

    async def enqueue(self) -> Job[Result]:
        """
        Enqueue it from its beginning, and return the job at its end.

        Raises:
            AppClosedError: The app is not open.
            QueueNotDeclaredError: A queue is not there.
            UnsupportedError: The broker cannot do what was asked.
            BrokerUnavailableError: The broker cannot be reached.
        """
        jobs = await _app_of(self).enqueue_flows([self])
        return jobs[0][0]


class PartialSignature(Flow, Generic[First, Result]):
    """A signature that lacks its first argument: the result of what it comes after, or the error."""

    __slots__ = ()

    @overload
    def __rshift__(self, other: PartialSignature[Result, Next], /) -> PartialSignature[First, Next]: ...
    @overload
    def __rshift__(self, other: Signature[Next], /) -> PartialSignature[First, Next]: ...
    @overload
    def __rshift__(self, other: PartialGroup[Result, Next], /) -> PartialGroup[First, Next]: ...
    @overload
    def __rshift__(self, other: Group[Next], /) -> PartialGroup[First, Next]: ...
    def __rshift__(self, other: Any, /) -> Any:
        """Return the workflow in which *other* comes after this has succeeded, with its result if it lacks one."""
        return self._followed_by(other) if isinstance(other, Flow) else NotImplemented

    # It takes one, and gives it to nobody: for type checkers.
    _takes: Callable[[First], object]

    if not TYPE_CHECKING:  # they know that there is nothing to enqueue

        async def enqueue(self) -> None:
            """Raise `ArgumentsError`: what is lacking is named."""
            raise lacking(self)


class Group(Flow, Generic[Result]):
    """
    Signatures that run side by side; what follows them begins when all have succeeded, and lacks the list of results.

    Made by `group`.
    """

    __slots__ = ()

    @overload
    def __rshift__(self, other: PartialSignature[list[Result], Next], /) -> Signature[Next]: ...
    @overload
    def __rshift__(self, other: Signature[Next], /) -> Signature[Next]: ...
    def __rshift__(self, other: Any, /) -> Any:
        """Return the workflow in which *other* comes after all of these, with the list of their results."""
        return self._followed_by(other) if isinstance(other, Flow) else NotImplemented

    async def enqueue(self) -> list[Job[Result]]:
        """
        Enqueue all of it, from its beginning, and return the jobs at its end.

        Raises:
            AppClosedError: The app is not open.
            QueueNotDeclaredError: A queue is not there.
            UnsupportedError: The broker cannot do what was asked.
            BrokerUnavailableError: The broker cannot be reached.
        """
        jobs = await _app_of(self).enqueue_flows([self])
        return jobs[0]


class PartialGroup(Flow, Generic[First, Result]):
    """A group in which signatures lack their first argument: all of these get the result of what it comes after."""

    __slots__ = ()

    @overload
    def __rshift__(self, other: PartialSignature[list[Result], Next], /) -> PartialSignature[First, Next]: ...
    @overload
    def __rshift__(self, other: Signature[Next], /) -> PartialSignature[First, Next]: ...
    def __rshift__(self, other: Any, /) -> Any:
        """Return the workflow in which *other* comes after all of these, with the list of their results."""
        return self._followed_by(other) if isinstance(other, Flow) else NotImplemented

    _takes: Callable[[First], object]

    if not TYPE_CHECKING:  # as above

        async def enqueue(self) -> None:
            """Raise `ArgumentsError`: what is lacking is named."""
            raise lacking(self)


@overload  # the second one is for what is none of these
def group(*signatures: Signature[Next]) -> Group[Next]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
@overload
def group(*signatures: PartialSignature[One, Next] | Signature[Next]) -> PartialGroup[One, Next]: ...
def group(*signatures: Any) -> Flow:
    """
    Return *signatures* side by side; at least one of them.

    Raises:
        ArgumentsError: One of them is no signature, or ends in several jobs.
    """
    if not signatures:
        raise ArgumentsError("a group of no jobs never ends; give it at least one signature")
    for signature in signatures:
        if not isinstance(signature, Signature | PartialSignature):
            raise ArgumentsError(f"a group is made of signatures that end in one job, got {signature!r}; use task.s()")
    flows = cast("tuple[Flow, ...]", signatures)
    kind: type[Flow] = PartialGroup if any(flow.takes for flow in flows) else Group
    return made(kind, (Fork(tuple(flow.elements for flow in flows)),))


@overload
def chain(
    one: Signature[One], two: PartialSignature[One, Two] | Signature[Two], /, *, on_failure: Callbacks = ()
) -> Signature[Two]: ...
@overload
def chain(
    one: Signature[One],
    two: PartialSignature[One, Two] | Signature[Two],
    three: PartialSignature[Two, Three] | Signature[Three],
    /,
    *,
    on_failure: Callbacks = (),
) -> Signature[Three]: ...
@overload
def chain(
    one: Signature[One],
    two: PartialSignature[One, Two] | Signature[Two],
    three: PartialSignature[Two, Three] | Signature[Three],
    four: PartialSignature[Three, Four] | Signature[Four],
    /,
    *,
    on_failure: Callbacks = (),
) -> Signature[Four]: ...
@overload
def chain(
    one: Signature[One],
    two: PartialSignature[One, Two] | Signature[Two],
    three: PartialSignature[Two, Three] | Signature[Three],
    four: PartialSignature[Three, Four] | Signature[Four],
    five: PartialSignature[Four, Five] | Signature[Five],
    /,
    *,
    on_failure: Callbacks = (),
) -> Signature[Five]: ...
def chain(*signatures: Any, on_failure: Any = ()) -> Any:
    """
    Return *signatures*, each after the one before has succeeded: what ``>>`` between them makes.

    Args:
        signatures: From two to five for type checkers; ``>>`` has no limit but that of all workflows, 100.
        on_failure: Tasks, signatures, or names of tasks, for whichever of them is dead; none comes after that one.

    Raises:
        ArgumentsError: There is only one, or one is no signature.
    """
    if len(signatures) < 2:  # noqa: PLR2004 - one and one
        raise ArgumentsError("a chain has at least two signatures; one alone has enqueue()")
    for signature in signatures:
        if not isinstance(signature, Flow):
            raise ArgumentsError(f"a chain is made of signatures, got {signature!r}; use task.s()")
    flow = signatures[0]
    for signature in signatures[1:]:
        flow = flow >> signature
    return flow.on_failure(on_failure)


if TYPE_CHECKING:
    # The result of what it follows is not known where it is an option.
    Callback: TypeAlias = (
        str
        | Task[..., object]
        | Signature[object]
        | PartialSignature[Any, object]
        | PartialSignature[Trouble, object]
        | Group[object]
        | PartialGroup[Any, object]
    )
    Callbacks: TypeAlias = Callback | Sequence[Callback]


def lacking(flow: Flow) -> ArgumentsError:
    """Return the error for a workflow that cannot begin."""
    task = next(part.task for part in _first(flow.elements) if part.step.takes)
    name = next(iter(task.declaration.arguments.signature.parameters))
    return ArgumentsError(
        f"{flow!r} lacks its first argument, {name!r} of task {task.name!r}: "
        "give it, or let it follow another signature, whose result it takes"
    )


def callback_steps(callbacks: Callbacks) -> tuple[Step, ...]:
    """Return what *callbacks*, which were checked, enqueue."""
    several = cast("Sequence[object]", callbacks if isinstance(callbacks, list | tuple) else (callbacks,))
    steps = (_callback_steps(callback, f"{place}.") for place, callback in enumerate(several))
    return tuple(itertools.chain.from_iterable(steps))


def _callback_steps(callback: object, path: str) -> tuple[Step, ...]:
    if isinstance(callback, str):
        # Nothing is known of it here; a task that follows another one wants its result.
        return (Step(name=callback, queue="", takes=True),)
    flow = callback if isinstance(callback, Flow) else cast("Task[[], object]", callback).s()
    return steps_of(flow.elements, path)


def steps_of(elements: Elements, path: str = "", place: int = 0, join: Join | None = None) -> tuple[Step, ...]:
    """
    Return the steps that begin *elements*, and have in them all that follows.

    Args:
        elements: A workflow.
        path: Where in the whole it is; labels of groups begin with it.
        place: Begin with that element.
        join: Given to the job at the end.
    """
    if place == len(elements):
        return ()
    element, here = elements[place], f"{path}{place}."
    following = steps_of(elements, path, place + 1, join)
    if isinstance(element, Part):
        return (_step_of(element, following, here, None if following else join),)
    return tuple(_begun(element, following, here))


def _step_of(part: Part, following: tuple[Step, ...], path: str, join: Join | None) -> Step:
    step = part.step
    if not (following or join or step.on_success or step.on_failure):
        return step
    return msgspec.structs.replace(
        step,
        on_success=following + labelled(step.on_success, f"{path}s"),
        on_failure=labelled(step.on_failure, f"{path}f"),
        join=join,
    )


def _begun(fork: Fork, following: tuple[Step, ...], path: str) -> Iterator[Step]:
    count = len(fork.branches)
    for index, branch in enumerate(fork.branches):
        join = Join(id=label(path), index=index, count=count, then=following[0]) if following else None
        yield from steps_of(branch, f"{path}{index}.", 0, join)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A job of a workflow that was enqueued: its id, what it runs, and those that must have succeeded before."""

    id: str
    task: Task[..., Any]
    after: tuple[Trace, ...]


def ends_of(
    elements: Elements,
    id_at: Callable[[int], str],
    root: str,
    path: str = "",
    after: tuple[Trace, ...] = (),
) -> list[Trace]:
    """
    Return the jobs at the end of a workflow.

    Args:
        elements: The workflow.
        id_at: Returns the id of each of the jobs that begin it, by its place.
        root: What the ids of its groups are derived from.
        path: Where in the whole it is.
        after: What comes before it.
    """
    for place, element in enumerate(elements):
        if isinstance(element, Part):
            # What begins the workflow has the id that the broker told, whatever was asked for.
            chosen = element.step.options.get("id") if after else None
            trace = Trace(chosen or id_at(0), element.task, after)
            after, id_at = (trace,), _successors_of(trace.id)
        else:
            here = f"{path}{place}."
            after = tuple(_ends_of_fork(element, id_at, root, here, after))
            id_at = _follower_of(group_id(root, label(here)))
    return list(after)


def _ends_of_fork(
    fork: Fork, id_at: Callable[[int], str], root: str, path: str, after: tuple[Trace, ...]
) -> Iterator[Trace]:
    start = 0
    for index, branch in enumerate(fork.branches):
        yield from ends_of(branch, _shifted(id_at, start), root, f"{path}{index}.", after)
        start += len(list(_first(branch)))


def _successors_of(parent: str) -> Callable[[int], str]:
    return lambda place: place_id(branch_id(parent, "success"), place)


def _follower_of(group: str) -> Callable[[int], str]:
    return lambda _: follower_id(group)


def _shifted(id_at: Callable[[int], str], start: int) -> Callable[[int], str]:
    return lambda place: id_at(start + place)


def _first(elements: Elements) -> Iterator[Part]:
    """Yield the parts that begin it."""
    first = elements[0]
    if isinstance(first, Part):
        yield first
    else:
        for branch in first.branches:
            yield from _first(branch)


def _with_failure(elements: Elements, steps: tuple[Step, ...]) -> Elements:
    return tuple(
        _part_with_failure(element, steps)
        if isinstance(element, Part)
        else Fork(tuple(_with_failure(branch, steps) for branch in element.branches))
        for element in elements
    )


def _part_with_failure(part: Part, steps: tuple[Step, ...]) -> Part:
    known = part.step.on_failure
    added = labelled(steps, f"{len(known)}+")
    return Part(part.task, msgspec.structs.replace(part.step, on_failure=known + added))


def _app_of(flow: Flow) -> App[Any]:  # signatures do not know the state of their app
    return next(_first(flow.elements)).task.app


def _told(elements: Elements) -> str:
    return " >> ".join(
        element.step.name if isinstance(element, Part) else f"group({', '.join(map(_told, element.branches))})"
        for element in elements
    )
