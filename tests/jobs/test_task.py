"""A task is its function, and knows how its jobs are enqueued."""

from __future__ import annotations

import functools
import inspect
import pickle
import runpy
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from jockey import ExecuteIn, Limit, RegistrationError
from jockey.jobs import (
    ArgumentsError,
    Context,
    Failure,
    JobsError,
    Message,
    Priority,
    ResultError,
    Retry,
    Router,
    Signature,
    Task,
)
from jockey.jobs._arguments import Call
from jockey.jobs._message import Step
from jockey.jobs._task import find_task
from jockey.jobs._workflow import message_of

ACCEPTED = Path(__file__).parent.parent / "typing" / "accepted_jobs.py"

router = Router()


@router.task
async def send(to: str, *, subject: str = "hello") -> int:
    """Send a letter."""
    return len(to + subject)


@router.task(execute_in=ExecuteIn.PROCESS, name="compute")
def square(number: int) -> int:
    return number * number


@router.task
def told(context: Context, text: str = "") -> str:
    return text


def first_letter(to: str, *, subject: str = "") -> str | None:
    return to[0] if to else None


def message(task: Task[..., Any], *args: object, **kwargs: object) -> Message:
    return message_of(task.step(args, kwargs), id_="1", root="1", now=1000.0)


def declared(**options: Any) -> Task[..., Any]:
    async def task(to: str, *, subject: str = "") -> None: ...

    return Router().task(**options)(task)


def test_what_type_checkers_accept_can_be_declared() -> None:
    names = runpy.run_path(str(ACCEPTED))

    assert set(names["app"].tasks) == {
        "send", "send_later", "shrink", "describe", "store", "total", "alert", "convert"
    }  # fmt: skip


def test_a_task_is_called_like_its_function() -> None:
    coroutine = send("a", subject="bc")

    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == 3
    assert square(3) == 9
    assert send.__doc__ == "Send a letter."
    assert send.__name__ == "send"
    assert inspect.signature(send) == inspect.signature(send.function)
    assert repr(send) == "<TaskFunction 'send' in 'default'>"


def test_a_task_has_the_defaults_that_the_docs_name() -> None:
    assert (send.name, send.queues, send.timeout, send.result_ttl) == ("send", ("default",), 600, 86400)
    assert send.retry is Retry.never
    assert send.handler_options() == {
        "execute_in": ExecuteIn.MAIN,
        "max_jobs": None,
        "job_timeout": 600,
        "priority": Priority.NORMAL,
        "limits": (),
    }
    assert told.execute_in is ExecuteIn.THREAD
    assert message(send, "a") == Message(id="1", name="send", args=("a",), enqueued_at=1000)


def test_options_of_a_task_reach_the_worker() -> None:
    limit = Limit("mail", 2)
    task = declared(
        name="post",
        queue=["mail", "slow", "mail"],
        timeout=timedelta(minutes=1),
        retry=lambda number: number,
        result_ttl=timedelta(hours=1),
        max_jobs=3,
        limits=[limit],
        priority=Priority.LOW,
    )

    assert (task.name, task.queues, task.timeout, task.result_ttl) == ("post", ("mail", "slow"), 60, 3600)
    assert task.retry.next_delay(2) == 2
    assert task.handler_options()["limits"] == (limit,)
    assert task.handler_options()["max_jobs"] == 3
    assert message(task, "a").priority == 2
    assert message(task, "a").queue == "mail"
    assert declared(timeout=None).timeout is None


def test_options_of_a_job_reach_its_message() -> None:
    task = send.options(
        id="welcome:7",
        queue="mail",
        priority=Priority.HIGH,
        timeout=5,
        retry=Retry.once,
        result_ttl=0,
        group="a",
        unique="key",
        unique_for="queued",
    ).options(delay=timedelta(seconds=30))

    assert message(task, "a") == Message(
        id="welcome:7",
        name="send",
        queue="mail",
        args=("a",),
        enqueued_at=1000,
        not_before=1030,
        priority=0,
        timeout=5,
        retry=Retry.once.to_plain(),
        result_ttl=0,
        group="a",
        unique="key",
        unique_for="queued",
    )
    assert repr(task) == "<Task 'send' in 'default'>"
    assert message(send, "a").not_before == 0, "the task itself has not changed"


def test_a_time_is_the_same_in_any_zone() -> None:
    at = datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=3)))

    assert message(send.options(at=at), "a").not_before == datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    assert message(send.options(at=datetime.min.replace(tzinfo=UTC)), "a").not_before == 0


def test_no_limit_of_time_is_zero_in_a_message() -> None:
    assert message(send.options(timeout=None), "a").timeout == 0


def test_results_are_kept_as_long_as_the_message_or_the_task_says() -> None:
    assert send.ttl_of(message(send, "a")) == 86400
    assert send.ttl_of(message(send.options(result_ttl=3), "a")) == 3
    assert send.ttl_of(message(send.options(result_ttl=0), "a")) is None
    assert declared(result_ttl=0).ttl_of(Message(id="1", name="a")) is None


def test_a_group_is_a_name_or_follows_from_the_arguments() -> None:
    by_arguments = declared(group=first_letter)

    assert message(declared(group="all"), "a").group == "all"
    assert message(by_arguments, "xyz", subject="b").group == "x"
    assert message(by_arguments, "").group is None
    assert message(by_arguments.options(group="own"), "xyz").group == "own"
    assert message(by_arguments.options(group=None), "xyz").group is None
    with pytest.raises(ArgumentsError, match="the function group of task 'task' must return a text, or None, got 3"):
        message(declared(group=lambda to: 3), "xyz")


def test_a_key_follows_from_all_or_some_arguments_or_from_a_function() -> None:
    assert message(declared(unique=True), "a").unique == 'task:{"subject":"","to":"a"}'
    assert message(declared(unique=True), to="a", subject="").unique == 'task:{"subject":"","to":"a"}'
    assert message(declared(unique=["to"]), "a", subject="b").unique == 'task:{"to":"a"}'
    assert message(declared(unique=first_letter), "abc").unique == "task:a"
    assert message(declared(unique=first_letter), "").unique is None
    assert message(declared(unique=first_letter), "").unique_for is None
    assert message(declared(unique=True).options(unique=None), "a").unique is None
    assert message(declared(unique=True).options(unique="own"), "a").unique == "own"
    assert message(declared(), "a").unique is None


def test_a_key_counts_until_the_job_has_ended_unless_told_otherwise() -> None:
    assert message(declared(unique=True), "a").unique_for == "unfinished"
    assert message(declared(unique=True, unique_for=timedelta(minutes=1)), "a").unique_for == 60
    assert message(declared(unique=True).options(unique_for="queued"), "a").unique_for == "queued"
    assert message(send.options(unique="a"), "a").unique_for == "unfinished"


def test_what_a_job_says_of_arguments_that_come_later_is_added_when_they_come() -> None:
    task = declared(group=first_letter, unique=["to"])
    step = task.step((), {}, takes=True)
    late = message_of(step, id_="1", root="1", now=0.0, value="xyz", tasks={"task": task})
    broken = message_of(step, id_="1", root="1", now=0.0, value=3, tasks={"task": task})

    assert step.options == {}
    assert (late.args, late.group, late.unique) == (("xyz",), "x", 'task:{"to":"xyz"}')
    assert broken.group is None, "the worker that gets it will say what is wrong with it"
    assert message_of(step, id_="1", root="1", now=0.0, value="x").group is None, "nobody knows the task here"
    assert message_of(declared().step((), {}, takes=True), id_="1", root="1", now=0.0, value="x").unique is None
    plain = declared()
    assert message_of(plain.step((), {}, takes=True), id_="1", root="1", now=0, value="x", tasks={"task": plain}).args


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": ""}, "name must be a text that is not empty, got ''"),
        ({"queue": ""}, "queue must be a text"),
        ({"queue": []}, r"queue must be a name, or a list of names, got \[\]"),
        ({"queue": 3}, "queue must be a name, or a list"),
        ({"queue": ["a", 3]}, "queue must be a text that is not empty, got 3"),
        ({"execute_in": "thread"}, "execute_in must be a member of jockey.ExecuteIn"),
        ({"execute_in": ExecuteIn.INTERPRETER}, "cannot run in ExecuteIn.INTERPRETER, .* use ExecuteIn.PROCESS"),
        ({"priority": 1}, "priority must be a member of jockey.Priority"),
        ({"timeout": 0}, "timeout must be a finite number .* use None for no limit"),
        ({"retry": "always"}, "retry must be a jockey.jobs.Retry"),
        ({"result_ttl": -1}, "result_ttl must be a finite number of seconds, at least 0"),
        ({"max_jobs": 0}, "max_jobs must be at least 1"),
        ({"limits": 3}, r"limits must be a list, got 3; write limits=\[...\]"),
        ({"group": 3}, "group must be a text"),
        ({"unique": "to"}, "unique must be True, a list of names of parameters, or a function"),
        ({"unique": []}, "unique must be True"),
        ({"unique": [3]}, "each name in unique must be a text"),
        ({"unique": ["from"]}, "there is no parameter 'from'"),
        ({"unique_for": "ever", "unique": True}, "unique_for must be .queued., .unfinished. or seconds, got 'ever'"),
        ({"unique_for": 0, "unique": True}, "unique_for must be a finite number"),
        ({"unique_for": 3}, "unique_for without unique means nothing"),
        ({"on_success": 3}, "a callback must be a task, a signature or the name of a task, got 3"),
        ({"on_failure": [""]}, "a callback must be a task"),
        ({"delay": 3}, "there is no option 'delay'; there are execute_in, group"),
    ],
)
def test_an_option_of_a_task_that_makes_no_sense_is_refused_at_its_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RegistrationError, match=words):
        declared(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"id": ""}, "id must be a text that is not empty"),
        ({"delay": -1}, "delay must be a finite number"),
        ({"delay": 1, "at": datetime(2030, 1, 1, tzinfo=UTC)}, "delay and at contradict each other"),
        ({"delay": 0, "at": datetime(2030, 1, 1, tzinfo=UTC)}, "delay and at contradict each other"),
        ({"at": datetime(2026, 1, 2)}, "at must be a datetime with a time zone"),  # noqa: DTZ001 - just that
        ({"at": 3}, "at must be a datetime"),
        ({"queue": ["a"]}, "queue must be a text"),
        ({"timeout": 0}, "timeout must be a finite number"),
        ({"retry": lambda number: number}, "cannot travel in a message"),
        ({"group": ""}, "group must be a text"),
        ({"unique": True}, "unique must be a text"),
        ({"max_jobs": 3}, "there is no option 'max_jobs'; there are at, delay, group, id"),
        ({"on_success": print}, "a callback must be a task"),
    ],
)
def test_an_option_of_a_job_that_makes_no_sense_is_refused_at_its_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RegistrationError, match=words):
        send.options(**options)
    assert not isinstance(RegistrationError("x"), JobsError)


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


async def asynchronous() -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (3, {}, "a task must be a function, got 3"),
        (int, {}, "a task must be a function, got <class 'int'>"),
        (len, {}, "a task must be a function that Python code defines, got <built-in"),
        (generator, {}, "'generator' is a generator; a task returns one result: collect and return a list"),
        (async_generator, {}, "'async_generator' is a generator"),
        (asynchronous, {"execute_in": ExecuteIn.PROCESS}, "'asynchronous' is async and cannot run in a process"),
        (lambda: None, {"execute_in": ExecuteIn.PROCESS}, "cannot be sent to a process; move it to the top level"),
        (told.function, {"execute_in": ExecuteIn.PROCESS}, "'told' runs in a process and cannot have a Context"),
    ],
)
def test_what_cannot_be_a_task_is_refused(function: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(RegistrationError, match=words):
        Router().task(**options)(function)


def test_arguments_are_checked_where_the_signature_is_made() -> None:
    with pytest.raises(
        ArgumentsError, match="the argument 'to' of task 'send' does not fit: Expected `str`, got `int`"
    ):
        send.s(3)  # type: ignore[call-overload]
    with pytest.raises(ArgumentsError, match="unexpected keyword argument 'too'"):
        send.s("a", too=3)  # type: ignore[call-overload]
    with pytest.raises(ArgumentsError, match="missing a required"):
        send.si()  # type: ignore[call-arg]
    assert isinstance(send.s("a"), Signature)


def test_a_worker_gets_the_arguments_and_gives_the_result() -> None:
    assert send.arguments.convert(("a",), {"subject": "b"}) == Call(("a",), {"subject": "b"})
    assert send.arguments.encode_result(3) == b"3"
    assert send.decode_result(b"3") == 3
    assert told.arguments.wants_context
    assert not send.arguments.wants_context
    with pytest.raises(ResultError):
        send.arguments.encode_result(object())
    with pytest.raises(ArgumentsError):
        send.arguments.convert((), {})


def test_a_task_is_sent_to_a_process_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(square)) is square  # noqa: S301 - our own
    assert find_task(__name__, "Context.state") is Context.state


def test_a_task_that_cannot_be_found_by_its_name_is_not_sent() -> None:
    hidden = functools.partial(pickle.dumps, Router().task(name="hidden")(square.function))
    local = declared()

    with pytest.raises(pickle.PicklingError, match="the task 'hidden' is not what .*square is; give it no other name"):
        hidden()
    with pytest.raises(pickle.PicklingError, match="the task 'task' is not found as .*declared"):
        pickle.dumps(local)


def test_callbacks_of_a_task_and_of_a_job_are_told_apart() -> None:
    task = declared(on_success=[told, "elsewhere"], on_failure=send.s("boss"))
    job = task.options(on_success=told.s("b"), on_failure=["x", told])

    assert task.on_success == (
        Step(name="told", options={}),
        Step(name="elsewhere", queue="", takes=True),
    )
    assert task.on_failure == (Step(name="send", args=("boss",)),)
    assert message(task, "a").on_success == ()
    assert message(job, "a").on_success == (Step(name="told", args=("b",)),)
    assert [step.name for step in message(job, "a").on_failure] == ["x", "told"]


def test_a_failure_says_why() -> None:
    assert Failure("no paper") == Failure("no paper")
    assert Failure("no paper").reason == "no paper"
