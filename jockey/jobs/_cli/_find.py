"""From the name of an app to the app."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any, Final, TypeGuard

import click

from jockey.jobs._app import App
from jockey.jobs._errors import UnsupportedError

_LIBRARY: Final = f"{Path(__file__).parents[2]}{os.sep}"


class AppName(click.ParamType[App[Any]]):
    """
    ``module:name`` of an app.

    Args:
        or_url: Whether the URL of a broker will do, where the tasks are not needed.
    """

    name = "app"

    def __init__(self, *, or_url: bool) -> None:
        self._or_url = or_url

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> App[Any]:  # what click has
        if "://" in value and self._or_url:
            return self._connected(value, param, ctx)
        module, colon, path = value.partition(":")
        if not (module and colon and path) or path.startswith("//"):
            why = "; a URL does not tell where the code of the tasks is" if "://" in value else ""
            self.fail(f"{value!r} is not like MODULE:NAME, such as shop:app{why}", param, ctx)
        if "/" in module or module.startswith("."):
            self.fail(f"{module!r} is a path; a module has a name with dots{_named_like(module, path)}", param, ctx)
        found: Any = self._imported(module, path, param, ctx)
        for name in path.split("."):
            if not hasattr(found, name):
                self.fail(f"the module {module!r} has no {path!r}{_apps_in(module)}", param, ctx)
            found = getattr(found, name)
        if not _is_app(found):
            self.fail(f"{value} is not a jockey.jobs.App, but {type(found).__name__}{_apps_in(module)}", param, ctx)
        return found

    def _connected(self, url: str, param: click.Parameter | None, ctx: click.Context | None) -> App[Any]:
        try:
            return App(url)
        except (UnsupportedError, ImportError) as error:  # the second one tells which extra it needs
            self.fail(str(error), param, ctx)

    def _imported(self, module: str, path: str, param: click.Parameter | None, ctx: click.Context | None) -> object:
        here = os.getcwd()  # noqa: PTH109 - an entry of sys.path is a string
        if here not in sys.path:
            sys.path.insert(0, here)
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{module}.".startswith(f"{error.name}."):
                hint = _named_like(module, path) if module.endswith(".py") else ""
                self.fail(
                    f"there is no module {error.name!r} in {here}, nor elsewhere on Python's path{hint}", param, ctx
                )
            raise click.ClickException(_story(module, error)) from error
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise click.ClickException(_story(module, error)) from error


def _is_app(found: object) -> TypeGuard[App[Any]]:  # of whatever state
    return isinstance(found, App)


def _named_like(module: str, path: str) -> str:
    """Return a hint at how the module in a file is named."""
    file = Path(module.removesuffix(".py"))
    if file.is_absolute() or ".." in file.parts:
        return f"; go to its directory, and say {file.name}:{path}"
    return f"; did you mean {'.'.join(file.parts)}:{path}?"


def _story(module: str, error: Exception | SystemExit) -> str:
    """Return what is wrong with a module that cannot be imported, and where."""
    what = "".join(traceback.format_exception_only(error)).strip()
    # Not where this library has raised it, but where it was called wrongly.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_LIBRARY)]
    last = frames[-1]
    place = "" if isinstance(error, SyntaxError) else f" ({last.filename}, line {last.lineno})"
    return f"the module {module!r} cannot be imported: {what}{place}"


def _apps_in(module: str) -> str:
    """Return a hint at what there is instead."""
    apps = [f"{module}:{name}" for name, value in vars(sys.modules[module]).items() if isinstance(value, App)]
    return f"; did you mean {' or '.join(apps)}?" if apps else ""
