"""Errors form one family, one level deep, and say what happened."""

from __future__ import annotations

import asyncio
import pickle

import pytest

import jockey
from jockey import Cancellation, JobTimeoutError, JockeyError, StuckThreadError, WorkerDiedError

ERRORS = [getattr(jockey, name) for name in jockey.__all__ if name.endswith("Error") and name != "JockeyError"]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_a_child_of_one_base(error: type[Exception]) -> None:
    assert error.__bases__[0] is JockeyError


def test_our_timeout_is_a_timeout_error() -> None:
    assert issubclass(JobTimeoutError, TimeoutError)


def test_a_cancellation_is_one_of_asyncio_on_every_backend_and_has_a_reason() -> None:
    assert issubclass(Cancellation, asyncio.CancelledError)
    assert Cancellation("shutdown").reason == "shutdown"
    assert Cancellation().reason is None


@pytest.mark.parametrize(
    "error", [WorkerDiedError("gone", -9), StuckThreadError("stuck", "a stack"), Cancellation("why")], ids=repr
)
def test_errors_with_attributes_survive_pickling(error: BaseException) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__
