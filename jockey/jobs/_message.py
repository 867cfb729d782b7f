"""What travels through a broker: one request to run a task, and what has happened to it so far."""

from __future__ import annotations

from typing import Any

import msgspec

# Plain data has no cycles for a garbage collector to look for (`gc=False`), and a queue may hold a million of these.


class Trouble(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """
    How one try of a job failed.

    Attributes:
        type: The name of the exception's class, with its module; empty for a failure that was returned.
        message: What it says.
        traceback: Where it was raised, as text; may be empty.
        at: When, in seconds since the epoch.
        worker: The name of the worker.
    """

    type: str = ""
    message: str = ""
    traceback: str = ""
    at: float = 0.0
    worker: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """
    A task with its arguments that is to be enqueued when another job has ended.

    Attributes:
        takes: Whether it gets the result (or, after a failure, the error) of that job as its first argument.
        options: What would be the keyword arguments of `Task.options`, as plain data.
        join: Its place in a group that another job follows.
    """

    name: str
    queue: str = "default"
    args: tuple[Any, ...] = ()  # whatever JSON can hold
    kwargs: dict[str, Any] = {}
    takes: bool = False
    options: dict[str, Any] = {}
    on_success: tuple[Step, ...] = ()
    on_failure: tuple[Step, ...] = ()
    join: Join | None = None


class Join(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """
    A place in a group of jobs after all of which comes another one.

    Attributes:
        id: Of the group.
        index: This job's place in it, from 0.
        count: How many jobs it has.
        then: What comes when all have succeeded; its first argument is the list of their results, in their order.
    """

    id: str
    index: int
    count: int
    then: Step


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """
    One request to run a task.

    Attributes:
        id: Unique among all jobs; uuid7 unless the producer chose one.
        name: Of the task.
        queue: Where it waits.
        args: Positional arguments, as JSON has them.
        kwargs: Named arguments, as JSON has them.
        priority: The value of a `jockey.Priority`; lower is more urgent.
        attempt: How many tries have failed so far.
        enqueued_at: Seconds since the epoch.
        not_before: Seconds since the epoch; 0 is at once.
        timeout: Seconds for a try; None is what the task says, 0 is no limit.
        retry: The policy as plain data; None is what the task says.
        result_ttl: Seconds for which result and record are kept after the end; None is what the task says.
        group: Jobs of one group run in their order, one at a time.
        unique: Jobs with an equal key are duplicates of each other...
        unique_for: ..."queued": while one is queued, "unfinished": while one is queued or running, or for that many
            seconds from its enqueueing.
        on_success: To be enqueued when this job has succeeded.
        on_failure: To be enqueued when this job is dead.
        parent: The id of the job whose successor this one is.
        join: Its place in a group that another job follows.
        troubles: The failures of the last tries, the newest last.
        done: The result, alone in a tuple, if the work is done and only what follows from it is not: a worker that
            gets the message then does just that, and not the work again.
    """

    id: str
    name: str
    queue: str = "default"
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    priority: int = 1
    attempt: int = 0
    enqueued_at: float = 0.0
    not_before: float = 0.0
    timeout: float | None = None
    retry: dict[str, Any] | None = None
    result_ttl: float | None = None
    group: str | None = None
    unique: str | None = None
    unique_for: float | str | None = None
    on_success: tuple[Step, ...] = ()
    on_failure: tuple[Step, ...] = ()
    parent: str | None = None
    join: Join | None = None
    troubles: tuple[Trouble, ...] = ()
    done: tuple[Any, ...] = ()
