"""The commands about dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jockey.jobs._cli._ask import ask, confirm
from jockey.jobs._cli._examples import examples
from jockey.jobs._cli._jobs import show_records
from jockey.jobs._cli._options import app_option, count_option, json_option, queue_option, yes_option
from jockey.jobs._cli._show import counted, show_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from jockey.jobs._app import App

_BATCH: Final = 500

_ids_argument: Final = click.argument("ids", metavar="[ID]...", nargs=-1)
_all_option: Final = click.option("--all", "are_all", is_flag=True, help="All that are dead now, instead of some IDs.")
_queue_option: Final = click.option("--queue", metavar="QUEUE", help="With --all: only those of this queue.")


@click.group(epilog=examples("jockey dead list", "jockey dead replay welcome:7", "jockey dead drop --all --queue mail"))
def dead() -> None:
    """Look after dead letters: jobs that cannot succeed."""


@dead.command("list", epilog=examples("jockey dead list --queue mail --json"))
@app_option
@queue_option
@count_option
@json_option
def list_(*, app: App[Any], queue: str | None, count: int, as_json: bool) -> None:
    """List dead letters, the newest first."""
    show_records(list(ask(app, lambda app: app.dead.list(queue, count=count))), as_json=as_json)


@dead.command(epilog=examples("jockey dead replay welcome:7 welcome:8", "jockey dead replay --all --queue mail"))
@app_option
@_ids_argument
@_all_option
@_queue_option
@json_option
def replay(*, app: App[Any], ids: tuple[str, ...], are_all: bool, queue: str | None, as_json: bool) -> None:
    """Put dead letters back in their queues, with no attempts spent."""
    chosen = _chosen(app, ids, are_all=are_all, queue=queue)
    _each(app, "replayed", chosen, lambda app: app.dead.replay, are_all=are_all, as_json=as_json)


@dead.command(epilog=examples("jockey dead drop welcome:7", "jockey dead drop --all --yes"))
@app_option
@_ids_argument
@_all_option
@_queue_option
@yes_option
@json_option
def drop(
    *,
    app: App[Any],
    ids: tuple[str, ...],
    are_all: bool,
    queue: str | None,
    is_sure: bool,
    as_json: bool,
) -> None:
    """Remove dead letters for good."""
    chosen = _chosen(app, ids, are_all=are_all, queue=queue)
    if are_all:
        confirm(f"Remove {counted(len(chosen), 'dead letter')} for good?", is_sure=is_sure)
    _each(app, "dropped", chosen, lambda app: app.dead.drop, are_all=are_all, as_json=as_json)


def _chosen(app: App[Any], ids: Sequence[str], *, are_all: bool, queue: str | None) -> list[str]:
    """Return the ids that are meant."""
    if bool(ids) == are_all:
        raise click.UsageError("say which dead letters are meant: their IDs, or --all")
    if queue is not None and not are_all:
        raise click.UsageError("--queue goes with --all; an ID is enough to find a dead letter")
    if ids:
        return list(dict.fromkeys(ids))

    async def all_of_them(app: App[Any]) -> list[str]:
        # Those of now: what dies again while this goes on is left alone.
        count = sum(info.dead for info in await app.queues.info(queue))
        return [record.id for record in await app.dead.list(queue, count=count)] if count else []

    return ask(app, all_of_them)


def _each(
    app: App[Any],
    done: str,
    ids: Sequence[str],
    action: Callable[[App[Any]], Callable[..., Awaitable[int]]],
    *,
    are_all: bool,
    as_json: bool,
) -> None:
    async def in_batches(app: App[Any]) -> list[int]:
        return [await action(app)(*ids[first : first + size]) for first in range(0, len(ids), size)]

    size = _BATCH if are_all else 1  # where somebody has typed them, it is told which are missing
    counts = ask(app, in_batches)
    count = sum(counts)
    if as_json:
        show_json({done: count, "missing": len(ids) - count})
    else:
        click.echo(f"{done} {counted(count, 'dead letter')}")
    if count < len(ids):
        raise click.ClickException(
            f"{len(ids) - count} of {len(ids)} are not among the dead letters"
            + ("" if are_all else f": {', '.join(id_ for id_, found in zip(ids, counts, strict=True) if not found)}")
        )
