"""
From the way a try ended to what the broker is told: pure.

Here it is decided whether a job that has failed is tried again; so it is dead the moment its last try has failed, and
not one delay later.
"""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Any, Final

import msgspec

from jockey._errors import JobTimeoutError, WorkerDiedError
from jockey.jobs._broker import Died, Released, Retried, Settlement, Succeeded
from jockey.jobs._failure import Failure
from jockey.jobs._message import Message, Trouble
from jockey.jobs._plain import valid
from jockey.jobs._retry import Retry, RetryLater, full_name
from jockey.jobs._workflow import after_join, successors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from jockey.jobs._task import Task

    Tasks = Mapping[str, Task[..., Any]]

_KEPT: Final = 10
"""So many failures of a job are kept with it, the last ones."""

_LONGEST: Final = 16_384
"""Characters of a traceback that are kept, the last ones."""

_PACKAGE: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120 - compared with names in code objects


def text_of(error: object) -> str:
    """Return what *error* says, whatever its class makes of that, as a text that can be kept."""
    try:
        return valid(str(error))
    except Exception as broken:
        return f"<its text cannot be had: {type(broken).__name__}>"


def trouble_of(error: BaseException | Failure, *, worker: str, now: float) -> Trouble:
    """Return what is kept of a failure; frames of this package that come before the task's own are left out."""
    if isinstance(error, Failure):
        # Where no type checker looks, the reason may well be an exception.
        return Trouble(message=text_of(error.reason), at=now, worker=worker)
    lines = traceback.format_exception(type(error), error, _without_ours(error.__traceback__))
    return Trouble(
        type=full_name(type(error)),
        message=text_of(error),
        traceback=valid("".join(lines)[-_LONGEST:]),
        at=now,
        worker=worker,
    )


def policy_of(message: Message, task: Task[..., Any]) -> Retry:
    """
    Return the retry policy of a job: that of its message, else that of its task.

    Raises:
        RegistrationError: What the message says makes no sense.
    """
    return task.retry if message.retry is None else Retry.of(message.retry)


def after_success(
    message: Message, task: Task[..., Any], result: bytes, joined: Sequence[bytes] | None, *, now: float, tasks: Tasks
) -> Succeeded:
    """
    Return how a job ends that has succeeded.

    Args:
        message: The job.
        task: What it ran.
        result: JSON.
        joined: The results of all jobs of its group, if none is missing any more.
        now: Seconds since the epoch.
        tasks: All that are known here, by name.

    Raises:
        Exception: What is to follow makes no sense.
    """
    steps = (*message.on_success, *task.on_success)
    following = successors(steps, message, msgspec.json.decode(result), now=now, tasks=tasks) if steps else []
    if joined is not None and message.join is not None:
        following.append(after_join(message.join, joined, now=now, tasks=tasks))
    return Succeeded(result, task.ttl_of(message), following)


def after_failure(
    message: Message, task: Task[..., Any], error: Exception | Failure, trouble: Trouble, *, now: float, tasks: Tasks
) -> Retried | Died:
    """Return how a try ends that has failed: the job is tried again, or is dead at once if there are no more tries."""
    try:
        delay = _delay(message, task, error)
    except Exception as broken:
        return death(message, _add(trouble, "its retry policy makes no sense", broken), task, now=now, tasks=tasks)
    if delay is None:
        return death(message, trouble, task, now=now, tasks=tasks)
    return Retried(_failed(message, trouble), delay)


def death(message: Message, trouble: Trouble, task: Task[..., Any] | None, *, now: float, tasks: Tasks) -> Died:
    """Return how a job ends that is dead, with its failure callbacks; *task* is None if it is not known here."""
    steps = (*message.on_failure, *(task.on_failure if task is not None else ()))
    following: Sequence[Message] = ()
    try:
        if steps:
            following = successors(steps, message, msgspec.to_builtins(trouble), now=now, tasks=tasks, branch="failure")
    except Exception as broken:
        trouble = _add(trouble, "its failure callbacks make no sense", broken)
    return Died(trouble, _failed(message, trouble), following)


def after_refusal(
    message: Message | None, settlement: Settlement, refusal: Exception, trouble: Trouble
) -> Settlement | None:
    """
    Return what to tell the broker instead of *settlement*, which it has refused for good; None: nothing is left.

    Work that is done is not done again because what follows from it could not be enqueued: the job goes to the dead
    letters with its result noted in `Message.done`. Once the cause is mended and the job is replayed, a worker does
    only what was missing.

    Args:
        message: The job, if it could be read.
        settlement: What was refused.
        refusal: Why.
        trouble: The same, to be kept.
    """
    match settlement:
        case Succeeded(result=result) if message is not None:
            reason = f"the work is done, but what follows from it was refused: {refusal}; mend that, and replay the job"
            noted = msgspec.structs.replace(message, done=(msgspec.json.decode(result),))
            return Died(msgspec.structs.replace(trouble, message=reason), noted)
        case Retried(message=failed):
            return Died(_add(failed.troubles[-1], "another try was refused", refusal), failed)
        case Died(error=error, message=dead, successors=following) if following:
            return Died(_add(error, "its failure callbacks were refused", refusal), dead)
        case Released():
            return None
        case _:
            return Released()


def _delay(message: Message, task: Task[..., Any], error: Exception | Failure) -> float | None:
    tries = message.attempt + 1
    match error:
        case RetryLater(policy=policy, delay=delay):
            # Asked for, so it does not matter what the policy says of errors; but the number of tries stands.
            planned = (policy or policy_of(message, task)).next_delay(tries)
            return planned if planned is None or delay is None else delay
        case Failure() | JobTimeoutError() | WorkerDiedError():
            # These are not errors of the task's own that a policy could name.
            return policy_of(message, task).next_delay(tries)
        case _:
            return policy_of(message, task).next_delay(tries, error)


def _failed(message: Message, trouble: Trouble) -> Message:
    troubles = (*message.troubles, trouble)[-_KEPT:]
    return msgspec.structs.replace(message, attempt=message.attempt + 1, troubles=troubles)


def _add(trouble: Trouble, what: str, error: Exception) -> Trouble:
    said = trouble.message or "no text"  # an exception need not have one
    return msgspec.structs.replace(trouble, message=f"{said}; and {what}: {text_of(error)}")


def _without_ours(frames: TracebackType | None) -> TracebackType | None:
    first = frames
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        first = first.tb_next
    return first or frames
