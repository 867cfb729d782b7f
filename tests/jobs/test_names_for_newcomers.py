"""What the page for those who come from another job queue says is code of this one, with names that it has."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jockey
from jockey import jobs
from jockey.jobs._options import Defaults, JobOptions, TaskOptions

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "coming-from.md"

_app = jobs.App()


@_app.task
async def _task() -> None: ...


# What the variables on the page are.
THINGS: dict[str, Any] = {
    "jobs": jobs,
    "jockey": jockey,
    "app": _app,
    "router": jobs.Router(),
    "job": _app.job("1"),
    "counts": jobs.WorkerCounts(),
    "context": jobs.Context(None, jobs.Message(id="1", name="a"), is_last_attempt=True, is_over=bool),
    **dict.fromkeys(("task", "a", "b", "c"), _task),
}
FUNCTIONS = [jobs.App, jobs.Worker, jobs.Retry, jobs.Retry.exponential, jobs.RetryLater, jobs.Job.result, jobs.chain]
OPTIONS = [TaskOptions, JobOptions, Defaults]


def keywords() -> set[str]:
    """Return all names of arguments."""
    options = {name for kind in OPTIONS for name in kind.__annotations__}
    return options.union(*(inspect.signature(function).parameters for function in FUNCTIONS))


def cells() -> Iterator[str]:
    """Yield what is said of this library, in code: the right column, but for commands of a shell."""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            right = re.split(r"(?<!\\) \| ", line.strip("| "))[1]
            yield from (code for code in re.findall(r"`([^`]+)`", right) if not is_something_else(code))


def is_something_else(code: str) -> bool:
    """Tell whether it is a command, a URL, or a message in JSON."""
    return code.startswith(("jockey ", "{")) or ("://" in code and "(" not in code)


def parsed(code: str) -> ast.AST:
    """Parse what is code as it stands, or a decorator, the beginning of a statement, a parameter or an argument."""
    whole = re.sub(r"=(?=[,)])", "=...", code.removeprefix("@"))
    for form in (
        "{}",
        "job{}",
        "{} ...",
        "{}: ...",
        "async def f():\n    {}",
        "async def f():\n    {} ...",
        "f({}...)",
    ):
        try:
            return ast.parse(form.replace("{}", whole))
        except SyntaxError:
            continue
    raise AssertionError(f"this is no Python: {code}")


def thing_at(node: ast.expr) -> Any:
    """Return what an expression is, as far as that is known; None otherwise."""
    if isinstance(node, ast.Name):
        return THINGS.get(node.id)
    owner = thing_at(node.value) if isinstance(node, ast.Attribute) else None
    if not isinstance(node, ast.Attribute) or owner is None:
        return None
    assert hasattr(owner, node.attr), f"{owner} has no {node.attr}"
    return getattr(owner, node.attr)


@pytest.mark.parametrize("code", sorted(set(cells())))
def test_what_is_said_to_those_who_come_from_elsewhere_is_there(code: str) -> None:
    known = keywords()
    for node in ast.walk(parsed(code)):
        if isinstance(node, ast.Attribute):
            thing_at(node)
        if isinstance(node, ast.keyword):
            assert node.arg in known, f"nothing has an argument {node.arg!r}"


def test_there_is_something_for_each_of_five() -> None:
    titles = re.findall(r"^## (\w+)$", PAGE.read_text("utf-8"), re.MULTILINE)

    assert titles == ["repid", "boilermaker", "easyjobs", "celery", "taskiq"]
    assert len(list(cells())) > 80


def test_what_is_not_there_is_noticed() -> None:
    with pytest.raises(AssertionError, match="has no enqeue"):
        thing_at(ast.parse("task.enqeue", mode="eval").body)
    with pytest.raises(AssertionError, match="this is no Python"):
        parsed("await await")
