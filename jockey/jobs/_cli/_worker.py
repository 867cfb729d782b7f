"""The command that runs workers."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import click

from jockey.jobs._cli._ask import told_plainly
from jockey.jobs._cli._examples import examples
from jockey.jobs._cli._find import AppName
from jockey.jobs._cli._lifeline import hold_on
from jockey.jobs._cli._logs import write_logs
from jockey.jobs._cli._supervisor import Supervisor
from jockey.jobs._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jockey.jobs._app import App

_log: Final = logging.getLogger("jockey.jobs")


@click.command(
    epilog=examples(
        "jockey worker shop:app",
        "jockey worker shop:app --queues mail,images --max-jobs 32 --processes 4 --log-format json",
        "jockey worker shop:app --reload",
        "jockey worker shop:app --burst",
    )
)
@click.argument("name", metavar="APP")
@click.option("--queues", multiple=True, metavar="QUEUE[,QUEUE...]", help="Where to take jobs from; the default: all.")
@click.option("--max-jobs", type=int, default=16, show_default=True, help="How many run at once in each process.")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="How many processes.")
@click.option("--burst", is_flag=True, help="End as soon as nothing is ready to run.")
@click.option("--reload", "reloads", is_flag=True, help="Drain and start again when Python files here change.")
@click.option(
    "--graceful-shutdown-time",
    "grace",
    type=float,
    default=25.0,
    show_default=True,
    metavar="SECONDS",
    help="What running jobs get to end after the first signal.",
)
@click.option("--backend", type=click.Choice(["asyncio", "trio"]), default="asyncio", show_default=True)
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Of the logs; the default: the app's, or text.")
@click.option("--supervised", is_flag=True, hidden=True)
@click.pass_context
def worker(
    context: click.Context,
    *,
    name: str,
    queues: tuple[str, ...],
    max_jobs: int,
    processes: int,
    burst: bool,
    reloads: bool,
    grace: float,
    backend: str,
    log_format: str | None,
    supervised: bool,
) -> None:
    """
    Run the jobs of an app.

    The first SIGINT or SIGTERM: nothing new is taken, and what runs may end in time. The second one: what runs is
    cancelled and given back. The third one: the processes are killed.
    """
    if supervised:
        hold_on(grace)  # before any code of the app, which may take its time, and may start processes
    app = AppName(or_url=False).convert(name, None, context)
    listed = _split(queues)
    if not listed and not app.tasks:
        raise click.UsageError(f"{name} has no tasks, and so no queues to take jobs from")
    if backend == "trio" and importlib.util.find_spec("trio") is None:
        raise click.UsageError("--backend trio needs trio, which is not there; run: pip install trio")
    if burst and reloads:
        raise click.UsageError("--burst ends when there is nothing left to do, and --reload goes on: choose one")
    write_logs(log_format)
    if not supervised:
        _warn_of_strange(listed, app, name)
    with told_plainly():
        one = Worker(app, listed or None, max_jobs=max_jobs, graceful_shutdown_time=grace, burst=burst)
    if processes > 1 or reloads:
        if sys.platform == "win32":
            raise click.UsageError("Windows has no signals between processes: start each worker by itself")
        options = [f"--queues={','.join(listed)}"] if listed else []
        options += [f"--max-jobs={max_jobs}", f"--graceful-shutdown-time={grace}", f"--backend={backend}"]
        options += ["--burst"] if burst else []
        options += [f"--log-format={log_format}"] if log_format else []
        context.exit(_supervise([name, *options], processes, grace=grace, reloads=reloads, burst=burst))
    with told_plainly():
        anyio.run(one.run, backend=backend)


def _split(options: Sequence[str]) -> list[str]:
    """Return the names of queues that are given, with commas or several times."""
    names = [name.strip() for option in options for name in option.split(",")]
    if "" in names:
        raise click.UsageError(f"--queues has a name that is empty: {','.join(options)!r}")
    return names


def _warn_of_strange(queues: Sequence[str], app: App[Any], name: str) -> None:
    """Tell of queues that are taken from for nothing, unless jobs are put there by name; one may be misspelt."""
    known = {queue for task in app.tasks.values() for queue in task.queues}
    for queue in queues:
        if queue not in known:
            there_are = f"; there are {', '.join(sorted(known))}" if known else ""
            _log.warning("no task of %s has the queue %r%s", name, queue, there_are)


def _supervise(arguments: list[str], processes: int, *, grace: float, reloads: bool, burst: bool) -> int:
    command = [sys.executable, "-m", "jockey", "worker", "--supervised", *arguments]
    supervisor = Supervisor(command, processes, grace=grace, can_end=burst, watched=Path.cwd() if reloads else None)
    return anyio.run(supervisor.run)
