"""What the package shows to its users."""

from __future__ import annotations

import enum
import importlib
import inspect
import pickle
import re
import traceback
from pathlib import Path

import pytest

import jockey
import jockey.jobs

PUBLIC = {
    "jockey": [
        "Adapter",
        "BacklogFullError",
        "CallbackTimeoutError",
        "Cancellation",
        "Cancelled",
        "DeadlockError",
        "ExecuteIn",
        "Executor",
        "ExecutorClosedError",
        "Failure",
        "HandlerCrashedError",
        "InitializerError",
        "JobCancelledError",
        "JobHandle",
        "JobState",
        "JobTimeoutError",
        "JockeyError",
        "Limit",
        "Middleware",
        "NoHandler",
        "NoHandlerError",
        "Outcome",
        "Priority",
        "Rate",
        "RegistrationError",
        "Registry",
        "RunningExecutor",
        "Statistics",
        "StuckThreadError",
        "Success",
        "TransferError",
        "WaitFor",
        "WorkerDiedError",
        "WrongThreadError",
        "amap",
        "map",
    ],
    "jockey.jobs": [
        "App",
        "AppClosedError",
        "ArgumentsError",
        "BrokerUnavailableError",
        "CommandFailedError",
        "Context",
        "DeadLetters",
        "DecodeError",
        "Defaults",
        "ExecuteIn",
        "Failure",
        "Group",
        "Job",
        "JobFailedError",
        "JobOptions",
        "JobsError",
        "LeaseLostError",
        "Message",
        "PartialGroup",
        "PartialSignature",
        "Priority",
        "QueueInfo",
        "QueueNotDeclaredError",
        "Queues",
        "Record",
        "ResultError",
        "ResultTimeoutError",
        "ResultUnavailableError",
        "Retry",
        "RetryLater",
        "Router",
        "Signature",
        "State",
        "Task",
        "TaskOptions",
        "Trouble",
        "UnknownTaskError",
        "UnsupportedError",
        "Worker",
        "WorkerCounts",
        "WorkerInfo",
        "chain",
        "group",
    ],
    "jockey.testing": [
        "Backend",
        "Call",
        "Callback",
        "Event",
        "Recorder",
        "StalledError",
        "run",
        "settle",
    ],
}

NAMES = [(module, name) for module, names in PUBLIC.items() for name in names]
ERRORS = [(module, name) for module, name in NAMES if name.endswith("Error") or name in {"Cancellation", "RetryLater"}]


def get(module: str, name: str) -> object:
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_these(module: str) -> None:
    assert importlib.import_module(module).__all__ == PUBLIC[module]


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_sorted(module: str) -> None:
    assert PUBLIC[module] == sorted(PUBLIC[module])


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_public_name_is_documented(module: str, name: str) -> None:
    thing = get(module, name)

    if inspect.isclass(thing) or inspect.isfunction(thing):
        # A dataclass without a docstring gets its signature, an enum may inherit one: neither says anything.
        own = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
        assert own, f"{name} has no docstring"
        assert not own.startswith(f"{name}("), f"{name} has no docstring"


def reference() -> set[tuple[str, str]]:
    """Return what the reference pages describe: the module that they are about, and the name."""
    described: set[tuple[str, str]] = set()
    directive = re.compile(r"^\.\. (currentmodule|auto\w+):: ([\w.]+)", re.MULTILINE)
    for page in (Path(__file__).parents[1] / "docs" / "reference").glob("*.md"):
        module = ""
        for kind, name in directive.findall(page.read_text("utf-8")):
            if kind == "automodule":
                described |= {(name, public) for public in PUBLIC[name]}
            elif kind == "currentmodule":
                module = name
            else:
                described.add((module, name))
    return described


def test_public_names_are_on_the_reference_pages() -> None:
    of_the_core = {("jockey.jobs", "ExecuteIn"), ("jockey.jobs", "Priority")}  # there they are named

    described = {(module, name) for module, name in reference() if module in PUBLIC}

    assert described == set(NAMES) - of_the_core


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_public_methods_are_documented(module: str, name: str) -> None:
    thing = get(module, name)

    methods = vars(thing).items() if inspect.isclass(thing) else ()

    # What overrides something is described there; `getdoc` finds it.
    assert [
        method
        for method, function in methods
        if (inspect.isroutine(function) or isinstance(function, property))
        and not method.startswith("_")
        and not inspect.getdoc(getattr(thing, method))
    ] == []


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="module 'jockey' has no attribute 'Excutor'"):
        jockey.Excutor  # type: ignore[attr-defined]  # noqa: B018 - a slip


def test_names_can_be_listed() -> None:
    assert set(jockey.__all__) < set(dir(jockey))


def test_enum_members_say_what_they_mean() -> None:
    enums = [thing for module, name in NAMES if isinstance(thing := get(module, name), enum.EnumType)]

    assert enums
    for thing in enums:
        # A string under each member, which Sphinx and editors show; Python itself does not keep it.
        assert inspect.getsource(thing).count('"""') == 2 * (1 + len(thing)), thing


def test_errors_have_one_base() -> None:
    errors = [thing for thing in vars(jockey).values() if inspect.isclass(thing) and issubclass(thing, Exception)]

    assert all(issubclass(error, jockey.JockeyError) for error in errors)
    assert all(error is jockey.JockeyError or jockey.JockeyError in error.__bases__ for error in errors)


def test_errors_of_the_jobs_layer_have_one_base() -> None:
    errors = [getattr(jockey.jobs, name) for name in PUBLIC["jockey.jobs"] if name.endswith("Error")]

    assert issubclass(jockey.jobs.JobsError, jockey.JockeyError)
    assert all(error is jockey.jobs.JobsError or jockey.jobs.JobsError in error.__bases__ for error in errors)


@pytest.mark.parametrize(("module", "name"), ERRORS)
def test_error_shows_the_name_that_users_import(module: str, name: str) -> None:
    error = get(module, name)

    told = traceback.format_exception_only(error("what happened"))  # type: ignore[operator]

    assert told == [f"{module}.{name}: what happened\n"]


def test_a_class_that_is_no_error_tells_where_its_source_is() -> None:
    # Tools look there for its annotations and for what stands below its fields.
    assert "class Retry:" in inspect.getsource(jockey.jobs.Retry)


@pytest.mark.parametrize(("module", "name"), ERRORS)
def test_error_survives_the_way_between_processes(module: str, name: str) -> None:
    error = get(module, name)("what happened")  # type: ignore[operator]

    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 - of our own making

    assert type(arrived) is type(error)
    assert str(arrived) == "what happened"
