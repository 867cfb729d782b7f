"""The table of what brokers can do says what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jockey.jobs import App
from jockey.jobs._features import check_features
from jockey.jobs._message import Join, Step
from jockey.jobs.brokers import connect

if TYPE_CHECKING:
    from jockey.jobs._broker import Broker

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "brokers.md"
COLUMNS = ["`memory://`", "`sqlite:///`", "`amqp://`", "`amqp://` and `results=`"]


def row_of(beginning: str) -> dict[str, str]:
    """Return the cells of the row that begins like that."""
    [row] = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith(f"| {beginning}")]
    return dict(zip(COLUMNS, [cell.strip() for cell in row.split("|")[2:-1]], strict=True))


def app_on(column: str) -> App:
    if column == COLUMNS[3]:
        return App("amqp://localhost/", results="memory://")
    return App({"`memory://`": "memory://", "`sqlite:///`": "sqlite:///jobs.db"}.get(column, "amqp://localhost/"))


def broker_of(app: App) -> Broker:
    return app._broker


def is_refused(app: App, step: Step) -> bool:
    try:
        check_features(step, broker_of(app).features, {}, has_store=app._has_store)
    except Exception:
        return True
    return False


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(
    ("beginning", "step"),
    [
        ("`delay=`", Step(name="a", options={"delay": 3.0})),
        ("`priority=`", Step(name="a", options={"priority": 0})),
        ("`id=`", Step(name="a", options={"id": "b"})),
        ("`group=`", Step(name="a", options={"group": "b"})),
        ("a group that is followed", Step(name="a", join=Join(id="b", index=0, count=1, then=Step(name="c")))),
    ],
)
def test_what_is_refused_is_in_the_table(beginning: str, step: Step, column: str) -> None:
    cell = row_of(beginning)[column]

    assert is_refused(app_on(column), step) == (cell == "refused")


@pytest.mark.parametrize("column", COLUMNS)
def test_what_jobs_can_be_asked_is_in_the_table(column: str) -> None:
    app = app_on(column)

    assert broker_of(app).features.cancellation == (row_of("`cancel()`")[column] != "refused")
    assert app._has_store == (row_of("`result()`")[column] != "refused")


@pytest.mark.parametrize("url", ["memory://", "sqlite:///jobs.db", "amqp://localhost/"])
def test_how_far_a_group_reaches_is_in_the_table(url: str) -> None:
    column = {"memory://": COLUMNS[0], "sqlite:///jobs.db": COLUMNS[1]}.get(url, COLUMNS[2])
    told = {"everywhere": "across all workers", "worker": "within each worker"}

    assert told[connect(url).features.groups] in row_of("`group=`")[column]
