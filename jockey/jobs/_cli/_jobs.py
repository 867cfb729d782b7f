"""The commands about jobs: what is known of many, or of one, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jockey.jobs._cli._ask import ask
from jockey.jobs._cli._examples import examples
from jockey.jobs._cli._options import app_option, count_option, json_option, queue_option
from jockey.jobs._cli._show import RecordList, record_data, record_sheet, show, show_json
from jockey.jobs._state import State

if TYPE_CHECKING:
    from jockey.jobs._app import App
    from jockey.jobs._broker import Record


@click.command(epilog=examples("jockey jobs --state dead --queue mail", "jockey jobs --json --count 1000"))
@app_option
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only in this state.")
@queue_option
@count_option
@json_option
def jobs(*, app: App[Any], state: str | None, queue: str | None, count: int, as_json: bool) -> None:
    """List jobs, the newest first."""

    async def newest(app: App[Any]) -> list[Record]:
        found: list[Record] = []
        async for record in app.records(queue=queue, state=None if state is None else State(state)):
            found.append(record)
            if len(found) == count:
                break
        if queue is not None and not found:
            await app.queues.info(queue)  # it may not be there
        return found

    show_records(ask(app, newest), as_json=as_json)


@click.command(epilog=examples("jockey job welcome:7", "jockey job welcome:7 --json"))
@app_option
@click.argument("id_", metavar="ID")
@json_option
def job(*, app: App[Any], id_: str, as_json: bool) -> None:
    """Show all that is known of a job."""
    record = ask(app, lambda app: app.job(id_).record())
    if as_json:
        show_json(record_data(record))
    else:
        show(record_sheet(record))


@click.command(epilog=examples('jockey cancel welcome:7 --reason "wrong address"'))
@app_option
@click.argument("id_", metavar="ID")
@click.option("--reason", default="", help="Why; it is in the record of the job.")
@json_option
def cancel(*, app: App[Any], id_: str, reason: str, as_json: bool) -> None:
    """
    Cancel a job that waits or runs.

    A worker that runs it hears of it within a second. It fails if the job has ended before.
    """
    in_time = ask(app, lambda app: app.job(id_).cancel(reason))
    if as_json:
        show_json({"id": id_, "cancelled": in_time})
    elif in_time:
        click.echo(f"cancelled {id_}")
    if not in_time:
        raise click.ClickException(f"the job {id_} has ended before; there was nothing to cancel")


def show_records(records: list[Record], *, as_json: bool) -> None:
    """Print what is known of many jobs."""
    if as_json:
        show_json([record_data(record) for record in records])
    else:
        show(RecordList(records))
