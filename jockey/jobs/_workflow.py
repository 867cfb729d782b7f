"""
What comes after a job: pure, from the steps in a message to the messages that follow from it.

The id of a successor follows from that of its parent: so whoever publishes it again, after a crash, publishes the same
job. A group of jobs that another one follows is told by its label: first a path that is unique among all that was
declared together, and from the moment when a message carries it the id of that very group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from jockey.jobs._errors import ArgumentsError
from jockey.jobs._ids import derived_id
from jockey.jobs._message import Join, Message, Step
from jockey.jobs._options import DEFAULT_QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jockey.jobs._task import Task

    Tasks = Mapping[str, Task[..., Any]]  # tasks of all kinds

MAX_LENGTH: Final = 100
"""So many jobs may follow one another in one workflow: it travels in one message, each job inside of the one before."""

_LABEL: Final = "#"
_DIRECT: Final = ("priority", "timeout", "retry", "result_ttl", "group", "unique", "unique_for")
_EMPTY_IS_NONE: Final = frozenset({"group", "unique"})


class StepOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be in `Step.options`: fields of `Message`, except that *delay* counts from when the step is enqueued."""

    id: str | None = None
    delay: float | None = None
    at: float | None = None
    priority: int = 1
    timeout: float | None = None
    retry: dict[str, Any] | None = None  # what JSON can hold
    result_ttl: float | None = None
    group: str | None = None
    unique: str | None = None
    unique_for: float | str | None = None


def successors(
    steps: Sequence[Step],
    parent: Message,
    value: object,
    *,
    now: float,
    tasks: Tasks | None = None,
    branch: str = "success",
) -> list[Message]:
    """
    Return what is to be enqueued when *parent* has ended.

    Args:
        steps: Its steps; the message's own, and then those of the task.
        parent: The job.
        value: Its result or, after a failure, the `Trouble`: as JSON has it.
        now: Seconds since the epoch.
        tasks: All that are known here: some say more of their jobs once the arguments are known.
        branch: "success" or "failure": one job can, in the course of time, have both.
    """
    root = branch_id(parent.id, branch)
    return [
        message_of(step, id_=place_id(root, place), root=root, now=now, value=value, parent=parent.id, tasks=tasks)
        for place, step in enumerate(steps)
    ]


def after_join(join: Join, results: Sequence[bytes], *, now: float, tasks: Tasks | None = None) -> Message:
    """Return what is to be enqueued when all jobs of a group have succeeded, with these results."""
    id_ = follower_id(join.id)
    value = [msgspec.json.decode(result) for result in results]
    return message_of(join.then, id_=id_, root=id_, now=now, value=value, parent=None, tasks=tasks)


def branch_id(parent: str, branch: str) -> str:
    """Return what the ids of the successors of a job are derived from."""
    return f"{parent}/{branch}"


def place_id(root: str, place: int) -> str:
    """Return the id of one of several jobs that are enqueued together."""
    return derived_id(root, str(place))


def follower_id(group: str) -> str:
    """Return the id of the job that follows a group."""
    return derived_id(group, "then")


def group_id(root: str, label: str) -> str:
    """Return the id of the group that has that label in a workflow."""
    return derived_id(root, label)


def message_of(
    step: Step,
    *,
    id_: str,
    root: str,
    now: float,
    value: object = None,
    parent: str | None = None,
    tasks: Tasks | None = None,
) -> Message:
    """
    Return the message for *step*.

    Args:
        step: The task, and all that was said of the job.
        id_: The id of the job, if the step says none.
        root: What the ids of all groups in the step are derived from.
        now: Seconds since the epoch.
        value: Its first argument, if it takes one.
        parent: The id of the job that it follows.
        tasks: All that are known here.
    """
    if not step.queue:
        step = _by_name(step, tasks)
    options = step.options
    own_id = options.get("id") or id_
    said: dict[str, Any] = {name: options[name] for name in _DIRECT if name in options}
    for name in _EMPTY_IS_NONE & said.keys():
        said[name] = said[name] or None
    message = Message(
        id=own_id,
        name=step.name,
        queue=step.queue,
        args=(value, *step.args) if step.takes else step.args,
        kwargs=step.kwargs,
        enqueued_at=now,
        not_before=options.get("at") or (now + options["delay"] if options.get("delay") else 0.0),
        on_success=_bound(step.on_success, root),
        on_failure=_bound(step.on_failure, root),
        parent=parent,
        join=_bound_join(step.join, root) if step.join else None,
        **said,
    )
    task = tasks.get(step.name) if tasks and step.takes else None
    return task.complete(message, options) if task else message


def _by_name(step: Step, tasks: Tasks | None) -> Step:
    # Only the name was given: what the task says of itself is known where the task is.
    task = tasks.get(step.name) if tasks else None
    if task is None:
        return msgspec.structs.replace(step, queue=DEFAULT_QUEUE)
    return msgspec.structs.replace(step, queue=task.queues[0], takes=not task.is_complete((), {}))


def step_options(step: Step) -> StepOptions:
    """Return the options of *step*; raise `msgspec.ValidationError` if there is something that no message can have."""
    return msgspec.convert(step.options, StepOptions)


def labelled(steps: Sequence[Step], path: str) -> tuple[Step, ...]:
    """Put *path* before the labels of all groups in *steps* that are not bound yet."""
    return tuple(_relabelled(step, lambda label: f"{_LABEL}{path}{label.removeprefix(_LABEL)}") for step in steps)


def label(path: str) -> str:
    """Return the label of a group that is not bound yet."""
    return _LABEL + path


def _bound(steps: tuple[Step, ...], root: str) -> tuple[Step, ...]:
    if not steps:
        return steps
    return tuple(_relabelled(step, lambda label: derived_id(root, label)) for step in steps)


def _bound_join(join: Join, root: str) -> Join:
    return _relabelled_join(join, lambda label: derived_id(root, label))


def _relabelled(step: Step, change: Callable[[str], str]) -> Step:
    if not (step.join or step.on_success or step.on_failure):
        return step
    return msgspec.structs.replace(
        step,
        on_success=tuple(_relabelled(other, change) for other in step.on_success),
        on_failure=tuple(_relabelled(other, change) for other in step.on_failure),
        join=_relabelled_join(step.join, change) if step.join else None,
    )


def _relabelled_join(join: Join, change: Callable[[str], str]) -> Join:
    return msgspec.structs.replace(
        join, id=change(join.id) if join.id.startswith(_LABEL) else join.id, then=_relabelled(join.then, change)
    )


def check_length(steps: Sequence[Step], left: int = MAX_LENGTH) -> None:
    """Raise `ArgumentsError` if too many jobs follow one another."""
    if steps and not left:
        raise ArgumentsError(
            f"more than {MAX_LENGTH} jobs follow one another; let the last one enqueue those that come after it"
        )
    for step in steps:
        check_length(step.on_success, left - 1)
        check_length(step.on_failure, left - 1)
        if step.join:
            check_length((step.join.then,), left - 1)
