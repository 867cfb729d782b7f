"""The command that enqueues a job."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import click
import msgspec

from jockey.jobs._cli._ask import ask
from jockey.jobs._cli._examples import examples
from jockey.jobs._cli._find import AppName
from jockey.jobs._cli._options import json_option
from jockey.jobs._cli._show import show_json

if TYPE_CHECKING:
    from jockey.jobs._app import App
    from jockey.jobs._options import JobOptions


class Json(click.ParamType[Any]):
    """JSON of one kind: a list, or a dict."""

    def __init__(self, kind: type[object], name: str) -> None:
        self._kind = kind
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # whatever is in it
        try:
            return msgspec.json.decode(value, type=self._kind)
        except (msgspec.DecodeError, RecursionError) as error:
            self.fail(f"{value!r} is not {self.name} of JSON: {error}", param, ctx)


@click.command(
    epilog=examples(
        "jockey enqueue shop:app send --args '[\"a@b.c\"]' --delay 30",
        'jockey enqueue sqlite:///jobs.db send --queue mail --kwargs \'{"to": "a@b.c"}\'',
    )
)
@click.argument("app", type=AppName(or_url=True), metavar="APP")
@click.argument("name")
@click.option("--args", type=Json(list, "an array"), metavar="JSON", default="[]", help="Positional arguments.")
@click.option("--kwargs", type=Json(dict, "an object"), metavar="JSON", default="{}", help="Named arguments.")
@click.option("--queue", metavar="QUEUE", help="Where it waits; the default is what the task says.")
@click.option("--delay", type=float, metavar="SECONDS", help="How long it waits at least.")
@click.option("--id", "id_", metavar="ID", help="Of the job. If there is one with this id, nothing is enqueued.")
@json_option
def enqueue(
    *,
    app: App[Any],
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    queue: str | None,
    delay: float | None,
    id_: str | None,
    as_json: bool,
) -> None:
    """
    Enqueue a job of the task NAME, and print its id.

    If the task is in the app, the arguments are checked; it may also be one that only the workers know.
    """
    options: JobOptions = {}
    if queue is not None:
        options["queue"] = queue
    if delay is not None:
        options["delay"] = delay
    if id_ is not None:
        options["id"] = id_
    if app.tasks and name not in app.tasks:
        click.echo(f"Warning: there is no task {name!r} in {app}{_likely(name, app)}", err=True)
    # With a URL alone no queue would be in a new file.
    job = ask(app, lambda app: app.enqueue(name, args, kwargs, **options), may_make_file=bool(app.tasks))
    if as_json:
        show_json({"id": job.id, "is_new": job.is_new})
    else:
        click.echo(job.id)
        if not job.is_new:
            click.echo("Warning: this job was there before; nothing was enqueued", err=True)


def _likely(name: str, app: App[Any]) -> str:
    near = difflib.get_close_matches(name, app.tasks, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
