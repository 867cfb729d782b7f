"""What can be said of a task where it is declared, and of a job where it is enqueued; checked and in simplest types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

from typing_extensions import TypedDict

from jockey import _validation
from jockey._errors import RegistrationError
from jockey._handler import check_priority
from jockey._options import ExecuteIn, Priority
from jockey.jobs._plain import is_valid
from jockey.jobs._retry import Retry, RetryPolicy, as_retry

if TYPE_CHECKING:
    from jockey._limits import Limit, Rate
    from jockey.jobs._signature import Callbacks

DEFAULT_QUEUE: Final = "default"
DEFAULT_TIMEOUT: Final = 600.0
DEFAULT_RESULT_TTL: Final = 86400.0

Seconds = _validation.Seconds
UniqueFor = Literal["queued", "unfinished"] | _validation.Seconds

Settings = TypeVar("Settings", "TaskSettings", "JobSettings")


class Defaults(TypedDict, total=False):
    """
    What a router can say for all its tasks; each task can say something else.

    Args:
        queue: Where its jobs wait; of several, jobs are enqueued in the first one. The default is "default".
        priority: Which jobs start first.
        timeout: Seconds for one try, a reason to try again; the default is 600 (ten minutes), None is no limit.
        retry: A `Retry`, or a function of the number of the try that failed to the delay; the default is
            `Retry.never`.
        result_ttl: Seconds for which result and record are kept after the end; the default is 86400 (one day). With 0
            nothing is kept.
        on_success: Tasks, signatures, or names of tasks that are enqueued when a job has succeeded.
        on_failure: The same for a job that is dead: when there are no more tries.
    """

    queue: str | Sequence[str]
    priority: Priority
    timeout: Seconds | None
    retry: RetryPolicy
    result_ttl: Seconds
    on_success: Callbacks
    on_failure: Callbacks


class TaskOptions(Defaults, total=False):
    """
    What can be said where a task is declared.

    Args:
        name: What it is called in messages; the default is the name of the function.
        execute_in: Where it runs: the default is the event loop for async functions, and a thread for others; all but
            `ExecuteIn.INTERPRETER` will do.
        max_jobs: How many of its jobs run at once in one worker; None is no cap.
        limits: Caps that it shares with other tasks in one worker.
        group: Jobs of one group run in their order, one at a time: its name, or a function of the arguments that
            returns it (None: no group).
        unique: A job that equals another one is not enqueued: True (all arguments equal), names of parameters, or a
            function of the arguments that returns a key (None: not unique).
        unique_for: "queued": as long as the other one waits, "unfinished" (the default): until it has ended, or for so
            many seconds from when it was enqueued.
        replace: Whether it takes the place of a task of that name, if there is one.
    """

    name: str
    execute_in: ExecuteIn
    max_jobs: int | None
    limits: Iterable[Limit | Rate]
    group: str | Callable[..., str | None] | None
    unique: bool | Sequence[str] | Callable[..., str | None]
    unique_for: UniqueFor
    replace: bool


class JobOptions(TypedDict, total=False):
    """
    What can be said where a job is enqueued; what is left out is what the task says.

    Args:
        id: The id of the job. If there is a job of that id already, that one is returned. The default is a new one.
        delay: Seconds until it can start.
        at: When it can start, at the earliest; with a time zone.
        queue: Where it waits.
        priority: Which jobs start first.
        timeout: Seconds for one try; None is no limit.
        retry: A `Retry` whose delay is no function.
        result_ttl: Seconds for which result and record are kept after the end; with 0 nothing is kept.
        group: Jobs of one group run in their order, one at a time.
        unique: Its key: jobs with equal keys are duplicates. None: it is not unique.
        unique_for: "queued", "unfinished", or seconds; see `TaskOptions`.
        on_success: Tasks, signatures, or names of tasks that are enqueued when it has succeeded, beside those that the
            task has.
        on_failure: The same for when it is dead.
    """

    id: str
    delay: Seconds
    at: datetime
    queue: str
    priority: Priority
    timeout: Seconds | None
    retry: RetryPolicy
    result_ttl: Seconds
    group: str | None
    unique: str | None
    unique_for: UniqueFor
    on_success: Callbacks
    on_failure: Callbacks


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """The options of a task, checked; the fields are those of `TaskOptions`."""

    name: str = ""
    queue: tuple[str, ...] = (DEFAULT_QUEUE,)
    execute_in: ExecuteIn = ExecuteIn.MAIN
    priority: Priority = Priority.NORMAL
    timeout: float | None = DEFAULT_TIMEOUT
    retry: Retry = field(default=Retry.never)
    result_ttl: float = DEFAULT_RESULT_TTL
    max_jobs: int | None = None
    limits: tuple[Limit | Rate, ...] = ()
    group: str | Callable[..., str | None] | None = None
    unique: bool | tuple[str, ...] | Callable[..., str | None] = False
    unique_for: str | float = "unfinished"
    on_success: Callbacks = ()
    on_failure: Callbacks = ()


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """
    The options of a job, checked; None is what the task says.

    Attributes:
        timeout: 0 is no limit.
        at: Seconds since the epoch.
        group: Empty is none.
        unique: Empty is that it is not unique.
    """

    id: str | None = None
    delay: float | None = None
    at: float | None = None
    queue: str | None = None
    priority: Priority | None = None
    timeout: float | None = None
    retry: Retry | None = None
    result_ttl: float | None = None
    group: str | None = None
    unique: str | None = None
    unique_for: str | float | None = None
    on_success: Callbacks = ()
    on_failure: Callbacks = ()

    def to_plain(self) -> dict[str, Any]:  # what JSON can hold
        """Return all that is said, but for the callbacks, as data that a message can carry."""
        said = {
            option.name: value
            for option in fields(self)
            if (value := getattr(self, option.name)) is not None and not option.name.startswith("on_")
        }
        return said | {"retry": self.retry.to_plain()} if self.retry else said


def task_settings(options: Mapping[str, Any], defaults: TaskSettings = TaskSettings()) -> TaskSettings:
    """Return *options*, checked, over *defaults*; raise `RegistrationError` if one makes no sense."""
    settings = _settings(defaults, options, _TASK_CHECKS)
    if "unique_for" in options and settings.unique is False:
        raise RegistrationError("unique_for without unique means nothing; add unique=True, or names of parameters")
    return settings


def job_settings(options: Mapping[str, Any], defaults: JobSettings = JobSettings()) -> JobSettings:
    """Return *options*, checked, over *defaults*; raise `RegistrationError` if one makes no sense."""
    settings = _settings(defaults, options, _JOB_CHECKS)
    if settings.delay is not None and settings.at is not None:
        raise RegistrationError("delay and at contradict each other; give one of them")
    return settings


def _settings(defaults: Settings, options: Mapping[str, Any], checks: Mapping[str, Callable[[Any], Any]]) -> Settings:
    unknown = options.keys() - checks.keys()
    if unknown:
        raise RegistrationError(f"there is no option {min(unknown)!r}; there are {', '.join(sorted(checks))}")
    return replace(defaults, **{name: checks[name](value) for name, value in options.items()})


def _text(name: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or not value:
            raise RegistrationError(f"{name} must be a text that is not empty, got {value!r}")
        if not is_valid(value):
            raise RegistrationError(f"{name} must be a text that UTF-8 can write, got {value!r}")
        return value

    return check


_queue_name: Final = _text("queue")
_job_id: Final = _text("id")


def queue_name(value: object) -> str:
    """
    Return the name of a queue.

    Raises:
        RegistrationError: It is no text that can be written, or it is empty.
    """
    return _queue_name(value)


def job_id(value: object) -> str:
    """
    Return the id of a job.

    Raises:
        RegistrationError: It is no text that can be written, or it is empty.
    """
    return _job_id(value)


def _optional_text(name: str) -> Callable[[object], str]:
    return lambda value: "" if value is None else _text(name)(value)


def _queues(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (queue_name(value),)
    if not isinstance(value, Sequence) or not value:
        raise RegistrationError(f"queue must be a name, or a list of names, got {value!r}")
    return tuple(dict.fromkeys(queue_name(name) for name in cast("Sequence[object]", value)))


def _timeout(value: Seconds | None) -> float | None:
    return _validation.optional_seconds("timeout", value)


def _job_timeout(value: Seconds | None) -> float:
    return 0.0 if value is None else _validation.seconds("timeout", value)


def _result_ttl(value: Seconds) -> float:
    return _validation.seconds("result_ttl", value, zero=True)


def _limits(value: object) -> tuple[Limit | Rate, ...]:
    # Each of them is checked by the registry.
    if not isinstance(value, Iterable):
        raise RegistrationError(f"limits must be a list, got {value!r}; write limits=[...]")
    return tuple(cast("Iterable[Limit | Rate]", value))


def _group(value: object) -> str | Callable[..., str | None] | None:
    if value is None or callable(value):
        return cast("Callable[..., str | None] | None", value)
    return _text("group")(value)


def _unique(value: object) -> bool | tuple[str, ...] | Callable[..., str | None]:
    if isinstance(value, bool) or callable(value):
        return cast("bool | Callable[..., str | None]", value)
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise RegistrationError(
            f"unique must be True, a list of names of parameters, or a function of the arguments, got {value!r}"
        )
    return tuple(map(_text("each name in unique"), cast("Sequence[object]", value)))


def _unique_for(value: object) -> str | float:
    if isinstance(value, str) and value in {"queued", "unfinished"}:
        return value
    if isinstance(value, str):
        raise RegistrationError(f'unique_for must be "queued", "unfinished" or seconds, got {value!r}')
    return _validation.seconds("unique_for", cast("Seconds", value))


def _at(value: object) -> float:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise RegistrationError(
            f"at must be a datetime with a time zone, got {value!r}; datetime.now(UTC) has one, delay= takes seconds"
        )
    return max(0.0, value.timestamp())


def _delay(value: Seconds) -> float:
    return _validation.seconds("delay", value, zero=True)


def _execute_in(value: object) -> ExecuteIn:
    if not isinstance(value, ExecuteIn):
        raise RegistrationError(f"execute_in must be a member of jockey.ExecuteIn, got {value!r}")
    if value is ExecuteIn.INTERPRETER:
        raise RegistrationError(
            "a task cannot run in ExecuteIn.INTERPRETER, where msgspec, which carries its arguments, cannot be loaded; "
            "use ExecuteIn.PROCESS"
        )
    return value


def _job_retry(value: RetryPolicy) -> Retry:
    retry = as_retry(value)
    retry.to_plain()
    return retry


def _max_jobs(value: int | None) -> int | None:
    return _validation.optional_count("max_jobs", value)


def checked_callbacks(value: Callbacks) -> Callbacks:
    """Return *value*, each of which is a task, a signature or a name; raise `RegistrationError` if one is not."""
    several = cast("Sequence[object]", value if isinstance(value, list | tuple) else (value,))
    for callback in several:
        if isinstance(callback, str):
            is_one = bool(callback) and is_valid(callback)
        else:
            # A task can be signed, a signature has elements; neither can be imported here, which they need themselves.
            is_one = hasattr(callback, "s") or hasattr(callback, "elements")
        if not is_one:
            raise RegistrationError(f"a callback must be a task, a signature or the name of a task, got {callback!r}")
    return cast("Callbacks", tuple(several))


_SHARED_CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "priority": check_priority,
    "result_ttl": _result_ttl,
    "unique_for": _unique_for,
    "on_success": checked_callbacks,
    "on_failure": checked_callbacks,
}
_TASK_CHECKS: Final = _SHARED_CHECKS | {
    "name": _text("name"),
    "queue": _queues,
    "execute_in": _execute_in,
    "timeout": _timeout,
    "retry": as_retry,
    "max_jobs": _max_jobs,
    "limits": _limits,
    "group": _group,
    "unique": _unique,
}
_JOB_CHECKS: Final = _SHARED_CHECKS | {
    "id": job_id,
    "delay": _delay,
    "at": _at,
    "queue": queue_name,
    "timeout": _job_timeout,
    "retry": _job_retry,
    "group": _optional_text("group"),
    "unique": _optional_text("unique"),
}
