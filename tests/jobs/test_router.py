"""Where tasks are declared: names are unique, defaults are handed down, and what is replaced is gone."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from jockey import RegistrationError
from jockey.jobs import App, Context, Priority, Retry, Router


def one(number: int) -> int:
    return number


def other(number: int, factor: int) -> int:
    return number * factor


def place(function: Any) -> str:
    return re.escape(f"{function.__qualname__} ({function.__code__.co_filename}:{function.__code__.co_firstlineno})")


def test_a_task_has_the_name_of_its_function_or_another() -> None:
    router = Router()

    task = router.task(one)
    named = router.task(name="two")(one)

    assert dict(router.tasks) == {"one": task, "two": named}
    assert "one" in router
    assert "three" not in router
    assert repr(router) == "<Router of 2 tasks>"


def test_a_name_that_is_taken_is_refused_with_both_places() -> None:
    router = Router()
    router.task(one)

    with pytest.raises(
        RegistrationError,
        match=f"two tasks of the name 'one': {place(one)} and {place(other)}; give one another name=, or say replace",
    ):
        router.task(name="one")(other)
    assert router.tasks["one"].function is one


def test_what_is_replaced_leaves_nothing_behind() -> None:
    router = Router()
    router.task(queue="old", retry=Retry.always, max_jobs=3)(one)

    router.task(name="one", replace=True)(other)

    task = router.tasks["one"]
    assert (task.function, task.queues, task.retry) == (other, ("default",), Retry.never)
    assert task.handler_options()["max_jobs"] is None


def test_defaults_of_a_router_hold_where_its_tasks_say_nothing_else() -> None:
    router = Router(queue=["mail", "slow"], retry=Retry.once, timeout=5, priority=Priority.LOW, result_ttl=0)

    quiet, loud = router.task(one), router.task(queue="own", timeout=None, priority=Priority.HIGH)(other)

    assert (quiet.queues, quiet.retry, quiet.timeout, quiet.result_ttl) == (("mail", "slow"), Retry.once, 5, 0)
    assert (loud.queues, loud.retry, loud.timeout, loud.result_ttl) == (("own",), Retry.once, None, 0)
    assert quiet.handler_options()["priority"] is Priority.LOW
    assert loud.handler_options()["priority"] is Priority.HIGH


def test_defaults_that_make_no_sense_are_refused_where_they_stand() -> None:
    with pytest.raises(RegistrationError, match="timeout must be a finite number"):
        Router(timeout=0)
    with pytest.raises(RegistrationError, match="there is no option 'delay'"):
        Router(delay=3)  # type: ignore[call-arg]
    with pytest.raises(RegistrationError, match="there is no option 'delay'"):
        Router().task(delay=3)  # type: ignore[call-overload]


def test_tasks_of_a_router_are_included_as_they_are() -> None:
    router, app = Router(queue="mail"), App(queue="other")
    task = router.task(one)

    app.include(router)
    app.include(router)
    router.task(other)

    assert app.tasks == {"one": task}
    assert app.tasks["one"].queues == ("mail",)


def test_an_inclusion_that_would_take_a_name_is_refused_and_includes_nothing() -> None:
    router, app = Router(), App()
    app.task(name="b")(other)
    router.task(name="a")(one)
    router.task(name="b")(one)

    with pytest.raises(RegistrationError, match=f"two tasks of the name 'b': {place(other)} and {place(one)}"):
        app.include(router)
    assert list(app.tasks) == ["b"]

    app.include(router, replace=True)
    assert [task.function for task in app.tasks.values()] == [one, one]


def test_only_routers_are_included() -> None:
    with pytest.raises(RegistrationError, match=r"only a jockey.jobs.Router can be included, got 3"):
        App().include(3)  # type: ignore[arg-type]


def test_a_program_is_a_task() -> None:
    router = Router(queue="mail")

    task = router.command("show", [sys.executable, "-c", "print(1)"], env={"A": "b"}, max_jobs=2)

    assert router.tasks == {"show": task}
    assert (task.name, task.queues, task.handler_options()["max_jobs"]) == ("show", ("mail",), 2)
    assert task.is_complete((), {"whatever": 1})
    with pytest.raises(RegistrationError, match="two tasks of the name 'show'"):
        router.command("show", [sys.executable])


def test_a_router_for_a_state_has_tasks_with_and_without_it() -> None:
    router = Router[int]()

    @router.task
    def with_state(context: Context[int]) -> int:
        return context.state

    assert with_state.arguments.wants_context
    assert not router.task(one).arguments.wants_context
