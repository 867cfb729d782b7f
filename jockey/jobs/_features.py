"""What a broker cannot do is refused where a job asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jockey._options import Priority
from jockey.jobs._errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jockey.jobs._broker import Features
    from jockey.jobs._message import Step
    from jockey.jobs._task import Task


def check_features(step: Step, features: Features, tasks: Mapping[str, Task[..., Any]], *, has_store: bool) -> None:
    """
    Raise `UnsupportedError` if *step*, or what follows it, needs what a broker or the lack of a store denies.

    Args:
        step: To be enqueued.
        features: Of the broker.
        tasks: All that are known here, by name.
        has_store: Whether records are kept.
    """
    if has_store and features.delays and features.priorities and features.uniqueness and features.groups:
        return
    for each in _with_followers(step, tasks, set()):
        _check(each, tasks.get(each.name), features, has_store=has_store)


def _with_followers(step: Step, tasks: Mapping[str, Task[..., Any]], seen: set[str]) -> Iterator[Step]:
    yield step
    then = (step.join.then,) if step.join else ()
    task = None if step.name in seen else tasks.get(step.name)
    seen.add(step.name)  # tasks that name each other would go on for ever
    declared = () if task is None else (*task.on_success, *task.on_failure)
    for following in (*step.on_success, *step.on_failure, *then, *declared):
        yield from _with_followers(following, tasks, seen)


def _check(step: Step, task: Task[..., Any] | None, features: Features, *, has_store: bool) -> None:
    options = step.options
    if not features.delays and (options.get("delay") or options.get("at")):
        raise _unsupported(step, "start jobs later; leave out delay= and at=")
    if not features.priorities and options.get("priority", Priority.NORMAL) != Priority.NORMAL:
        raise _unsupported(step, "let jobs overtake others; leave out priority=")
    if not features.uniqueness and (options.get("id") or options.get("unique") or _will_be_unique(step, task)):
        raise _unsupported(step, "find duplicates; leave out id= and unique=, or give the app a store: results=")
    if not features.groups and options.get("group"):
        raise _unsupported(step, "keep the jobs of a group in order; leave out group=")
    if step.join and not has_store:
        raise _unsupported(step, "bring the results of a group together; give the app a store: results=")


def _will_be_unique(step: Step, task: Task[..., Any] | None) -> bool:
    """Tell whether its key is made only when its first argument comes: the result of what it follows."""
    has_none_yet = step.takes and "unique" not in step.options
    return has_none_yet and task is not None and task.declaration.settings.unique is not False


def _unsupported(step: Step, what: str) -> UnsupportedError:
    return UnsupportedError(f"a job of {step.name!r} was refused: its broker cannot {what}")
