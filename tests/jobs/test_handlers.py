"""Tasks as handlers of the core."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import anyio
import pytest

from jockey import ExecuteIn
from jockey.jobs import App
from jockey.jobs._arguments import Call
from jockey.jobs._handlers import registry_of
from tests.jobs import process_tasks


def handler_of(app: App[Any], name: str) -> Any:
    return registry_of(app.tasks.values()).find(name)


def test_a_handler_has_the_name_of_its_task_and_the_place_of_its_function() -> None:
    app = App()

    @app.task(name="mail.send")
    async def send() -> None:
        pass

    handler = handler_of(app, "mail.send")

    assert handler.name == "mail.send"
    assert handler.place.startswith(__file__)
    assert handler.options.execute_in is ExecuteIn.MAIN


def test_what_runs_elsewhere_travels_by_the_name_of_its_task() -> None:
    handler = handler_of(process_tasks.app, "total")

    function = pickle.loads(pickle.dumps(handler.function))  # noqa: S301 - of our own making

    assert handler.name == "total"
    assert function(Call((process_tasks.Order("tea", 3),)))[:2] == ("tea", 3)


@pytest.mark.parametrize("is_marked", [True, False])
def test_an_async_function_is_known_as_one_on_every_python(monkeypatch: pytest.MonkeyPatch, *, is_marked: bool) -> None:
    if not is_marked:
        monkeypatch.delattr(inspect, "markcoroutinefunction", raising=False)  # as before 3.12
    app = App()

    @app.task
    async def double(number: int) -> int:
        return 2 * number

    handler = handler_of(app, "double")

    assert inspect.iscoroutinefunction(handler.function)
    assert anyio.run(handler.function, Call((3,))) == 6
