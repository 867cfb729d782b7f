"""When a job that has failed is tried again: pure, but for the dice of the jitter."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, cast, get_args

from jockey import _validation
from jockey._errors import RegistrationError
from jockey.jobs._errors import JobsError

if TYPE_CHECKING:
    from jockey.jobs._message import Message
    from jockey.jobs._task import Task

Mode = Literal["fixed", "linear", "exponential"]
Delay = _validation.Seconds | Callable[[int], _validation.Seconds | None]

_FIELDS: Final = frozenset({"max_tries", "delay", "delay_min", "delay_max", "mode", "jitter", "on"})
_NUMBERS = (int, float, timedelta)
_MAX_DOUBLINGS: Final = 1000  # 2.0 to the power of 1024 is no float any more

_log = logging.getLogger("jockey.jobs")


@dataclass(frozen=True, kw_only=True)
class Retry:
    """
    How often a job is tried, and how long it waits before each new try.

    After the n-th try that failed (the first is 1) the delay is *delay* ("fixed"), *delay* · n ("linear") or
    *delay* · 2^(n-1) ("exponential"), but at least *delay_min* and at most *delay_max* (if they contradict each other,
    *delay_min* wins). Of that, up to the share *jitter* is left out at random, yet not below *delay_min*.

    Durations are seconds, or a `timedelta`.

    Raises:
        RegistrationError: A value makes no sense.
    """

    max_tries: int | None = 5
    """How many tries there are, the first one included; None is no limit."""

    delay: Delay = 1.0
    """The delay that *mode* builds on; or a function that gets n and returns the delay, or None for no more tries."""

    delay_min: _validation.Seconds = 0.0
    """No delay is shorter."""

    delay_max: _validation.Seconds = 3600.0
    """No delay is longer."""

    mode: Mode = "fixed"
    """How the delay grows: "fixed", "linear" or "exponential"."""

    jitter: float = 0.0
    """From 0 (none) to 1 (delays from 0 to what they would be), so that jobs do not come back all at once."""

    on: tuple[type[Exception] | str, ...] = (Exception,)
    """Only such errors are worth another try: exception classes, or their full names (``"httpx.ConnectError"``)."""

    never: ClassVar[Retry]
    """One try."""

    once: ClassVar[Retry]
    """Two tries, the second one at once."""

    always: ClassVar[Retry]
    """Any number of tries: after 1, 2, 4... seconds, at most an hour, half of it at random."""

    def __post_init__(self) -> None:
        _validation.optional_count("max_tries", self.max_tries)
        if self.mode not in get_args(Mode):
            raise RegistrationError(f'mode must be "fixed", "linear" or "exponential", got {self.mode!r}')
        for name in ("delay_min", "delay_max"):
            object.__setattr__(self, name, _validation.seconds(name, getattr(self, name), zero=True))
        if not callable(self.delay):  # what is neither is refused
            object.__setattr__(self, "delay", _validation.seconds("delay", self.delay, zero=True))
        object.__setattr__(self, "jitter", _checked_jitter(self.jitter))
        object.__setattr__(self, "on", _checked_errors(self.on))

    @classmethod
    def exponential(
        cls,
        *,
        min_backoff: _validation.Seconds = 10.0,
        max_backoff: _validation.Seconds = 86400.0,
        multiplier: float = 5.0,
        max_exponent: int = 15,
        max_tries: int | None = 5,
    ) -> Retry:
        """
        Return the policy whose n-th delay is max(min_backoff, min(multiplier · 2^min(n, max_exponent), max_backoff)).

        Raises:
            RegistrationError: A value makes no sense.
        """
        exponent = min(_validation.count("max_exponent", max_exponent, least=0), _MAX_DOUBLINGS)
        factor = _validation.seconds("multiplier", multiplier, zero=True)
        highest = min(_validation.seconds("max_backoff", max_backoff, zero=True), factor * 2.0**exponent)
        return cls(max_tries=max_tries, delay=factor * 2, delay_min=min_backoff, delay_max=highest, mode="exponential")

    def next_delay(
        self, tries: int, error: BaseException | None = None, *, dice: Callable[[], float] = random.random
    ) -> float | None:
        """
        Return the seconds to wait before the next try; None if there is none.

        Args:
            tries: How many have failed, the last one included; at least 1.
            error: How the last one failed; None: as if it were one of those worth another try.
            dice: Returns a number from 0 to 1 for the jitter.
        """
        if self.max_tries is not None and tries >= self.max_tries:
            return None
        if error is not None and not self.covers(error):
            return None
        base = self.delay
        delay = self._grown(tries, _number(base)) if isinstance(base, _NUMBERS) else self._told(tries, base)
        if delay is None:
            return None
        least, most = _number(self.delay_min), _number(self.delay_max)
        delay = max(least, min(delay, most))
        return max(least, delay * (1 - self.jitter * dice()))

    def covers(self, error: BaseException) -> bool:
        """Tell whether *error* is worth another try."""
        # By name, so that it is the same for a policy that has travelled.
        names = {full_name(kind) for kind in type(error).__mro__}
        return any(kind in names if isinstance(kind, str) else isinstance(error, kind) for kind in self.on)

    def to_plain(self) -> dict[str, Any]:  # what JSON can hold
        """
        Return the policy as data that a message can carry.

        Raises:
            RegistrationError: The delay is a function.
        """
        if not isinstance(self.delay, _NUMBERS):
            raise RegistrationError(
                f"a policy whose delay is a function cannot travel in a message, got {self.delay!r}; "
                "declare it on the task, or use delay, mode and delay_max"
            )
        plain = {name: getattr(self, name) for name in sorted(_FIELDS - {"on"})}
        return plain | {"on": [kind if isinstance(kind, str) else full_name(kind) for kind in self.on]}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Retry:  # what JSON can hold
        """
        Return the policy that `to_plain` made *plain* of; what is missing has its default.

        Raises:
            RegistrationError: It is none.
        """
        unknown = plain.keys() - _FIELDS
        if unknown:
            raise RegistrationError(f"a policy has no {sorted(unknown)}; there are {sorted(_FIELDS)}")
        fields = dict(plain)
        if isinstance(fields.get("on"), list):
            fields["on"] = tuple(fields["on"])
        return cls(**fields)

    def _grown(self, tries: int, delay: float) -> float:
        if self.mode == "fixed":
            return delay
        if self.mode == "linear":
            return delay * tries
        return delay * 2.0 ** min(tries - 1, _MAX_DOUBLINGS)

    def _told(self, tries: int, delay: Callable[[int], _validation.Seconds | None]) -> float | None:
        try:
            told = delay(tries)
            return None if told is None else _validation.seconds("a retry delay", told, zero=True)
        except Exception:
            # The job is not lost: it is among the dead letters, and what is written there is why it failed.
            _log.exception("the retry policy %r raised after try %d; there is no other try", self.delay, tries)
            return None


RetryPolicy = Retry | Callable[[int], _validation.Seconds | None]
"""A `Retry`, or a function from the number of the try that failed to the delay: ``Retry(delay=function)``."""


def as_retry(policy: RetryPolicy) -> Retry:
    """Return *policy* as a `Retry`, or raise `RegistrationError`."""
    if isinstance(policy, Retry):
        return policy
    if callable(policy):
        return Retry(delay=policy)
    raise RegistrationError(
        f"retry must be a jockey.jobs.Retry or a function of the number of the try, got {policy!r}; "
        "there are Retry.never, Retry.once and Retry.always"
    )


def policy_of(message: Message, task: Task[..., Any]) -> Retry:
    """Return the policy of that job: what its message says, or else the task."""
    return task.retry if message.retry is None else Retry.of(message.retry)


class RetryLater(JobsError):  # noqa: N818 - a request, and no error
    """
    Raised by a task to be tried again, whatever the error was; a try that is over like this counts as failed.

    Args:
        message: Why, for people.
        delay: Seconds (or a `timedelta`) to wait; None: what the policy says.
        policy: Used instead of the one that the job has, for this decision.

    Attributes:
        delay: In seconds; or None.
        policy: Or None.
    """

    __module__ = "jockey.jobs"  # where users import it from, as all errors

    def __init__(
        self,
        message: str = "the task asked to be tried again",
        *,
        delay: _validation.Seconds | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        super().__init__(message)
        self.delay = None if delay is None else _validation.seconds("delay", delay, zero=True)
        self.policy = None if policy is None else as_retry(policy)

    def __reduce__(self) -> tuple[Callable[..., RetryLater], tuple[str, float | None, Retry | None]]:
        return (_retry_later, (str(self), self.delay, self.policy))


def _retry_later(message: str, delay: float | None, policy: Retry | None) -> RetryLater:
    return RetryLater(message, delay=delay, policy=policy)


def full_name(kind: type) -> str:
    """Return the name of a class with its module; that of a builtin class is its bare name."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _number(value: _validation.Seconds) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _checked_jitter(jitter: float) -> float:
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= 1 or math.isnan(jitter):
        raise RegistrationError(f"jitter must be a number from 0 to 1, got {jitter!r}")
    return float(jitter)


def _checked_errors(errors: object) -> tuple[type[Exception] | str, ...]:
    kinds = cast("tuple[object, ...]", errors if isinstance(errors, tuple) else (errors,))
    for kind in kinds:
        if not (isinstance(kind, str) and kind) and not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise RegistrationError(f"on must be exception classes, or their full names, got {kind!r}")
    return cast("tuple[type[Exception] | str, ...]", kinds)


Retry.never = Retry(max_tries=1)
Retry.once = Retry(max_tries=2, delay=0.0)
Retry.always = Retry(max_tries=None, delay=1.0, delay_max=3600.0, mode="exponential", jitter=0.5)
