"""Asking a broker, or a person."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import click

from jockey._errors import JockeyError, RegistrationError
from jockey.jobs._errors import ArgumentsError
from jockey.jobs.brokers.memory import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from jockey.jobs._app import App

Answer = TypeVar("Answer")


def ask(app: App[Any], question: Callable[[App[Any]], Awaitable[Answer]], *, may_make_file: bool = False) -> Answer:
    """
    Open the app in an event loop of its own, ask it, and return the answer; or end the command with the error.

    Args:
        app: Is opened.
        question: Is asked.
        may_make_file: Whether a file for the jobs is made if there is none; to look is no reason for that.
    """
    if app.file is not None and not may_make_file and not Path(app.file).exists():
        raise click.ClickException(
            f"there is no file {app.file!r}; is the path right? It is made when a worker starts, or a job is enqueued"
        )

    async def asked() -> Answer:
        async with app:
            if isinstance(app.broker, MemoryBroker):
                raise click.ClickException(
                    f"{app} keeps its jobs in memory, where no other process sees them; "
                    "use a broker that does not, such as sqlite:///jobs.db"
                )
            return await question(app)

    with told_plainly():
        return anyio.run(asked)


@contextlib.contextmanager
def told_plainly() -> Generator[None]:
    """End the command with the message of an error of this library, and no traceback."""
    try:
        yield
    except (ArgumentsError, RegistrationError) as error:
        raise click.UsageError(str(error)) from error
    except JockeyError as error:
        raise click.ClickException(str(error)) from error


def confirm(question: str, *, is_sure: bool) -> None:
    """Go on only if somebody says yes, or has said so before."""
    if is_sure:
        return
    if not is_anybody_there():
        raise click.UsageError("nobody is there to be asked whether this is meant: say --yes")
    click.confirm(question, abort=True, err=True)


def is_anybody_there() -> bool:
    """Tell whether questions would be read by a person."""
    return sys.stdin.isatty()
