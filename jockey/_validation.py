"""Checks of what users write, each with the rule, the value and the way out in its message."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import timedelta

from jockey._errors import RegistrationError

Seconds = float | timedelta
"""A duration: seconds, or a `timedelta`."""

_LONGEST = sys.float_info.max


def count(name: str, value: int, *, least: int = 1) -> int:
    """Return *value* if it is a whole number of at least *least*."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise RegistrationError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise RegistrationError(f"{name} must be at least {least}, got {value!r}")
    return value


def optional_count(name: str, value: int | None, *, least: int = 1) -> int | None:
    """Return *value* if it is None or a whole number of at least *least*."""
    if value is None:
        return None
    try:
        return count(name, value, least=least)
    except RegistrationError as error:
        raise RegistrationError(f"{error}; use None for no cap") from None


def seconds(name: str, value: Seconds, *, zero: bool = False) -> float:
    """Return *value* as seconds if it is a finite duration above zero, or zero itself where that makes sense."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise RegistrationError(f"{name} must be seconds or a timedelta, got {value!r}")
    if not 0 <= number <= _LONGEST or (number == 0 and not zero):
        least = "at least 0" if zero else "more than 0"
        raise RegistrationError(f"{name} must be a finite number of seconds, {least}, got {value!r}")
    return float(number)


def optional_seconds(name: str, value: Seconds | None, *, zero: bool = False) -> float | None:
    """Return *value* as seconds, or None if it is None."""
    if value is None:
        return None
    try:
        return seconds(name, value, zero=zero)
    except RegistrationError as error:
        raise RegistrationError(f"{error}; use None for no limit") from None


def initializer(function: object) -> None:
    """Raise if *function* is neither None nor a function."""
    if function is not None and not callable(function):
        raise RegistrationError(f"initializer must be a function that sets up a worker, got {function!r}")


def initargs(arguments: Iterable[object]) -> tuple[object, ...]:
    """Return *arguments* as a tuple if they are several."""
    # A text is iterable too, and its letters are never meant.
    if isinstance(arguments, str | bytes) or not isinstance(arguments, Iterable):
        raise RegistrationError(f"initargs must be a list of arguments, got {arguments!r}; write initargs=[...]")
    return tuple(arguments)
