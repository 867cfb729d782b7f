"""The commands about queues: what is in them, and to empty one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import click
from rich.console import Console, Group
from rich.live import Live

from jockey.jobs._cli._ask import ask, confirm
from jockey.jobs._cli._examples import examples
from jockey.jobs._cli._options import app_option, json_option, yes_option
from jockey.jobs._cli._show import counted, queue_table, show, show_json, worker_table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from rich.console import RenderableType

    from jockey.jobs._app import App
    from jockey.jobs._broker import QueueInfo, WorkerInfo

_EVERY: Final = 1.0
"""Seconds between two looks, when they are watched."""


@click.command(
    short_help="Show what is in the queues, and for how long.",
    epilog=examples("jockey status --app sqlite:///jobs.db", "jockey status --watch", "jockey status --json"),
)
@app_option
@click.option("--watch", is_flag=True, help="Look again each second, until Ctrl-C.")
@click.option("--workers", "with_workers", is_flag=True, help="Also which workers are there, and what they run.")
@json_option
def status(*, app: App[Any], watch: bool, with_workers: bool, as_json: bool) -> None:
    """Show the queues: how many jobs are in them, and how long the oldest one that is ready has been waiting."""

    async def look(app: App[Any]) -> None:
        with _screen(is_live=watch, as_json=as_json) as put:
            put(await _status(app, with_workers=with_workers))
            while watch:
                await anyio.sleep(_EVERY)
                put(await _status(app, with_workers=with_workers))

    try:
        ask(app, look)
    except KeyboardInterrupt:
        if not watch:
            raise


@click.command(epilog=examples("jockey purge mail", "jockey purge mail --yes"))
@app_option
@click.argument("queue")
@yes_option
@json_option
def purge(*, app: App[Any], queue: str, is_sure: bool, as_json: bool) -> None:
    """Remove all jobs that wait in QUEUE; what runs is left alone."""
    [info] = ask(app, lambda app: app.queues.info(queue))
    confirm(f"Remove {counted(info.ready + info.delayed, 'job')} from {queue!r}?", is_sure=is_sure)
    count = ask(app, lambda app: app.queues.purge(queue))
    if as_json:
        show_json({"queue": queue, "removed": count})
    else:
        click.echo(f"removed {counted(count, 'job')}")


class _Status(NamedTuple):
    queues: Sequence[QueueInfo]
    workers: Sequence[WorkerInfo] | None
    """None if nobody has asked."""

    def data(self) -> dict[str, Any]:
        workers = {} if self.workers is None else {"workers": self.workers}
        return {"queues": self.queues, **workers}

    def tables(self) -> Group:
        tables: list[RenderableType] = [queue_table(self.queues)]
        if self.workers is not None:
            tables += ["", worker_table(self.workers)]
        return Group(*tables)


async def _status(app: App[Any], *, with_workers: bool) -> _Status:
    return _Status(await app.queues.info(), await app.queues.workers() if with_workers else None)


@contextlib.contextmanager
def _screen(*, is_live: bool, as_json: bool) -> Generator[Callable[[_Status], None]]:
    """Return what prints: one after the other, or one over the other if somebody looks at them for long."""
    console = Console()
    if as_json:
        yield lambda status: show_json(status.data())
    elif is_live and console.is_terminal and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda status: live.update(status.tables(), refresh=True)
    else:
        yield lambda status: show(status.tables())
