"""Tasks as handlers of the core."""

from __future__ import annotations

import pickle
from typing import Any

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
