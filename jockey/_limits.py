"""Named caps that handlers share, as users declare them."""

from __future__ import annotations

from dataclasses import dataclass

from jockey import _validation
from jockey._errors import RegistrationError


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not name:
        raise RegistrationError(f"the name of a limit must be a non-empty string, got {name!r}")


@dataclass(frozen=True)
class Limit:
    """
    How many jobs of all the handlers that name it run at once, in one running executor.

    Raises:
        RegistrationError: *max_jobs* is less than 1, or the name is empty.
    """

    name: str
    """What makes it one limit: equal limits of several handlers or registries are the same limit."""

    max_jobs: int
    """At most so many jobs at once."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        _validation.count("max_jobs of a Limit", self.max_jobs)


@dataclass(frozen=True)
class Rate:
    """
    How many jobs of all the handlers that name it start in a time, in one running executor.

    One job may start every `per / starts` seconds; after a pause up to `burst` start at once. So in any window of
    `per` seconds at most `starts + burst` jobs start. The algorithm is the generic cell rate algorithm, GCRA (ITU-T
    I.371).

    Raises:
        RegistrationError: *starts* or *burst* is less than 1, *per* is not above 0, or the name is empty.
    """

    name: str
    """What makes it one rate: equal rates of several handlers or registries are the same rate."""

    starts: int
    """So many starts in *per* seconds, on average."""

    per: _validation.Seconds = 1.0
    """The length of the window: seconds, or a `timedelta`."""

    burst: int = 1
    """How many may start at once after a pause; 1 spaces all starts evenly."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        _validation.count("starts of a Rate", self.starts)
        # A number from now on: a minute and 60 seconds are the same rate.
        object.__setattr__(self, "per", _validation.seconds("per of a Rate", self.per))
        _validation.count("burst of a Rate", self.burst)
