"""When a job that has failed is tried again: the formulae as the docs have them."""

from __future__ import annotations

import json
import logging
import math
import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jockey import JobTimeoutError, RegistrationError
from jockey.jobs import CommandFailedError, Message, Retry, RetryLater
from jockey.jobs._retry import as_retry, full_name, policy_of

MODES = ["fixed", "linear", "exponential"]

durations = st.floats(0, 1e6)
tries = st.integers(1, 10_000)


class OwnError(ConnectionError): ...


@st.composite
def policies(draw: st.DrawFn) -> Retry:
    return Retry(
        max_tries=draw(st.none() | st.integers(1, 100)),
        delay=draw(durations),
        delay_min=draw(durations),
        delay_max=draw(durations),
        mode=draw(st.sampled_from(MODES)),
        jitter=draw(st.floats(0, 1)),
        on=tuple(draw(st.lists(st.sampled_from([ValueError, OSError, "builtins.x", "httpx.ConnectError"])))),
    )


def delays(policy: Retry, count: int) -> list[float | None]:
    return [policy.next_delay(number, dice=lambda: 0.0) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("mode", "expected"), [("fixed", [3, 3, 3, 3]), ("linear", [3, 6, 9, 12]), ("exponential", [3, 6, 12, 24])]
)
def test_the_delay_grows_as_its_mode_says(mode: Any, expected: list[float]) -> None:
    assert delays(Retry(delay=3, mode=mode, max_tries=None), 4) == expected


def test_the_last_of_max_tries_is_known_when_it_fails() -> None:
    assert delays(Retry(max_tries=3, delay=2), 4) == [2, 2, None, None]
    assert delays(Retry(max_tries=1), 1) == [None]


def test_delays_stay_between_the_shortest_and_the_longest() -> None:
    assert delays(Retry(max_tries=9, delay=1, delay_min=2, delay_max=5, mode="exponential"), 5) == [2, 2, 4, 5, 5]
    assert delays(Retry(delay=1, delay_min=7, delay_max=5), 1) == [7], "the shortest wins"


@given(policies(), tries, st.floats(0, 1))
def test_a_delay_is_what_its_formula_says_less_the_jitter(policy: Retry, number: int, dice: float) -> None:
    least, most, delay = (getattr(policy, name) for name in ("delay_min", "delay_max", "delay"))
    factor = {"fixed": 1, "linear": number, "exponential": 2 ** min(number - 1, 1000)}[policy.mode]
    whole = max(least, min(float(delay * factor), most))

    got = policy.next_delay(number, dice=lambda: dice)

    if policy.max_tries is not None and number >= policy.max_tries:
        assert got is None
    else:
        assert got is not None
        assert least <= got <= whole or math.isclose(got, whole)
        assert got == pytest.approx(max(least, whole - policy.jitter * dice * whole))


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e3), st.integers(0, 40), st.integers(1, 200))
def test_exponential_is_the_formula_of_its_docstring(
    least: float, most: float, multiplier: float, exponent: int, number: int
) -> None:
    policy = Retry.exponential(
        min_backoff=least, max_backoff=most, multiplier=multiplier, max_exponent=exponent, max_tries=None
    )

    expected = max(least, min(multiplier * 2 ** min(number, exponent), most))
    assert policy.next_delay(number) == pytest.approx(expected)


def test_exponential_begins_as_people_know_it() -> None:
    policy = Retry.exponential(max_tries=None)

    assert delays(policy, 5) == [10, 20, 40, 80, 160]
    assert delays(policy, 20)[13:16] == [5 * 2**14, 86400, 86400]
    assert delays(Retry.exponential(min_backoff=60, max_tries=9), 5) == [60, 60, 60, 80, 160]
    assert delays(Retry.exponential(max_tries=2), 3) == [10, None, None]
    assert delays(Retry.exponential(max_exponent=10**9, max_backoff=math.pi, max_tries=None), 1) == [10]


@given(policies())
def test_a_policy_survives_its_way_through_a_message(policy: Retry) -> None:
    arrived = Retry.of(json.loads(json.dumps(policy.to_plain())))

    assert arrived.to_plain() == policy.to_plain()
    for error in (ValueError(), OwnError(), KeyError()):
        assert arrived.covers(error) == policy.covers(error)


def test_only_errors_that_are_named_are_worth_another_try() -> None:
    policy = Retry(on=(ConnectionError, f"{__name__}.Elsewhere"), delay=1)

    assert policy.next_delay(1, OwnError()) == 1
    assert policy.next_delay(1, ValueError()) is None
    assert policy.next_delay(1) == 1
    assert policy.covers(type("Elsewhere", (Exception,), {"__module__": __name__})())
    assert Retry().covers(ValueError())
    assert Retry(on=ValueError).covers(UnicodeError())  # type: ignore[arg-type]
    assert full_name(ValueError) == "ValueError"
    assert full_name(OwnError) == f"{__name__}.OwnError"


def test_errors_of_this_library_are_named_as_they_are_imported() -> None:
    by_class, by_name = Retry(on=(JobTimeoutError, CommandFailedError)), Retry(on=("jockey.jobs.CommandFailedError",))

    assert by_class.to_plain()["on"] == ["jockey.JobTimeoutError", "jockey.jobs.CommandFailedError"]
    assert by_name.covers(CommandFailedError("it ended with 1"))


def test_presets_are_what_they_are_called() -> None:
    assert delays(Retry.never, 1) == [None]
    assert delays(Retry.once, 2) == [0, None]
    assert delays(Retry.always, 4) == [1, 2, 4, 8]
    assert delays(Retry.always, 10_000)[-1] == 3600
    assert Retry.always.next_delay(1, dice=lambda: 1.0) == 0.5


def test_a_function_tells_seconds_or_a_timedelta_or_that_it_is_over() -> None:
    assert delays(as_retry(lambda number: number * 100), 2) == [100, 200]
    assert delays(as_retry(lambda number: timedelta(minutes=number)), 2) == [60, 120]
    assert delays(as_retry(lambda number: None if number == 2 else 1), 2) == [1, None]
    assert delays(Retry(delay=lambda number: number * 100, max_tries=2, delay_max=50), 2) == [50, None]


@pytest.mark.parametrize("told", [-1, math.nan, math.inf, "soon", True])
def test_a_function_that_tells_nonsense_ends_the_tries_and_is_logged(
    told: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "jockey.jobs"):
        assert as_retry(lambda number: told).next_delay(1) is None

    assert "the retry policy" in caplog.text
    assert "there is no other try" in caplog.text


def test_durations_can_be_timedeltas() -> None:
    policy = Retry(delay=timedelta(seconds=2), delay_min=timedelta(0), delay_max=timedelta(minutes=1))

    assert policy == Retry(delay=2, delay_max=60)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_tries": 0}, "max_tries must be at least 1, got 0"),
        ({"max_tries": 1.5}, "max_tries must be a whole number"),
        ({"delay": -1}, "delay must be a finite number of seconds"),
        ({"delay": "soon"}, "delay must be seconds or a timedelta, got 'soon'"),
        ({"delay_min": math.nan}, "delay_min must be a finite"),
        ({"delay_max": math.inf}, "delay_max must be a finite"),
        ({"mode": "cubic"}, "mode must be .fixed., .linear. or .exponential., got 'cubic'"),
        ({"jitter": 1.1}, "jitter must be a number from 0 to 1, got 1.1"),
        ({"jitter": math.nan}, "jitter must be a number from 0 to 1, got nan"),
        ({"jitter": True}, "jitter must be a number from 0 to 1, got True"),
        ({"jitter": "much"}, "jitter must be a number"),
        ({"on": (3,)}, "on must be exception classes, or their full names, got 3"),
        ({"on": (BaseException,)}, "on must be exception classes"),
        ({"on": ("",)}, "on must be exception classes"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RegistrationError, match=words):
        Retry(**options)


def test_data_that_is_no_policy_is_refused() -> None:
    with pytest.raises(RegistrationError, match=r"a policy has no \['tries'\]; there are"):
        Retry.of({"tries": 3})
    with pytest.raises(RegistrationError, match="on must be exception classes"):
        Retry.of({"on": 3})
    assert Retry.of({}) == Retry()


def test_a_policy_with_a_function_does_not_travel() -> None:
    with pytest.raises(RegistrationError, match="cannot travel in a message.*declare it on the task"):
        Retry(delay=lambda number: number).to_plain()


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(RegistrationError, match="retry must be a jockey.jobs.Retry.*got 'always'.*Retry.always"):
        as_retry("always")  # type: ignore[arg-type]
    assert as_retry(Retry.once) is Retry.once


def test_what_the_message_says_wins_over_the_task() -> None:
    class Task:
        retry = Retry.never

    task: Any = Task()

    assert policy_of(Message(id="1", name="a"), task) is Retry.never
    assert policy_of(Message(id="1", name="a", retry={"max_tries": 7}), task) == Retry(max_tries=7)


def test_retry_later_tells_delay_and_policy() -> None:
    error = RetryLater("the printer is asleep", delay=timedelta(seconds=3), policy=lambda number: number)

    assert str(error) == "the printer is asleep"
    assert error.delay == 3
    assert error.policy is not None
    assert error.policy.next_delay(2) == 2
    assert str(RetryLater()) == "the task asked to be tried again"
    assert RetryLater().delay is None
    assert RetryLater().policy is None
    with pytest.raises(RegistrationError, match="delay must be a finite"):
        RetryLater(delay=-1)


def test_retry_later_survives_the_way_between_processes() -> None:
    arrived = pickle.loads(pickle.dumps(RetryLater("later", delay=3, policy=Retry.once)))  # noqa: S301 - our own

    assert (str(arrived), arrived.delay, arrived.policy) == ("later", 3, Retry.once)
